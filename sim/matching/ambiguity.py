"""What the rest of a bar may bring, told from its prices before it is walked: nothing, the same either way, or it depends.

A bar that may depend on the order of its high and low is walked both ways; the answer may be too careful (both ways are then alike), but
never the other way round. Nothing comes where no price of the path causes anything in either order. It comes the same either way where all
that happens is one exit by the last price that closes the whole position and leaves the book empty: its level is met once, at the same
price, whichever way the path goes.
"""

from __future__ import annotations

from keel.core.model.instrument import Grid
from keel.sim.exchange.book import LAST, RESTING, UNTRIGGERED, SymbolBook, WorkingOrder
from keel.sim.margin.cross import CrossAccount, has_position
from keel.sim.matching.triggers import follow, through_level, trailing_trigger

Ohlc = tuple[float, float, float, float]
Bars = tuple[Ohlc, Ohlc, Ohlc]
"""One bar by source: last, mark, index."""

NOTHING, SAME, DEPENDS = range(3)
"""What the rest of a bar brings."""


def outlook(book: SymbolBook, touch: bool, ts_close: int, bars: Bars) -> int:
    """NOTHING, SAME or DEPENDS, for a book that stands at the open."""
    last, mark, index = bars
    if last[1] == last[2] and mark[1] == mark[2] and index[1] == index[2]:
        return SAME
    if book.pending and book.pending[0][0] < ts_close:
        return DEPENDS  # a command arrives on the way, at another price
    if not book.is_spot and has_position(book) and (book.funding.next_stamp < ts_close or _may_be_taken_over(book, mark)):
        return DEPENDS
    grid, met = book.instrument.price_grid, None
    for order in book.orders.values():
        if order.distance:
            if _may_fire(order, bars[order.source], grid):
                return DEPENDS
        elif _is_met(order, touch, grid, bars):
            if met is not None:
                return DEPENDS
            met = order
    if met is None:
        return NOTHING if book.account is None and book.funding.next_stamp >= ts_close else SAME
    return SAME if _ends_everything(book, met) else DEPENDS


def let_trail(book: SymbolBook, bars: Bars) -> None:
    """What a bar that brings nothing leaves behind: trailing stops that have seen its best price."""
    for order in book.orders.values():
        if order.distance:
            _, high, low, _ = bars[order.source]
            follow(order, high if order.side < 0 else low, book.instrument.price_grid)


def _may_be_taken_over(book: SymbolBook, mark: Ohlc) -> bool:
    """Whether the mark comes to a liquidation price (0: there is none); under cross margin, whether the account may not stand its worst."""
    _, high, low, _ = mark
    if book.account is not None:
        return _may_be_due(book, book.account, (low, high))
    for position in book.positions:
        price = position.liquidation_price
        if position.steps and price > 0.0 and (low <= price if position.steps > 0 else high >= price):
            return True
    return False


def _may_be_due(book: SymbolBook, account: CrossAccount, marks: tuple[float, float]) -> bool:
    present, is_due = book.mark, False
    for mark in marks:
        book.mark = mark
        is_due = is_due or account.is_due()
    book.mark = present
    return is_due


def _is_met(order: WorkingOrder, touch: bool, grid: Grid, bars: Bars) -> bool:
    """Whether the bar comes to the price at which this order fills or fires."""
    if order.state == RESTING:
        level, rising, source = through_level(order, touch, grid.num, grid.den), order.side < 0, LAST
    elif order.state == UNTRIGGERED and order.trigger is not None:
        level, rising, source = order.trigger, order.rising, order.source
    else:
        return False
    _, high, low, _ = bars[source]
    return high >= level if rising else low <= level


def _may_fire(order: WorkingOrder, bar: Ohlc, grid: Grid) -> bool:
    """Whether a trailing stop fires even if it has seen the best price of the bar before the worst."""
    _, high, low, _ = bar
    out = -order.side  # +1: it protects a long
    best, worst = (high, low) if out > 0 else (low, high)
    trigger = order.trigger
    if order.activation is not None:
        if (best - order.activation) * out < 0.0:
            return False
        trigger = trailing_trigger(best, out, order.distance, grid.num, grid.den)
    elif (best - order.extreme) * out > 0.0:
        nearest = trailing_trigger(best, out, order.distance, grid.num, grid.den)
        trigger = nearest if trigger is None or (nearest - trigger) * out > 0.0 else trigger
    return trigger is not None and (worst - trigger) * out <= 0.0


def _ends_everything(book: SymbolBook, order: WorkingOrder) -> bool:
    """Whether this exit, by the last price, closes all there is and leaves nothing in the book."""
    return (
        order.is_full
        and order.limit is None
        and order.source == LAST
        and book.account is None
        and not book.is_spot
        and len(book.positions) == 1
        and book.volume_left < 0
        and all(other.role for other in book.orders.values())
    )
