"""One symbol's execution bars along the instants of a feed: which of them the exchange and the strategy need, and which are quiet.

A bar is quiet when it closes by the book's ``wake_ts``, stays inside its wake levels, and brings no snapshot. The next bar that is not is
found by a search over the columns: blocks whose extremes stay inside the levels are passed over as a whole.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

import numpy as np

from keel.adapters.replay.feed import ReplayFeed
from keel.adapters.replay.history import Floats, PriceColumns
from keel.core.actors.market_data import SymbolContext
from keel.core.model.frame import BAR_COLUMNS
from keel.core.model.messages import Bar
from keel.core.model.timeframe import NEVER, tf_ms
from keel.sim.exchange.book import INFINITY, SymbolBook
from keel.sim.exchange.exchange import SimulatedExchange

BLOCK_BITS: Final = 7
"""A block that is passed over as a whole has 2 ** 7 bars."""
BEYOND: Final = NEVER
"""The row of what does not come any more."""

Prices = tuple[float, float, float, float]
"""open, high, low, close"""


class SymbolTrack:
    """Rows are instants of the feed; a symbol with holes has bars of its own at some of them, whose rows are its history's.

    own_rows: its history's row at each instant, -1 where it has no bar; None where it has one at each, and both are the same.
    is_told: whether somebody wants to hear each of its bars, so that none is quiet.
    """

    __slots__ = (
        "_bars", "_count", "_first", "_high", "_high_blocks", "_index", "_instants", "_is_regular", "_low", "_low_blocks", "_mark",
        "_opens", "_reads_bars", "_step", "_volatility", "book", "context", "duration", "has_paths", "highs", "is_told", "lows", "own_rows",
        "symbol", "timeframe", "valuation",
    )  # fmt: skip

    def __init__(self, feed: ReplayFeed, place: int, venue: SimulatedExchange, context: SymbolContext, *, is_told: bool) -> None:
        history = feed.histories[place]
        frame = history.execution
        self.symbol, self.timeframe, self.duration = history.symbol, frame.timeframe, tf_ms(frame.timeframe)
        self.context, self.is_told = context, is_told
        self.book: SymbolBook = venue.books[history.symbol]
        self._step = venue.step
        self._reads_bars = feed.timeframe == feed.execution_timeframe
        self._count = len(frame)
        self._opens: Any = frame.ts.data
        self._first = int(frame.ts[0]) if self._count else 0
        self._is_regular = self._count > 0 and int(frame.ts[-1]) - self._first == (self._count - 1) * self.duration
        mapping = feed.rows_of(place)
        self.own_rows: Any = None if mapping is None else mapping.data
        self._instants: Any = None if mapping is None else np.flatnonzero(mapping >= 0).data
        self._bars = tuple(frame[name].data for name in BAR_COLUMNS)
        self._mark, self._index = _views(history.mark), _views(history.index)
        self._volatility = None if history.volatility_bps is None else history.volatility_bps.data
        self.has_paths = self._mark is not None or self._index is not None or self._volatility is not None
        self.valuation: Any = None if history.mark is None else history.mark.valuation.data
        extras = [extra for extra in (history.mark, history.index) if extra is not None]
        self._low: Floats = np.minimum.reduce([frame["low"], *(extra.low for extra in extras)]) if extras else frame["low"]
        self._high: Floats = np.maximum.reduce([frame["high"], *(extra.high for extra in extras)]) if extras else frame["high"]
        self.lows: Any = self._low.data
        self.highs: Any = self._high.data
        blocks = range(0, self._count, 1 << BLOCK_BITS)
        self._low_blocks: list[float] = np.minimum.reduceat(self._low, blocks).tolist() if self._count else []
        self._high_blocks: list[float] = np.maximum.reduceat(self._high, blocks).tolist() if self._count else []

    # --- where its bars are ---

    def bars_until(self, row: int) -> int:
        """How many bars it has at the instants before this one."""
        return min(row, self._count) if self._instants is None else bisect_left(self._instants, row)

    def next_row(self, row: int) -> int:
        """The first instant from ``row`` on at which the symbol has a bar that is not quiet; BEYOND where there is none."""
        instants, count = self._instants, self._count
        own = row if instants is None else bisect_left(instants, row)
        if own >= count:
            return BEYOND
        wake_ts = self.book.wake_ts
        opened = self.context.wake_ts if self._reads_bars else NEVER
        if wake_ts >= 0 and opened > self._first and not self.is_told:
            if wake_ts < NEVER and wake_ts + 1 - self.duration < opened:
                opened = wake_ts + 1 - self.duration
            stop = count if opened == NEVER else self._opened_at(opened)
            if stop > own:
                own = self._met(own, stop, self.book.wake_low, self.book.wake_high)
                if own >= count:
                    return BEYOND
        if instants is None:
            return own
        found: int = instants[own]
        return found

    def _opened_at(self, ts: int) -> int:
        """The first of its rows that opens at or after a time."""
        if not self._is_regular:
            return bisect_left(self._opens, ts)
        row = -((self._first - ts) // self.duration)
        return row if row < self._count else self._count

    def _met(self, own: int, stop: int, below: float, above: float) -> int:
        """The first row from ``own`` on, before ``stop``, that reaches a level; ``stop`` where none does."""
        if below == -INFINITY and above == INFINITY:
            return stop
        lows, highs = self._low_blocks, self._high_blocks
        for block in range(own >> BLOCK_BITS, ((stop - 1) >> BLOCK_BITS) + 1):
            if lows[block] <= below or highs[block] >= above:
                start, end = max(own, block << BLOCK_BITS), min(stop, (block + 1) << BLOCK_BITS)
                met = (self._low[start:end] <= below) | (self._high[start:end] >= above)
                first = int(met.argmax())
                if met[first]:
                    return start + first
        return stop

    # --- what is done with one ---

    def wakes(self, own: int, ts_close: int) -> bool:
        """Whether the exchange has something to do in a bar of its rows."""
        book = self.book
        return ts_close > book.wake_ts or self.lows[own] <= book.wake_low or self.highs[own] >= book.wake_high

    def step(self, own: int, ts_open: int, ts_close: int) -> None:
        """Let the exchange process a bar, with its mark and index paths, which are last's where it has none of its own."""
        columns = self._bars
        open_, high, low, close, volume = columns[0][own], columns[1][own], columns[2][own], columns[3][own], columns[4][own]
        if not self.has_paths:
            self._step(
                self.book, ts_open, ts_close, open_, high, low, close, volume, open_, high, low, close, open_, high, low, close
            )  # fmt: skip
            return
        mark = index = (open_, high, low, close)
        if self._mark is not None:
            mark = index = _at(self._mark, own)
        if self._index is not None:
            index = _at(self._index, own)
        volatility = 0.0 if self._volatility is None else self._volatility[own]
        self._step(self.book, ts_open, ts_close, open_, high, low, close, volume, *mark, *index, volatility)

    def bar(self, own: int, ts_open: int, ts_close: int) -> Bar:
        """The bar of one of its rows."""
        open_, high, low, close, volume = self._bars
        return Bar(self.symbol, self.timeframe, ts_open, ts_close, open_[own], high[own], low[own], close[own], volume[own])


def _at(views: tuple[Any, ...], row: int) -> Prices:
    return views[0][row], views[1][row], views[2][row], views[3][row]


def _views(columns: PriceColumns | None) -> tuple[Any, ...] | None:
    return None if columns is None else (columns.open.data, columns.high.data, columns.low.data, columns.close.data)
