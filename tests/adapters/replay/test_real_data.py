"""Nine months of two perpetuals: 5m bars under 1h decisions, marks of an hour, funding whose interval changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from keel.adapters.replay.funding import funding_columns
from keel.adapters.replay.history import SymbolHistory
from keel.adapters.replay.loader import ReplayPlan, load_histories
from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import TimeRange, to_ms
from keel.core.system.config import ExecutionConfig
from tests.builders import HOUR, MINUTE

WINDOW = TimeRange.from_dates("2025-01-01", "2025-09-30")
FOLDERS = ("kline_5m", "kline_1h", "kline_4h", "mark_1h", "mark_4h", "funding")

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def store(real_data: Path) -> Iterator[HistoricalDataStore]:
    """BTC and WIF in a store in memory."""
    with HistoricalDataStore(":memory:") as made:
        for folder in FOLDERS:
            for symbol in ("BTCUSDT", "WIFUSDT"):
                made.import_file(real_data / "bybit" / "linear" / folder / f"{symbol}.parquet")
        yield made


@pytest.fixture(scope="module", params=["BTCUSDT", "WIFUSDT"])
def history(store: HistoricalDataStore, request: pytest.FixtureRequest) -> SymbolHistory:
    """One of them; its stored hours and four hours agree with its 5m bars, or it would not load."""
    plan = ReplayPlan((request.param,), "linear", "1h", "5m", {"1h": 500, "4h": 500}, WINDOW, ExecutionConfig())
    return load_histories(store, plan)[0]


def test_warm_up_comes_from_the_coarser_files(history: SymbolHistory) -> None:
    assert (len(history.execution), len(history.decision)) == (272 * 288, 500 + 272 * 24)
    assert len(history.higher["4h"]) == 500 + 272 * 6
    assert (history.trust["skipped_bars"], history.trust["partial_bars"]) == (0, 0)


def test_no_trigger_path_leaves_the_mark_bar_that_covers_it(store: HistoricalDataStore, history: SymbolHistory) -> None:
    """Unclamped it would: the derived mark alone goes below the true low of the hour, by tens and hundreds of basis points."""
    marks = store.get_ohlcv(history.symbol, "1h", WINDOW, kind="mark")
    hour = (history.execution.ts - WINDOW.start_ms) // HOUR
    assert history.mark is not None
    assert (marks.ts[hour] == history.execution.ts // HOUR * HOUR).all()
    for name in ("open", "high", "low", "close"):
        column = getattr(history.mark, name)
        assert (column >= marks["low"][hour]).all()
        assert (column <= marks["high"][hour]).all()
    basis = history.mark.valuation / history.execution["close"]
    unclamped = history.execution["low"][1:] * basis[:-1]
    undershoot = 1e4 * (marks["low"][hour][1:] - unclamped) / unclamped
    assert undershoot.max() > 30


def test_where_an_hour_closes_the_valuation_is_its_mark(store: HistoricalDataStore, history: SymbolHistory) -> None:
    marks = store.get_ohlcv(history.symbol, "1h", WINDOW, kind="mark")
    assert history.mark is not None
    assert np.array_equal(history.mark.valuation[11::12], marks["close"])
    assert (history.mark.exact, history.mark.derived) == (0, len(history.execution))
    assert np.abs(history.mark.valuation / history.execution["close"] - 1).max() < 0.1


def test_funding_whose_interval_changes_is_whole(history: SymbolHistory) -> None:
    assert history.funding is not None
    hours = np.unique(np.diff(history.funding.stamps)) // HOUR
    assert hours.tolist() == ([8] if history.symbol == "BTCUSDT" else [4, 8])
    assert history.funding.stamps[0] == WINDOW.start_ms - 8 * HOUR
    assert history.funding.stamps[-1] == WINDOW.end_ms
    assert history.trust["funding"] == f"history, {272 * 3 if history.symbol == 'BTCUSDT' else 14 * 3 + 1 + 257 * 6 + 4} times"


def test_the_mark_at_each_stamp_is_the_open_of_its_hour(store: HistoricalDataStore, history: SymbolHistory) -> None:
    marks = store.get_ohlcv(history.symbol, "1h", WINDOW.start_ms, WINDOW.end_ms + HOUR, kind="mark")
    assert history.funding is not None
    rows = np.searchsorted(marks.ts, history.funding.stamps[1:])
    assert np.array_equal(history.funding.marks[1:], marks["open"][rows])


def test_late_stamps_of_another_exchange_are_no_holes(real_data: Path) -> None:
    """Binance stamps its settlements some milliseconds late, over six years."""
    with HistoricalDataStore(":memory:") as store:
        for folder, kind in (("funding", "funding"), ("kline_1h", "last")):
            store.import_file(real_data / "binance" / "linear" / folder / "BTCUSDT.parquet", kind=kind, category="linear")
        window = TimeRange(to_ms("2019-09-20"), to_ms("2025-09-01"))
        execution = store.get_ohlcv("BTCUSDT", "1h", window)
        found = funding_columns(store, store.instrument("BTCUSDT"), execution, None, window, ExecutionConfig(), env="live")
    assert found is not None
    rows = (found.stamps[1:-1] - found.stamps[1:-1] % MINUTE - execution.ts[0]) // HOUR
    assert np.array_equal(found.marks[1:-1], execution["open"][rows])
