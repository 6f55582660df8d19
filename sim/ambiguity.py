"""Whether the order of a bar's high and low can matter at all: where it surely cannot, the bar is walked once.

A yes may be wrong (the bar is then walked both ways, with one outcome), a no never is. Nothing can differ where no price of the path
causes anything in either order. Nor where all that happens is one exit by the last price that closes the whole position and leaves the
book empty: its level is met once, at the same price, whichever way the path goes.
"""

from __future__ import annotations

from core.instrument import Grid
from sim.book import LAST, MARK, RESTING, UNTRIGGERED, Order, SymbolBook
from sim.triggers import through_level, trailing_trigger

Ohlc = tuple[float, float, float, float]
Bars = tuple[Ohlc, Ohlc, Ohlc]
"""One bar by source: last, mark, index."""


def can_matter(book: SymbolBook, touch: bool, ts_close: int, bars: Bars) -> bool:
    """Whether the two orders might give different outcomes from here, the open, on."""
    if all(high == low for _, high, low, _ in bars):
        return False
    if book.pending and book.pending[0][0] < ts_close:
        return True  # a command arrives on the way, at another price
    is_open = any(position.steps for position in book.positions)
    if is_open and not book.is_spot and (book.funding.next_stamp < ts_close or _may_be_taken_over(book, bars[MARK])):
        return True
    grid, met = book.instrument.price_grid, None
    for order in book.orders.values():
        if order.distance:
            if _may_fire(order, bars[order.source], grid):
                return True
        elif _is_met(order, touch, grid, bars):
            if met is not None:
                return True
            met = order
    return met is not None and not _ends_everything(book, met)


def _may_be_taken_over(book: SymbolBook, mark: Ohlc) -> bool:
    """Whether the mark comes to a liquidation price; under cross margin, whether the account could not margin its worst mark."""
    _, high, low, _ = mark
    account = book.account
    if account is not None:
        present, is_due = book.mark, False
        for worst in (low, high):
            book.mark = worst
            is_due = is_due or account.is_due()
        book.mark = present
        return is_due
    return any(
        position.liquidation_price > 0.0
        and (low <= position.liquidation_price if position.steps > 0 else high >= position.liquidation_price)
        for position in book.positions
        if position.steps
    )


def _is_met(order: Order, touch: bool, grid: Grid, bars: Bars) -> bool:
    """Whether the bar comes to the price at which this order fills or fires."""
    if order.state == RESTING:
        level, rising, source = through_level(order, touch, grid), order.side < 0, LAST
    elif order.state == UNTRIGGERED and order.trigger is not None:
        level, rising, source = order.trigger, order.rising, order.source
    else:
        return False
    _, high, low, _ = bars[source]
    return high >= level if rising else low <= level


def _may_fire(order: Order, bar: Ohlc, grid: Grid) -> bool:
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


def _ends_everything(book: SymbolBook, order: Order) -> bool:
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
