"""The permutation test: is a result better than what the same strategy makes of the same bars in another order?

The bars of every series are permuted, by one order for all symbols: gaps (open against the close before) by one order, the moves inside a
bar (high, low, close against its open, and its volume) by another. The first bar stays where it is, and so does the last close: the drift
from end to end is kept, only the order is lost. Source: Masters, "Permutation and Randomization Tests for Trading System Development".

What belongs to a bar follows: other prices by their ratio to the permuted series at the same time, finer candles inside their bar, coarser
ones are built anew. Prices of the permuted series are on the grid again, but for the first bar, which is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Grid
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import tf_ms

MIN_BARS: Final = 30
"""Fewer bars say nothing: there is hardly an order in them that could be lost."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
PRICES: Final = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class BarOrder:
    """Row i of the permuted series has the gap of row ``gaps[i]`` and the body of row ``bodies[i]``; row 0 is itself in both."""

    gaps: Ints
    bodies: Ints

    @classmethod
    def draw(cls, bars: int, seed: int, number: int) -> BarOrder:
        """The order of the permutation of this number: the same for the same seed, whatever was drawn before."""
        generator = np.random.default_rng([seed, number])
        return cls(*(np.concatenate([[0], 1 + generator.permutation(bars - 1)]) for _ in range(2)))


def check_length(bars: int, what: str) -> None:
    """Raises ConfigError where there are too few bars to permute. what: the window, for people."""
    if bars < MIN_BARS:
        raise ConfigError(
            f"a permutation test needs at least {MIN_BARS} bars, and {what} has {bars}: take a longer window, or a smaller time_step"
            " (it chooses the timeframe)"
        )


def common_bars(frames: Sequence[Frame]) -> list[Frame]:
    """The frames without the bars that not all of them have. Raises DataError for a price that is not positive."""
    shared = frames[0].ts
    for frame in frames[1:]:
        shared = np.intersect1d(shared, frame.ts, assume_unique=True)
    kept = [frame if len(frame) == len(shared) else rows_of(frame, np.searchsorted(frame.ts, shared)) for frame in frames]
    for frame in kept:
        low = frame["low"]
        if len(low) and not low.min() > 0.0:
            row = int(np.argmin(low))
            raise DataError(f"{frame.symbol} {frame.timeframe}: the low of {to_iso(int(frame.ts[row]))} is {low[row]}; prices are positive")
    return kept


def permute_bars(bars: Frame, order: BarOrder, grid: Grid) -> Frame:
    """One symbol's bars in another order, at the times of the original."""
    logs = {name: np.log(bars[name]) for name in PRICES}
    gap = np.concatenate([[0.0], logs["open"][1:] - logs["close"][:-1]])[order.gaps]
    body = {name: (logs[name] - logs["open"])[order.bodies] for name in ("high", "low", "close")}
    steps = gap + body["close"]
    steps[0] = 0.0
    close = logs["close"][0] + np.cumsum(steps)
    opens = close - body["close"]
    paths = {"open": opens, "high": opens + body["high"], "low": opens + body["low"], "close": close}
    columns = {name: on_grid(np.exp(paths[name]), grid) for name in PRICES}
    for name in PRICES:
        columns[name][0] = bars[name][0]
    return _like(bars, bars.ts, {**columns, "volume": bars["volume"][order.bodies]})


def follow(other: Frame, original: Frame, permuted: Frame) -> Frame:
    """Another price series of the same timeframe, at its ratio to the original, now to the permuted one; bars that all three have."""
    ts = np.intersect1d(np.intersect1d(other.ts, original.ts, assume_unique=True), permuted.ts, assume_unique=True)
    rows, before, there = (frame.ts.searchsorted(ts) for frame in (other, original, permuted))
    columns = {name: permuted[name][there] * (other[name][rows] / original[name][before]) for name in PRICES}
    columns["high"] = np.maximum.reduce([columns[name] for name in PRICES])
    columns["low"] = np.minimum.reduce([columns[name] for name in PRICES])
    return _like(other, ts, {**columns, "volume": other["volume"][rows]})


def travel(finer: Frame, original: Frame, permuted: Frame, order: BarOrder, grid: Grid) -> Frame:
    """Finer candles of the permuted series itself: each moves with the bar inside which it lies, scaled to that bar's new open."""
    inside = np.searchsorted(original.ts, finer.ts, side="right") - 1
    kept = (inside >= 0) & (finer.ts < original.ts[np.maximum(inside, 0)] + tf_ms(original.timeframe))
    source, rows = inside[kept], np.flatnonzero(kept)
    target = np.empty_like(order.bodies)
    target[order.bodies] = np.arange(len(order.bodies))
    place = target[source]
    ts = permuted.ts[place] + (finer.ts[rows] - original.ts[source])
    scale = permuted["open"][place] / original["open"][source]
    sequence = np.argsort(ts, kind="stable")
    columns = {name: on_grid(finer[name][rows] * scale, grid)[sequence] for name in PRICES}
    first = sequence[place[sequence] == 0]  # the first bar is as it was
    for name in PRICES:
        columns[name][: len(first)] = finer[name][rows[first]]
    return _like(finer, ts[sequence], {**columns, "volume": finer["volume"][rows[sequence]]})


def on_grid(prices: Floats, grid: Grid) -> Floats:
    """The nearest prices on the grid, at least one tick. Order is kept: a high stays at or above what it was above."""
    rounded: Floats = np.maximum(np.rint(prices * grid.den / grid.num), 1.0) * grid.num / grid.den
    return rounded


def p_value(observed: float, permuted: Sequence[float], *, smaller_is_better: bool = False) -> float:
    """(1 + how many permutations were at least as good) / (1 + how many there were)."""
    values = np.asarray(permuted, dtype=np.float64)
    good = values <= observed if smaller_is_better else values >= observed
    return (1 + int(np.count_nonzero(good))) / (1 + len(values))


def rows_of(frame: Frame, rows: Ints) -> Frame:
    """Some rows of a frame, copied."""
    return _like(frame, frame.ts[rows], {name: frame[name][rows] for name in frame})


def _like(frame: Frame, ts: Ints, columns: dict[str, Floats]) -> Frame:
    return Frame(ts, columns, symbol=frame.symbol, timeframe=frame.timeframe, kind=frame.kind)
