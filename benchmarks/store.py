"""The store: one million 1m bars imported from Parquet, and loaded from DuckDB into arrays.

usage: python -m benchmarks.store
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.crossover import random_walk
from benchmarks.peers import write_parquet
from keel.adapters.store import HistoricalDataStore

ROWS = 1_000_000


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        parquet = Path(name) / "BTCUSDT_1m.parquet"
        write_parquet(random_walk(ROWS), parquet)
        imports = []
        for number in range(3):
            with HistoricalDataStore(Path(name) / f"{number}.duckdb") as store:
                imports.append(timed(lambda store=store: store.import_file(parquet, symbol="BTCUSDT", timeframe="1m", kind="last")))
        with HistoricalDataStore(Path(name) / "0.duckdb", read_only=True) as store:
            cold = timed(lambda: store.get_ohlcv("BTCUSDT", "1m"))
            warm = min(timed(lambda: store.get_ohlcv("BTCUSDT", "1m")) for _ in range(5))
    print(f"{ROWS:,} rows of 1m bars; {platform.machine()}, Python {platform.python_version()}")
    print(f"import from Parquet {min(imports):.2f} s, load into arrays {1e3 * cold:.0f} ms first, {1e3 * warm:.0f} ms warm")


if __name__ == "__main__":
    main()
