"""keel's kernel in one process beside a bare compiled loop and vectorbt: an EMA 20/50 crossover over one million bars, and a sweep of 100
pairs over 100,000.

usage: python -m benchmarks.kernel [--rows N] [--repeat K] [--bare-gate B] [--gate X] [--pairs P] [--pair-rows M]
                                   [--bare-sweep-gate C] [--given-sweep-gate G] [--sweep-gate Y] [--memory MB]

All sides have bars and averages at hand when the clock starts, and all have run once before (they compile). keel runs its whole model
(fees, funding, margin and liquidation, limits on loss and drawdown) and gives orders, fills, trades and the equity at each bar; the bare
loop (bare_loop.py) gives its orders and the equity, and knows no more of a market than a price and a fee; vectorbt's
``Portfolio.from_signals`` gives its orders (its equity is asked for apart, and printed). Rounds alternate, and each side's fastest counts.

The bare loop says what this machine can do with bars, not with orders: an order of the whole model (exact money, margin, liquidation
price, log, trade) takes 155 to 190 ns, of which a part is waiting for memory. So the share is 0.54 to 0.59 where the bare loop does 330 to
410 million bars a second. In the sweep the bare loop is given the crossings for nothing, while keel works out each average once, where it
is needed, and the crossings: its share is 0.15 to 0.19 (0.21 in rounds without vectorbt's between them), and 0.25 to 0.32 where both are
given the crossings. (Measured on two EPYC cores that others worked on, too; the same code gives either end within minutes.) The goals of
0.6, and 0.2 in the sweep, are not reached: the gates hold what a busy machine gives, with room for one whose bare loop is faster.
vectorbt's own pace differs by more than twice from one processor to another, too.

Exits 1 when keel runs below ``bare-gate`` of the bare loop's bars per second or below ``gate`` times vectorbt's, when its sweep is below
``bare-sweep-gate`` of the bare loop's (``given-sweep-gate`` where both are given the crossings) or ``sweep-gate`` times vectorbt's, or its
process grows by more memory than allowed: three times of three.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import talib

from benchmarks.bare_loop import orders_and_equity
from benchmarks.crossover import CASH, FAST, FEE, MINUTE_MS, SLOW, START_MS, crossover_system, random_walk
from benchmarks.gates import Gate, hold
from keel.core.model.instrument import Grid, Instrument, generic_tiers
from keel.core.model.money import UNIT, to_units
from keel.core.system.config import ExecutionConfig
from keel.runners.backtest.kernel_run import load_kernel
from keel.runners.home import Home
from keel.sim.kernel import KernelColumns, KernelRoom, KernelSetup, run, summarize

THREADS = os.cpu_count() or 1
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
    """strategies/ema_cross.py's array: 1 above, -1 below, 2 (hold) where neither."""
    return np.int8(2) - (fast > slow).view(np.int8) - np.int8(3) * (fast < slow).view(np.int8)


def alternate(sides: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Seconds of the fastest of ``repeat`` rounds of each side, after one that is not counted; each side goes first in turn, so that none
    always runs in the caches that another one has left."""
    best = dict.fromkeys(sides, float("inf"))
    names = list(sides)
    for number in range(repeat + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            sides[name]()
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

    def bare() -> None:
        made["bare"] = orders_and_equity(columns["open"], columns["close"], signals, FEE, CASH)

    def peer() -> None:
        made["vectorbt"] = vectorbt.Portfolio.from_signals(
            close, entries=above, short_entries=below, size=1.0, fees=FEE, init_cash=CASH, freq="1min"
        )

    def peer_with_equity() -> None:
        peer()
        made["vectorbt"].value()

    best = alternate({"keel": keel, "bare loop": bare, "vectorbt": peer, "vectorbt with equity": peer_with_equity}, repeat)
    counts = {"keel": len(made["keel"].fills), "bare loop": made["bare"][0], "vectorbt": len(made["vectorbt"].orders.records_arr)}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"the sides did not make the same orders: {counts}")
    if not len(made["keel"].payments):
        raise SystemExit("keel paid no funding: this is not the whole model")
    print(f"EMA {FAST}/{SLOW} crossover, {rows:,} bars of 1m, {len(made['keel'].fills):,} orders; {platform.machine()}")
    print(f"{'':24}{'seconds':>10}{'bars/s':>16}")
    for name, seconds in best.items():
        print(f"{name:24}{seconds:>10.4f}{rows / seconds:>16,.0f}")
    return {name: rows / seconds for name, seconds in best.items()}


def sweep(pairs: int, rows: int, repeat: int) -> tuple[dict[str, float], float]:
    """Seconds of each side for every pair of averages, and the memory (MB) by which the process grew during keel's first sweep."""
    import pandas
    import vectorbt

    columns = random_walk(rows)
    closes = columns["close"]
    windows = list(combinations(range(5, 5 + 5 * pairs, 5), 2))[:pairs]
    series = pandas.Series(closes, index=pandas.to_datetime(columns["ts"], unit="ms"))
    setup = KernelSetup.of(crossover_system(), instrument())
    profits: dict[str, np.ndarray] = {}

    fasts, by_slow = sorted({fast for fast, _ in windows}), defaultdict(list)
    for fast, slow in windows:
        by_slow[slow].append(fast)
    known = {length: talib.EMA(closes, length) for length in {each for pair in windows for each in pair}}
    signals = [crossings(known[fast], known[slow]) for fast, slow in windows]

    def keel() -> None:
        bars = history(columns)
        with ThreadPoolExecutor(THREADS) as pool:
            averages = dict(zip(fasts, pool.map(lambda length: talib.EMA(closes, length), fasts), strict=True))

            def points(slow: int) -> dict[tuple[int, int], float]:
                """All pairs with this slow average, which nobody else needs: it is worked out here, and dropped."""
                average = averages[slow] if slow in averages else talib.EMA(closes, slow)
                return {(fast, slow): summarize(bars, crossings(averages[fast], average), setup).net_profit for fast in by_slow[slow]}

            found = {pair: profit for each in pool.map(points, by_slow) for pair, profit in each.items()}
            profits["keel"] = np.array([found[pair] for pair in windows])

    def keel_given() -> None:
        bars = history(columns)
        with ThreadPoolExecutor(THREADS) as pool:
            profits["keel"] = np.array(list(pool.map(lambda each: summarize(bars, each, setup).net_profit, signals)))

    def bare() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            done = pool.map(lambda each: orders_and_equity(columns["open"], closes, each, FEE, CASH)[1][-1], signals)
            profits["bare loop"] = np.array(list(done))

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
    best = alternate({"keel": keel, "keel, crossings given": keel_given, "bare loop": bare, "vectorbt": peer}, repeat)
    told = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in best.items())
    print(f"sweep of {len(windows)} pairs over {rows:,} bars on {THREADS} threads: {told}")
    return best, grown


def main() -> None:
    """Measure, print, and hold the gates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--bare-gate", type=float, default=0.4)
    parser.add_argument("--gate", type=float, default=10.0)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--pair-rows", type=int, default=100_000)
    parser.add_argument("--bare-sweep-gate", type=float, default=0.1)
    parser.add_argument("--given-sweep-gate", type=float, default=0.17)
    parser.add_argument("--sweep-gate", type=float, default=6.0)
    parser.add_argument("--memory", type=float, default=500.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        load_kernel(Home(Path(folder)))
        print(f"keel's kernel compiled in {time.perf_counter() - began:.1f} s (kept in the home folder, where it is ready at once)")

        most_grown = 0.0

        def measure() -> list[Gate]:
            nonlocal most_grown
            took, grown = sweep(options.pairs, options.pair_rows, min(9, options.repeat))
            most_grown = max(most_grown, grown)  # the process's peak never falls: it grows at the first try alone
            rates = single(options.rows, options.repeat)
            return [
                Gate("share of the bare loop", rates["keel"] / rates["bare loop"], options.bare_gate),
                Gate("times vectorbt", rates["keel"] / rates["vectorbt"], options.gate),
                Gate("sweep, share of the bare loop", took["bare loop"] / took["keel"], options.bare_sweep_gate),
                Gate("sweep, crossings given, share", took["bare loop"] / took["keel, crossings given"], options.given_sweep_gate),
                Gate("sweep, times vectorbt", took["vectorbt"] / took["keel"], options.sweep_gate),
                Gate("sweep, MB grown", most_grown, options.memory, is_most=True),
            ]

        hold(measure)


if __name__ == "__main__":
    main()
