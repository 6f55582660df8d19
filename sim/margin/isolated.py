"""Initial and maintenance margin by tier, bankruptcy and liquidation price, for isolated positions of linear contracts.

Money in integers of 1e-8, prices as floats. Source of every formula: Bybit help centre, "Liquidation Price Calculation under Isolated
Mode". ``IsolatedMargin`` is the first policy of the exchange and a symbol's terms (leverage, fee, tiers) in both; where positions share the
account's margin, sim/margin/cross.py counts by the same terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from keel.core.model.instrument import RiskTier
from keel.core.model.money import UNIT, mul_div_ceil

NO_LIMIT: Final = 2**62


def initial_margin(cost: int, leverage: int) -> int:
    """cost / leverage, rounded up."""
    return mul_div_ceil(cost, UNIT, leverage)


def fee_to_close(cost: int, initial: int, side: int, taker_fee: int) -> int:
    """Fee that closing at the bankruptcy price would cost: size x entry x (1 - side/leverage) x rate, rounded up."""
    return mul_div_ceil(cost - side * initial, taker_fee, UNIT)


def margin_to_hold(cost: int, side: int, leverage: int, taker_fee: int) -> int:
    """What a position opened at ``cost`` holds: its initial margin and the fee to close."""
    initial = mul_div_ceil(cost, UNIT, leverage)
    return initial + mul_div_ceil(cost - side * initial, taker_fee, UNIT)


def order_margin(notional: int, leverage: int, side: int, taker_fee: int) -> int:
    """What an order that opens reserves: its initial margin, the fee to open and the fee to close."""
    initial = initial_margin(notional, leverage)
    return initial + mul_div_ceil(notional, taker_fee, UNIT) + fee_to_close(notional, initial, side, taker_fee)


def maintenance_margin(value: int, rate: int, deduction: int, closing_fee: int) -> int:
    """value (at mark) x rate - deduction + fee to close, rounded up."""
    return mul_div_ceil(value, rate, UNIT) - deduction + closing_fee


def bankruptcy_price(side: int, qty: float, cost: float, leverage: float, extra: float, taker_fee: float) -> float:
    """The price at which the margin is gone: entry x (1 - side/leverage), moved by extra / (1 - side x fee) / qty; at least 0.

    qty: base units (> 0).  cost: quote coins.  extra: margin beyond the initial (negative when funding has eaten into it).
    """
    price = (cost * (1.0 - side / leverage) - side * extra / (1.0 - side * taker_fee)) / qty
    return price if price > 0.0 else 0.0


def liquidation_price(
    side: int, qty: float, cost: float, leverage: float, extra: float, taker_fee: float, rate: float, deduction: float
) -> float:
    """The mark at which the margin left is the maintenance margin of this tier. Same units as ``bankruptcy_price``; 0: never (long)."""
    spare = extra / (1.0 - side * taker_fee) if extra else 0.0
    owed = cost * (1.0 - side / leverage) - side * (spare + deduction)
    price = owed / (qty * (1.0 - side * rate))
    return price if price > 0.0 else 0.0


Tiers = Sequence[float]
"""Limit in quote coins, maintenance rate, deduction in quote coins of each tier, one after the other; the last limit is infinite."""


def tiers_as_floats(tiers: tuple[RiskTier, ...]) -> Tiers:
    """The risk table in the form that the liquidation price is computed with."""
    rows = [value for tier in tiers for value in (tier.limit / UNIT, tier.maintenance_rate / UNIT, tier.deduction / UNIT)]
    rows[-3] = math.inf
    return tuple(rows)


def liquidation_price_by_tier(side: int, qty: float, cost: float, leverage: float, extra: float, taker_fee: float, tiers: Tiers) -> float:
    """The liquidation price of the tier in which qty x that price lies (the last tier has no upper end)."""
    at = 0
    price = liquidation_price(side, qty, cost, leverage, extra, taker_fee, tiers[1], tiers[2])
    while qty * price > tiers[at]:
        at += 3
        price = liquidation_price(side, qty, cost, leverage, extra, taker_fee, tiers[at + 1], tiers[at + 2])
    return price


def max_leverage(value: int, tiers: tuple[RiskTier, ...]) -> int:
    """The highest leverage (1e-8) that the tier of a position of this value allows; 0 when it is beyond the last tier."""
    return tier_leverage(value, leverage_caps(tiers))


Caps = Sequence[int]
"""Limit and highest leverage of each tier in 1e-8, one after the other; beyond the last tier there is none."""


def leverage_caps(tiers: tuple[RiskTier, ...]) -> Caps:
    """The part of the risk table that limits leverage."""
    return (*(value for tier in tiers for value in (tier.limit, tier.max_leverage)), NO_LIMIT, 0)


def tier_leverage(value: int, caps: Caps) -> int:
    """``max_leverage`` by the numbers alone."""
    at = 0
    while value > caps[at]:
        at += 2
    return caps[at + 1]


def leverage_limit(leverage: int, tiers: tuple[RiskTier, ...]) -> int:
    """The largest position value up to which no tier allows less than this leverage; 0 when the first one does not."""
    limit = 0
    for tier in tiers:
        if tier.max_leverage < leverage:
            break
        limit = tier.limit
    return limit


class IsolatedMargin:
    """Each position has its own margin; its liquidation price depends on nothing else. One per symbol."""

    __slots__ = ("caps", "leverage", "leverage_rate", "rows", "taker_fee", "taker_rate", "tiers", "unlimited_to")

    def __init__(self, leverage: int, taker_fee: int, tiers: tuple[RiskTier, ...]) -> None:
        self.leverage, self.taker_fee, self.tiers = leverage, taker_fee, tiers
        self.leverage_rate, self.taker_rate = leverage / UNIT, taker_fee / UNIT
        self.rows, self.caps = tiers_as_floats(tiers), leverage_caps(tiers)
        """The table as floats, and its limits of leverage as integers."""
        self.unlimited_to = leverage_limit(leverage, tiers)
        """Up to this value (1e-8) of a position every tier allows the leverage."""

    def to_hold(self, cost: int, side: int) -> int:
        """What a position opened at ``cost`` holds: initial margin and fee to close."""
        return margin_to_hold(cost, side, self.leverage, self.taker_fee)

    def closing_fee(self, cost: int, side: int) -> int:
        """The fee to close that is a part of ``to_hold``."""
        return fee_to_close(cost, initial_margin(cost, self.leverage), side, self.taker_fee)

    def to_order(self, notional: int, side: int) -> int:
        """What an order that opens ``notional`` reserves."""
        return order_margin(notional, self.leverage, side, self.taker_fee)

    def liquidation_price(self, side: int, qty: float, cost: int, extra: int) -> float:
        """Liquidation price of an open position; cost and extra margin in 1e-8; 0: never (long)."""
        return liquidation_price_by_tier(side, qty, cost / 1e8, self.leverage_rate, extra / 1e8, self.taker_rate, self.rows)

    def bankruptcy_price(self, side: int, qty: float, cost: int, extra: int) -> float:
        """Bankruptcy price of an open position; cost and extra margin in 1e-8."""
        return bankruptcy_price(side, qty, cost / 1e8, self.leverage_rate, extra / 1e8, self.taker_rate)

    def maintenance(self, value: int, closing_fee: int) -> int:
        """Maintenance margin of a position of this value at mark, fee to close included."""
        for tier in self.tiers:
            if value <= tier.limit:
                break
        return maintenance_margin(value, tier.maintenance_rate, tier.deduction, closing_fee)
