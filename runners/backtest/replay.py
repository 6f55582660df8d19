"""The loop of a backtest: history through the venue, the bus and the actors, from one instant at which something can happen to the next.

What happens at an instant, and in which order, is ``keel.core.engine``: ``_told`` makes an ``Instant`` of it; ``_followed`` is the same
over an account that follows columns, where only what somebody reads is made. An instant is quiet where the venue sleeps through the bars of
every symbol (its wake levels), no strategy is asked, no message is due and no limit can be reached: nobody is called then, and the
account's equity over quiet instants is made in columns, with the same bits. Where somebody else wants to hear bars or marks, no instant is
quiet.
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

from keel.adapters.replay.feed import ReplayFeed
from keel.core.engine.engine import Engine, make_conclude
from keel.core.engine.instant import Instant
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


def replay(feed: ReplayFeed, engine: Engine, venue: SimulatedExchange, progress: Progress | None = None) -> int:
    """Run the whole feed; returns the number of execution bars that went through. Stops early when the venue's stop condition holds.

    progress: called with the instants that are done, and all of them, as the run goes on.
    """
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        return _replay(feed, engine, venue, progress)
    except BaseException as error:
        if engine.bus.failed is None:
            engine.bus.fail("replay", error)
        raise
    finally:
        engine.portfolio.stop_following()
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _replay(feed: ReplayFeed, engine: Engine, venue: SimulatedExchange, progress: Progress | None) -> int:
    is_told = _is_told(feed, engine)
    contexts = engine.market_data.contexts
    tracks = [SymbolTrack(feed, place, venue, contexts[each.symbol], is_told=is_told) for place, each in enumerate(feed.histories)]
    before: Messages = deque()
    after: Messages = deque()
    prices: KnownPrices | None = None
    watch: LimitWatch | None = None
    if is_told:
        process = _told(feed, engine, venue, tracks, before, after)
    else:
        prices = feed.known_prices()
        rows = engine.portfolio.follow(prices, is_bounded=engine.risk.limits.is_limited)
        watch = LimitWatch(engine.risk, engine.portfolio, rows)
        process = _followed(feed, engine, venue, tracks, before, after, prices, watch)
    agenda = Agenda(feed, engine, venue, tracks)
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
                engine.portfolio.keep_until(end)
        engine.clock.now_ms = int(feed.closes[chunk.end - 1])
        if prices is not None:
            prices.row = chunk.end - 1
        if chunk.end >= collect_at:
            gc.collect()
            collect_at = chunk.end + COLLECT_EVERY
        if progress is not None:
            progress(chunk.end, len(feed))
    return feed.bars


def _rows_of(feed: ReplayFeed, tracks: list[SymbolTrack]) -> list[Any]:
    """By place: the row of its history at each instant."""
    return [range(len(feed)) if track.own_rows is None else track.own_rows for track in tracks]


def _told(
    feed: ReplayFeed, engine: Engine, venue: SimulatedExchange, tracks: list[SymbolTrack], before: Messages, after: Messages
) -> Process:  # fmt: skip
    """Every bar and mark is told: an instant is made whole, and the engine takes it."""
    closes, duration, rows_of = feed.closes.data, tf_ms(feed.execution_timeframe), _rows_of(feed, tracks)

    def due(messages: Messages, row: int) -> list[Message]:
        found: list[Message] = []
        while messages[0][0] <= row:
            found.append(messages.popleft()[1])
        return found

    def process(row: int, touched: list[int]) -> bool:
        ts = closes[row]
        engine.clock.now_ms = ts
        bars: list[Message] = []
        marks: dict[str, float] = {}
        for place in touched:
            track, own = tracks[place], rows_of[place][row]
            if track.wakes(own, ts):
                track.step(own, ts - duration, ts)
            if track.valuation is not None:
                marks[track.symbol] = track.valuation[own]
            bars.append(track.bar(own, ts - duration, ts))
        engine.bus.drain()
        is_over = venue.stop_reason is not None
        funding = due(before, row)
        engine.process(Instant(ts, funding, marks, [*bars, *due(after, row)]))
        return is_over

    return process


def _followed(
    feed: ReplayFeed, engine: Engine, venue: SimulatedExchange, tracks: list[SymbolTrack], before: Messages, after: Messages,
    prices: KnownPrices, watch: LimitWatch,
) -> Process:  # fmt: skip
    """``Engine.process`` where the account follows columns, over parts that it holds as its own names: it is the hot path. Bars that only
    the account would hear are not made; the end of an instant is the engine's own (``make_conclude``)."""
    clock, deliver, drain, queue = engine.clock, engine.bus.deliver, engine.bus.drain, engine.bus.queue
    conclude = make_conclude(engine.portfolio, engine.risk, engine.market_data, engine.bus, watch)
    closes, duration = feed.closes.data, tf_ms(feed.execution_timeframe)
    reads_bars = feed.timeframe == feed.execution_timeframe
    is_whole = all(track.own_rows is None for track in tracks)
    rows_of = _rows_of(feed, tracks)
    places = [(track.book, track.lows, track.highs, track.step) for track in tracks]
    readers = [(track.context, track.bar) for track in tracks]

    def process(row: int, touched: list[int]) -> bool:
        ts = closes[row]
        ts_open = ts - duration
        stopped = False
        clock.now_ms = ts
        # The venue: what was due within the bars that close now.
        prices.row = row - 1
        for place in touched:
            book, lows, highs, step = places[place]
            own = row if is_whole else rows_of[place][row]
            if ts > book.wake_ts or lows[own] <= book.wake_low or highs[own] >= book.wake_high:
                step(own, ts_open, ts)
        if queue:
            drain()
            stopped = venue.stop_reason is not None
        # The market: what is known now, the bars, and the coarser ones.
        while before[0][0] <= row:
            deliver(before.popleft()[1])
        prices.row = row
        if reads_bars:
            for place in touched:
                context, bar = readers[place]
                if ts_open >= context.wake_ts:
                    context.on_bar(bar(row if is_whole else rows_of[place][row], ts_open, ts))
            if queue:
                drain()
        while after[0][0] <= row:
            deliver(after.popleft()[1])
        conclude(row, ts, True)
        return stopped

    return process


class Agenda:
    """Which instant comes next, and whose bars are not quiet at it."""

    __slots__ = ("_again", "_closes", "_due_row", "_duration", "_first", "_heap", "_is_regular", "_limits", "_next_row",
                 "_places", "_risk", "_row", "_wanted", "_woken")  # fmt: skip

    def __init__(self, feed: ReplayFeed, engine: Engine, venue: SimulatedExchange, tracks: list[SymbolTrack]) -> None:
        self._closes, self._duration = feed.closes.data, tf_ms(feed.execution_timeframe)
        self._first = int(feed.closes[0])
        self._is_regular = int(feed.closes[-1]) - self._first == (len(feed) - 1) * self._duration
        self._limits, self._risk, self._woken = engine.risk.limits, engine.risk, venue.woken
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


def _is_told(feed: ReplayFeed, engine: Engine) -> bool:
    """Whether anybody but the account and market data wants to hear bars or marks."""
    bus = engine.bus
    for history in feed.histories:
        line, context = engine.portfolio.lines[history.symbol], engine.market_data.contexts[history.symbol]
        if bus.handlers_of(Bar, history.symbol) != (line.on_bar, context.on_bar):
            return True
        if bus.handlers_of(MarkPrice, history.symbol) != (line.on_mark,):
            return True
    return False
