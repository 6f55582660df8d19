"""An instrument as risk asks for it at every signal: unpacked once, grids as bare integers, an absent maximum as infinity."""

from __future__ import annotations

import math

from keel.core.costs import SetAside
from keel.core.model.instrument import Instrument
from keel.core.model.money import UNIT
from keel.core.system.config import ExecutionConfig


class Market:
    """One symbol's market. A quantity of n steps is ``n * qty_num / qty_den``, exactly as ``Grid.value`` has it; prices likewise.

    ``min_notional`` is in 1e-8 of the quote coin; ``max_market_qty`` (of a market order) and ``max_qty`` (of any other) in base units.
    ``taker_fee`` and ``cost_rate`` (spread and slippage of a taker) are in 1e-8, as the run's execution has them, or as a
    user's own cost models set them aside.
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

    def __init__(self, instrument: Instrument, execution: ExecutionConfig | SetAside | None = None) -> None:
        self.instrument, costs = instrument, SetAside.of(execution)
        self.taker_fee, self.cost_rate = costs.fee_rate(instrument), costs.cost_rate(instrument)
        self.is_spot = instrument.category == "spot"
        self.qty_num, self.qty_den = instrument.qty_grid.num, instrument.qty_grid.den
        self.price_num, self.price_den = instrument.price_grid.num, instrument.price_grid.den
        self.min_qty = instrument.min_qty
        self.min_notional = instrument.min_notional
        self.ample_usd = 3.0 * instrument.min_notional / UNIT  # from one tick on, rounding takes off a third of a price at most
        self.tick = self.price_num / self.price_den
        self.max_qty = instrument.max_qty or math.inf
        self.max_market_qty = instrument.max_market_qty or math.inf
