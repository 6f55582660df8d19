"""Builds the bars of a timeframe out of the closed bars of a finer one, as they come.

Only closed bars count: a bar is made at the moment at which its last finer bar has closed, and only if all of them have come. What cannot
be made is told as a FeedGap as soon as the next bar begins, and never filled. The bar during which listening began is neither made nor
told, unless its first finer bar was heard.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from core.errors import ConfigError, DataError, InvariantError
from core.instrument import Grid
from core.messages import Bar, FeedGap
from core.time_range import to_iso
from core.timeframe import floor_ts, is_finer, tf_ms

Report = Callable[[FeedGap], None]


class BuilderState(msgspec.Struct, frozen=True):
    """The bar that is growing, as plain data; times are opens, -1 where there is none."""

    due: int
    next: int
    start: int
    heard: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class BarBuilder:
    """One symbol, from one timeframe to another. Raises ConfigError where the one cannot be built out of the other.

    qty_grid: volumes are summed in its steps, exactly, as the exchange states them; without it as floats, in the order of the bars.
    """

    __slots__ = ("_close", "_due", "_heard", "_high", "_low", "_next", "_open", "_parts", "_qty_grid", "_report", "_start", "_volume",
                 "source", "symbol", "timeframe")  # fmt: skip

    def __init__(self, symbol: str, source: str, timeframe: str, *, report: Report | None = None, qty_grid: Grid | None = None) -> None:
        if not is_finer(source, timeframe):
            raise ConfigError(f"{timeframe} bars cannot be built out of {source} bars")
        self.symbol, self.source, self.timeframe = symbol, source, timeframe
        self._report, self._qty_grid = report, qty_grid
        self._parts = tf_ms(timeframe) // tf_ms(source)
        self._start = self._next = self._due = -1  # opens of: the bar that is growing, the next finer bar, the next bar to be made
        self._heard = 0
        self._open = self._high = self._low = self._close = self._volume = 0.0

    def add(self, bar: Bar) -> Bar | None:
        """Take the next closed finer bar; the bar that it completes, if it does. Raises DataError for one that is not later."""
        if bar.symbol != self.symbol or bar.tf != self.source:
            raise InvariantError(f"a {bar.symbol} {bar.tf} bar came to the builder of {self.symbol} {self.timeframe} out of {self.source}")
        if bar.ts_open < self._next:
            raise DataError(f"{bar.symbol} {bar.tf}: the bar of {to_iso(bar.ts_open)} came again, or after a later one")
        start = floor_ts(bar.ts_open, self.timeframe)
        if start != self._start:
            self._begin(start, bar)
        else:
            self._extend(bar)
        self._heard += 1
        self._next = bar.ts_close
        return self._made() if self._heard == self._parts else None

    def state(self) -> BuilderState:
        """What has grown so far."""
        return BuilderState(self._due, self._next, self._start, self._heard, self._open, self._high, self._low, self._close, self._volume)

    def restore(self, state: BuilderState) -> None:
        """Go on from a ``state()``."""
        self._due, self._next, self._start, self._heard = state.due, state.next, state.start, state.heard
        self._open, self._high, self._low, self._close, self._volume = state.open, state.high, state.low, state.close, state.volume

    def _begin(self, start: int, bar: Bar) -> None:
        if self._due < 0:
            self._due = start if bar.ts_open == start else start + tf_ms(self.timeframe)
        elif self._due < start:
            if self._report is not None:
                self._report(FeedGap(self.symbol, self.timeframe, self._due, start))
            self._due = start
        self._start, self._heard = start, 0
        self._open, self._high, self._low, self._close, self._volume = bar.open, bar.high, bar.low, bar.close, bar.volume

    def _extend(self, bar: Bar) -> None:
        self._high = max(self._high, bar.high)
        self._low = min(self._low, bar.low)
        self._close = bar.close
        self._volume = self._sum(self._volume, bar.volume)

    def _sum(self, before: float, more: float) -> float:
        grid = self._qty_grid
        return before + more if grid is None else grid.value(grid.count(before) + grid.count(more))

    def _made(self) -> Bar:
        end = self._start + tf_ms(self.timeframe)
        self._due = end
        return Bar(self.symbol, self.timeframe, self._start, end, self._open, self._high, self._low, self._close, self._volume)
