"""Builds the bars of a timeframe out of the closed bars of a finer one, as they come.

Only closed bars count: a bar is made at the moment at which its last finer bar has closed, and only if all of them have come. What cannot
be made is told as a FeedGap as soon as the next bar begins, and never filled. The bar during which listening began is neither made nor
told, unless its first finer bar was heard.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

import msgspec

from keel.core.errors import ConfigError, DataError, InvariantError
from keel.core.model.instrument import Grid
from keel.core.model.messages import Bar, FeedGap
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import floor_ts, is_finer, tf_ms

Report = Callable[[FeedGap], None]


class BuilderState(msgspec.Struct):
    """All that a builder remembers, as plain data: the bar that is growing, and what comes next. Times are opens; -1: there is none."""

    due: int = -1
    """The next bar to be made."""
    next: int = -1
    """The next finer bar."""
    start: int = -1
    """The bar that is growing."""
    heard: int = 0
    """How many finer bars of it were heard."""
    open: float = 0.0
    high: float = 0.0
    low: float = 0.0
    close: float = 0.0
    volume: float = 0.0


class BarBuilder:
    """One symbol, from one timeframe to another. Raises ConfigError where the one cannot be built out of the other.

    qty_grid: volumes are summed in its steps, exactly, as the exchange states them; without it as floats, in the order of the bars.
    """

    __slots__ = ("_memory", "_parts", "_qty_grid", "_report", "source", "symbol", "timeframe")

    def __init__(self, symbol: str, source: str, timeframe: str, *, report: Report | None = None, qty_grid: Grid | None = None) -> None:
        if not is_finer(source, timeframe):
            raise ConfigError(f"{timeframe} bars cannot be built out of {source} bars")
        self.symbol, self.source, self.timeframe = symbol, source, timeframe
        self._report, self._qty_grid = report, qty_grid
        self._parts = tf_ms(timeframe) // tf_ms(source)
        self._memory = BuilderState()

    def add(self, bar: Bar) -> Bar | None:
        """Take the next closed finer bar; the bar that it completes, if it does. Raises DataError for one that is not later."""
        if bar.symbol != self.symbol or bar.tf != self.source:
            raise InvariantError(f"a {bar.symbol} {bar.tf} bar came to the builder of {self.symbol} {self.timeframe} out of {self.source}")
        memory = self._memory
        if bar.ts_open < memory.next:
            raise DataError(f"{bar.symbol} {bar.tf}: the bar of {to_iso(bar.ts_open)} came again, or after a later one")
        start = floor_ts(bar.ts_open, self.timeframe)
        if start != memory.start:
            self._begin(memory, start, bar)
        else:
            memory.high, memory.low, memory.close = max(memory.high, bar.high), min(memory.low, bar.low), bar.close
            memory.volume = self._sum(memory.volume, bar.volume)
        memory.heard += 1
        memory.next = bar.ts_close
        return self._made(memory) if memory.heard == self._parts else None

    def state(self) -> BuilderState:
        """A copy of what it remembers."""
        return copy(self._memory)

    def restore(self, state: BuilderState) -> None:
        """Go on from a ``state()``."""
        self._memory = copy(state)

    def _begin(self, memory: BuilderState, start: int, bar: Bar) -> None:
        if memory.due < 0:
            memory.due = start if bar.ts_open == start else start + tf_ms(self.timeframe)
        elif memory.due < start:
            if self._report is not None:
                self._report(FeedGap(self.symbol, self.timeframe, memory.due, start))
            memory.due = start
        memory.start, memory.heard = start, 0
        memory.open, memory.high, memory.low, memory.close, memory.volume = bar.open, bar.high, bar.low, bar.close, bar.volume

    def _sum(self, before: float, more: float) -> float:
        grid = self._qty_grid
        return before + more if grid is None else grid.value(grid.count(before) + grid.count(more))

    def _made(self, memory: BuilderState) -> Bar:
        memory.due = end = memory.start + tf_ms(self.timeframe)
        return Bar(self.symbol, self.timeframe, memory.start, end, memory.open, memory.high, memory.low, memory.close, memory.volume)
