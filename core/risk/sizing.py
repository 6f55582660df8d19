"""Sizers: how large an entry is, in base units before flooring. A size is notional at the decision price, never margin.

fixed_qty: ``qty``. fixed_usd: ``usd``. percent_equity: ``percent`` of equity. risk_per_trade: what loses ``percent`` of equity when the
stop is hit (fees and slippage apart). inverse_vol: ``budget_percent`` of equity, shared by all symbols of the system in proportion to
1 / volatility; a symbol whose volatility is not known yet has no share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, Literal

from keel.core.errors import ConfigError
from keel.core.model.instrument import size_count
from keel.core.model.messages import Bracket, Signal
from keel.core.model.money import UNIT
from keel.core.risk.decision import Reason, RiskDecision, Sizing, denied, unsized
from keel.core.risk.exits import ReadFeature, atr_feature, volatility_feature
from keel.core.risk.market import Market
from keel.core.risk.view import PortfolioView
from keel.core.system.config import SizingConfig

Sizer = Callable[[Signal, float, Bracket | None, PortfolioView], float | RiskDecision]
"""(signal, decision price, its exits, account) -> quantity in base units, or a denial."""

PRICELESS: Final = frozenset({"fixed_usd", "percent_equity", "inverse_vol"})
"""Models whose notional does not depend on the price."""


def build_sizer(sizing: SizingConfig, symbols: Iterable[str], read_feature: ReadFeature) -> Sizer:
    """The sizer of a configuration. Raises ConfigError when the model lacks its number."""
    if sizing.model == "fixed_qty":
        return _fixed_qty(_needed(sizing.qty, "fixed_qty", "qty"))
    if sizing.model == "fixed_usd":
        return _fixed_usd(_needed(sizing.usd, "fixed_usd", "usd"))
    if sizing.model == "percent_equity":
        return _percent_equity(sizing.percent)
    if sizing.model == "risk_per_trade":
        return _risk_per_trade(sizing.percent, sizing.stop_atr, atr_feature(sizing.atr_period), read_feature)
    return _inverse_vol(sizing.budget_percent, volatility_feature(sizing.lookback_bars), tuple(symbols), read_feature)


def floor_to_market(
    market: Market,
    qty: float,
    price: float,
    order_price: float,
    most: float,
    limited_by: Reason | Literal[""],
    limit: float,
    bracket: Bracket | None,
) -> Sizing:
    """A wanted quantity as one that the exchange takes: at most ``most``, floored to the step, not under its minimums.

    price: of the decision. order_price: what the exchange's minimum value is counted at (a limit order's own price).
    ``limited_by``, ``limit``: what has already made it smaller; that is then the reason when too little is left.
    Grids are worked out in place (core/model/instrument.py says how): every entry comes through here.
    """
    if most < qty:
        qty, limited_by, limit = most, "max_qty", most
    if not qty > 0.0:
        return unsized(denied(limited_by or "no_equity", qty * price, limit))
    num, den = market.qty_num, market.qty_den
    steps = size_count(qty, num, den)
    quantity = steps * num / den
    if steps <= 0 or quantity < market.min_qty:
        return Sizing(False, reason=limited_by or "below_min_qty", value=quantity, limit=limit if limited_by else market.min_qty)
    if quantity * order_price < market.ample_usd or order_price < market.tick:  # near the minimum: by its exact value
        notional = market.instrument.notional(round(order_price * market.price_den / market.price_num), steps)
        if notional < market.min_notional:
            least = limit if limited_by else market.min_notional / UNIT
            return Sizing(False, reason=limited_by or "below_min_notional", value=notional / UNIT, limit=least)
    wanted_usd = qty * price
    return Sizing(True, quantity, quantity * price, limited_by, wanted_usd, limit, steps, wanted_usd, bracket)


def size_without_market(qty: float, price: float, limited_by: Reason | Literal[""], limit: float, bracket: Bracket | None) -> Sizing:
    """A sizing where no instrument is known: no grid to floor to, no minimum."""
    if not qty > 0.0:
        return unsized(denied(limited_by or "no_equity", qty * price, limit))
    return Sizing(True, qty, qty * price, limited_by, qty * price, limit, 0, qty * price, bracket)


def equity_share(equity: float, percent: float) -> float:
    """So many percent of the equity, in quote coins."""
    return equity * percent / 100.0


def _fixed_qty(qty: float) -> Sizer:
    return lambda signal, price, bracket, state: qty


def _fixed_usd(usd: float) -> Sizer:
    return lambda signal, price, bracket, state: usd / price


def _percent_equity(percent: float) -> Sizer:
    return lambda signal, price, bracket, state: equity_share(state.equity, percent) / price


def _risk_per_trade(percent: float, stop_atr: float | None, atr_name: str, read_feature: ReadFeature) -> Sizer:
    def size(signal: Signal, price: float, bracket: Bracket | None, state: PortfolioView) -> float | RiskDecision:
        """The stop is the bracket's (the signal's or the system's), else ``stop_atr`` x ATR."""
        distance = math.nan
        if bracket is not None and bracket.stop_loss is not None:
            entry = signal.limit_price if signal.order_type == "limit" and signal.limit_price is not None else price
            distance = abs(entry - bracket.stop_loss)
        elif stop_atr is not None:
            distance = stop_atr * read_feature(signal.symbol, atr_name)
        if not distance > 0.0:
            return denied("stop_distance_unknown", distance)
        return equity_share(state.equity, percent) / distance

    return size


def _inverse_vol(budget_percent: float, name: str, symbols: tuple[str, ...], read_feature: ReadFeature) -> Sizer:
    def size(signal: Signal, price: float, bracket: Bracket | None, state: PortfolioView) -> float | RiskDecision:
        own = read_feature(signal.symbol, name)
        if not own > 0.0:
            return denied("volatility_unknown", own)
        total = 0.0
        for symbol in symbols:
            volatility = read_feature(symbol, name)
            if volatility > 0.0:
                total += 1.0 / volatility
        return equity_share(state.equity, budget_percent) / (own * total) / price

    return size


def _needed(number: float | None, model: str, key: str) -> float:
    if number is None:
        raise ConfigError(f"sizing: model {model} needs the key {key!r}")
    return number
