"""The scripted market: bars of one symbol, the same for every client. A bar begins where the one before ended.

One instrument, XYZUSDT: tick 0.01, step 0.1 (spot 0.0001), at least 0.2 and 5 USDT, taker 0.055 %, maker 0.02 % (spot 0.1 %), tiers from
0.5 % maintenance. A taker pays one basis point of slippage, rounded against him to the tick: 0.01 at prices up to 100, and 0.02 above.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from keel.core.model.instrument import Category, Instrument
from keel.core.model.money import UNIT, to_units
from keel.core.model.timeframe import MINUTE_MS
from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.market.bar_source import SymbolSeries
from keel.sim.sandbox.market.random_walk import walk_instrument
from tests.conformance.words import SYMBOL
from tests.sim.sandbox.conftest import START

Bar = float | tuple[float, float, float]
"""A close, to which the price goes straight; or high, low and close."""
VOLUME: Final = 100.0


@dataclass(frozen=True)
class Funding:
    """The stamp is the open of bar number ``bar``."""

    bar: int
    rate: str
    mark: str


@dataclass(frozen=True)
class Market:
    """The bars, and how orders fill in them."""

    bars: Sequence[Bar]
    funding: Sequence[Funding] = ()
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)

    def series(self, category: Category) -> SymbolSeries:
        """The bars as columns. One more stands before them, which is history: the market has a price when the account comes to it."""
        rows = [bar if isinstance(bar, tuple) else (bar, bar, bar) for bar in (self.bars[0], *self.bars)]
        close = np.array([row[2] for row in rows])
        open_ = np.concatenate((close[:1], close[:-1]))
        high = np.maximum.reduce([open_, close, np.array([row[0] for row in rows])])
        low = np.minimum.reduce([open_, close, np.array([row[1] for row in rows])])
        ts = START + MINUTE_MS * np.arange(-1, len(close) - 1, dtype=np.int64)
        stamps = [START + one.bar * MINUTE_MS for one in self.funding]
        funding = (stamps, [to_units(one.rate) for one in self.funding], [to_units(one.mark) for one in self.funding])
        return SymbolSeries(instrument(category), ts, (open_, high, low, close), np.full(len(close), VOLUME), 1, funding=funding)


def instrument(category: Category) -> Instrument:
    """XYZUSDT. A spot fee of a thousandth of 0.0001 is whole in 1e-8 of the coin, so that its ledger counts in those."""
    made = walk_instrument(SYMBOL, category)
    return msgspec.structs.replace(made, base_unit=UNIT) if category == "spot" else msgspec.structs.replace(made, min_qty=0.2)
