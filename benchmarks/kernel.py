"""keel's kernel beside vectorbt in one process: an EMA 20/50 crossover over one million bars, and a sweep of 100 pairs over 100,000.

usage: python -m benchmarks.kernel [--rows N] [--repeat K] [--gate X] [--least-rate R]
                                   [--pairs P] [--pair-rows M] [--sweep-gate Y] [--memory MB]

Both sides have bars and averages at hand when the clock starts, and both have run once before (they compile). keel runs its whole model
(fees, funding, margin and liquidation, limits on loss and drawdown) and gives orders, fills, trades and the equity at each bar; vectorbt's
``Portfolio.from_signals`` gives its orders (its equity is asked for apart, and printed). Rounds alternate, and each side's fastest counts.

Exits 1 when keel runs below ``gate`` times vectorbt's bars per second or below ``least-rate`` bars per second, when the sweep (averages
included, on both sides) takes more than 1/``sweep-gate`` of vectorbt's time, or keel's process grows by more memory than allowed.
"""

from __future__ import annotations

import argparse
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import talib

from benchmarks.crossover import CASH, FAST, FEE, MINUTE_MS, SLOW, START_MS, crossover_system, random_walk
from core.config import ExecutionConfig
from core.instrument import Grid, Instrument, generic_tiers
from core.money import UNIT, to_units
from runners.home import Home
from runners.kernel_run import load_kernel
from sim.kernel import KernelColumns, KernelRoom, KernelSetup, run, summarize

EIGHT_HOURS = 8 * 60 * MINUTE_MS


def instrument() -> Instrument:
    """BTCUSDT's grid and Bybit's fees."""
    return Instrument(
        "BTCUSDT", "linear", "BTC", "USDT", Grid.from_text("0.1"), Grid.from_text("0.001"), 0.001, 1e6, 1e6, to_units("5"), to_units(FEE),
        to_units("0.0002"), 100 * UNIT, generic_tiers(), source="default",
    )  # fmt: skip


def history(columns: dict[str, np.ndarray]) -> KernelColumns:
    """Bars with a funding rate of 1 bp every eight hours."""
    ts = columns["ts"]
    stamps = np.arange(int(ts[0]), int(ts[-1]), EIGHT_HOURS, dtype=np.int64)
    marks = np.round(columns["open"][np.searchsorted(ts, stamps)] * 1e8).astype(np.int64)
    prices = [columns[name] for name in ("open", "high", "low", "close")]
    return KernelColumns.of(ts, MINUTE_MS, START_MS, prices, funding=(stamps, np.full(len(stamps), to_units("0.0001")), marks))


def crossings(fast: np.ndarray, slow: np.ndarray) -> np.ndarray:
    """strategies/ema_cross.py's array."""
    return np.where(fast > slow, 1, np.where(fast < slow, -1, 2)).astype(np.int8)


def alternate(sides: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Seconds of the fastest of ``repeat`` rounds of each side, after one that is not counted."""
    best = dict.fromkeys(sides, float("inf"))
    for number in range(repeat + 1):
        for name, call in sides.items():
            began = time.perf_counter()
            call()
            if number:
                best[name] = min(best[name], time.perf_counter() - began)
    return best


def single(rows: int, repeat: int) -> dict[str, float]:
    """Bars per second of both sides on one system."""
    import pandas
    import vectorbt

    columns = random_walk(rows)
    fast, slow = talib.EMA(columns["close"], FAST), talib.EMA(columns["close"], SLOW)
    close = pandas.Series(columns["close"], index=pandas.to_datetime(columns["ts"], unit="ms"))
    above, below, signals = fast > slow, fast < slow, crossings(fast, slow)
    execution = ExecutionConfig(slippage_bps=0.0, taker_fee=FEE, maker_fee=FEE)
    setup = KernelSetup.of(msgspec.structs.replace(crossover_system(), execution=execution), instrument())
    bars, room = history(columns), KernelRoom()
    made: dict[str, Any] = {}

    def keel() -> None:
        made["keel"] = run(bars, signals, setup, room=room)

    def peer() -> None:
        made["vectorbt"] = vectorbt.Portfolio.from_signals(
            close, entries=above, short_entries=below, size=1.0, fees=FEE, init_cash=CASH, freq="1min"
        )

    def peer_with_equity() -> None:
        peer()
        made["vectorbt"].value()

    best = alternate({"keel": keel, "vectorbt": peer, "vectorbt with equity": peer_with_equity}, repeat)
    if len(made["keel"].fills) != len(made["vectorbt"].orders.records_arr):
        raise SystemExit(f"keel made {len(made['keel'].fills)} fills, vectorbt {len(made['vectorbt'].orders.records_arr)} orders")
    if not len(made["keel"].payments):
        raise SystemExit("keel paid no funding: this is not the whole model")
    print(f"EMA {FAST}/{SLOW} crossover, {rows:,} bars of 1m, {len(made['keel'].fills):,} orders; {platform.machine()}")
    print(f"{'':24}{'seconds':>10}{'bars/s':>16}")
    for name, seconds in best.items():
        print(f"{name:24}{seconds:>10.4f}{rows / seconds:>16,.0f}")
    return {name: rows / seconds for name, seconds in best.items()}


def sweep(pairs: int, rows: int, repeat: int) -> tuple[float, float, float]:
    """Seconds of both sides for every pair of averages, and the memory (MB) by which the process grew during keel's first sweep."""
    import pandas
    import vectorbt

    columns = random_walk(rows)
    closes = columns["close"]
    windows = list(combinations(range(5, 5 + 5 * pairs, 5), 2))[:pairs]
    series = pandas.Series(closes, index=pandas.to_datetime(columns["ts"], unit="ms"))
    setup = KernelSetup.of(crossover_system(), instrument())
    profits: dict[str, np.ndarray] = {}

    def keel() -> None:
        bars = history(columns)
        averages = {window: talib.EMA(closes, window) for window in {each for pair in windows for each in pair}}
        with ThreadPoolExecutor() as pool:
            done = pool.map(lambda pair: summarize(bars, crossings(averages[pair[0]], averages[pair[1]]), setup).net_profit, windows)
            profits["keel"] = np.array(list(done))

    def peer() -> None:
        averages = {window: talib.EMA(closes, window) for window in {each for pair in windows for each in pair}}
        above = pandas.DataFrame({pair: averages[pair[0]] > averages[pair[1]] for pair in windows}, index=series.index)
        below = pandas.DataFrame({pair: averages[pair[0]] < averages[pair[1]] for pair in windows}, index=series.index)
        portfolio = vectorbt.Portfolio.from_signals(
            series, entries=above, short_entries=below, size=1.0, fees=FEE, init_cash=CASH, freq="1min"
        )
        profits["vectorbt"] = portfolio.total_profit().to_numpy()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    keel()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    best = alternate({"keel": keel, "vectorbt": peer}, repeat)
    print(f"sweep of {len(windows)} pairs over {rows:,} bars: keel {best['keel']:.3f} s, vectorbt {best['vectorbt']:.3f} s")
    return best["keel"], best["vectorbt"], grown


def main() -> None:
    """Measure, print, and hold the gates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--gate", type=float, default=30.0)
    parser.add_argument("--least-rate", type=float, default=100e6)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--pair-rows", type=int, default=100_000)
    parser.add_argument("--sweep-gate", type=float, default=10.0)
    parser.add_argument("--memory", type=float, default=500.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        load_kernel(Home(Path(folder)))
        print(f"keel's kernel compiled in {time.perf_counter() - began:.1f} s (kept in the home folder, where it is ready at once)")
        keel_seconds, peer_seconds, grown = sweep(options.pairs, options.pair_rows, min(3, options.repeat))
        rates = single(options.rows, options.repeat)
    ratio, times = rates["keel"] / rates["vectorbt"], peer_seconds / keel_seconds
    print(f"{ratio:.1f}x (gate {options.gate:g}x); the sweep {times:.1f}x (gate {options.sweep_gate:g}x), grown by {grown:.0f} MB")
    if ratio < options.gate or rates["keel"] < options.least_rate:
        raise SystemExit(f"below the gate: {ratio:.1f}x of {options.gate:g}x, {rates['keel']:,.0f} of {options.least_rate:,.0f} bars/s")
    if times < options.sweep_gate or grown > options.memory:
        raise SystemExit(f"the sweep is below the gate: {times:.1f}x of {options.sweep_gate:g}x, {grown:.0f} of {options.memory:g} MB")


if __name__ == "__main__":
    main()
