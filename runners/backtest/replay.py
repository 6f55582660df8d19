"""The loop of a backtest: history through the venue, the bus and the actors, from one instant at which something can happen to the next.

What happens at an instant, and in which order, is ``process`` below. An instant is quiet where the venue sleeps through the bars of every
symbol (its wake levels), no strategy is asked, no message is due and no limit can be reached: nobody is called then, and the account's
equity over quiet instants is made in columns, with the same bits. A bus that is tapped, or bars that somebody else wants to hear, make
every instant one at which something happens.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Final

from keel.adapters.replay.feed import ReplayFeed
from keel.core.actors.market_data import MarketData
from keel.core.actors.portfolio import Portfolio
from keel.core.actors.risk import RiskActor
from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.engine.known_prices import KnownPrices
from keel.core.engine.limit_watch import LimitWatch
from keel.core.model.messages import Bar, MarkPrice, Message
from keel.core.model.timeframe import tf_ms
from keel.runners.backtest.track import BEYOND, SymbolTrack
from keel.sim.exchange.exchange import SimulatedExchange

COLLECT_EVERY = 2_000_000
"""Instants between two runs of the cyclic collector, which is off in the loop: messages make no cycles, a user's strategy may."""
BLOCK: Final = 4096
"""Instants whose equity is made at once, and for which limits are held to be out of reach or near."""
_END: Final[tuple[int, Any]] = (BEYOND, None)

Progress = Callable[[int, int], None]
Messages = deque[tuple[int, Message]]
"""(row, message), ascending, with _END last."""
Process = Callable[[int, list[int]], bool]
"""What happens at the instant of a row; the places of the symbols whose bar is not quiet. Returns whether the run has to stop."""


@dataclass(slots=True)
class Cycle:
    """The parts that turn one instant into decisions; wired in runners/backtest/wiring.py."""

    bus: Bus
    clock: ReplayClock
    venue: SimulatedExchange
    portfolio: Portfolio
    market_data: MarketData
    risk: RiskActor


def replay(feed: ReplayFeed, cycle: Cycle, progress: Progress | None = None) -> int:
    """Run the whole feed; returns the number of execution bars that went through. Stops early when the venue's stop condition holds.

    progress: called with the instants that are done, and all of them, as the run goes on.
    """
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        return _replay(feed, cycle, progress)
    except BaseException as error:
        if cycle.bus.failed is None:
            cycle.bus.fail("replay", error)
        raise
    finally:
        cycle.portfolio.stop_following()
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _replay(feed: ReplayFeed, cycle: Cycle, progress: Progress | None) -> int:
    is_told = _is_told(feed, cycle)
    venue, contexts = cycle.venue, cycle.market_data.contexts
    tracks = [SymbolTrack(feed, place, venue, contexts[each.symbol], is_told=is_told) for place, each in enumerate(feed.histories)]
    prices: KnownPrices | None = None
    watch: LimitWatch | None = None
    if not is_told:
        prices = feed.known_prices()
        rows = cycle.portfolio.follow(prices, is_bounded=cycle.risk.limits.is_limited)
        watch = LimitWatch(cycle.risk, cycle.portfolio, rows)
    before: Messages = deque()
    after: Messages = deque()
    process = _instants(feed, cycle, tracks, before, after, prices, watch)
    agenda = Agenda(feed, cycle, tracks)
    collect_at = COLLECT_EVERY
    for chunk in feed.chunks():
        before.clear()
        after.clear()
        before.extend((*chunk.before, _END))
        after.extend((*chunk.after, _END))
        for start in range(chunk.start, chunk.end, BLOCK):
            end = min(start + BLOCK, chunk.end)
            if watch is not None:
                watch.rows.begin(start, end)
                watch.begin()
            stopped_at = agenda.run(end, process, before, after, watch)
            if stopped_at is not None:
                return sum(track.bars_until(stopped_at + 1) for track in tracks)
            if watch is not None:
                watch.observe_until(end)
                cycle.portfolio.keep_until(end)
        cycle.clock.now_ms = int(feed.closes[chunk.end - 1])
        if prices is not None:
            prices.row = chunk.end - 1
        if chunk.end >= collect_at:
            gc.collect()
            collect_at = chunk.end + COLLECT_EVERY
        if progress is not None:
            progress(chunk.end, len(feed))
    return feed.bars


def _instants(
    feed: ReplayFeed, cycle: Cycle, tracks: list[SymbolTrack], before: Messages, after: Messages,
    prices: KnownPrices | None, watch: LimitWatch | None,
) -> Process:  # fmt: skip
    """``process`` over these parts, which it holds as its own names: it is the hot path.

    prices, watch: where the account follows columns; None: every bar and mark is told.
    """
    clock, venue, portfolio, risk = cycle.clock, cycle.venue, cycle.portfolio, cycle.risk
    deliver, drain, queue = cycle.bus.deliver, cycle.bus.drain, cycle.bus.queue
    decide, fresh, limits = cycle.market_data.on_instant, cycle.market_data.fresh, risk.limits
    closes, duration = feed.closes.data, tf_ms(feed.execution_timeframe)
    reads_bars = feed.timeframe == feed.execution_timeframe
    is_whole = all(track.own_rows is None for track in tracks)
    rows_of = [range(len(feed)) if track.own_rows is None else track.own_rows for track in tracks]
    places = [(track.book, track.lows, track.highs, track.step) for track in tracks]
    readers = [(track.context, track.bar) for track in tracks]
    tell = _bar_emitter(cycle, tracks) if prices is None else None

    def process(row: int, touched: list[int]) -> bool:
        ts = closes[row]
        ts_open = ts - duration
        stopped = False
        clock.now_ms = ts
        # 1. The venue: what was due within the bars that close now.
        if prices is not None:
            prices.row = row - 1
        for place in touched:
            book, lows, highs, step = places[place]
            own = row if is_whole else rows_of[place][row]
            if ts > book.wake_ts or lows[own] <= book.wake_low or highs[own] >= book.wake_high:
                step(own, ts_open, ts)
        if queue:
            drain()
            stopped = venue.stop_reason is not None
        # 2. The market: what is known now, the bars, and the coarser ones.
        while before[0][0] <= row:
            deliver(before.popleft()[1])
        if prices is not None:
            prices.row = row
            if reads_bars:
                for place in touched:
                    context, bar = readers[place]
                    if ts_open >= context.wake_ts:
                        context.on_bar(bar(row if is_whole else rows_of[place][row], ts_open, ts))
        elif tell is not None:
            for place in touched:
                tell(place, row if is_whole else rows_of[place][row], ts_open, ts)
        if queue:
            drain()
        while after[0][0] <= row:
            deliver(after.popleft()[1])
        # 3. The account is marked, and risk looks at it.
        if watch is None:
            equity = portfolio.on_instant(ts)
            if equity <= limits.floor or equity > limits.peak or ts >= limits.day_end or ts >= risk.next_due:
                risk.on_instant(ts)
        elif watch.is_near or watch.rows.is_changed or ts >= limits.day_end or ts >= risk.next_due:
            watch.close(row, ts)
        # 4. Decisions, and the orders that they lead to.
        if fresh:
            decide(ts)
        if queue:
            drain()
        return stopped

    return process


class Agenda:
    """Which instant comes next, and whose bars are not quiet at it."""

    __slots__ = ("_again", "_closes", "_due_row", "_duration", "_first", "_heap", "_is_regular", "_limits", "_next_row",
                 "_places", "_risk", "_row", "_wanted", "_woken")  # fmt: skip

    def __init__(self, feed: ReplayFeed, cycle: Cycle, tracks: list[SymbolTrack]) -> None:
        self._closes, self._duration = feed.closes.data, tf_ms(feed.execution_timeframe)
        self._first = int(feed.closes[0])
        self._is_regular = int(feed.closes[-1]) - self._first == (len(feed) - 1) * self._duration
        self._limits, self._risk, self._woken = cycle.risk.limits, cycle.risk, cycle.venue.woken
        self._places = {track.symbol: place for place, track in enumerate(tracks)}
        self._next_row = [track.next_row for track in tracks]
        self._row = -1  # the latest instant that was processed
        self._again: list[int] = []  # the places that are awake at the very next instant
        self._heap: list[tuple[int, int]] = [(BEYOND, len(tracks))]  # (row, place) of the others; stale where ``wanted`` is another
        self._wanted = [-1] * len(tracks) + [BEYOND]
        self._due_row = 0  # the first instant, or that at which a day ends or risk has something to close
        for place, track in enumerate(tracks):
            self._wanted[place] = row = track.next_row(0)
            if row < BEYOND:
                heappush(self._heap, (row, place))

    def run(self, end: int, process: Process, before: Messages, after: Messages, watch: LimitWatch | None) -> int | None:
        """Process what happens before row ``end``. Returns the row at which the run stopped, if it did."""
        heap, wanted, woken, limits, risk = self._heap, self._wanted, self._woken, self._limits, self._risk
        next_row = self._next_row
        row, again, due_row = self._row, self._again, self._due_row
        day_end, next_due = limits.day_end, risk.next_due
        while True:
            if again:
                if row + 1 >= end:
                    break
                row, touched = row + 1, again
            else:
                while wanted[heap[0][1]] != heap[0][0]:
                    heappop(heap)
                found = heap[0][0]
                if before[0][0] < found:
                    found = before[0][0]
                if after[0][0] < found:
                    found = after[0][0]
                if due_row < found:
                    found = due_row
                if watch is not None and watch.is_near:
                    found = watch.search(min(found, end))
                if found >= end:
                    break
                row, touched = found, []
            if heap[0][0] <= row:
                while heap[0][0] <= row:
                    at, place = heappop(heap)
                    if wanted[place] == at:
                        wanted[place] = -1
                        touched.append(place)
                if len(touched) > 1:
                    touched.sort()
            if process(row, touched):
                return row
            again = []
            following = row + 1
            for place in touched:
                found = next_row[place](following)
                if found == following:
                    again.append(place)
                elif found < BEYOND:
                    wanted[place] = found
                    heappush(heap, (found, place))
            if woken:
                self._wake(again, following)
            if due_row <= row or limits.day_end != day_end or risk.next_due != next_due:
                day_end, next_due = limits.day_end, risk.next_due
                due_row = max(following, self._row_at(min(day_end, next_due)))
        self._row, self._again, self._due_row = row, again, due_row
        return None

    def _wake(self, again: list[int], following: int) -> None:
        """Commands were queued: ask again when these symbols are not quiet."""
        wanted = self._wanted
        for symbol in self._woken:
            place = self._places[symbol]
            if place in again:
                continue
            found = self._next_row[place](following)
            if found == following:
                wanted[place] = -1
                again.append(place)
                again.sort()
            elif found != wanted[place]:
                wanted[place] = found
                if found < BEYOND:
                    heappush(self._heap, (found, place))
        self._woken.clear()

    def _row_at(self, ts: float) -> int:
        """The first instant at or after a time; BEYOND where there is none."""
        closes = self._closes
        if ts > closes[-1]:
            return BEYOND
        if ts <= self._first:
            return 0
        return -((self._first - int(ts)) // self._duration) if self._is_regular else bisect_left(closes, ts)


def _is_told(feed: ReplayFeed, cycle: Cycle) -> bool:
    """Whether anybody but the account and market data wants to hear bars or marks."""
    bus = cycle.bus
    if bus.is_tapped:
        return True
    for history in feed.histories:
        line, context = cycle.portfolio.lines[history.symbol], cycle.market_data.contexts[history.symbol]
        if bus.handlers_of(Bar, history.symbol) != (line.on_bar, context.on_bar):
            return True
        if bus.handlers_of(MarkPrice, history.symbol) != (line.on_mark,):
            return True
    return False


def _bar_emitter(cycle: Cycle, tracks: list[SymbolTrack]) -> Callable[[int, int, int, int], None]:
    """Tells a symbol's bar, after its mark, to all who want to hear it: (place, row of its history, open, close)."""
    bus = cycle.bus
    deliver, is_tapped = bus.deliver, bus.is_tapped
    hearers = [(bus.handlers_of(MarkPrice, track.symbol), bus.handlers_of(Bar, track.symbol)) for track in tracks]

    def tell(place: int, own: int, ts_open: int, ts_close: int) -> None:
        track = tracks[place]
        bar = track.bar(own, ts_open, ts_close)
        mark = None if track.valuation is None else MarkPrice(track.symbol, ts_close, track.valuation[own])
        if is_tapped:
            if mark is not None:
                deliver(mark)
            deliver(bar)
            return
        of_marks, of_bars = hearers[place]
        if mark is not None:
            for hear in of_marks:
                hear(mark)
        for hear in of_bars:
            hear(bar)

    return tell
