"""Times of files are kept to the millisecond, and bars are known by their opens: closing times, bars in progress and the future are not."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError

START = 1_735_689_600_000  # 2025-01-01
HOUR = 3_600_000
HEADER = "ts,open,high,low,close,volume\n"


def parquet_of(tmp_path, name, sql):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.sql(sql).write_parquet(str(path))
    return path


def hours(*numbers, row="2,3,1,2.5,10.5"):
    return HEADER + "".join(f"{START + number * HOUR},{row}\n" for number in numbers)


TRADES = "timestamp,symbol,side,size,price,trdMatchID\n"


def test_fractions_of_seconds_are_milliseconds_in_csv_as_in_parquet(store, file, tmp_path):
    rows = [("1585180700.0647", "Buy", "c"), ("1585180699.9", "Sell", "b"), ("1585180699.4", "Sell", " a ")]
    text = TRADES + "".join(f"{at},BTCUSDT,{side},0.1,6698.5,{ident}\n" for at, side, ident in rows)
    report = store.import_file(file("x/BTCUSDT_trades.csv", text))
    expected = [1_585_180_699_400, 1_585_180_699_900, 1_585_180_700_065]
    assert store.get_trades("BTCUSDT").ts.tolist() == expected
    assert any("kept to the millisecond" in note for note in report.notes)
    values = ", ".join(f"({at}::DOUBLE, '{side}', '{ident.strip()}')" for at, side, ident in rows)
    sql = f"SELECT t AS timestamp, 'BTCUSDT' AS symbol, s AS side, 0.1 AS size, 6698.5 AS price, i AS id FROM (VALUES {values}) v(t, s, i)"  # noqa: S608
    assert store.import_file(parquet_of(tmp_path, "y/BTCUSDT_trades.parquet", sql)).unchanged == 3, "the very same trades"


def test_funding_in_fractions_of_seconds(store, file):
    store.import_file(file("BTCUSDT_funding.csv", "ts,funding_rate\n1735689600.6,0.0001\n1735718400.4,0.0001\n"))
    assert store.get_funding_rates("BTCUSDT").ts.tolist() == [1_735_689_600_600, 1_735_718_400_400]


@pytest.mark.parametrize(
    "times",
    [
        ["1735689659.999", "1735689719.999", "1735689779.999"],
        ["1735689659.999999", "1735689719.999999", "1735689779.999999"],
        ["1735689659999", "1735689719999", "1735689779999"],
        ["1735689659999999", "1735689719999999", "1735689779999999"],
        ["2025-01-01T00:00:59.999999Z", "2025-01-01T00:01:59.999999Z", "2025-01-01T00:02:59.999999Z"],
        ["2025-01-01 00:00:59", "2025-01-01 00:01:59", "2025-01-01 00:02:59"],
    ],
)
def test_closing_times_are_refused_in_csv_and_parquet_with_what_to_subtract(store, file, tmp_path, times):
    off = 59_000 if times[0].endswith(":59") else 59_999
    path = file("BTCUSDT_1m.csv", HEADER + "".join(f"{at},100,101,99,100,1.5\n" for at in times))
    sql_type = "TIMESTAMP" if "-" in times[0] else "DOUBLE"
    rows = ", ".join(f"('{at.removesuffix('Z')}'::{sql_type})" for at in times)
    sql = f"SELECT t AS ts, 100.0 AS open, 101.0 AS high, 99.0 AS low, 100.0 AS close, 1.5 AS volume FROM (VALUES {rows}) v(t)"  # noqa: S608
    for each in (path, parquet_of(tmp_path, "p/BTCUSDT_1m.parquet", sql)):
        with pytest.raises(DataError, match=rf"where a 1m bar closes, .*subtract {off:,} ms from each time"):
            store.import_file(each)
    assert store.coverage() == []


def test_the_advice_about_closing_times_works(store, file):
    times = [1_735_689_659_999 + minute * 60_000 - 59_999 for minute in range(3)]
    assert store.import_file(file("BTCUSDT_1m.csv", HEADER + "".join(f"{at},2,3,1,2,1.5\n" for at in times))).rows == 3


def test_a_column_of_closing_times_alone_is_no_column_of_times(store, file):
    text = "close_time,open,high,low,close,volume\n1735689660000,2,3,1,2,1.5\n"
    with pytest.raises(DataError, match="close_time holds closing times"):
        store.import_file(file("BTCUSDT_1m.csv", text))


@pytest.mark.parametrize(
    ("name", "options", "advice"),
    [
        ("BTCUSDT.csv", {"timeframe": "4h"}, "give another --timeframe"),
        ("kline_4h/BTCUSDT.csv", {}, "give the file a name and a folder that do not say one, and use --timeframe"),
    ],
)
def test_the_advice_about_another_timeframe_looks_at_who_said_it(store, file, name, options, advice):
    with pytest.raises(DataError, match=f"not where a 4h bar opens: .*{advice}"):
        store.import_file(file(name, hours(*range(12))), **options)
    assert store.import_file(file("else/BTCUSDT.csv", hours(*range(12))), timeframe="1h").rows == 12


def test_the_bar_in_progress_and_bars_of_the_future_are_dropped_and_named(store, file, tmp_path):
    now = START + 5 * HOUR + 120_000
    path = file("BTCUSDT_1h.csv", hours(0, 1, 2, 3, 4, 5, 6, 705))
    report = store.import_file(path, now_ms=now)
    assert (report.rows_in_file, report.rows, report.unfinished, report.last) == (8, 5, 3, START + 4 * HOUR)
    (note,) = [note for note in report.notes if "unfinished" in note]
    assert note.startswith(
        "3 unfinished bars (the one in progress and 2 of the future; the first 2025-01-01T05:00:00Z, the last 2025-01-30T09:00:00Z;"
    )
    assert "--keep-unfinished keeps them" in note
    assert store.get_ohlcv("BTCUSDT", "1h").ts.tolist() == [START + hour * HOUR for hour in range(5)]
    sql = f"SELECT {START} + {HOUR} * i AS ts, 2.0 o, 3.0 h, 1.0 l, 2.0 c, 1.5 v FROM range(4, 8) t(i)"  # noqa: S608
    sixth = store.import_file(parquet_of(tmp_path, "ETHUSDT_1h.parquet", sql), now_ms=START + 6 * HOUR)
    assert (sixth.rows, sixth.last) == (2, START + 5 * HOUR), "a bar that has just closed is finished"


def test_unfinished_bars_are_kept_when_told_and_said(store, file):
    report = store.import_file(file("BTCUSDT_1h.csv", hours(0, 1, 2)), now_ms=START + 1 * HOUR + 1, keep_unfinished=True)
    assert (report.rows, report.unfinished) == (3, 0)
    assert any("2 unfinished bars" in note and "kept as they stand" in note for note in report.notes)
    found = [finding for finding in store.verify(now_ms=START + HOUR + 1) if finding.check == "unfinished"]
    assert [(one.count, one.severity, one.ts) for one in found] == [(2, "warning", START + HOUR)]
    assert not any(finding.check == "unfinished" for finding in store.verify(now_ms=START + 3 * HOUR))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("ts,funding_rate\n{0},0.0001\n{1},0.0001\n", 1),
        ("ts,open_interest\n{0},5\n{1},6\n", 1),
        ("ts,price,qty,side\n{0},5,1,buy\n{1},6,1,sell\n", 1),
    ],
)
def test_rows_of_the_future_of_every_kind_are_dropped(store, file, text, rows):
    report = store.import_file(file("BTCUSDT.csv", text.format(START, START + 8 * HOUR)), now_ms=START + HOUR)
    assert (report.rows, report.unfinished, report.rows_in_file) == (rows, 1, 2)


def test_a_file_of_nothing_but_unfinished_bars_is_refused(store, file):
    with pytest.raises(DataError, match=r"nothing but 1 unfinished bar .*--keep-unfinished"):
        store.import_file(file("BTCUSDT_1h.csv", hours(0)), now_ms=START + HOUR - 1)
    assert store.coverage() == []


def test_a_folder_in_memory_tells_of_dropped_bars(tmp_path):
    sql = f"SELECT {START} + {HOUR} * i AS ts, 2.0 o, 3.0 h, 1.0 l, 2.0 c, 1.5 v FROM range(4) t(i)"  # noqa: S608
    parquet_of(tmp_path, "BTCUSDT/last_1h.parquet", sql)
    with pytest.warns(UserWarning, match="1 unfinished bar"), HistoricalDataStore.from_parquet(tmp_path, now_ms=START + 3 * HOUR) as loaded:
        assert loaded.get_ohlcv("BTCUSDT", "1h").ts.tolist() == [START + hour * HOUR for hour in range(3)]


def test_every_row_of_a_file_is_accounted_for(store, file):
    text = "symbol," + HEADER + "".join(f"{symbol},{START + at * HOUR},2,3,1,2,1.5\n" for symbol, at in
                                        (("AUSDT", 0), ("BUSDT", 0), ("BUSDT", 1), ("BUSDT", 0), ("BUSDT", 9)))  # fmt: skip
    report = store.import_file(file("x_1h.csv", text), symbol="BUSDT", now_ms=START + 5 * HOUR)
    parts = (report.rows, report.duplicates, report.unfinished, report.left_out)
    assert parts == (2, 1, 1, 1) and sum(parts) == report.rows_in_file
    assert any("1 rows of another symbol were left out" in note for note in report.notes)


def test_trades_of_a_newest_first_file_keep_the_order_in_which_they_happened(store, file):
    rows = [(START + 1, 7), (START, 6), (START, 5), (START, 4)]
    store.import_file(file("BTCUSDT.csv", "ts,price,qty,side\n" + "".join(f"{ts},{price},0.5,buy\n" for ts, price in rows)))
    assert store.get_trades("BTCUSDT").price.tolist() == [4, 5, 6, 7]


def test_ids_are_trimmed_and_an_id_is_missing_in_all_rows_or_in_none(store, file):
    text = "symbol,ts,price,qty,side,trade_id\n BTCUSDT ,{0},5,1, buy , 17 \n BTCUSDT,{0},6,1,sell,{1}\n"
    store.import_file(file("x.csv", text.format(START, "18")))
    assert store.import_file(file("y.csv", text.replace(" 17 ", "17").format(START, " 18"))).unchanged == 2
    with pytest.raises(DataError, match="line 3: trade_id is empty, and others are not"):
        store.import_file(file("z.csv", text.format(START, " ")))
    assert np.all(store.get_trades("BTCUSDT").price == [5, 6])
