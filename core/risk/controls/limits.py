"""What the controls of an order on its way out allow: as numbers, out of a system's own limits and, live, out of the hard ones."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from keel.core.model.timeframe import MINUTE_MS
from keel.core.system.config import LiveConfig, SystemConfig

ROOM: Final = 1.1
"""How far a position may overshoot what risk aims at: the price's move until the fill."""
LEVERAGE_ROOM: Final = 1.05
"""Likewise of the exposure per equity."""


class ControlLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the controls allow. Money in quote coins, times in ms of the market's clock (staleness: of the computer's); inf: no limit."""

    stale_ms: float = math.inf
    price_collar_percent: float = 10.0
    max_order_usd: float = math.inf
    max_position_usd: float = math.inf
    max_gross_usd: float = math.inf
    max_net_usd: float = math.inf
    max_leverage: float = 1.0
    """Of the margin."""
    max_exposure: float = math.inf
    """Gross exposure per equity, a hard limit."""
    is_hard: bool = False
    """An order that replaces others leaves only when these have ended, and is asked for again by what became of them."""
    max_open_orders_per_symbol: int = 50
    max_open_orders: int = 200
    duplicate_ms: int = 1_000
    max_orders_per_minute: int = 120
    max_orders_per_symbol_per_minute: int = 60
    max_cancels_per_order: float = 50.0
    max_rejects: int = 5
    reject_pause_ms: int = 10 * MINUTE_MS
    max_repeats_per_minute: int = 20

    @classmethod
    def of(cls, system: SystemConfig, *, live: bool = False, stale_ms: float = math.inf) -> ControlLimits:
        """The limits that follow from a system's own: a position may overshoot what risk aims at by ROOM.

        live: the hard limits of ``live:`` hold, too: they are exact.
        """
        risk = system.risk
        position = math.inf if risk.max_position_usd is None else risk.max_position_usd * ROOM
        gross = math.inf if risk.max_gross_usd is None else risk.max_gross_usd * ROOM
        made = cls(
            stale_ms=stale_ms,
            max_order_usd=2.0 * position,  # a flip is one order of (target - position)
            max_position_usd=position,
            max_gross_usd=gross,
            max_net_usd=gross,
            max_leverage=risk.leverage if system.category == "linear" else 1.0,
        )
        return made._within(system.live) if live else made

    @property
    def most_exposure(self) -> float:
        """The gross exposure per equity above which an order is denied."""
        return min(self.max_leverage * LEVERAGE_ROOM, self.max_exposure)

    def _within(self, hard: LiveConfig) -> ControlLimits:
        """The stricter of each."""

        def least(own: float, other: float | None) -> float:
            return own if other is None else min(own, other)

        return msgspec.structs.replace(
            self,
            price_collar_percent=least(self.price_collar_percent, hard.price_collar_percent),
            max_order_usd=least(self.max_order_usd, hard.max_order_usd),
            max_position_usd=least(self.max_position_usd, hard.max_position_usd),
            max_gross_usd=least(self.max_gross_usd, hard.max_gross_usd),
            max_net_usd=least(self.max_net_usd, hard.max_net_usd),
            max_exposure=least(self.max_exposure, hard.max_leverage),
            max_open_orders=min(self.max_open_orders, hard.max_open_orders),
            max_orders_per_minute=min(self.max_orders_per_minute, hard.max_orders_per_minute),
            is_hard=True,
        )
