"""The loop of a backtest: history through the venue, the bus and the actors, instant by instant.

For each instant T: (1) the venue processes every symbol whose bar closes at T, and what it emitted goes through the actors; (2) funding
rates, marks and bars of T are delivered; (3) the instant closes: portfolio marks to market, risk looks at its limits, market_data hands
out snapshots; (4) signals, intents and commands are drained. The venue is asked only when something of it can happen (its wake levels).
"""

from __future__ import annotations

import gc
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from keel.adapters.replay.feed import Chunk, Lane, ReplayFeed
from keel.adapters.replay.history import PriceColumns
from keel.core.actors.market_data import MarketData, SymbolContext
from keel.core.actors.portfolio import Line, Portfolio
from keel.core.actors.risk import RiskActor
from keel.core.bus import Bus, Handler
from keel.core.clock import ReplayClock
from keel.core.frame import BAR_COLUMNS
from keel.core.messages import Bar, MarkPrice
from keel.core.timeframe import tf_ms
from keel.sim.book import SymbolBook
from keel.sim.exchange import SimulatedExchange

COLLECT_EVERY = 2_000_000
"""Instants between two runs of the cyclic collector, which is off in the loop: messages make no cycles, a user's strategy may."""
Prices = tuple[float, float, float, float]
"""open, high, low, close"""
Views = tuple[memoryview, memoryview, memoryview, memoryview]
_END: tuple[int, Any] = (1 << 62, None)
"""What a cursor over messages says at its end: a time that never comes."""


@dataclass(slots=True)
class Cycle:
    """The parts that turn one instant into decisions; wired in runners/wiring.py."""

    bus: Bus
    clock: ReplayClock
    venue: SimulatedExchange
    portfolio: Portfolio
    market_data: MarketData
    risk: RiskActor


def replay(feed: ReplayFeed, cycle: Cycle, progress: Callable[[int, int], None] | None = None) -> int:
    """Run the whole feed; returns the number of execution bars that went through. Stops early when the venue's stop condition holds."""
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    bars = start = 0
    collect_at = COLLECT_EVERY
    try:
        for chunk in feed.chunks():
            done, stopped = _replay_chunk(feed, cycle, chunk, start)
            bars += done
            start += len(chunk.closes)
            if stopped:
                break
            if start >= collect_at:
                gc.collect()
                collect_at = start + COLLECT_EVERY
            if progress is not None:
                progress(start, len(feed))
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
    return bars


def _replay_chunk(feed: ReplayFeed, cycle: Cycle, chunk: Chunk, start: int) -> tuple[int, bool]:
    """One chunk: (execution bars, whether the run stopped)."""
    is_plain = len(chunk.lanes) == 1 and chunk.lanes[0].present is None and not cycle.bus.is_tapped
    run = _replay_one if is_plain else _replay_many
    try:
        return run(feed, cycle, chunk, start)
    except BaseException as error:
        if cycle.bus.failed is None:
            cycle.bus.fail("replay", error)
        raise


def _replay_one(feed: ReplayFeed, cycle: Cycle, chunk: Chunk, start: int) -> tuple[int, bool]:
    """``_replay_many`` for a single symbol without holes: this is the hot path, in which every name is local and nobody is called who has
    nothing to do. A test holds that both give the same messages.

    Most instants are quiet: the venue sleeps, no message is due, the strategy's array does not change. Where only the portfolio hears their
    bars, they are not told one by one: their equity is worked out here, and clock and portfolio are told the last of them before anything
    else happens.
    """
    clock, venue, bus, portfolio, risk = cycle.clock, cycle.venue, cycle.bus, cycle.portfolio, cycle.risk
    deliver, drain, queue = bus.deliver, bus.drain, bus.queue
    decide, fresh, limits = cycle.market_data.on_instant, cycle.market_data.fresh, risk.limits
    keep = portfolio.equity_values.append
    timeframe = feed.execution_timeframe
    duration = tf_ms(timeframe)
    lane = chunk.lanes[0]
    symbol, has_mark = lane.symbol, lane.has_mark
    book, stepper, step_plain = venue.books[symbol], Stepper(feed, 0, venue), venue.step
    step, has_paths = stepper.step, stepper.has_paths
    context = cycle.market_data.contexts[symbol]
    hearers = bus.handlers_of(Bar, symbol)
    others = tuple(hear for hear in hearers if hear != context.on_bar)
    reads_bars = timeframe == feed.timeframe
    line = portfolio.lines[symbol]
    is_alone = others == (line.on_bar,)
    before, after = iter(chunk.before), iter(chunk.after)
    next_before, early = next(before, _END)
    next_after, late = next(after, _END)
    changed, stopped = True, False
    untold: float | None = None
    for ts, open_, high, low, close, volume, reach_low, reach_high, valuation in zip(chunk.closes, *lane.columns(), strict=True):
        if changed:
            changed = False
            wake_ts, wake_low, wake_high = book.wake_ts, book.wake_low, book.wake_high
            cash, equity, is_held = portfolio.cash_value, portfolio.equity, portfolio.sole is line
            qty, offset = line.qty, line.offset
            floor, peak, next_limit = limits.floor, limits.peak, min(limits.day_end, risk.next_due)
            next_message = min(next_before, next_after)
            next_decision = context.wake_ts + duration if reads_bars else _END[0]
        if ts <= wake_ts and reach_low > wake_low and reach_high < wake_high and ts < next_message and ts < next_decision and not has_mark:
            if is_alone:
                untold = close
            else:
                clock.now_ms = ts
                bar = Bar(symbol, timeframe, ts - duration, ts, open_, high, low, close, volume)
                for hear in others:
                    hear(bar)
            if is_held:
                equity = cash + (qty * close - offset)
            keep(equity)
            if floor < equity <= peak and ts < next_limit and (is_alone or not queue):
                continue
            clock.now_ms = ts
            if untold is not None:
                line.on_close(untold)
                untold = None
            portfolio.equity = equity
            risk.on_instant(ts)
        else:
            clock.now_ms = ts
            if untold is not None:
                line.on_close(untold)
                untold = None
            portfolio.equity = equity
            if ts > wake_ts or reach_low <= wake_low or reach_high >= wake_high:
                if has_paths:
                    step(book, ts - duration, ts, start + bisect_left(chunk.closes, ts), open_, high, low, close, volume)
                else:
                    prices = (open_, high, low, close)
                    step_plain(book, ts - duration, ts, *prices, volume, *prices, *prices)
                if queue:
                    drain()
                    stopped = venue.stop_reason is not None
            while next_before <= ts:
                deliver(early)
                next_before, early = next(before, _END)
            if has_mark:
                deliver(MarkPrice(symbol, ts, valuation))
            bar = Bar(symbol, timeframe, ts - duration, ts, open_, high, low, close, volume)
            for hear in hearers:
                hear(bar)
            if queue:
                drain()
            while next_after <= ts:
                deliver(late)
                next_after, late = next(after, _END)
            equity = portfolio.on_instant(ts)
            if equity <= limits.floor or equity > limits.peak or ts >= limits.day_end or ts >= risk.next_due:
                risk.on_instant(ts)
        changed = True
        if fresh:
            decide(ts)
        if queue:
            drain()
        if stopped:
            return bisect_left(chunk.closes, ts) + 1, True
    clock.now_ms = chunk.closes[-1]
    if untold is not None:
        line.on_close(untold)
    portfolio.equity = equity
    return len(chunk.closes), False


def _replay_many(feed: ReplayFeed, cycle: Cycle, chunk: Chunk, start: int) -> tuple[int, bool]:
    """Any number of symbols, each with or without a bar at an instant.

    Bars go to their hearers directly, without the bus's detour, unless it is tapped; a context whose strategy cannot decide at a bar is
    not called with it. A bar that would be heard by the portfolio alone, which wants its close, is not made into a message.
    """
    clock, venue, bus, portfolio, risk = cycle.clock, cycle.venue, cycle.bus, cycle.portfolio, cycle.risk
    deliver, drain, queue = bus.deliver, bus.drain, bus.queue
    close_account, decide = portfolio.on_instant, cycle.market_data.on_instant
    limits, fresh = risk.limits, cycle.market_data.fresh
    timeframe = feed.execution_timeframe
    duration = tf_ms(timeframe)
    is_tapped = bus.is_tapped
    steppers = [Stepper(feed, position, venue) for position in range(len(chunk.lanes))]
    books = [(venue.books[lane.symbol], stepper.step_at) for lane, stepper in zip(chunk.lanes, steppers, strict=True)]
    lanes = [
        _hearing(cycle, lane, stepper, is_decision=timeframe == feed.timeframe) for lane, stepper in zip(chunk.lanes, steppers, strict=True)
    ]
    is_usual = all(line is not None for _, line, *_ in lanes)
    before, after = iter(chunk.before), iter(chunk.after)
    next_before, early = next(before, _END)
    next_after, late = next(after, _END)
    bars, instant = 0, start
    all_rows = zip(*(lane.rows(len(chunk.closes)) for lane in chunk.lanes), strict=True)
    for ts, rows in zip(chunk.closes, all_rows, strict=True):
        clock.now_ms = ts
        ts_open = ts - duration
        stopped = False
        for (book, step_at), row in zip(books, rows):  # noqa: B905 (strict costs time here, and both have a lane each)
            if row is not None and (ts > book.wake_ts or row[0] <= book.wake_low or row[1] >= book.wake_high):
                step_at(book, ts_open, ts, instant)
        if queue:
            portfolio.is_deferring = is_usual and ts < next_before  # then nobody looks at equity before the account is closed
            drain()
            portfolio.is_deferring = False
            stopped = venue.stop_reason is not None
        while next_before <= ts:
            deliver(early)
            next_before, early = next(before, _END)
        for (context, line, symbol, bar_at, marks, hearers), row in zip(lanes, rows):  # noqa: B905
            if row is None:
                continue
            bars += 1
            if line is not None and ts_open < context.wake_ts:
                if marks:
                    line.on_close_and_mark(row[2], row[3])
                    continue
                line.last = close = row[2]
                if not line.has_mark:
                    line.mark = close
                    if line.qty:
                        line.value = line.qty * close - line.offset
                continue
            bar = Bar(symbol, timeframe, ts_open, ts, *bar_at(instant))
            if is_tapped:
                if marks:
                    deliver(MarkPrice(symbol, ts, row[3]))
                deliver(bar)
                continue
            for hear in marks:
                hear(MarkPrice(symbol, ts, row[3]))
            for hear in hearers:
                hear(bar)
        if queue:
            drain()
        while next_after <= ts:
            deliver(late)
            next_after, late = next(after, _END)
        equity = close_account(ts)
        if equity <= limits.floor or equity > limits.peak or ts >= limits.day_end or ts >= risk.next_due:
            risk.on_instant(ts)
        if fresh:
            decide(ts)
        if queue:
            drain()
        instant += 1
        if stopped:
            return bars, True
    return bars, False


class _Asleep:
    """Stands for the context of a symbol whose execution bars its context does not read."""

    wake_ts: Final = 1 << 62


_Hearing = tuple[
    SymbolContext | _Asleep,
    Line | None,
    str,
    Callable[[int], tuple[float, ...]],
    tuple[Handler, ...],
    tuple[Handler, ...],
]
"""One symbol's context; its line of the account where only portfolio and context hear its bars; the symbol; its bar's numbers at an
instant; who hears its marks; who hears its bars, in order."""


def _hearing(cycle: Cycle, lane: Lane, stepper: Stepper, *, is_decision: bool) -> _Hearing:
    bus, symbol = cycle.bus, lane.symbol
    context, line = cycle.market_data.contexts[symbol], cycle.portfolio.lines[symbol]
    hearers, marks = bus.handlers_of(Bar, symbol), bus.handlers_of(MarkPrice, symbol)
    is_usual = hearers == (line.on_bar, context.on_bar) and marks == (line.on_mark,) and not bus.is_tapped
    return (
        context if is_decision else _Asleep(),
        line if is_usual else None,
        symbol,
        stepper.bar_at,
        marks if lane.has_mark else (),
        hearers,
    )


class Stepper:
    """Hands one symbol's bar to the venue with its mark and index paths, which are last's where it has none of its own."""

    __slots__ = ("_bars", "_feed", "_index", "_mark", "_position", "_step", "_volatility")

    def __init__(self, feed: ReplayFeed, position: int, venue: SimulatedExchange) -> None:
        history = feed.histories[position]
        self._feed, self._position, self._step = feed, position, venue.step
        self._mark = _views(history.mark)
        self._index = _views(history.index)
        self._volatility = None if history.volatility_bps is None else history.volatility_bps.data
        open_, high, low, close, volume = (history.execution[name].data for name in BAR_COLUMNS)
        self._bars = (open_, high, low, close, volume)

    @property
    def has_paths(self) -> bool:
        """Whether mark, index or volatility are others than the last price's own."""
        return self._mark is not None or self._index is not None or self._volatility is not None

    def bar_at(self, instant: int) -> tuple[float, float, float, float, float]:
        """open, high, low, close and volume of the symbol's bar at an instant's place in the feed, where it has one."""
        at = self._feed.row_of(self._position, instant)
        open_, high, low, close, volume = self._bars
        return open_[at], high[at], low[at], close[at], volume[at]

    def step_at(self, book: SymbolBook, ts_open: int, ts_close: int, instant: int) -> None:
        """Process the bar at an instant's place in the feed."""
        self.step(book, ts_open, ts_close, instant, *self.bar_at(instant))

    def step(
        self, book: SymbolBook, ts_open: int, ts_close: int, instant: int, open: float, high: float, low: float, close: float, volume: float
    ) -> None:
        """Process one bar; ``instant`` is its place in the feed."""
        prices: Prices = (open, high, low, close)
        mark = index = prices
        volatility = 0.0
        if self.has_paths:
            at = self._feed.row_of(self._position, instant)
            if self._mark is not None:
                mark = index = _at(self._mark, at)
            if self._index is not None:
                index = _at(self._index, at)
            if self._volatility is not None:
                volatility = self._volatility[at]
        self._step(book, ts_open, ts_close, *prices, volume, *mark, *index, volatility)


def _at(views: Views, row: int) -> Prices:
    return views[0][row], views[1][row], views[2][row], views[3][row]


def _views(columns: PriceColumns | None) -> Views | None:
    if columns is None:
        return None
    return columns.open.data, columns.high.data, columns.low.data, columns.close.data
