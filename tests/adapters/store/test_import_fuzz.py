"""Files with anything wrong about them: each is taken whole, or refused with one line that names it; never a traceback, never half.

A good file of each kind is damaged by one to three mutations drawn from a seed. What is checked of each: the only exceptions are our own,
their text is one line, begins with the file, and is short; a refused file leaves the store as it was; of one that is taken every row is
accounted for.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import KeelError

START = 1_735_689_600_000
NOW = START + 40 * 86_400_000
Rows = list[list[str]]
Mutation = Callable[[random.Random, Rows], None]


def bars(rng: random.Random) -> Rows:
    rows = [["ts", "open", "high", "low", "close", "volume"]]
    return rows + [
        [str(START + n * 60_000), "100.5", "102", "99.25", "101", str(rng.randint(1, 999) / 8)] for n in range(rng.randint(1, 40))
    ]


def funding(rng: random.Random) -> Rows:
    return [["ts", "funding_rate"]] + [[str(START + n * 28_800_000), "0.0001"] for n in range(rng.randint(1, 20))]


def trades(rng: random.Random) -> Rows:
    rows = [["ts", "price", "qty", "side", "trade_id"]]
    return rows + [[str(START + n * 7), "100.5", "0.25", rng.choice(["Buy", "Sell"]), f"t{n}"] for n in range(rng.randint(1, 40))]


def interest(rng: random.Random) -> Rows:
    return [["timestamp", "openInterest"]] + [[str(START + n * 3_600_000), "1234.5"] for n in range(rng.randint(1, 20))]


def klines(rng: random.Random) -> Rows:
    """Bars without names, as Binance writes them."""
    return [
        [
            str(START + n * 60_000),
            "100.5",
            "102",
            "99.25",
            "101",
            str(rng.randint(1, 999) / 8),
            str(START + n * 60_000 + 59_999),
            "9",
            "1",
            "0",
            "0",
            "0",
        ]
        for n in range(rng.randint(1, 40))
    ]


def dated(rng: random.Random) -> Rows:
    """Bars with times as text, in one of many forms, perhaps under words."""
    form = rng.choice(["%Y-%m-%d %H:%M:%S", "%Y.%m.%d %H:%M", "%d/%m/%Y %H:%M", "%Y%m%d %H%M%S", "%Y-%m-%dT%H:%M:%SZ", "%m/%d/%y %H:%M"])
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    body = [[(moment + timedelta(minutes=n)).strftime(form), "100,5", "102", "99,25", "101", "5"] for n in range(rng.randint(1, 40))]
    return [*([["words about the data"]] * rng.choice((0, 0, 1, 14))), ["Date", "Open", "High", "Low", "Close", "Volume"], *body]


def cell(values: list[str]) -> Mutation:
    def mutate(rng: random.Random, rows: Rows) -> None:
        row = rows[rng.randrange(len(rows))]
        if row:
            row[rng.randrange(len(row))] = rng.choice(values)

    return mutate


def column_of_times(scale: Callable[[int], str]) -> Mutation:
    def mutate(rng: random.Random, rows: Rows) -> None:
        for row in rows[1:]:
            if row and row[0].isdigit() and len(row[0]) < 20:
                row[0] = scale(int(row[0]))

    return mutate


def on_rows(change: Callable[[random.Random, Rows], None]) -> Mutation:
    return change


def _drop_column(rng: random.Random, rows: Rows) -> None:
    place = rng.randrange(max(1, len(rows[0])))
    for row in rows:
        del row[place : place + 1]


def _double_column(rng: random.Random, rows: Rows) -> None:
    place = rng.randrange(max(1, len(rows[0])))
    for row in rows:
        row[place:place] = row[place : place + 1]


def _extra_column(rng: random.Random, rows: Rows) -> None:
    name = rng.choice(
        ["note", "volume_btc", "vol", "turnover", "close_time", "symbol", "timeframe", "kind", "bid", "v" * 300, "", "open time"]
    )
    for number, row in enumerate(rows):
        row.append(name if number == 0 else rng.choice(["", "1", "x", "BTCUSDT", "1m", "mark", str(START)]))


def _uneven(rng: random.Random, rows: Rows) -> None:
    row = rows[rng.randrange(len(rows))]
    row[:] = row[: rng.randrange(len(row) + 1)] if rng.random() < 0.5 else [*row, *("1" for _ in range(rng.randint(1, 50)))]


def _shuffle(rng: random.Random, rows: Rows) -> None:
    body = rows[1:]
    rng.shuffle(body)
    rows[1:] = body


def _repeat(rng: random.Random, rows: Rows) -> None:
    if len(rows) > 1:
        rows.append(list(rows[rng.randrange(1, len(rows))]))


def _gap(rng: random.Random, rows: Rows) -> None:
    if len(rows) > 2:
        del rows[rng.randrange(1, len(rows))]


def _no_rows(rng: random.Random, rows: Rows) -> None:
    del rows[1:]


def _no_header(rng: random.Random, rows: Rows) -> None:
    del rows[0]
    rows or rows.append([""])


NUMBERS = [
    "nan", "NaN", "inf", "-inf", "-1", "0", "", " ", "1e400", "-1e400", "1e-400", "1,234.5", "1_000", "0x10", "१२", "--", "None", "null",
    "NULL", "true", '"', "'", ";", "=1+1", "1.2.3", "9" * 400, "-" + "9" * 400, "1" * 19, "18446744073709551616",
    "170141183460469231731687303715884105728", "x" * 300, "x" * 100_000, "\x00", "\ud7ff", "\u202e", "a\tb", "a\nb", "a\r\nb", '"a,b"',
    "1735689600000", "17356896", "253402300800000", "-62135596800001",
    "infinity", "2025-01-01", "2025-13-45", "9999-12-31T23:59:59.999999Z", "0001-01-01", "290000-01-01", "2025-01-01T00:00:00+99:00",
]  # fmt: skip

SCALES: list[Callable[[int], str]] = [
    lambda ts: str(ts // 1000), lambda ts: f"{ts / 1000:.3f}", lambda ts: str(ts * 1000), lambda ts: str(ts * 1_000_000),
    lambda ts: str(ts + 59_999), lambda ts: str(ts + 10**13), lambda ts: str(ts * 10**9), lambda ts: f"{ts:e}", lambda ts: str(-ts),
    lambda ts: str(ts + 90 * 86_400_000),
]  # fmt: skip

MUTATIONS: list[Mutation] = [
    cell(NUMBERS), cell(NUMBERS), cell(NUMBERS), _drop_column, _double_column, _extra_column, _uneven, _shuffle, _repeat, _gap, _no_rows,
    _no_header,
    *(column_of_times(scale) for scale in SCALES),
]  # fmt: skip


def as_bytes(rng: random.Random, rows: Rows) -> bytes:
    """The text of a file, with the odd line ends, marks and bytes that files have."""
    delimiter, end = rng.choice([",", ",", ";", "\t", "|"]), rng.choice(["\n", "\n", "\r\n", "\r"])
    quote = (lambda text: f'"{text}"') if rng.random() < 0.1 else (lambda text: text)
    text = end.join(delimiter.join(quote(each) for each in row) for row in rows) + rng.choice([end, "", end * 3])
    data = text.encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.1:
        data = b"\xef\xbb\xbf" + data
    elif kind < 0.14:
        data = text.encode("utf-16")
    elif kind < 0.24 and data:
        at = rng.randrange(len(data))
        data = data[:at] + rng.choice([b"\xff\xfe", b"\x00", b"\x00" * 4096, b'"', b"\xc3", b"x" * 200_000]) + data[at:]
    elif kind < 0.28:
        data = data[: rng.randrange(len(data) + 1)]
    elif kind < 0.30:
        data = b"\n\n" + data
    return data


def damaged_csv(rng: random.Random, folder: Path) -> Path:
    rows = rng.choice([bars, bars, funding, trades, interest, klines, dated])(rng)
    for _ in range(rng.randint(0, 3)):
        rng.choice(MUTATIONS)(rng, rows)
        rows = rows or [[""]]
    data = as_bytes(rng, rows)
    name = rng.choice(["kline_1m/BTCUSDT", "BTCUSDT_1m", "x", "mark_1m/BTCUSDT", "spot/BTCUSDT", "ETHBTC_1h", "BTCUSDT"])
    path = folder / f"{name}.csv"
    if rng.random() < 0.1:
        path, data = folder / f"{name}.csv.gz", gzip.compress(data)[: rng.choice([None, None, 30, -5])]
        if rng.random() < 0.3:
            at = rng.randrange(len(data))
            data = data[:at] + b"\xff\x00\xff" + data[at + 3 :]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


_TYPES = [
    "DOUBLE",
    "BIGINT",
    "HUGEINT",
    "VARCHAR",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "TIME",
    "BOOLEAN",
    "BLOB",
    "DECIMAL(18,3)",
    "INTEGER[]",
]


_VALUES = ["NULL", "'nan'::DOUBLE", "'inf'::DOUBLE", "-1.0", "'x'", "i % 3", "'infinity'::TIMESTAMP", "[1, 2]", "{'a': 1}",
           "170141183460469231731687303715884105727::HUGEINT"]  # fmt: skip


def damaged_parquet(rng: random.Random, folder: Path) -> Path:
    path = folder / rng.choice(["BTCUSDT_1m.parquet", "x.parquet", "mark_1m_BTCUSDT.parquet"])
    times = rng.choice(
        [f"{START} + 60000 * i", f"make_timestamp({START}000 + 60000000 * i)", f"({START} + 60000 * i) / 1000.0", "i", "NULL::BIGINT"]
    )
    columns = {"ts": times, "open": "2.0", "high": "3.0", "low": "1.0", "close": "2.5", "volume": "1.5 * i"}
    for _ in range(rng.randint(0, 2)):
        name = rng.choice(list(columns))
        columns[name] = rng.choice([*_VALUES, f"TRY_CAST('7' AS {rng.choice(_TYPES)})"])
        if rng.random() < 0.3:
            del columns[name]
    if not columns:
        columns = {"ts": "i"}
    listed = ", ".join(f'{expression} AS "{name}"' for name, expression in columns.items())
    duckdb.sql(f"SELECT {listed} FROM range({rng.choice([0, 1, 50])}) t(i)").write_parquet(str(path))  # noqa: S608  # our own text
    if rng.random() < 0.3:
        whole = path.read_bytes()
        at = rng.randrange(len(whole))
        path.write_bytes(
            rng.choice([whole[:at], whole[at:], whole[:at] + b"\x00\xff" + whole[at:], whole[:at] + bytes(40) + whole[at + 40 :]])
        )
    return path


def contents(store: HistoricalDataStore) -> list[tuple[object, ...]]:
    """Rows and sums of every table of rows, and the number of series."""
    tables = (("bars", "close + volume"), ("funding", "funding_rate"), ("open_interest", "open_interest"), ("trades", "price + qty"))
    parts = [f"SELECT count(*), sum(ts), sum({values}) FROM {table}" for table, values in tables]  # noqa: S608  # our own names
    return store._db.rows(" UNION ALL ".join([*parts, "SELECT count(*), 0, 0 FROM series"]))


READINGS: dict[str, list[Any]] = {
    "timezone": ["UTC", "+03:00", "Europe/Berlin"],
    "time_format": ["%Y-%m-%d %H:%M:%S", "%d/%m/%Y", "%Q%%", "", "'"],
    "decimal": [","],
    "skip_lines": [1, 2, 500],
    "drop_empty": [True],
}


def attempt(store: HistoricalDataStore, rng: random.Random, path: Path) -> bool:
    """Import a file; gives whether it was taken. Raises AssertionError where that was not as promised."""
    before = contents(store)
    options = {name: value for name, value in (("symbol", "BTCUSDT"), ("timeframe", "1m"), ("kind", "last")) if rng.random() < 0.3}
    options |= {name: rng.choice(values) for name, values in READINGS.items() if rng.random() < 0.1}
    try:
        report = store.import_file(path, now_ms=NOW, **options)
    except KeelError as error:
        said = str(error)
        assert "\n" not in said and "\x00" not in said and len(said) < 1500, said[:300]
        assert said.startswith(str(path)) or "is not a symbol" in said or "store has other values" in said, said[:300]
        assert contents(store) == before, "a refused file left something behind"
        return False
    assert report.rows + report.duplicates + report.unfinished + report.empty + report.left_out == report.rows_in_file
    assert report.inserted + report.replaced + report.unchanged == report.rows > 0
    return True


def run(store: HistoricalDataStore, folder: Path, seeds: range) -> int:
    taken = 0
    for seed in seeds:
        rng = random.Random(seed)
        make = damaged_parquet if seed % 7 == 0 else damaged_csv
        path = make(rng, folder)
        try:
            taken += attempt(store, rng, path)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {path.name}, {path.read_bytes()[:400]!r}") from error
    return taken


def test_damaged_files_are_taken_whole_or_refused_in_one_line(store, tmp_path):
    assert 0 < run(store, tmp_path, range(20)) < 20, "files of both sorts are among them"


@pytest.mark.long
def test_sixty_damaged_files(store, tmp_path):
    assert 3 < run(store, tmp_path, range(60)) < 55, "files of both sorts are among them"


@pytest.mark.long
def test_seven_hundred_damaged_csv_files_and_some_of_parquet(store, tmp_path):
    assert 20 < run(store, tmp_path, range(1000, 1817)) < 790, "every seventh is Parquet, 700 are CSV"


NO_PATHS = ["a\x00b.csv", "a" * 300 + ".csv", "x/" * 3000 + "y.parquet", "", "\x00"]


@pytest.mark.parametrize("path", NO_PATHS, ids=lambda path: repr(path[:12]))
def test_what_cannot_be_a_path_is_said_to_be_none(store, path):
    for use in (store.import_file, store.import_instruments, HistoricalDataStore.from_parquet, lambda name: store.export(name, "X", "1h")):
        with pytest.raises(KeelError) as error:
            use(path)
        assert len(str(error.value)) < 400 and "\x00" not in str(error.value)


# --- the exchange's answers ------------------------------------------------------------------------------------------

INSTRUMENT = {
    "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "baseCoin": "BTC", "quoteCoin": "USDT", "fundingInterval": 240,
    "leverageFilter": {"maxLeverage": "100.00"}, "priceFilter": {"tickSize": "0.10"},
    "lotSizeFilter": {"maxOrderQty": "1190.000", "minOrderQty": "0.001", "qtyStep": "0.001", "minNotionalValue": "5"},
    "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
}  # fmt: skip
TIER = {"symbol": "BTCUSDT", "riskLimitValue": "2000000", "maintenanceMargin": "0.005", "initialMargin": "0.01", "maxLeverage": "100",
        "mmDeduction": ""}  # fmt: skip
PLACES = [*((name,) for name in INSTRUMENT), ("leverageFilter", "maxLeverage"), ("priceFilter", "tickSize"),
          ("lotSizeFilter", "maxOrderQty"), ("lotSizeFilter", "minOrderQty"), ("lotSizeFilter", "qtyStep"),
          ("lotSizeFilter", "minNotionalValue"), ("riskParameters", "priceLimitRatioX")]  # fmt: skip
ODD = ["1e400", "9" * 400, 10**400, -1, "-5", "nan", "inf", "", None, [], {"a": 1}, "x" * 300, "\x00", 0, "0", True, "1e-30", [1]]


def with_value(entry: dict[str, object], place: tuple[str, ...], value: object) -> dict[str, object]:
    """A copy of an entry with another value at a place."""
    head, *rest = place
    inner = entry[head]
    return entry | {head: with_value(inner, tuple(rest), value) if rest and isinstance(inner, dict) else value}


def odd_answers(store, file, entries) -> int:
    """Import each, beside a good one; gives how many were taken."""
    taken = 0
    for entry in entries:
        path = file("answer.json", json.dumps({"result": {"category": "linear", "list": [INSTRUMENT, entry]}, "time": 10**400}))
        try:
            store.import_instruments(path)
        except KeelError as error:
            said = str(error)
            assert said.startswith(str(path)) and "\n" not in said and len(said) < 600, (entry, said)
            continue
        found = store.instrument("BTCUSDT")
        assert found.min_qty > 0 and found.tiers and found.format_price(50_000.0)
        taken += 1
    return taken


ODD_ENTRIES = [with_value(INSTRUMENT, place, value) for place in PLACES for value in ODD] + [
    with_value(TIER, (name,), value) for name in TIER for value in ODD
]


def test_answers_with_anything_wrong_are_refused_in_one_line_or_make_an_instrument_that_works(store, file):
    assert 0 < odd_answers(store, file, ODD_ENTRIES[::5]) < len(ODD_ENTRIES) / 10


@pytest.mark.long
def test_all_answers_with_anything_wrong(store, file):
    assert 0 < odd_answers(store, file, ODD_ENTRIES) < len(ODD_ENTRIES) / 2


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 5000 + "]" * 5000, '{"result":' * 5000 + "{}" + "}" * 5000, "", "\x00", "null", "1" * 5000]
)
def test_answers_that_are_none(store, file, text):
    path = file("answer.json", text)
    with pytest.raises(KeelError) as error:
        store.import_instruments(path)
    assert str(error.value).startswith(str(path)) and len(str(error.value)) < 400
