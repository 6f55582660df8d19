"""The witness of the replay's loop: every bar of every symbol at every instant, one after the other, told to everybody who hears it.

It knows no wake levels, no quiet instants and no columns of equity: the exchange steps through each bar, the account hears each bar and
mark and keeps a point at each instant, and risk looks at each of them.
"""

from __future__ import annotations

from bisect import bisect_left

from keel.adapters.replay.feed import ReplayFeed
from keel.adapters.replay.history import Floats, PriceColumns, SymbolHistory
from keel.core.engine.engine import Engine
from keel.core.model.frame import BAR_COLUMNS
from keel.core.model.messages import Bar, MarkPrice
from keel.core.model.timeframe import tf_ms
from keel.sim.exchange.exchange import SimulatedExchange

Prices = tuple[float, float, float, float]
"""open, high, low, close"""


def replay_every_instant(feed: ReplayFeed, engine: Engine, venue: SimulatedExchange) -> int:
    """Run the whole feed; returns the number of execution bars that went through. Stops early when the venue's stop condition holds."""
    bus, duration = engine.bus, tf_ms(feed.execution_timeframe)
    before = [event for chunk in feed.chunks() for event in chunk.before]
    after = [event for chunk in feed.chunks() for event in chunk.after]
    bars = 0
    for row, ts in enumerate(feed.closes.tolist()):
        engine.clock.now_ms = ts
        present = [(history, own) for history in feed.histories if (own := _row_of(history, ts - duration)) is not None]
        for history, own in present:
            _step(venue, history, own, ts - duration, ts)
        bus.drain()
        is_over = venue.stop_reason is not None
        for at, message in before:
            if at == row:
                bus.deliver(message)
        for history, own in present:
            bars += 1
            if history.mark is not None:
                for hear in bus.handlers_of(MarkPrice, history.symbol):
                    hear(MarkPrice(history.symbol, ts, float(history.mark.valuation[own])))
            values = [float(history.execution[name][own]) for name in BAR_COLUMNS]
            bar = Bar(history.symbol, feed.execution_timeframe, ts - duration, ts, *values)
            for hear in bus.handlers_of(Bar, history.symbol):
                hear(bar)
        bus.drain()
        for at, message in after:
            if at == row:
                bus.deliver(message)
        engine.portfolio.on_instant(ts)
        engine.risk.on_instant(ts)
        engine.market_data.on_instant(ts)
        bus.drain()
        if is_over:
            break
    return bars


def _row_of(history: SymbolHistory, ts_open: int) -> int | None:
    opens = history.execution.ts
    row = bisect_left(opens, ts_open)
    return row if row < len(opens) and opens[row] == ts_open else None


def _step(venue: SimulatedExchange, history: SymbolHistory, own: int, ts_open: int, ts_close: int) -> None:
    bars = history.execution
    last = _prices(bars["open"], bars["high"], bars["low"], bars["close"], own)
    mark = _path(history.mark, own) or last
    index = _path(history.index, own) or mark
    volatility = 0.0 if history.volatility_bps is None else float(history.volatility_bps[own])
    book, volume = venue.books[history.symbol], float(bars["volume"][own])
    venue.step(book, ts_open, ts_close, *last, volume, *mark, *index, volatility)


def _path(columns: PriceColumns | None, own: int) -> Prices | None:
    return None if columns is None else _prices(columns.open, columns.high, columns.low, columns.close, own)


def _prices(open_: Floats, high: Floats, low: Floats, close: Floats, own: int) -> Prices:
    return float(open_[own]), float(high[own]), float(low[own]), float(close[own])
