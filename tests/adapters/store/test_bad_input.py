"""Every bad file is one clear error, and leaves the store as it was."""

from __future__ import annotations

import gzip

import duckdb
import pytest

from keel.core.errors import ConfigError, DataError

START = 1_735_689_600_000
HEADER = "ts,open,high,low,close,volume\n"
GOOD = f"{START},2,3,1,2.5,10\n"
NEXT = START + 60_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (HEADER, "no rows"),
        ("x,y,z\n" + "1,2,3\n", "are none that keel knows"),
        (f"{START},2,3\n", "no column names, and 3 columns of this kind are not known"),
        (f"ts,open,high,low,volume\n{START},2,3,1,10\n", "the column close is missing"),
        ("open,high,low,close,volume\n2,3,1,2.5,10\n", "a column of times is missing"),
        ("a,b\n1,2\n", "columns .a, b. are none that keel knows"),
        ("ts,bid,ask\n1,2,3\n", "order book"),
        ("ts,ts,open,high,low,close,volume\n1,1,2,3,1,2,3\n", "two columns are called 'ts'"),
        (HEADER + GOOD + f"{NEXT},2,3,1,nan,10\n", "line 3: close is nan, not a number. --drop-empty leaves"),
        (HEADER + GOOD + f"{NEXT},2,3,1,,10\n", "line 3: close is empty, not a number"),
        (HEADER + GOOD + f"{NEXT},2,3,1,abc,10\n", "line 3: close is 'abc', not a number"),
        (HEADER + GOOD + f"{NEXT},2,inf,1,2,10\n", "line 3 .*high is inf"),
        (HEADER + GOOD + f"{NEXT},2,1,3,2,10\n", "line 3 .*high is 1, low is 3; high is below low"),
        (HEADER + GOOD + f"{NEXT},2,3,1,4,10\n", "line 3 .*close is 4, low 1, high 3; close is outside"),
        (HEADER + GOOD + f"{NEXT},0.5,3,1,2,10\n", "line 3 .*open is 0.5"),
        (HEADER + GOOD + f"{NEXT},2,3,0,2,10\n", "line 3 .*low is 0; a price is above zero"),
        (HEADER + GOOD + f"{NEXT},2,3,1,2,-1\n", "line 3 .*volume is -1"),
        (HEADER + GOOD + f"{NEXT + 1},2,3,1,2,1\n", "line 3: the time 2025-01-01T00:01:00.001Z is not where a 1m bar opens"),
        (HEADER + GOOD + f"{NEXT // 1000},2,3,1,2,1\n", "line 3: the time .* is in s, the first row .* in ms"),
        (HEADER + GOOD + "17,2,3,1,2,1\n", "line 3: the time 17 is no time"),
        (HEADER + GOOD + "soon,2,3,1,2,1\n", "line 2: ts is '1735689600000', not a time|line 3: ts is 'soon', not a time"),
        (HEADER + GOOD + f"{START},2,3,1,2.75,10\n", "line 2 and line 3 have the same time 2025-01-01T00:00:00Z .*close 2.5 and 2.75"),
        (HEADER + GOOD + f"{NEXT},2,3\n", "line 3"),
        (HEADER + "".join(f"{START + n * 3_600_000},2,3,1,2,1\n" for n in range(12)), "said to be 1m bars, but no two are closer than 1h"),
    ],
)
def test_bad_bars(store, file, text, message):
    store.import_file(file("other/ETHUSDT_1m.csv", HEADER + GOOD))
    before = store.coverage()
    with pytest.raises(DataError, match=message) as caught:
        store.import_file(file("kline_1m/BTCUSDT.csv", text))
    assert "kline_1m/BTCUSDT.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert store.coverage() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ts,funding_rate\n1735689600000,1.5\n", "funding_rate is 1.5; a rate is a fraction"),
        ("ts,open_interest\n1735689600000,-1\n", "open interest is not negative"),
        ("ts,price,qty,side\n1735689600000,1,1,up\n", "line 2: side is 'up', which is no side"),
        ("ts,price,qty\n1735689600000,1,1\n", "the column side is missing"),
        ("ts,price,qty,side\n1735689600000,1,0,buy\n", "a quantity is above zero"),
        ("ts,price,qty,side,trade_id\n1735689600000,1,1,buy,7\n1735689600000,2,1,buy,7\n", "line 2 and line 3 have the same time"),
    ],
)
def test_bad_rows_of_other_kinds(store, file, text, message):
    with pytest.raises(DataError, match=message):
        store.import_file(file("BTCUSDT.csv", text))
    assert store.coverage() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:3],
        lambda whole: whole[len(whole) // 3 :],
        lambda whole: whole[:100] + whole[200:],
        lambda whole: whole[:-200] + bytes(150) + whole[-50:],
        lambda whole: b"PK\x03\x04" * 100,
    ],
    ids=["half", "three bytes", "tail", "shifted", "footer", "another format"],
)
def test_a_damaged_parquet_file_is_named_once_and_with_what_it_is(store, tmp_path, damage):
    path = tmp_path / "BTCUSDT_1m.parquet"
    duckdb.sql("SELECT 1735689600000 + 60000 * i AS ts, 2.0 o, 3.0 h, 1.0 l, 2.0 c, 1.0 v FROM range(10000) t(i)").write_parquet(str(path))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="truncated or not a Parquet file") as error:
        store.import_file(path)
    assert str(error.value).count(str(path)) == 1
    assert store.coverage() == []


def test_a_truncated_gzip_file_and_an_empty_one(store, tmp_path):
    path = tmp_path / "BTCUSDT_1m.csv.gz"
    rows = "".join(f"{START + 60_000 * minute},2,3,1,2.5,{minute}\n" for minute in range(5000))
    whole = gzip.compress((HEADER + rows).encode())
    for part in (whole[:20], whole[: len(whole) // 2], whole[:-4]):
        path.write_bytes(part)
        with pytest.raises(DataError, match="the file is truncated") as error:
            store.import_file(path)
        assert str(error.value).count(str(path)) == 1
    path.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        store.import_file(path)
    assert store.coverage() == []


def test_a_folder_is_imported_by_the_command(store, tmp_path):
    with pytest.raises(DataError, match=rf"is a folder: keel data import {tmp_path} imports the files in it"):
        store.import_file(tmp_path)


def test_files_that_are_not_there_or_not_ours(store, tmp_path):
    with pytest.raises(DataError, match="no such file"):
        store.import_file(tmp_path / "nothing.csv")
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="can be imported"):
        store.import_file(tmp_path / "x.xlsx")
    (tmp_path / "BTCUSDT_1m.csv").write_bytes(b"\xff\xfa\x00\x01\x80\x81\n\x80")
    with pytest.raises(DataError, match="UTF-8"):
        store.import_file(tmp_path / "BTCUSDT_1m.csv")
    (tmp_path / "a*b_BTCUSDT_1m.csv").write_text(HEADER + GOOD)
    with pytest.raises(DataError, match="pattern"):
        store.import_file(tmp_path / "a*b_BTCUSDT_1m.csv")


@pytest.mark.parametrize(
    "options",
    [{"symbol": "BTC'; DROP TABLE bars; --"}, {"env": "prod"}, {"category": "inverse"}, {"kind": "premium"}, {"timeframe": "7m"}],
)
def test_identifiers_come_from_lists(store, file, options):
    with pytest.raises((DataError, ConfigError)):
        store.import_file(file("BTCUSDT_1m.csv", HEADER + GOOD), **options)
    assert store.coverage() == []


def test_the_store_reads_no_file_by_sql(store, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="disabled by configuration"):
        store._db.rows("SELECT * FROM read_csv(?)", [str(tmp_path / "secret.csv")])
