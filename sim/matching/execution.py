"""At which price, how much, maker or taker: impact and the volume cap, beside spread and slippage (core/model/costs.py knows these).

Prices are integer ticks, rates integers of 1e-8.
"""

from __future__ import annotations

import math

from keel.core.model.costs import MAX_COST_RATE, reference_count
from keel.core.model.instrument import Grid, grid_ceil
from keel.core.model.money import BPS, UNIT, to_units


def reference_ticks(price: float, grid: Grid, side: int) -> int:
    """The path price on the grid; one that is off it goes against the taker."""
    return reference_count(price, grid.num, grid.den, side)


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
