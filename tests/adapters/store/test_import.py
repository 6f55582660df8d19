"""What a file is said to be by its columns and path, and what becomes of its rows."""

from __future__ import annotations

import gzip
from pathlib import Path

import duckdb
import numpy as np
import pytest

from keel.adapters.store.columns.times import timeframe_of_spacing, to_milliseconds
from keel.adapters.store.importing.names import path_hints
from keel.core.errors import DataError

START = 1_735_689_600_000
BAR = "2,3,1,2.5,10"


def csv(times: list[object], header: str = "ts,open,high,low,close,volume", row: str = BAR) -> str:
    return "\n".join([header, *(f"{ts},{row}" for ts in times)]) + "\n"


MINUTES = [START, START + 60_000, START + 120_000]


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        (MINUTES, "ms"),
        ([ts // 1000 for ts in MINUTES], "s"),
        ([f"{ts / 1000:.1f}" for ts in MINUTES], "s"),
        ([ts * 1000 for ts in MINUTES], "us"),
        ([ts * 1_000_000 for ts in MINUTES], "ns"),
        (["2025-01-01T00:00:00Z", "2025-01-01 00:01:00 UTC", "2025-01-01T03:02:00+03:00"], "time"),
        (["2025-01-01 00:00", "2025-01-01 00:01", "2025-01-01 00:02"], "time"),
    ],
)
def test_times_of_every_form_become_ms(store, file, times, unit):
    report = store.import_file(file("kline_1m/BTCUSDT.csv", csv(times)))
    assert report.time_unit == unit
    assert store.get_ohlcv("BTCUSDT", "1m").ts.tolist() == MINUTES


@pytest.mark.parametrize("sql", ["TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_S", "TIMESTAMPTZ"])
def test_timestamp_columns_of_parquet_become_ms(store, tmp_path, sql):
    path = tmp_path / "BTCUSDT_1m.parquet"
    times = ", ".join(f"('2025-01-01 00:0{minute}:00+00'::TIMESTAMPTZ)" for minute in range(3))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    columns = f"SELECT t::{sql} AS open_time, 2.0 o, 3.0 h, 1.0 l, 2.5 c, 10 v FROM (VALUES {times}) x(t)"  # noqa: S608  # our own text
    connection.sql(columns).write_parquet(str(path))
    store.import_file(path)
    assert store.get_ohlcv("BTCUSDT", "1m").ts.tolist() == MINUTES


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        ("ts_open,open,high,low,close,volume", BAR, "last"),
        ("Open Time;Open;High;Low;Close;Volume", "2;3;1;2.5;10", "last"),
        ("timestamp\to\th\tl\tc\tv", "2\t3\t1\t2.5\t10", "last"),
        ("fundingRateTimestamp,fundingRate", "0.0001", "funding"),
        ("calc_time,funding_interval_hours,last_funding_rate", "8,0.0001", "funding"),
        ("timestamp,openInterest", "123.5", "open_interest"),
        ("time,price,qty,side,trade_id", "100.5,0.1,Buy,{n}", "trades"),
        ("transact_time,price,quantity,is_buyer_maker,agg_trade_id", "100.5,0.1,true,{n}", "trades"),
    ],
)
def test_columns_say_the_kind(store, file, header, row, kind):
    delimiter = next(mark for mark in ";\t," if mark in header)
    lines = [header, *(f"{ts}{delimiter}{row.format(n=n)}" for n, ts in enumerate(MINUTES))]
    report = store.import_file(file("BTCUSDT.csv", "\n".join(lines) + "\n"), timeframe="1m" if kind == "last" else None)
    assert (report.kind, report.inserted) == (kind, 3)
    assert store.has_series("BTCUSDT", kind=kind, timeframe="1m" if kind == "last" else "")


@pytest.mark.parametrize(
    ("path", "symbol", "timeframe", "kind", "category"),
    [
        ("bybit/linear/kline_5m/BTCUSDT.parquet", {"BTCUSDT"}, {"5m"}, {"last"}, {"linear"}),
        ("bybit/spot/mark_1h/ETHUSDT.parquet", {"ETHUSDT"}, {"1h"}, {"mark"}, {"spot"}),
        ("SOLUSDT/last_15m.parquet", {"SOLUSDT"}, {"15m"}, {"last"}, set()),
        ("BTCUSDT-4h-2025-01.csv", {"BTCUSDT"}, {"4h"}, set(), set()),
        ("indexPriceKlines/btcusdt_1m.csv.gz", {"BTCUSDT"}, {"1m"}, {"index"}, set()),
        ("1000PEPEUSDT_1H.csv", {"1000PEPEUSDT"}, {"1h"}, set(), set()),
        ("/home/mark/index/BTCUSDT_1h.csv", {"BTCUSDT"}, {"1h"}, {"index"}, set()),
        ("/Users/mark/bars/BTCUSDT_1h.csv", {"BTCUSDT"}, {"1h"}, set(), set()),
        ("BTCUSDT_and_ETHUSDT_60.csv", {"BTCUSDT", "ETHUSDT"}, set(), set(), set()),
        ("candles.csv", set(), set(), {"last"}, set()),
    ],
)
def test_path_says_what_the_file_is(path, symbol, timeframe, kind, category):
    found = path_hints(Path("/x/y/z") / path)
    assert (found.symbol, found.timeframe, found.kind, found.category) == (symbol, timeframe, kind, category)


@pytest.mark.parametrize(
    ("name", "text", "options", "way_out"),
    [
        ("bars.csv", csv(MINUTES), {}, "--symbol"),
        ("BTCUSDT.csv", csv([START]), {}, "--timeframe"),
        ("BTCUSDT.csv", csv([START, START + 60_000, START + 240_000, START + 360_000]), {}, "--timeframe"),
        ("BTCUSDT_ETHUSDT_1m.csv", csv(MINUTES), {}, "--symbol"),
        ("BTCUSDT_1m.csv", csv(MINUTES, "ts,open,high,low,close", "2,3,1,2.5"), {}, "--kind"),
        ("BTCUSDT_1m.csv", csv(MINUTES, row="2,3,1,2.5,0"), {}, "--kind"),
        ("mark_index_1m/BTCUSDT.csv", csv(MINUTES), {}, "--kind"),
        ("premiumIndex_1m/BTCUSDT.csv", csv(MINUTES), {}, "--kind"),
        (
            "BTCUSDT_1m.csv",
            csv(MINUTES, "symbol,ts,open,high,low,close,volume").replace("\n1", "\nETHUSDT,1"),
            {"symbol": "BTCUSDT"},
            "--symbol",
        ),
        ("x_1m.csv", f"symbol,ts,o,h,l,c,v\nAUSDT,{START},{BAR}\nBUSDT,{START},{BAR}\n", {}, "--symbol"),
        ("BTCUSDT_1m.csv", csv(MINUTES), {"kind": "funding"}, "--kind"),
    ],
)
def test_doubt_names_the_option_that_settles_it(store, file, name, text, options, way_out):
    with pytest.raises(DataError, match=way_out):
        store.import_file(file(name, text), **options)
    assert store.coverage() == []


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("mark_1h/BTCUSDT.csv", {"kind": "last"}, "--kind last was given, but the path says mark"),
        ("kline_1h/BTCUSDT.csv", {"kind": "index"}, "--kind index was given, but the path says last"),
        ("BTCUSDT_1h.csv", {"symbol": "ETHUSDT"}, "--symbol ETHUSDT was given, but the path says BTCUSDT"),
        ("BTCUSDT_1h.csv", {"timeframe": "1m"}, "--timeframe 1m was given, but the path says 1h"),
        ("spot/kline_1h/BTCUSDT.csv", {"category": "linear"}, "--category linear was given, but the path says spot"),
    ],
)
def test_an_option_that_contradicts_the_path_is_refused_with_the_way_out(store, file, name, options, says):
    hours = [START + hour * 3_600_000 for hour in range(12)]
    with pytest.raises(DataError, match=says + ": leave the option out, or, if the path is wrong, give the file a name and a folder"):
        store.import_file(file(name, csv(hours)), **options)
    assert store.coverage() == []
    renamed = {"symbol": "BTCUSDT", "timeframe": "1h", "kind": "last", "category": "linear"} | options
    if "timeframe" not in options:
        volume = 0 if renamed["kind"] == "index" else 10
        report = store.import_file(file("else/bars.csv", csv(hours, row=f"2,3,1,2.5,{volume}")), **renamed)
        assert {what: getattr(report, what) for what in options} == options


@pytest.mark.parametrize(("timeframe", "folder"), [("60", "kline_1h"), ("1H", "kline_1h"), ("1h", "kline_1H")])
def test_a_timeframe_in_another_spelling_is_no_contradiction(store, file, timeframe, folder):
    hours = [START + hour * 3_600_000 for hour in range(3)]
    assert store.import_file(file(f"{folder}/BTCUSDT.csv", csv(hours)), timeframe=timeframe).timeframe == "1h"


def test_the_source_names_the_file_and_its_folder(store, file, monkeypatch):
    files = [
        file(f"{folder}/BTCUSDT.csv", csv(MINUTES, row=f"2,3,1,2.5,{volume}")) for folder, volume in (("kline_1m", 10), ("mark_1m", 0))
    ]
    monkeypatch.chdir(files[1].parent)
    store.import_file(files[0])
    store.import_file("BTCUSDT.csv")
    found = {one.kind: list(one.sources) for one in store.coverage()}
    assert found == {"last": ["import:kline_1m/BTCUSDT.csv"], "mark": ["import:mark_1m/BTCUSDT.csv"]}


def test_option_chooses_among_several_symbols_and_lines_keep_their_numbers(store, file):
    text = f"symbol,ts,o,h,l,c,v\nAUSDT,{START},{BAR}\nBUSDT,{START},{BAR}\nAUSDT,{START + 60_000},2,3,1,oops,1\n"
    assert store.import_file(file("x_1m.csv", text), symbol="BUSDT").rows == 1
    with pytest.raises(DataError, match="line 4: c is 'oops'"):
        store.import_file(file("x_1m.csv", text), symbol="AUSDT")


def test_timeframe_is_read_from_the_distances_when_nothing_says_it(store, file):
    report = store.import_file(file("BTCUSDT.csv", csv([START + n * 3_600_000 for n in (0, 1, 2, 4)])))
    assert report.timeframe == "1h"
    assert any("timeframe 1h" in note for note in report.notes)
    assert timeframe_of_spacing(np.array([START])) is None


def test_unsorted_rows_are_sorted_and_equal_rows_kept_once(store, file):
    times = [MINUTES[2], MINUTES[0], MINUTES[1], MINUTES[0]]
    report = store.import_file(file("BTCUSDT_1m.csv", csv(times)))
    assert (report.rows, report.duplicates, report.sorted_rows) == (3, 1, True)
    assert store.get_ohlcv("BTCUSDT", "1m").ts.tolist() == MINUTES


def test_importing_twice_changes_nothing(store, file):
    path = file("BTCUSDT_1m.csv", csv(MINUTES))
    first = store.import_file(path)
    before = store.fingerprint("BTCUSDT", "1m")
    second = store.import_file(path)
    assert (first.inserted, first.unchanged) == (3, 0)
    assert (second.inserted, second.replaced, second.unchanged) == (0, 0, 3)
    assert store.fingerprint("BTCUSDT", "1m") == before


def test_other_values_need_leave_to_overwrite(store, file, tmp_path):
    store.import_file(file("BTCUSDT_1m.csv", csv(MINUTES)))
    other = file("new/BTCUSDT_1m.csv", csv(MINUTES[1:], row="2,3,1,2.75,10"))
    with pytest.raises(DataError, match=rf"close 2.5 in the store .from import:{tmp_path.name}/BTCUSDT_1m.csv., 2.75 here"):
        store.import_file(other)
    assert store.get_ohlcv("BTCUSDT", "1m").close.tolist() == [2.5, 2.5, 2.5]
    report = store.import_file(other, allow_overwrite=True)
    assert (report.inserted, report.replaced) == (0, 2)
    assert store.get_ohlcv("BTCUSDT", "1m").close.tolist() == [2.5, 2.75, 2.75]


def test_trades_of_one_millisecond_keep_their_order_with_and_without_ids(store, file):
    rows = [f"{START},{price},0.1,{side}" for price, side in ((5, "buy"), (4, "sell"), (4, "sell"))]
    text = "ts,price,qty,side\n" + "\n".join(rows) + "\n"
    assert store.import_file(file("BTCUSDT.csv", text)).inserted == 3
    assert store.import_file(file("BTCUSDT.csv", text)).unchanged == 3
    trades = store.get_trades("BTCUSDT")
    assert (trades.price.tolist(), trades.side.tolist()) == ([5, 4, 4], [1, -1, -1])


def test_gzip_and_quotes_and_byte_order_mark(store, tmp_path):
    path = tmp_path / "it's BTCUSDT 1m.csv.gz"
    path.write_bytes(gzip.compress(("\ufeff" + csv(MINUTES, '"Open Time",open,high,low,close,volume')).encode()))
    assert store.import_file(path).rows == 3


def test_a_folder_of_parquet_becomes_a_store_in_memory(tmp_path, store, bars):
    from keel.adapters.store import HistoricalDataStore

    for kind, timeframe in (("last", "1m"), ("mark", "1h")):
        made = bars(100, timeframe)
        if kind == "mark":
            made["volume"] = np.zeros(100)
        store.upsert_bars("BTCUSDT", timeframe, made, source="made", kind=kind)
        (tmp_path / "BTCUSDT").mkdir(exist_ok=True)
        columns = {"time": made["ts"], **{name: column for name, column in made.items() if name != "ts"}}
        connection = duckdb.connect()
        connection.register("made", columns)
        connection.sql("SELECT * FROM made").write_parquet(str(tmp_path / "BTCUSDT" / f"{kind}_{timeframe}.parquet"))
    with HistoricalDataStore.from_parquet(tmp_path) as loaded:
        assert loaded.fingerprint("BTCUSDT", "1m") == store.fingerprint("BTCUSDT", "1m")
        assert loaded.fingerprint("BTCUSDT", "1h", "mark") == store.fingerprint("BTCUSDT", "1h", "mark")
        assert loaded.timeframes("BTCUSDT") == ["1m"]


@pytest.mark.parametrize("text", ["12345", "0", "-5", "1735689600000000000000"])
def test_a_number_that_is_no_time_is_refused(text):
    with pytest.raises(DataError, match="no time"):
        to_milliseconds("f", np.array([float(text)]), lambda row: f"row {row + 1}")
