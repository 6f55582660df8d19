"""Instruments as the exchange states them now: filters, tiers and the account's own fee rates, and whether one may be traded."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.adapters.bybit.wire.shapes import FeeRow, InstrumentRow, Number, TierRow
from keel.core.errors import ConfigError
from keel.core.model.instrument import PERPETUAL_MAKER, PERPETUAL_TAKER, SPOT_FEE, Category, Grid, Instrument, RiskTier, build_tiers
from keel.core.model.money import UNIT


class NotTrading(ConfigError):
    """A symbol that the exchange knows, and that is not traded there (any more, or yet)."""


def instrument(row: InstrumentRow, category: Category, known_since: int, tiers: list[TierRow], fees: FeeRow | None) -> Instrument:
    """One instrument. Without ``fees`` (the demo account does not tell): the rates of VIP 0. Raises PayloadError for nonsense."""
    try:
        return _linear(row, known_since, tiers, fees) if category == "linear" else _spot(row, known_since, fees)
    except ConfigError as error:
        raise PayloadError(f"{row.symbol}: {error}") from error


def check_tradable(row: InstrumentRow, category: Category) -> None:
    """Raises ConfigError for what cannot be traded: dated futures, symbols that are not (or no longer) trading."""
    if category == "linear" and row.contractType not in (None, "", "LinearPerpetual"):
        raise ConfigError(f"{row.symbol} is a {row.contractType}: only perpetuals are traded")
    if row.status != "Trading":
        raise NotTrading(f"{row.symbol}: its status at the exchange is {row.status}, not Trading")


def risk_tiers(symbol: str, rows: list[TierRow]) -> tuple[RiskTier, ...]:
    """A symbol's tiers with the exchange's deductions, or where it gave none, those that make the margin continuous.

    Rates come as fractions or in percent: initial margin x leverage is near 1, or else near 100 (both have been seen).
    """
    if not rows:
        return ()
    rows = sorted(rows, key=lambda row: translate.units(row.riskLimitValue, "riskLimitValue"))
    first = rows[0]
    rate = float(translate.number(first.initialMargin, "initialMargin") or translate.required(first.maintenanceMargin, "maintenanceMargin"))
    divisor = 100 if rate * float(translate.required(first.maxLeverage, "maxLeverage")) > 10 else 1
    plain = [
        (
            translate.units(row.riskLimitValue, "riskLimitValue"),
            translate.units(row.maintenanceMargin, "maintenanceMargin") // divisor,
            translate.units(row.maxLeverage, "maxLeverage"),
        )
        for row in rows
    ]
    if any(min(values) <= 0 for values in plain) or any(later[1] < earlier[1] for earlier, later in pairwise(plain)):
        raise PayloadError(f"{symbol}: the risk tiers do not rise from one to the next")
    continuous = build_tiers(plain)
    is_given = all(translate.number(row.mmDeduction, "mmDeduction") is not None for row in rows[1:])
    return tuple(
        RiskTier(
            tier.limit,
            translate.units(row.initialMargin, "initialMargin") // divisor
            if translate.number(row.initialMargin, "initialMargin")
            else tier.initial_rate,
            tier.maintenance_rate,
            tier.max_leverage,
            translate.units(row.mmDeduction, "mmDeduction") if is_given else tier.deduction,
        )
        for tier, row in zip(continuous, rows, strict=True)
    )


def _linear(row: InstrumentRow, known_since: int, tiers: list[TierRow], fees: FeeRow | None) -> Instrument:
    lot = row.lotSizeFilter
    if lot.qtyStep is None or row.leverageFilter is None:
        raise PayloadError(f"{row.symbol}: no quantity step or no leverage")
    largest = _amount(lot.maxOrderQty, "maxOrderQty")
    return Instrument(
        **_common(row, _grid(lot.qtyStep, "qtyStep"), known_since),
        category="linear",
        max_qty=largest,
        max_market_qty=_amount(lot.maxMktOrderQty, "maxMktOrderQty") if lot.maxMktOrderQty else largest,
        min_notional=translate.units(lot.minNotionalValue, "minNotionalValue") or 5 * UNIT,
        taker_fee=_rate(fees, PERPETUAL_TAKER, is_taker=True),
        maker_fee=_rate(fees, PERPETUAL_MAKER, is_taker=False),
        max_leverage=translate.units(row.leverageFilter.maxLeverage),
        tiers=risk_tiers(row.symbol, tiers),
        funding_interval_min=row.fundingInterval or 480,
    )


def _spot(row: InstrumentRow, known_since: int, fees: FeeRow | None) -> Instrument:
    lot = row.lotSizeFilter
    if lot.basePrecision is None:
        raise PayloadError(f"{row.symbol}: no base precision")
    largest = _amount(lot.maxLimitOrderQty or lot.maxOrderQty, "maxLimitOrderQty")
    return Instrument(
        **_common(row, _grid(lot.basePrecision, "basePrecision"), known_since),
        category="spot",
        max_qty=largest,
        max_market_qty=_amount(lot.maxMarketOrderQty, "maxMarketOrderQty") if lot.maxMarketOrderQty else largest,
        min_notional=translate.units(lot.minOrderAmt, "minOrderAmt") or 5 * UNIT,
        taker_fee=_rate(fees, SPOT_FEE, is_taker=True),
        maker_fee=_rate(fees, SPOT_FEE, is_taker=False),
        max_leverage=UNIT,
    )


def _common(row: InstrumentRow, qty_grid: Grid, known_since: int) -> dict[str, Any]:
    """What perpetuals and spot pairs say in the same way."""
    risk = row.riskParameters
    return {
        "symbol": row.symbol,
        "base": row.baseCoin,
        "quote": row.quoteCoin,
        "price_grid": _grid(row.priceFilter.tickSize, "tickSize"),
        "qty_grid": qty_grid,
        "min_qty": _amount(row.lotSizeFilter.minOrderQty, "minOrderQty"),
        "price_limit_x": translate.units(risk.priceLimitRatioX, "priceLimitRatioX") if risk else 0,
        "price_limit_y": translate.units(risk.priceLimitRatioY, "priceLimitRatioY") if risk else 0,
        "base_unit": _base_unit(qty_grid),
        "known_since": known_since,
        "source": "exchange",
    }


def _grid(step: str, what: str) -> Grid:
    try:
        return Grid.from_text(step)
    except ConfigError as error:
        raise PayloadError(f"{what}: {error}") from error


def _amount(value: Number, what: str) -> float:
    found = translate.required(value, what)
    if found <= 0:
        raise PayloadError(f"{what} of {value!r}")
    return float(found)


def _rate(fees: FeeRow | None, otherwise: int, *, is_taker: bool) -> int:
    value = None if fees is None else fees.takerFeeRate if is_taker else fees.makerFeeRate
    return otherwise if translate.number(value) is None else translate.units(value)


def _base_unit(qty_grid: Grid) -> int:
    """Units of the base coin's ledger in one coin: 1e-8, or as fine as the step."""
    return max(UNIT, int(10**qty_grid.decimals))
