"""Many symbols, one account: the actors over 50 symbols x 100,000 bars beside one symbol, each run in a process of its own.

usage: python -m benchmarks.many_symbols [--symbols N] [--rows N] [--repeat K] [--gate X]

The same crossover as benchmarks.peers, one position per symbol, all in one account; one symbol runs over ten times the rows, so that its
rate is the best it has. Measured is the run (wiring, replay, metrics, reconciliation) without loading; the peak of memory counts loading,
too. Exits 1 when the rate in bars per second of CPU time is below the gate (0.8 of one symbol's; the goal is 0.88), or when memory grows
by more than what the added symbols bring: their bars and features, and what their trades leave behind; three times of three. Rounds
alternate, and each side's fastest counts, so that a busy machine disturbs both alike.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.crossover import MINUTE_MS, START_MS, crossover_system, random_walk
from benchmarks.gates import Gate, hold
from keel.adapters.store import HistoricalDataStore

GATE = 0.8
ROOT = Path(__file__).resolve().parent.parent
BYTES_PER_BAR = 65
"""Six columns of a bar and two features of 8 bytes each, and the strategy's target."""


BYTES_PER_TRADE = 2_500
"""About what a round trip leaves: two orders with their updates and fills, the trade, the positions' log."""
LONGER = 10
"""So many times the rows for the symbol that runs alone."""


def symbol_name(number: int) -> str:
    """COIN00USDT, COIN01USDT, ..."""
    return f"COIN{number:02d}USDT"


def prepare(folder: Path, symbols: int, rows: int) -> None:
    """Two stores of random walks: many, and one that is longer."""
    with HistoricalDataStore(folder / "one.duckdb") as store:
        store.upsert_bars(symbol_name(0), "1m", random_walk(rows * LONGER), source="benchmark")
    with HistoricalDataStore(folder / "many.duckdb") as store:
        for number in range(symbols):
            store.upsert_bars(symbol_name(number), "1m", random_walk(rows, seed=number + 1), source="benchmark")


def work(path: Path, symbols: int, rows: int) -> dict[str, Any]:
    """One measurement."""
    import talib  # noqa: F401 (imports are not measured)

    from keel.core.model.time_range import TimeRange
    from keel.runners.backtest.engine import run_prepared
    from keel.runners.backtest.preparation import prepare as prepare_run
    from keel.runners.user_code import load_function
    from keel.strategies.ema_cross import EmaCross

    system = msgspec.structs.replace(crossover_system(), symbols=[symbol_name(number) for number in range(symbols)])
    window = TimeRange(START_MS, START_MS + rows * MINUTE_MS)
    with HistoricalDataStore(path, read_only=True) as store:
        ready = prepare_run(store, system, window, EmaCross(), system.params, load_function=load_function)
    loaded_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began, used = time.perf_counter(), time.process_time()
    result = run_prepared(ready)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    if result.reconciliation.difference:
        raise SystemExit("the run does not add up")
    bars = result.timing["bars"]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": seconds,
        "bars": bars,
        "rate": bars / seconds,
        "cpu_rate": bars / cpu,
        "trades": len(result.trades),
        "loaded_mb": loaded_mb,
        "peak_mb": peak_mb,
    }


def in_a_process(*arguments: str) -> str:
    """What this program prints in a fresh process; its last line. The parent stays small: a child's peak counts what it was forked from."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.many_symbols", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout.strip().rpartition("\n")[2]


def measure(path: Path, symbols: int, rows: int) -> dict[str, Any]:
    """One measurement."""
    report: dict[str, Any] = json.loads(in_a_process("--work", str(path), "--symbols", str(symbols), "--rows", str(rows)))
    return report


def main() -> None:
    """Measure, print, and hold the gate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--gate", type=float, default=GATE)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        print(json.dumps(work(options.work, options.symbols, options.rows)))
    elif options.prepare is not None:
        prepare(options.prepare, options.symbols, options.rows)
    else:
        compare(options.symbols, options.rows, options.repeat, options.gate)


def compare(symbols: int, rows: int, repeat: int, gate: float) -> None:
    """Measure, print, and hold the gate."""
    with tempfile.TemporaryDirectory() as name:
        in_a_process("--prepare", name, "--symbols", str(symbols), "--rows", str(rows))
        hold(lambda: gates(Path(name), symbols, rows, repeat, gate))


def gates(folder: Path, symbols: int, rows: int, repeat: int, gate: float) -> list[Gate]:
    """Measure both sides and print them."""
    ones, manys = [], []
    for _ in range(repeat):
        ones.append(measure(folder / "one.duckdb", 1, rows * LONGER))
        manys.append(measure(folder / "many.duckdb", symbols, rows))
    small = measure(folder / "many.duckdb", 1, rows)
    one, many = (max(runs, key=lambda run: run["cpu_rate"]) for runs in (ones, manys))
    data = (symbols - 1) * rows * BYTES_PER_BAR / 2**20
    records = (many["trades"] - small["trades"]) * BYTES_PER_TRADE / 2**20
    for title, run in (("1 symbol", one), (f"{symbols} symbols", many)):
        pace = f"{run['bars']:>12,} bars{run['seconds']:>8.2f} s{run['rate']:>12,.0f} bars/s{run['cpu_rate']:>12,.0f} of CPU"
        print(f"{title:12}{pace}{run['peak_mb']:>8.0f} MB{run['trades']:>9,} trades")
    print(f"memory: {data:.0f} MB of bars and features and {records:.0f} MB of {many['trades']:,} trades came in")
    return [
        Gate("share of one symbol's rate", many["cpu_rate"] / one["cpu_rate"], gate),
        Gate("MB grown", many["peak_mb"] - small["peak_mb"], data + records, is_most=True),
    ]


if __name__ == "__main__":
    main()
