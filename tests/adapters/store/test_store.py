"""Reading and writing: idempotence, ranges, built bars, one owner, and errors that say what there is instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.connection import explain
from keel.core.errors import ConfigError, DataError
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import floor_ts, tf_ms

START = 1_735_689_600_000
MINUTE = 60_000
ROOT = Path(__file__).parents[3]
_OPEN = """
import sys
from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.connection import explain
from keel.core.errors import DataError
try:
    HistoricalDataStore(sys.argv[1])
except DataError as error:
    print(error)
"""


def test_columns_are_contiguous_and_ranges_half_open(store, bars):
    columns = bars(100)
    store.upsert_bars("BTCUSDT", "1m", columns, source="made")
    frame = store.get_ohlcv("BTCUSDT", "1m", START + 10 * MINUTE, START + 20 * MINUTE)
    assert frame.ts.dtype == np.int64 and frame.ts.tolist() == columns["ts"][10:20].tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert frame[name].dtype == np.float64 and frame[name].flags["C_CONTIGUOUS"]
        assert frame[name].tolist() == columns[name][10:20].tolist()
    assert (frame.symbol, frame.timeframe, frame.kind) == ("BTCUSDT", "1m", "last")
    span = TimeRange(START + 10 * MINUTE, START + 20 * MINUTE)
    assert store.get_ohlcv("BTCUSDT", "1m", span).ts.tolist() == frame.ts.tolist()
    assert len(store.get_ohlcv("BTCUSDT", "1m", "2025-01-01", "2025-01-01T00:05")) == 5


@pytest.fixture(scope="module")
def shared():
    """One store for all examples of a property; each takes a symbol of its own."""
    with HistoricalDataStore(":memory:") as store:
        yield store, iter(range(10**9))


@given(parts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=5))
@settings(max_examples=30)
def test_upserts_in_any_order_give_what_a_dict_gives(shared, parts):
    store, numbers = shared
    symbol, oracle = f"S{next(numbers)}USDT", dict[int, float]()
    for number, (first, count) in enumerate(parts, 1):
        ts = START + np.arange(first, first + count, dtype=np.int64) * MINUTE
        flat = np.full(count, float(number))
        columns = {"ts": ts, "open": flat, "high": flat, "low": flat, "close": flat, "volume": flat}
        stored = sum(int(moment) in oracle for moment in ts)
        report = store.upsert_bars(symbol, "1m", columns, source=f"part {number}")
        assert (report.inserted, report.replaced, report.unchanged) == (count - stored, stored, 0)
        oracle.update(dict.fromkeys(ts.tolist(), float(number)))
        assert store.upsert_bars(symbol, "1m", columns, source="again").unchanged == count
    frame = store.get_ohlcv(symbol, "1m")
    assert dict(zip(frame.ts.tolist(), frame.close.tolist(), strict=True)) == oracle
    assert frame.ts.tolist() == sorted(oracle)
    assert sum(store.sources(symbol, "1m").values()) == len(oracle)


def test_kinds_envs_and_categories_lie_apart(store, bars):
    places = [{}, {"kind": "mark"}, {"kind": "index"}, {"env": "demo"}, {"category": "spot"}]
    for seed, place in enumerate(places):
        store.upsert_bars("BTCUSDT", "1h", bars(5, "1h", seed=seed), source="made", **place)
    for seed, place in enumerate(places):
        assert store.get_ohlcv("BTCUSDT", "1h", **place).close.tolist() == bars(5, "1h", seed=seed)["close"].tolist()
    assert [one.rows for one in store.coverage()] == [5] * 5


@pytest.mark.parametrize("timeframe", ["3m", "5m", "1h", "1d", "1w"])
def test_built_bars_equal_a_slow_reckoning_and_are_complete(store, bars, timeframe):
    columns = bars(16 * 1440, start=START - 3 * 86_400_000 + 7 * MINUTE)
    keep = np.ones(len(columns["ts"]), dtype=bool)
    keep[5000:5003] = False
    store.upsert_bars("BTCUSDT", "1m", {name: column[keep] for name, column in columns.items()}, source="made")
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(keep):
        groups.setdefault(floor_ts(int(columns["ts"][row]), timeframe), []).append(int(row))
    whole = {ts: rows for ts, rows in groups.items() if len(rows) == tf_ms(timeframe) // MINUTE}
    frame = store.get_ohlcv("BTCUSDT", timeframe)
    assert frame.ts.tolist() == sorted(whole)
    assert frame.open.tolist() == [columns["open"][rows[0]] for rows in whole.values()]
    assert frame.high.tolist() == [max(columns["high"][rows]) for rows in whole.values()]
    assert frame.low.tolist() == [min(columns["low"][rows]) for rows in whole.values()]
    assert frame.close.tolist() == [columns["close"][rows[-1]] for rows in whole.values()]
    np.testing.assert_allclose(frame.volume, [columns["volume"][rows].sum() for rows in whole.values()], rtol=1e-12)


def test_the_coarsest_complete_finer_series_is_taken_and_own_bars_first(store, bars):
    def close_of(seed: int, row: int, timeframe: str, count: int) -> float:
        return float(bars(count, timeframe, seed=seed)["close"][row])

    store.upsert_bars("BTCUSDT", "1m", bars(240, "1m", seed=1), source="made")
    holed = {name: np.delete(column, 20) for name, column in bars(48, "5m", seed=2).items()}
    store.upsert_bars("BTCUSDT", "5m", holed, source="made")
    window = TimeRange(START, START + 240 * MINUTE)
    assert store.get_ohlcv("BTCUSDT", "1h", window).close[0] == close_of(1, 59, "1m", 240), "5m has a gap, 1m is complete"
    store.upsert_bars("BTCUSDT", "15m", bars(16, "15m", seed=3), source="made")
    assert store.get_ohlcv("BTCUSDT", "1h", window).close[0] == close_of(3, 3, "15m", 16)
    store.upsert_bars("BTCUSDT", "1h", bars(2, "1h", seed=4), source="made")
    own = bars(2, "1h", seed=4)["close"].tolist()
    rest = bars(16, "15m", seed=3)["close"][[11, 15]].tolist()
    assert store.get_ohlcv("BTCUSDT", "1h", window).close.tolist() == own + rest, "own bars first, the rest of the coarsest finer"
    many = store.get_multi_timeframe_data("BTCUSDT", ["1m", "4h"], window)
    assert {name: len(frame) for name, frame in many.items()} == {"1m": 240, "4h": 1}
    assert store.timeframes("BTCUSDT") == ["1m", "5m", "15m", "1h"]


def test_a_built_bar_that_opens_before_the_end_is_whole(store, bars):
    store.upsert_bars("BTCUSDT", "1m", bars(120), source="made")
    assert store.get_ohlcv("BTCUSDT", "1h", START, START + 61 * MINUTE).ts.tolist() == [START, START + 60 * MINUTE]


def test_nothing_there_says_what_there_is(store, bars):
    with pytest.raises(DataError, match=r"is empty .*keel data import FILE.*keel data synth"):
        store.get_ohlcv("BTCUSDT", "1h")
    store.upsert_bars("BTCUSDT", "1h", bars(5, "1h"), source="made")
    with pytest.raises(DataError, match=r"no ETHUSDT linear last 1h live rows at any time: the store has BTCUSDT \(linear\): import"):
        store.get_ohlcv("ETHUSDT", "1h")
    with pytest.raises(DataError, match=r"from 2025-01-01 to 2025-01-02: the store has 1h 2025-01-01: choose"):
        store.get_ohlcv("BTCUSDT", "5m", "2025-01-01", "2025-01-02")
    with pytest.raises(DataError, match="of BTCUSDT the store has last: import funding"):
        store.get_funding_rates("BTCUSDT")
    assert store.find("BTCUSDT", "5m") is None
    assert store.find("BTCUSDT", kind="funding") is None and store.find("BTCUSDT", kind="open_interest") is None
    for wrong in ({"symbol": "btc"}, {"timeframe": "7m"}, {"env": "prod"}, {"kind": "premium"}, {"category": "inverse"}):
        with pytest.raises(ConfigError):
            store.get_ohlcv(**({"symbol": "BTCUSDT", "timeframe": "1h"} | wrong))


def test_nothing_there_stays_short_however_much_there_is(store, bars):
    for symbol in [f"S{number}USDT" for number in range(30)]:
        store.upsert_bars(symbol, "1h", bars(5, "1h"), source="made")
    for hours, timeframe in enumerate(["1m", "5m", "15m", "1h", "4h", "1d"]):
        store.upsert_bars("BTCUSDT", timeframe, bars(5, timeframe, start=START + hours * 86_400_000), source="made")
        store.upsert_bars("BTCUSDT", timeframe, bars(5, timeframe), source="made", kind="mark")
    for wanted in (
        {"symbol": "ETHUSDT"},
        {"symbol": "BTCUSDT"},
        {"symbol": "BTCUSDT", "kind": "mark"},
        {"symbol": "BTCUSDT", "kind": "index"},
    ):
        with pytest.raises(DataError) as error:
            store.get_ohlcv(timeframe="30m", start="2019-01-01", end="2019-02-01", **wanted)
        assert len(str(error.value)) < 250
    assert store.spans_in_words("BTCUSDT").endswith("and 4 more")
    store.upsert_bars("XUSDT", "1h", bars(24, "1h"), source="made", kind="mark")
    store.upsert_bars("XUSDT", "1d", bars(1, "1d"), source="made", kind="mark")
    assert store.spans_in_words("XUSDT", "mark") == "the store has mark 1h, 1d 2025-01-01"
    assert store.spans_in_words("XUSDT") == "the store has no last rows of XUSDT"


def test_points_come_back(store):
    ts = START + np.arange(3, dtype=np.int64) * 28_800_000
    store.upsert_funding("BTCUSDT", {"ts": ts, "funding_rate": np.array([1e-4, -2e-4, 0.0])}, source="made")
    store.upsert_open_interest("BTCUSDT", {"ts": ts, "open_interest": np.array([1.0, 2.0, 3.0])}, source="made")
    assert store.get_funding_rates("BTCUSDT").funding_rate.tolist() == [1e-4, -2e-4, 0.0]
    assert store.get_open_interest("BTCUSDT", START + 1).open_interest.tolist() == [2.0, 3.0]
    assert store.span("BTCUSDT", kind="funding") == (int(ts[0]), int(ts[-1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"high": np.array([0.5])}, "high is below low"),
        ({"ts": np.array([START + 1])}, "not where a 1m bar opens"),
        ({"ts": np.array([START], dtype=float)}, "int64"),
        ({"close": np.array([1.0, 2.0])}, "shape"),
        ({"volume": np.array([np.nan])}, "finite"),
    ],
)
def test_upserts_keep_the_same_rules_as_imports(store, change, message):
    one = np.array([1.0])
    columns = {"ts": np.array([START]), "open": one, "high": one, "low": one, "close": one, "volume": one} | change
    with pytest.raises(DataError, match=message):
        store.upsert_bars("BTCUSDT", "1m", columns, source="made")
    assert store.coverage() == []


def test_fingerprint_follows_rows_not_history_of_writing(store, bars, tmp_path):
    columns = bars(50)
    store.upsert_bars("BTCUSDT", "1m", columns, source="made")
    with HistoricalDataStore(tmp_path / "s.duckdb") as other:
        for part in (slice(30, 50), slice(0, 35)):
            other.upsert_bars("BTCUSDT", "1m", {name: column[part] for name, column in columns.items()}, source="else")
        assert other.fingerprint("BTCUSDT", "1m") == store.fingerprint("BTCUSDT", "1m")
        columns["close"] = columns["low"].copy()
        other.upsert_bars("BTCUSDT", "1m", columns, source="made")
        assert other.fingerprint("BTCUSDT", "1m") != store.fingerprint("BTCUSDT", "1m")
    assert store.fingerprint("BTCUSDT", "1m", end=START + MINUTE) != store.fingerprint("BTCUSDT", "1m")


def test_the_file_is_made_kept_and_reread(tmp_path, bars, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with HistoricalDataStore() as store:
        store.upsert_bars("BTCUSDT", "1m", bars(10), source="made")
    assert (tmp_path / "data" / "keel.duckdb").is_file()

    with HistoricalDataStore(read_only=True) as store:
        assert len(store.get_ohlcv("BTCUSDT", "1m")) == 10
        with pytest.raises(DataError, match="read-only"):
            store.upsert_bars("BTCUSDT", "1m", bars(10), source="made")
    with pytest.raises(DataError, match="there is no store at"):
        HistoricalDataStore(tmp_path / "else.duckdb", read_only=True)
    assert not (tmp_path / "else.duckdb").exists()


def test_the_store_of_a_home_is_the_one_that_the_commands_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_HOME", str(tmp_path / "home"))
    with HistoricalDataStore() as store:
        assert store.path == str(tmp_path / "home" / "data" / "keel.duckdb")


def test_a_store_into_which_nothing_was_written_leaves_no_file(tmp_path, bars, file):
    path = tmp_path / "home" / "data" / "keel.duckdb"
    with HistoricalDataStore(path) as store, pytest.raises(DataError, match="no column names"):
        store.import_file(file("BTCUSDT_1m.csv", "1,2,3\n"))
    assert not (tmp_path / "home").exists()
    (tmp_path / "home").mkdir()
    store = HistoricalDataStore(path)
    store.close()
    store.close()
    assert list((tmp_path / "home").iterdir()) == [], "the folder that was there stays"
    with HistoricalDataStore(path) as store:
        store.upsert_bars("BTCUSDT", "1m", bars(10), source="made")
    with HistoricalDataStore(path) as store, pytest.raises(DataError):
        store.import_file(tmp_path / "BTCUSDT_1m.csv")
    with HistoricalDataStore(path, read_only=True) as store:
        assert len(store.get_ohlcv("BTCUSDT", "1m")) == 10


def test_a_store_opened_by_another_process_names_it(tmp_path):
    path = tmp_path / "keel.duckdb"
    with HistoricalDataStore(path):
        done = subprocess.run([sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True, cwd=ROOT, check=True)
        with pytest.raises(DataError, match="another mode"):
            HistoricalDataStore(path, read_only=True)
    assert f"process {os.getpid()}: wait until it ends and try again" in done.stdout and "leave it where it is" in done.stdout
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize("damage", ["text", "cut", "header"])
def test_a_damaged_file_is_one_clear_error(tmp_path, bars, damage):
    path = tmp_path / "keel.duckdb"
    with HistoricalDataStore(path) as store:
        store.upsert_bars("BTCUSDT", "1m", bars(1000), source="made")
    whole = path.read_bytes()
    path.write_bytes(
        {"text": b"hello" * 1000, "cut": whole[: len(whole) // 8], "header": whole[:4096] + bytes(4096) + whole[8192:]}[damage]
    )
    with pytest.raises(DataError, match="damaged or is not a store") as caught, HistoricalDataStore(path) as store:
        store.get_ohlcv("BTCUSDT", "1m")
    assert "\n" not in str(caught.value)


def test_another_programs_database_and_other_versions_are_refused(tmp_path, bars):
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE mine (a INT)")
    with pytest.raises(DataError, match="not a store of ours"):
        HistoricalDataStore(path)
    with HistoricalDataStore(tmp_path / "keel.duckdb") as store:
        store.upsert_bars("BTCUSDT", "1m", bars(10), source="made")
    with duckdb.connect(str(tmp_path / "keel.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '99'")
    with pytest.raises(DataError, match="schema version 99"):
        HistoricalDataStore(tmp_path / "keel.duckdb")


def test_a_lock_names_its_holder_wherever_its_program_lies():
    message = (
        'IO Error: Could not set lock on file "/h/keel.duckdb": Conflicting lock is held in /opt/my apps/python3.11 (PID 41) by user x.'
    )
    assert explain("/h/keel.duckdb", message).startswith("the store /h/keel.duckdb is in use by python3.11, process 41: wait until it ends")
