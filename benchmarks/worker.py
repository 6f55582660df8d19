"""One measurement in a process of its own: prints a JSON line with seconds, trades, final equity and peak memory.

usage: python -m benchmarks.worker keel|peer|keel-load STORE_OR_PARQUET ROWS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.crossover import FAST, MINUTE_MS, SLOW, START_MS, crossover_system


def keel(store_path: Path, rows: int) -> dict[str, Any]:
    """The run: wiring, replay through bus and actors, metrics, reconciliation. Loading and features stand apart, as the peer's do."""
    import talib  # noqa: F401 (imports are not measured, on either side)

    from keel.adapters.store import HistoricalDataStore
    from keel.core.model.time_range import TimeRange
    from keel.runners.backtest.engine import run_prepared
    from keel.runners.backtest.preparation import prepare
    from keel.runners.user_code import load_function
    from keel.strategies.ema_cross import EmaCross

    with HistoricalDataStore(store_path, read_only=True) as store:
        system = crossover_system()
        window = TimeRange(START_MS, START_MS + rows * MINUTE_MS)
        began = time.perf_counter()
        ready = prepare(store, system, window, EmaCross(), system.params, load_function=load_function)
    prepared, used = time.perf_counter(), time.process_time()
    result = run_prepared(ready)
    cpu, ended = time.process_time() - used, time.perf_counter()
    return {
        "seconds": ended - prepared,
        "cpu": cpu,
        "with_loading": ended - began,
        "trades": len(result.trades),
        "final_equity": result["final_equity"],
        "timing": result.timing,
    }


def peer(parquet: Path, rows: int) -> dict[str, Any]:
    """The whole run of backtesting.py, with its statistics; indicators and loading are not counted."""
    import duckdb
    import talib

    from benchmarks.crossover import run_peer

    columns = duckdb.sql(f"SELECT * FROM '{parquet}' ORDER BY ts LIMIT {rows}").fetchnumpy()  # noqa: S608 (a path of our own)
    close = columns["close"]
    fast, slow = talib.EMA(close, FAST), talib.EMA(close, SLOW)
    began = time.perf_counter()
    stats = run_peer(columns, fast, slow)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "trades": int(stats["# Trades"]), "final_equity": float(stats["Equity Final [$]"])}


def main() -> None:
    """Run what the arguments name."""
    who, path, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    report = {"keel": keel, "peer": peer}[who](path, rows)
    report["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
