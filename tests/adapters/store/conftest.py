"""Small histories and files for the store's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError
from keel.core.model.timeframe import tf_ms
from tests.builders import emptied

START = 1_735_689_600_000  # 2025-01-01
Columns = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def used_stores() -> Iterator[list[HistoricalDataStore]]:
    """Stores in memory that a test is done with, emptied."""
    stores: list[HistoricalDataStore] = []
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def store(used_stores: list[HistoricalDataStore]) -> Iterator[HistoricalDataStore]:
    """An empty store in memory."""
    made = used_stores.pop() if used_stores else HistoricalDataStore(":memory:")
    yield made
    with suppress(DataError):  # the test has closed it
        used_stores.append(emptied(made))


@pytest.fixture
def bars() -> Callable[..., Columns]:
    """Makes a random walk on a tick of 0.1 and a step of 0.001."""

    def make(count: int, timeframe: str = "1m", *, start: int = START, seed: int = 1) -> Columns:
        rng = np.random.default_rng(seed)
        ticks = 1_000_000 + np.cumsum(rng.integers(-30, 31, count + 1))
        opens, closes = ticks[:-1], ticks[1:]
        highs, lows = np.maximum(opens, closes) + rng.integers(0, 20, count), np.minimum(opens, closes) - rng.integers(0, 20, count)
        return {
            "ts": start + np.arange(count, dtype=np.int64) * tf_ms(timeframe),
            "open": opens / 10,
            "high": highs / 10,
            "low": lows / 10,
            "close": closes / 10,
            "volume": rng.integers(1, 100_000, count) / 1000,
        }

    return make


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a text file, with the folders of its name."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write
