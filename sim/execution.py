"""At which price, how much, maker or taker: spread, slippage, impact and the volume cap.

Prices are integer ticks, rates integers of 1e-8.
"""

from __future__ import annotations

import math
from typing import Final

from core.instrument import Grid, grid_ceil, grid_floor
from core.money import BPS, UNIT, mul_div_ceil, mul_div_floor, to_units

MAX_COST_RATE: Final = UNIT // 2
"""No cost model moves a fill by more than half the price."""


def taker_ticks(reference: int, rate: int, side: int) -> int:
    """The price that a taker gets: ``reference`` moved against it by ``rate`` and rounded against it; at least one tick."""
    if not rate:
        return reference
    if side > 0:
        return mul_div_ceil(reference, UNIT + rate, UNIT)
    return max(1, mul_div_floor(reference, UNIT - rate, UNIT))


def reference_ticks(price: float, grid: Grid, side: int) -> int:
    """The path price on the grid; one that is off it goes against the taker."""
    return reference_count(price, grid.num, grid.den, side)


def reference_count(price: float, num: int, den: int, side: int) -> int:
    """The same on the grid num/den."""
    ticks = round(price * den / num)
    if ticks * num / den == price:
        return ticks
    return grid_ceil(price, num, den) if side > 0 else max(1, grid_floor(price, num, den))


def impact_rate(base_bps: float, coefficient: float, volatility_bps: float, qty: float, volume: float) -> int:
    """base + coefficient x volatility x sqrt(qty / bar volume), as a rate rounded up; a bar without volume counts as wholly taken."""
    share = qty / volume if volume > 0.0 else 1.0
    bps = base_bps + coefficient * volatility_bps * math.sqrt(share)
    return min(grid_ceil(min(bps, 1e4), 1, BPS), MAX_COST_RATE)


def crosses(limit: int, market: int, side: int) -> bool:
    """Whether a limit order would take at a market of ``market`` ticks (the path price with half the spread)."""
    return market <= limit if side > 0 else market >= limit


def volume_cap_steps(share: float, volume: float, grid: Grid) -> int:
    """How many steps all our orders together may take from a bar of this volume: exact in the decimals of both (to 1e-8)."""
    return to_units(share) * to_units(volume) * grid.den // (UNIT * UNIT * grid.num)
