"""How a person says a file's cells are read: zones with summer time, decimal commas, formats, lines to skip, empty rows."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from keel.core.errors import ConfigError, DataError, KeelError

START = 1_735_689_600_000  # 2025-01-01
HOUR = 3_600_000
HEADER = "ts,open,high,low,close,volume\n"


def hours(times, row="2,3,1,2.5,10.5"):
    return HEADER + "".join(f"{at},{row}\n" for at in times)


NIGHT = ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00"]
"""The night in which Berlin's clock goes back; the first 02:00 is 00:00 UTC."""
MIDNIGHT = 1_729_987_200_000


@pytest.mark.parametrize("times", [NIGHT, NIGHT[::-1]])
def test_the_doubled_hour_is_told_apart_by_the_order_of_the_rows(store, file, times):
    store.import_file(file("BTCUSDT_1h.csv", hours(times)), timezone="Europe/Berlin")
    assert store.get_ohlcv("BTCUSDT", "1h").ts.tolist() == [MIDNIGHT + n * HOUR for n in (-1, 0, 1, 2)]


def test_quarters_of_the_doubled_hour(store, file):
    times = [f"2024-10-27 02:{minute:02d}" for minute in (0, 15, 30, 45)] * 2
    store.import_file(file("BTCUSDT_15m.csv", hours(times)), timezone="Europe/Berlin")
    assert store.get_ohlcv("BTCUSDT", "15m").ts.tolist() == [MIDNIGHT + n * HOUR // 4 for n in range(8)]


@pytest.mark.parametrize(
    ("times", "zone", "words", "works"),
    [
        (
            ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 03:00"],
            "Europe/Berlin",
            r"line 3: .*twice, and the rows do not.*--timezone \+01:00",
            "+01:00",
        ),
        (
            ["2024-03-31 01:00", "2024-03-31 02:00"],
            "Europe/Berlin",
            r"line 3: .*does not exist in Europe/Berlin.*--timezone \+01:00",
            "+01:00",
        ),
        (["2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z"], "+03:00", "say their own zone: leave it out", None),
        ([START, START + HOUR], "+03:00", "are numbers since 1970, which are UTC: leave it out", None),
    ],
)
def test_a_zone_that_cannot_be_is_refused_and_the_advice_works(store, file, times, zone, words, works):
    path = file("BTCUSDT_1h.csv", hours(times))
    with pytest.raises(DataError, match=words):
        store.import_file(path, timezone=zone)
    assert store.coverage() == []
    assert store.import_file(path, timezone=works).rows == len(times)


@pytest.mark.parametrize("zone", ["Nowhere/Land", "+25:00", "+1:2:3", "", "../../etc/passwd", "\x00"])
def test_what_is_no_zone(store, file, zone):
    with pytest.raises(ConfigError, match="is no zone: use UTC, an offset"):
        store.import_file(file("BTCUSDT_1h.csv", hours(["2025-01-01 00:00"])), timezone=zone)


@pytest.mark.parametrize(("cell", "value"), [("16541,5", 16541.5), ("16.541,5", 16541.5), ("16541", 16541.0), ("1.016.541,25", 1016541.25)])
def test_decimal_commas_with_and_without_dots_between_thousands(store, file, cell, value):
    row = ";".join([cell] * 4)
    text = "ts;open;high;low;close;volume\n" + "".join(f"{START + n * HOUR};{row};10,25\n" for n in range(3))
    store.import_file(file("BTCUSDT_1h.csv", text), decimal=",")
    bars = store.get_ohlcv("BTCUSDT", "1h")
    assert bars.close.tolist() == [value] * 3 and bars.volume.tolist() == [10.25] * 3


def test_a_decimal_comma_that_is_not_there(store, file):
    with pytest.raises(DataError, match=r"line 2: open is '16541\.5', not a number: it has a decimal point: leave --decimal , out"):
        store.import_file(file("BTCUSDT_1h.csv", hours([START], "16541.5,16542,16540,16541,1.5")), decimal=",")


@pytest.mark.parametrize(
    ("times", "asks"),
    [
        (["01/02/2025 00:00", "01/02/2025 01:00"], ["'%d/%m/%Y %H:%M' .days first.", "'%m/%d/%Y %H:%M' .months first."]),
        (["31/01/2025 00:00", "31/01/2025 01:00"], ["'%d/%m/%Y %H:%M' .days first."]),
        (["01/31/2025 12:00 AM", "01/31/2025 1:00 AM"], ["'%m/%d/%Y %I:%M %p' .months first."]),
        (["31.01.2025 00:00:00", "31.01.2025 01:00:00"], ["'%d.%m.%Y %H:%M:%S' .days first."]),
        (["202501310000", "202501310100"], ["'%Y%m%d%H%M'"]),
    ],
)
def test_times_with_several_meanings_are_asked_about_and_the_answers_work(store, file, times, asks):
    path = file("BTCUSDT_1h.csv", hours(times))
    with pytest.raises(DataError) as error:
        store.import_file(path)
    said = str(error.value)
    assert said.count("--time-format") == len(asks)
    for ask in asks:
        with pytest.raises(DataError, match=f"--time-format {ask}"):
            store.import_file(path)
        report = store.import_file(path, time_format=ask.split("'")[1])
        assert report.rows == 2 and report.time_unit == "time"


def test_a_format_that_does_not_fit_names_the_line_and_what_would(store, file):
    path = file("BTCUSDT_1h.csv", hours(["31/01/2025 00:00", "31/01/2025 01:00"]))
    with pytest.raises(
        DataError, match=r"line 2: the time '31/01/2025 00:00' does not fit --time-format '%Y-%m-%d': use --time-format '%d/%m/%Y %H:%M'"
    ):
        store.import_file(path, time_format="%Y-%m-%d")


def test_rows_with_empty_cells_are_counted_and_the_lines_keep_their_numbers(store, file):
    rows = [f"{START},2,3,1,2.5,1.5", f"{START + HOUR},,,,,", f"{START + 2 * HOUR},2,3,1,2.5,1.5", f"{START + 3 * HOUR},nan,NaN,nan,nan,0"]
    report = store.import_file(file("BTCUSDT_1h.csv", HEADER + "\n".join(rows) + "\n"), drop_empty=True)
    assert (report.rows_in_file, report.rows, report.empty, report.left_out) == (4, 2, 2, 0)
    assert any("2 rows with empty cells were left out" in note for note in report.notes)
    with pytest.raises(DataError, match="line 5: close is 'x', not a number"):
        store.import_file(file("ETHUSDT_1h.csv", HEADER + "\n".join([*rows[:3], f"{START + 4 * HOUR},2,3,1,x,5"]) + "\n"), drop_empty=True)
    with pytest.raises(DataError, match="every row has an empty cell"):
        store.import_file(file("SOLUSDT_1h.csv", HEADER + rows[1] + "\n"), drop_empty=True)


def test_lines_are_skipped_and_counted_in_messages(store, file):
    text = "one\ntwo, with, commas\n\n" + hours([START, START + HOUR])
    assert store.import_file(file("BTCUSDT_1h.csv", text)).rows == 2, "words before known names need no option"
    assert store.import_file(file("ETHUSDT_1h.csv", text), skip_lines=3).rows == 2
    with pytest.raises(DataError, match="line 6: close is 'x'"):
        store.import_file(file("SOLUSDT_1h.csv", text.replace("2.5", "x").replace("x", "2.5", 1)))
    with pytest.raises(DataError, match="--skip-lines 900 skips every line"):
        store.import_file(file("SOLUSDT_1h.csv", text), skip_lines=900)


HOURS = [START + n * HOUR for n in range(3)]
VALUES = {"ts": HOURS, "open": [2] * 3, "high": [3] * 3, "low": [1] * 3, "close": [2.5] * 3, "volume": [1.5] * 3}
ROWS = [list(row) for row in zip(*VALUES.values(), strict=True)]


@pytest.mark.parametrize(
    "document",
    [
        ROWS,
        [dict(zip(VALUES, row, strict=True)) for row in ROWS],
        {"columns": list(VALUES), "index": [0, 1, 2], "data": ROWS},
        {name: {str(at): value for at, value in enumerate(values)} for name, values in VALUES.items()},
        {"s": "ok", **{name[0]: values for name, values in VALUES.items()}},
        {"BTC/USDT": ROWS},
        {"error": [], "result": {"BTCUSDT": ROWS, "last": HOURS[-1]}},
    ],
)
def test_json_of_every_usual_shape(store, file, document):
    store.import_file(file("BTCUSDT_1h.json", json.dumps(document)))
    bars = store.get_ohlcv("BTCUSDT", "1h")
    assert {name: bars[name].tolist() for name in bars.columns} | {"ts": bars.ts.tolist()} == VALUES


def test_what_an_answer_says_of_itself_is_heeded(store, file):
    said = {"category": "spot", "symbol": "ETH/USDT", "timeframe": "1h", "data": ROWS[:1]}
    report = store.import_file(file("answer.json", json.dumps(said)))
    assert (report.category, report.symbol, report.timeframe) == ("spot", "ETHUSDT", "1h"), "one row has no distances"
    with pytest.raises(DataError, match="--timeframe 5m was given, but the file's own column says 1h"):
        store.import_file(file("answer.json", json.dumps(said)), timeframe="5m")


@pytest.mark.parametrize("category", ["inverse", "option"])
def test_an_answer_about_what_is_not_traded_is_refused(store, file, category):
    said = {"retCode": 0, "result": {"category": category, "symbol": "BTCUSD", "list": [row[:5] for row in ROWS]}}
    with pytest.raises(DataError, match=rf"answer\.json: the file itself says category {category}, which keel does not trade"):
        store.import_file(file("answer.json", json.dumps(said)), kind="mark")
    assert store.coverage() == []


def test_columns_of_json_whose_rows_do_not_match_are_refused(store, file):
    columns = {name: {str(at): value for at, value in enumerate(values)} for name, values in VALUES.items()}
    columns["close"] = dict(reversed(columns["close"].items()))
    with pytest.raises(DataError, match="do not name the same rows in the same order"):
        store.import_file(file("BTCUSDT_1h.json", json.dumps(columns)))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"data":' * 50_000,
        "5",
        "null",
        '["a"]',
        "[]",
        "{}",
        "[[1,2],[1]]",
        '[{"a":1},{"b":1}]',
        '{"p":[[1]],"q":[[1]]}',
        "[[[1]]]",
        '{"a":[1],"b":[1,2]}',
        "[[1,2",
    ],
)
def test_json_that_is_no_table_is_refused_in_one_line(store, file, text):
    path = file("BTCUSDT_1h.json", text)
    with pytest.raises(DataError) as error:
        store.import_file(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("name", "header", "row", "words"),
    [
        (
            "a",
            "ts,open,high,low,close,volume",
            "ts,open,high,low,close,volume",
            "line 5: ts is 'ts', not a time, and most others are numbers",
        ),
        (
            "b",
            "ts,open,high,low,close,volume",
            '{ts},"1,002.5","1,003.5","1,001.5","1,002.5",1',
            "'1,002.5', not a number: write numbers without commas",
        ),
    ],
)
def test_the_cell_that_is_the_mistake_is_named(store, file, name, header, row, words):
    rows = "".join(f"{at},2,3,1,2.5,1.5\n" for at in HOURS) + row.format(ts=START + 3 * HOUR) + "\n"
    with pytest.raises(DataError, match=words):
        store.import_file(file(f"{name}/BTCUSDT_1h.csv", f"{header}\n{rows}"))


@pytest.mark.parametrize(("symbol", "volume"), [("BTCUSD", 4.0), ("AAPL", 10.0)])
def test_yahoo_counts_coins_in_dollars_and_shares_as_shares(store, file, symbol, volume):
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n" + "".join(f"2025-01-{day:02d},2,3,1,2.5,2.5,10\n" for day in (1, 2, 3))
    store.import_file(file("daily.csv", text), symbol=symbol)
    assert store.get_ohlcv(symbol, "1d").volume.tolist() == [volume] * 3


@pytest.mark.parametrize("options", [{"decimal": ";"}, {"skip_lines": -1}])
def test_readings_that_are_none(store, file, options):
    with pytest.raises(ConfigError):
        store.import_file(file("BTCUSDT_1h.csv", hours(HOURS)), **options)


def test_text_in_utf_16_is_read(store, tmp_path):
    path = tmp_path / "BTCUSDT_1h.csv"
    path.write_bytes(hours(HOURS).replace("\n", "\r\n").encode("utf-16"))
    assert store.import_file(path).rows == 3


HOSTILE = [
    "'); COPY raw TO '{leak}'; --", '"); COPY raw TO \'{leak}\'; --', "x'; ATTACH '{leak}' AS x; --", "c0, (SELECT 1)", "$1", "?", "\\'",
    "{{x}}", "raw.c0",
]  # fmt: skip


def written(path: Path, header: str) -> Path:
    """Bars with one more column, under a name of anybody's, in the format that the path says."""
    frame = pd.DataFrame(VALUES | {header: ["1", header, "3"]})
    writers = {".csv": lambda: frame.to_csv(path, index=False), ".json": lambda: frame.to_json(path, orient="records")}
    writers |= {".parquet": lambda: frame.to_parquet(path), ".feather": lambda: frame.to_feather(path)}
    writers[path.suffix]()
    return path


QUICK_HOSTILE = (HOSTILE[0], HOSTILE[1], "$1")
"""Those that would end a text, end a name, or be a parameter."""


@pytest.mark.parametrize("hostile", [each if each in QUICK_HOSTILE else pytest.param(each, marks=pytest.mark.long) for each in HOSTILE])
def test_names_cells_and_options_of_anybody_s_are_values_and_never_sql(store, tmp_path, hostile):
    """A name, a cell, a file's name or a format that would be SQL, were it text of a statement: nothing happens but the import."""
    leak = tmp_path / "leak"
    text = hostile.format(leak=leak)
    for suffix in (".csv", ".json", *((".parquet", ".feather") if find_spec("pyarrow") else ())):
        assert store.import_file(written(tmp_path / f"BTCUSDT_1h{suffix}", text)).rows == 3
    trades = pd.DataFrame({"ts": HOURS, "price": 2.0, "qty": 1.0, "side": "buy", "trade_id": [text, "b", "c"]})
    trades.to_csv(tmp_path / "BTCUSDT_trades.csv", index=False)
    store.import_file(tmp_path / "BTCUSDT_trades.csv")
    assert store._db.rows("SELECT trade_id FROM trades ORDER BY ts LIMIT 1") == [(text,)]
    days = written(tmp_path / "days.csv", "more")
    days.write_text(days.read_text().replace(str(START), "01/01/2025"))
    for options in ({"time_format": text}, {"time_format": f"%d/%m/%Y{text}"}, {"symbol": text}, {"timezone": text}, {"timeframe": text}):
        with pytest.raises(KeelError):
            store.import_file(days, **({"symbol": "ETHUSDT"} | options))
    assert not leak.exists() and {series.symbol: series.rows for series in store.coverage()} == {"BTCUSDT": 3}
