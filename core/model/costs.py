"""What a taker pays beside the price: half the spread and slippage, in whole ticks against it. The simulated exchange fills by these
functions, and risk sizes by them. Prices are integer ticks, rates integers of 1e-8.
"""

from __future__ import annotations

from typing import Final

from keel.core.model.instrument import grid_ceil, grid_count, grid_floor, grid_value
from keel.core.model.money import UNIT, mul_div_ceil, mul_div_floor

MAX_COST_RATE: Final = UNIT // 2
"""No cost model moves a fill by more than half the price."""


def taker_ticks(reference: int, rate: int, side: int) -> int:
    """The price that a taker gets: ``reference`` moved against it by ``rate`` and rounded against it; at least one tick."""
    if not rate:
        return reference
    if side > 0:
        return mul_div_ceil(reference, UNIT + rate, UNIT)
    return max(1, mul_div_floor(reference, UNIT - rate, UNIT))


def reference_count(price: float, num: int, den: int, side: int) -> int:
    """A path price on the grid num/den; one that is off it goes against the taker."""
    ticks = grid_count(price, num, den)
    if ticks * num / den == price:
        return ticks
    return grid_ceil(price, num, den) if side > 0 else max(1, grid_floor(price, num, den))


def taker_price(price: float, rate: int, side: int, num: int, den: int) -> float:
    """What a taker of this side pays or gets where the market stands at ``price``, on the grid num/den."""
    if not rate and grid_count(price, num, den) * num / den == price:
        return price  # without costs a price of the grid is as it is
    return grid_value(taker_ticks(reference_count(price, num, den, side), rate, side), num, den)
