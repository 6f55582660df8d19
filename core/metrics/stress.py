"""What entries cost, how hard the margin was used, and how near liquidation came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keel.core.metrics.curve import Curve
from keel.core.metrics.missing import Missing, Value
from keel.core.model.messages import Fill, FundingPayment, Liquidation
from keel.core.model.money import UNIT
from keel.core.model.trade import Trade

_BPS = 10_000.0
_NO_FILL = Missing("no fill")
_NO_ENTRY = Missing("no trade")


def friction_metrics(trades: Sequence[Trade], fills: Sequence[Fill], payments: Sequence[FundingPayment], gross: float) -> dict[str, Value]:
    """The values of ``EntryFrictionMetrics``. trades: closed and open; gross: PnL at fill prices, quote coins."""
    fees, entry_fees = sum(trade.fees for trade in trades), sum(trade.entry_fees for trade in trades)
    slippage, entry_slippage = sum(trade.slippage for trade in trades), sum(trade.entry_slippage for trade in trades)
    entered = sum(trade.entry_notional for trade in trades)
    notionals = [(fill.qty * fill.price, fill.maker) for fill in fills]
    turnover = sum(notional for notional, _ in notionals)
    maker = sum(notional for notional, is_maker in notionals if is_maker)
    before_costs = gross + slippage / UNIT
    paid = sum(payment.amount for payment in payments if payment.amount > 0)
    received = -sum(payment.amount for payment in payments if payment.amount < 0)
    costs = (fees + slippage + paid - received) / UNIT
    return {
        "fees": fees / UNIT,
        "entry_fees": entry_fees / UNIT,
        "exit_fees": (fees - entry_fees) / UNIT,
        "slippage": slippage / UNIT,
        "entry_slippage": entry_slippage / UNIT,
        "entry_fee_bps": _BPS * entry_fees / entered if entered else _NO_ENTRY,
        "entry_slippage_bps": _BPS * entry_slippage / entered if entered else _NO_ENTRY,
        "entry_cost_bps": _BPS * (entry_fees + entry_slippage) / entered if entered else _NO_ENTRY,
        "turnover": turnover,
        "cost_bps": _BPS * (fees + slippage) / UNIT / turnover if turnover else _NO_FILL,
        "maker_share_pct": 100.0 * maker / turnover if turnover else _NO_FILL,
        "funding_paid": paid / UNIT,
        "funding_received": received / UNIT,
        "costs_of_gross_pct": 100.0 * costs / before_costs if before_costs > 0 else Missing("no profit before costs"),
        "fills": len(fills),
    }


def margin_metrics(curve: Curve, liquidations: Sequence[Liquidation]) -> dict[str, Value]:
    """The values of ``MarginStressMetrics``."""
    return {
        **_usage(curve),
        "liquidations": len(liquidations),
        "liquidation_loss": sum(event.loss for event in liquidations) / UNIT,
        "insurance": sum(event.insurance for event in liquidations) / UNIT,
    }


def _usage(curve: Curve) -> dict[str, Value]:
    names = ("avg_margin_usage_pct", "p95_margin_usage_pct", "max_margin_usage_pct", "time_above_50_pct", "time_above_80_pct")
    if curve.margin is None:
        return dict.fromkeys((*names, "min_free_margin"), Missing("the equity curve has no column margin"))
    margin, equity = curve.margin[curve.bars], curve.equity[curve.bars]
    free = float((equity - margin).min())
    used = (margin > 0) & (equity > 0)
    if not used.any():
        return {**dict.fromkeys(names, Missing("no margin was ever in use at the close of a bar")), "min_free_margin": free}
    usage = 100.0 * margin[used] / equity[used]
    return {
        "avg_margin_usage_pct": float(usage.mean()),
        "p95_margin_usage_pct": float(np.percentile(usage, 95)),
        "max_margin_usage_pct": float(usage.max()),
        "time_above_50_pct": 100.0 * int((usage > 50).sum()) / len(margin),
        "time_above_80_pct": 100.0 * int((usage > 80).sum()) / len(margin),
        "min_free_margin": free,
    }


def liquidation_metrics(curve: Curve) -> dict[str, Value]:
    """The values of ``LiquidationProximityMetrics``."""
    names = ("min_distance_pct", "min_distance_ts", "p5_distance_pct", "median_distance_pct", "avg_distance_pct", "time_below_5_pct")
    if curve.distance is None:
        return dict.fromkeys(names, Missing("the equity curve has no column liquidation_distance_pct"))
    rows = np.flatnonzero(np.isfinite(curve.distance))
    if not len(rows):
        return dict.fromkeys(names, Missing("no position with a liquidation price was ever held"))
    distance = curve.distance[rows]
    low, middle = np.percentile(distance, (5, 50))
    return {
        "min_distance_pct": float(distance.min()),
        "min_distance_ts": int(curve.ts[rows[int(distance.argmin())]]),
        "p5_distance_pct": float(low),
        "median_distance_pct": float(middle),
        "avg_distance_pct": float(distance.mean()),
        "time_below_5_pct": 100.0 * int((distance < 5).sum()) / len(distance),
    }
