"""Small histories for the replay's tests: a walk of the last price, with marks that differ from it by a slowly moving basis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from keel.adapters.replay.loader import ReplayPlan
from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.system.config import ExecutionConfig
from tests.builders import HOUR, START, emptied, perpetual

Columns = dict[str, np.ndarray]


_KNOWN = ("instruments", "risk_tiers")


@pytest.fixture(scope="session")
def shared_store() -> Iterator[HistoricalDataStore]:
    """One store in memory for all tests, for to make one takes longer than most of them; and beside it a copy of its instruments."""
    with HistoricalDataStore(":memory:") as made:
        for symbol in ("BTCUSDT", "ETHUSDT"):
            made.upsert_instrument(perpetual(symbol))
        made._db.run("ATTACH ':memory:' AS first")
        for table in _KNOWN:
            made._db.run(f"CREATE TABLE first.{table} AS FROM {table}")
        yield made


@pytest.fixture
def store(shared_store: HistoricalDataStore) -> Iterator[HistoricalDataStore]:
    """A store in memory that knows BTCUSDT and ETHUSDT, and nothing of their prices."""
    yield shared_store
    emptied(shared_store)
    for table in _KNOWN:
        shared_store._db.run(f"INSERT INTO {table} FROM first.{table}")  # as above


@pytest.fixture(scope="session")
def walk() -> Callable[..., Columns]:
    """Makes ``count`` bars of a walk on a tick of 0.1 from START on; ``basis``: bars of a mark near them, off the grid."""

    def make(count: int, timeframe: str = "5m", *, seed: int = 1, basis: bool = False, start: int = START) -> Columns:
        rng = np.random.default_rng(seed)
        corners = 10_000 + np.cumsum(rng.integers(-30, 31, 4 * count + 1))
        inside = np.stack([corners[4 * row : 4 * row + 5] for row in range(count)]) / 10
        if basis:
            inside = inside * (1 + 0.002 * np.sin(np.arange(4 * count + 1) / 9))[np.arange(count)[:, None] * 4 + np.arange(5)]
        return {
            "ts": start + np.arange(count, dtype=np.int64) * tf_ms(timeframe),
            "open": inside[:, 0],
            "high": inside.max(axis=1),
            "low": inside.min(axis=1),
            "close": inside[:, -1],
            "volume": rng.integers(1, 10_000, count) / 1000,
        }

    return make


@pytest.fixture(scope="session")
def coarser() -> Callable[..., Columns]:
    """Makes bars of ``factor`` bars each, by hand: what a stored coarse series says."""

    def make(fine: Mapping[str, np.ndarray], factor: int) -> Columns:
        groups = {name: column.reshape(-1, factor) for name, column in fine.items()}
        return {
            "ts": groups["ts"][:, 0],
            "open": groups["open"][:, 0],
            "high": groups["high"].max(axis=1),
            "low": groups["low"].min(axis=1),
            "close": groups["close"][:, -1],
            "volume": groups["volume"].sum(axis=1),
        }

    return make


@pytest.fixture
def plan() -> Callable[..., ReplayPlan]:
    """Makes a plan of hours [begin, end) from START on; without funding unless told."""

    def make(begin: float, end: float, *, symbols: tuple[str, ...] = ("BTCUSDT",), **changes: Any) -> ReplayPlan:
        values: dict[str, Any] = {
            "category": "linear", "timeframe": "5m", "execution_timeframe": "5m", "warmup": {"5m": 0},
            "execution": ExecutionConfig(funding="none"),
        }  # fmt: skip
        window = TimeRange(START + round(begin * HOUR), START + round(end * HOUR))
        return ReplayPlan(symbols=symbols, window=window, **(values | changes))

    return make


@pytest.fixture(scope="session")
def without() -> Callable[..., Columns]:
    """Leaves bars out, by their number."""

    def make(columns: Mapping[str, np.ndarray], *numbers: int) -> Columns:
        return {name: np.delete(column, list(numbers)) for name, column in columns.items()}

    return make
