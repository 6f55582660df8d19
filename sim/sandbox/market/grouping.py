"""Base bars made into coarser candles: in one go, and, where a candle holds many bars, kept from close to close.

Base bars are columns: open, high, low, close of last, mark and index (twelve rows), and volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from keel.core.model.frame import doubled
from keel.sim.sandbox.market.bar_source import Floats, Ints
from keel.sim.sandbox.market.intervals import end_of, start_of, starts_of

KINDS: Final = range(3)
"""Last, mark, index."""
_KEPT: Final = 4 * len(KINDS) + 2


def firsts(starts: Ints) -> Ints:
    """The places at which another candle begins."""
    return np.flatnonzero(np.concatenate(([True], starts[1:] != starts[:-1])))


def grouped(values: Floats, first: Ints, kinds: Sequence[int]) -> Floats:
    """A column per candle, which begins at the bar ``first``: open, high, low, close of each kind, volume, turnover (ASSUMED: of the last
    price's mean within each base bar)."""
    last = np.append(first[1:], values.shape[1]) - 1
    made = np.empty((4 * len(kinds) + 2, len(first)))
    for to, kind in enumerate(kinds):
        open_, high, low, close = values[4 * kind : 4 * kind + 4]
        made[4 * to] = open_[first]
        np.maximum.reduceat(high, first, out=made[4 * to + 1])
        np.minimum.reduceat(low, first, out=made[4 * to + 2])
        made[4 * to + 3] = close[last]
    np.add.reduceat(values[12], first, out=made[-2])
    np.add.reduceat(turnover(values), first, out=made[-1])
    return made


def turnover(values: Floats) -> Floats:
    """Of each base bar."""
    typical: Floats = (values[0] + values[1] + values[2] + values[3]) / 4.0
    typical *= values[12]
    return typical


class LongCandles:
    """Candles of an interval that holds many base bars: those that are closed are kept, so that none is made twice."""

    def __init__(self, interval: str) -> None:
        self._interval = interval
        self._count = 0
        self._starts: Ints = np.zeros(64, dtype=np.int64)
        self._made: Floats = np.zeros((_KEPT, 64))
        self._first = 0
        self._start = self._end = 0

    def load(self, ts: Ints, values: Floats) -> None:
        """Begin with these bars; the candle of the last one stays open."""
        starts = starts_of(ts, self._interval)
        first = firsts(starts)
        self._count = len(first) - 1
        self._first, self._start = int(first[-1]), int(starts[-1])
        self._end = end_of(self._start, self._interval)
        self._starts = np.append(starts[first], np.zeros(64, dtype=np.int64))
        self._made = np.zeros((_KEPT, len(self._starts)))
        if self._count:
            self._made[:, : self._count] = grouped(values[:, : self._first], first[:-1], KINDS)

    def reach(self, ts: int, values: Floats, count: int) -> None:
        """A bar begins at ``ts``, after ``count`` others."""
        if ts < self._end:
            return
        if self._first < count:
            self._close(values[:, self._first : count])
        self._first, self._start = count, start_of(ts, self._interval)
        self._end = end_of(self._start, self._interval)

    def _close(self, bars: Floats) -> None:
        if self._count + 1 == len(self._starts):
            self._starts = doubled(self._starts)
            self._made = doubled(self._made)
        self._put(bars)
        self._count += 1

    def _put(self, bars: Floats) -> None:
        self._starts[self._count] = self._start
        self._made[:, self._count] = grouped(bars, np.zeros(1, dtype=np.int64), KINDS)[:, 0]

    def starts(self, values: Floats, since: int | None, until: int | None) -> Ints:
        """Opens of the candles with since <= open <= until; ``values``: all bars up to now."""
        begin, end = self._between(values, since, until)
        return self._starts[begin:end]

    def table(self, values: Floats, since: int | None, until: int | None, kind: int) -> tuple[Ints, Floats]:
        """Opens of the candles with since <= open <= until, and their columns."""
        begin, end = self._between(values, since, until)
        if begin < end and end > self._count:
            self._put(values[:, self._first :])
        rows = [*range(4 * kind, 4 * kind + 4), _KEPT - 2, _KEPT - 1]
        return self._starts[begin:end], self._made[rows, begin:end]

    def _between(self, values: Floats, since: int | None, until: int | None) -> tuple[int, int]:
        count = self._count
        if self._first < values.shape[1]:
            self._starts[count] = self._start
            count += 1
        starts = self._starts[:count]
        begin = 0 if since is None else int(np.searchsorted(starts, since))
        return begin, count if until is None else int(np.searchsorted(starts, until, side="right"))
