"""An instrument as risk asks for it at every signal: unpacked once, grids as bare integers, an absent maximum as infinity."""

from __future__ import annotations

import math

from keel.core.model.costs import MAX_COST_RATE
from keel.core.model.instrument import Instrument
from keel.core.model.money import UNIT, to_units
from keel.core.system.config import ExecutionConfig


class Market:
    """One symbol's market. A quantity of n steps is ``n * qty_num / qty_den``, exactly as ``Grid.value`` has it; prices likewise.

    ``min_notional`` is in 1e-8 of the quote coin; ``max_market_qty`` (of a market order) and ``max_qty`` (of any other) in base units.
    ``taker_fee`` and ``cost_rate`` (spread and slippage of a taker) are in 1e-8, as the run's execution has them.
    ``ample_usd``: an order of so many quote coins, at a price of ``tick`` or more, is over the minimum however its price is rounded.
    """

    __slots__ = (
        "ample_usd",
        "cost_rate",
        "instrument",
        "is_spot",
        "max_market_qty",
        "max_qty",
        "min_notional",
        "min_qty",
        "price_den",
        "price_num",
        "qty_den",
        "qty_num",
        "taker_fee",
        "tick",
    )

    def __init__(self, instrument: Instrument, execution: ExecutionConfig | None = None) -> None:
        self.instrument = instrument
        fee = execution.taker_fee if execution is not None else None
        self.taker_fee = instrument.taker_fee if fee is None else to_units(fee)
        self.cost_rate = 0 if execution is None else min(execution.half_spread_rate + execution.slippage_rate, MAX_COST_RATE)
        self.is_spot = instrument.category == "spot"
        self.qty_num, self.qty_den = instrument.qty_grid.num, instrument.qty_grid.den
        self.price_num, self.price_den = instrument.price_grid.num, instrument.price_grid.den
        self.min_qty = instrument.min_qty
        self.min_notional = instrument.min_notional
        self.ample_usd = 3.0 * instrument.min_notional / UNIT  # from one tick on, rounding takes off a third of a price at most
        self.tick = self.price_num / self.price_den
        self.max_qty = instrument.max_qty or math.inf
        self.max_market_qty = instrument.max_market_qty or math.inf
