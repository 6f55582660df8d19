"""keel beside backtesting.py on one EMA crossover, each run in a process of its own: bars per second, peak memory, linear time.

usage: python -m benchmarks.peers [--rows N] [--repeat K] [--gate X] [--linear L]

Both sides have their bars and indicators at hand when the clock starts, and end with their statistics; what keel takes with loading from
DuckDB and computing features is printed, too. Exits 1 when keel is below the gate three times of three: 4 times the peer's bars per second,
no more memory, and 1.1 times the CPU time that ten runs over a tenth of the bars take. Rounds alternate, and each side's fastest counts, so
that a busy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmarks.crossover import random_walk
from benchmarks.gates import Gate, hold
from keel.adapters.store import HistoricalDataStore

GATE = 4.0
LINEAR = 1.1
ROOT = Path(__file__).resolve().parent.parent


def measure(who: str, path: Path, rows: int) -> dict[str, Any]:
    """One run of one side in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.worker", who, str(path), str(rows)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    report: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def prepare(folder: Path, rows: int) -> tuple[Path, Path]:
    """The same bars as a store and as a Parquet file."""
    columns = random_walk(rows)
    store_path, parquet = folder / "bars.duckdb", folder / "bars.parquet"
    with HistoricalDataStore(store_path) as store:
        store.upsert_bars("BTCUSDT", "1m", columns, source="benchmark")
    write_parquet(columns, parquet)
    return store_path, parquet


def write_parquet(columns: dict[str, np.ndarray], path: Path) -> None:
    """The columns as a Parquet file."""
    connection = duckdb.connect()
    connection.register("columns", columns)
    connection.sql("SELECT * FROM columns").write_parquet(str(path))


def main() -> None:
    """Measure, print, and hold the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--gate", type=float, default=GATE)
    parser.add_argument("--linear", type=float, default=LINEAR)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store_path, parquet = prepare(Path(name), options.rows)
        hold(lambda: gates(store_path, parquet, options))


def gates(store_path: Path, parquet: Path, options: argparse.Namespace) -> list[Gate]:
    """Measure both sides and print them."""
    rounds = [
        (measure("keel", store_path, options.rows), measure("peer", parquet, options.rows), measure("keel", store_path, options.rows // 10))
        for _ in range(options.repeat)
    ]
    keel, peer = (min((each[side] for each in rounds), key=lambda run: run["seconds"]) for side in (0, 1))
    linear = min(each[0]["cpu"] for each in rounds) / (10 * min(each[2]["cpu"] for each in rounds))
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"EMA 20/50 crossover, {options.rows:,} bars of 1m, {keel['trades']:,} trades; {machine}")
    print(f"{'':16}{'seconds':>9}{'bars/s':>12}{'peak MB':>9}{'trades':>9}")
    for title, run in (("keel", keel), ("backtesting.py", peer)):
        print(f"{title:16}{run['seconds']:>9.2f}{options.rows / run['seconds']:>12,.0f}{run['peak_mb']:>9.0f}{run['trades']:>9,}")
    print(f"keel with loading and features: {keel['with_loading']:.2f} s; {json.dumps(keel['timing'])}")
    if keel["trades"] != peer["trades"]:
        raise SystemExit("the two sides made different trades")
    return [
        Gate("times the peer's speed", peer["seconds"] / keel["seconds"], options.gate),
        Gate("share of the peer's memory", keel["peak_mb"] / peer["peak_mb"], 1.0, is_most=True),
        Gate("CPU time, times linear from a tenth of the bars", linear, options.linear, is_most=True),
    ]


if __name__ == "__main__":
    main()
