"""Which conditional orders fire, and at which level of the path they stand. A trailing stop is a level that follows the price."""

from __future__ import annotations

from collections.abc import Iterator

from keel.core.model.instrument import Grid, grid_count, grid_value
from keel.sim.exchange.book import LAST, MARK, RESTING, UNTRIGGERED, SymbolBook, WorkingOrder

Level = tuple[int, bool, float]
"""(price source, whether it is met by rising to it, price)."""


def fires(order: WorkingOrder, price: float) -> bool:
    """Whether a conditional order fires at this price of its source."""
    trigger = order.trigger
    if trigger is None or order.activation is not None:
        return False
    return is_reached(price, trigger, order.rising)


def is_reached(price: float, level: float, rising: bool) -> bool:
    """Whether a price is at a level, or beyond it in the direction in which it is met."""
    return price >= level if rising else price <= level


def trailing_trigger(price: float, out: int, distance: float, num: int, den: int) -> float:
    """Where a trailing stop stands under a best price: its distance away, on the grid num/den, at least one tick above 0.

    out: +1 when it protects a long.
    """
    return max(grid_value(1, num, den), grid_value(grid_count(price - out * distance, num, den), num, den))


def follow(order: WorkingOrder, price: float, grid: Grid) -> bool:
    """Let a trailing stop see a price: it activates, then keeps its distance to the best price. Returns whether its level moved."""
    out = -order.side  # +1: it protects a long
    if order.activation is not None:
        if (price - order.activation) * out < 0.0:
            return False
        order.activation = None
    elif (price - order.extreme) * out <= 0.0:
        return False
    order.extreme = price
    order.trigger = trailing_trigger(price, out, order.distance, grid.num, grid.den)
    return True


def through_level(order: WorkingOrder, touch: bool, num: int, den: int) -> float:
    """The price at which a resting limit fills: one tick (num/den) beyond it, or (``touch``) the limit itself."""
    limit = order.limit or 0
    return (limit if touch else limit - order.side) * num / den  # ``grid_value``, without a call for each of many orders


def levels(book: SymbolBook, touch: bool) -> Iterator[Level]:
    """Every price at which something of this symbol would happen."""
    for position in book.positions:
        if position.steps and position.liquidation_price > 0.0:
            yield MARK, position.steps < 0, position.liquidation_price
    num, den = book.price_num, book.price_den
    for order in book.orders.values():
        if order.state == RESTING:
            yield LAST, order.side < 0, through_level(order, touch, num, den)
        elif order.state == UNTRIGGERED:
            if order.activation is not None:
                yield order.source, order.side < 0, order.activation
            elif order.trigger is not None:
                yield order.source, order.rising, order.trigger
