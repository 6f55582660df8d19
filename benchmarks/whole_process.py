"""A year of 1m bars, whole processes: `keel backtest --no-report` beside a script that runs backtesting.py on the same bars.

usage: python -m benchmarks.whole_process [--repeat K] [--gate X]

Start-up, loading and artifacts are counted on keel's side, start-up, loading and indicators on the peer's. Exits 1 when keel takes
more than 0.45 of the peer's time, three times of three; the goal is 0.4 (0.41 to 0.46 so far).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.crossover import MINUTE_MS, START_MS, crossover_system, random_walk
from benchmarks.gates import Gate, hold
from benchmarks.peers import ROOT, write_parquet
from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import to_iso

ROWS = 525_600
GATE = 0.45


def seconds(command: list[str], home: Path) -> float:
    """Wall time of a whole process, with bytecode files on, as a user has them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env={**environment, "KEEL_HOME": str(home)}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return time.perf_counter() - began


def prepare(home: Path) -> Path:
    """A home with the bars and the system, and the same bars as Parquet."""
    columns = random_walk(ROWS)
    with HistoricalDataStore(home / "data" / "keel.duckdb") as store:
        store.upsert_bars("BTCUSDT", "1m", columns, source="benchmark")
    (home / "systems").mkdir()
    (home / "systems" / "crossover.yaml").write_bytes(msgspec.yaml.encode(crossover_system()))
    parquet = home / "bars.parquet"
    write_parquet(columns, parquet)
    return parquet


def main() -> None:
    """Measure both sides in turn; the fastest of each counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--gate", type=float, default=GATE)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        parquet = prepare(home)
        end = to_iso(START_MS + ROWS * MINUTE_MS)
        keel = [
            sys.executable,
            "-m",
            "keel.runners.cli.main",
            "backtest",
            "crossover",
            "--start",
            to_iso(START_MS),
            "--end",
            end,
            "--no-report",
        ]
        peer = [sys.executable, "-m", "benchmarks.worker", "peer", str(parquet), str(ROWS)]
        seconds(keel, home)  # what is kept for the next time is kept

        def measure() -> list[Gate]:
            rounds = [(seconds(keel, home), seconds(peer, home)) for _ in range(options.repeat)]
            ours, theirs = (min(times) for times in zip(*rounds, strict=True))
            print(f"a year of 1m bars ({ROWS:,}), whole process, {platform.machine()}, Python {platform.python_version()}")
            print(f"keel backtest --no-report {ours:.2f} s, backtesting.py {theirs:.2f} s")
            return [Gate("share of backtesting.py's time", ours / theirs, options.gate, is_most=True)]

        hold(measure)


if __name__ == "__main__":
    main()
