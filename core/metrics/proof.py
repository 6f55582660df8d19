"""Proof-grade metrics: everything that can be said of a run from its trades, fills, payments and bars, in eight parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from keel.core.errors import InvariantError
from keel.core.metrics import ratios
from keel.core.metrics.curve import Curve, read_curve
from keel.core.metrics.daily import Daily, daily_equity, monthly_returns
from keel.core.metrics.drawdown import Drawdowns, find_drawdowns
from keel.core.metrics.exposure import exposure_metrics
from keel.core.metrics.missing import Missing, Value, split
from keel.core.metrics.performance import drawdown_values, profit_values, ratio_values
from keel.core.metrics.proof_parts import BacktestMetricsV2
from keel.core.metrics.stress import friction_metrics, liquidation_metrics, margin_metrics
from keel.core.metrics.trades import exit_reasons, trade_quality
from keel.core.model.frame import Frame
from keel.core.model.messages import Fill, FundingPayment, Liquidation
from keel.core.model.timeframe import DAY_MS
from keel.core.model.trade import Trade

TOP_DRAWDOWNS = 10


class ProofSource(Protocol):
    """What the proof is read from: an exchange or a result.

    equity_curve: ts (ms UTC; the window's start, then closes of bars) and ``equity``; where they are there also ``equity_worst``,
    ``gross_notional``, ``margin`` and ``liquidation_distance_pct`` (see core/metrics/curve.py).
    """

    @property
    def trades(self) -> Sequence[Trade]: ...
    @property
    def open_trades(self) -> Sequence[Trade]: ...
    @property
    def fills(self) -> Sequence[Fill]: ...
    @property
    def funding_payments(self) -> Sequence[FundingPayment]: ...
    @property
    def liquidations(self) -> Sequence[Liquidation]: ...
    @property
    def equity_curve(self) -> Frame: ...


class HasInitialEquity(Protocol):
    """Whatever says with how many quote coins the account began: a system file, an exchange's risk profile."""

    @property
    def initial_equity(self) -> float: ...


class ProofConfig(msgspec.Struct, frozen=True):
    """initial_equity: quote coins. risk_free_rate: a fraction per year."""

    initial_equity: float
    risk_free_rate: float = 0.0


@np.errstate(over="ignore", invalid="ignore")  # what overflows becomes None with a note, in split
def compute_proof_metrics(exchange: ProofSource, config: ProofConfig | HasInitialEquity) -> BacktestMetricsV2:
    """All eight parts. exchange: a BacktestResult, or a SimulatedExchange of stand-alone use. A config without a risk-free rate: 0.

    Raises as ``compute_backtest_metrics`` does.
    """
    risk_free_rate = config.risk_free_rate if isinstance(config, ProofConfig) else 0.0
    curve = read_curve(exchange.equity_curve, config.initial_equity)
    daily, drawdowns = daily_equity(curve), find_drawdowns(curve)
    trades = [*exchange.trades, *exchange.open_trades]
    profit = profit_values(trades, curve)
    ratio = ratio_values(daily, drawdowns, risk_free_rate)
    depth = drawdown_values(drawdowns) | _drawdown_extras(drawdowns)
    gross = _number(profit["total_pnl"])
    days, lowest = drawdowns.by_day()
    return _build(
        {
            "performance": _performance(profit, ratio, daily, curve),
            "drawdown": depth,
            "trade_quality": trade_quality(exchange.trades) | {"open_trades": len(exchange.open_trades)},
            "risk_adjusted": _risk_adjusted(profit, ratio, depth, daily) | {"risk_free_rate": risk_free_rate},
            "margin_stress": margin_metrics(curve, exchange.liquidations),
            "entry_friction": friction_metrics(trades, exchange.fills, exchange.funding_payments, gross),
            "liquidation_proximity": liquidation_metrics(curve),
            "exposure": exposure_metrics(exchange.trades, exchange.open_trades, curve),
        },
        performance={"monthly_returns_pct": monthly_returns(curve)},
        drawdown={"top": drawdowns.top(TOP_DRAWDOWNS), "underwater_ts": days, "underwater_pct": lowest},
        trade_quality={"exit_reasons": exit_reasons(exchange.trades)},
    )


def _build(parts: Mapping[str, Mapping[str, Value]], **tables: Mapping[str, Any]) -> BacktestMetricsV2:
    """The parts out of their values and tables; what is missing goes to the notes. A field that nobody computed is an error."""
    notes: dict[str, str] = {}
    built: dict[str, Any] = {"notes": notes}
    for name, values in parts.items():
        numbers, reasons = split(values)
        notes.update({f"{name}.{metric}": reason for metric, reason in reasons.items()})
        built[name] = {**numbers, **tables.get(name, {})}
    return msgspec.convert(built, BacktestMetricsV2)


def _performance(profit: Mapping[str, Value], ratio: Mapping[str, Value], daily: Daily, curve: Curve) -> dict[str, Value]:
    names = ("initial_equity", "final_equity", "net_profit", "total_pnl", "unrealized_pnl", "total_return")
    return {
        **{name: profit[name] for name in names},
        "cagr": ratio["cagr"],
        "volatility": ratio["volatility"],
        "days": curve.span_ms / DAY_MS,
        "skewness": ratios.skewness(daily),
        "excess_kurtosis": ratios.excess_kurtosis(daily),
        **_days(daily),
    }


def _days(daily: Daily) -> dict[str, Value]:
    returns = 100.0 * daily.returns
    if not len(returns):
        reason = daily.problem or Missing("no full day")
        return dict.fromkeys(("avg_day_pct", "best_day_pct", "worst_day_pct", "positive_days_pct"), reason)
    return {
        "avg_day_pct": float(returns.mean()),
        "best_day_pct": float(returns.max()),
        "worst_day_pct": float(returns.min()),
        "positive_days_pct": 100.0 * int((returns > 0).sum()) / len(returns),
    }


def _drawdown_extras(drawdowns: Drawdowns) -> dict[str, Value]:
    recovered = drawdowns.days[drawdowns.stop < len(drawdowns.underwater)]
    rows = drawdowns.underwater[drawdowns.curve.bars]
    return {
        "avg_recovered_days": float(recovered.mean()) if len(recovered) else Missing("no drawdown was recovered"),
        "avg_drawdown_pct": 100.0 * float(drawdowns.depth.mean()) if len(drawdowns.first) else ratios.NO_DRAWDOWN,
        "current_drawdown_pct": 100.0 * float(drawdowns.underwater[-1]),
        "time_underwater_pct": 100.0 * int((rows < 0).sum()) / len(rows),
        "ulcer_index_pct": 100.0 * float(np.sqrt((rows * rows).mean())),
        "drawdowns": len(drawdowns.first),
    }


def _risk_adjusted(profit: Mapping[str, Value], ratio: Mapping[str, Value], depth: Mapping[str, Value], daily: Daily) -> dict[str, Value]:
    return {
        **{name: ratio[name] for name in ("sharpe", "sortino", "calmar")},
        "omega": ratios.omega(daily),
        "downside_deviation": ratios.downside_deviation(daily),
        "tail_ratio": ratios.tail_ratio(daily),
        "value_at_risk_95_pct": ratios.value_at_risk(daily),
        "expected_shortfall_95_pct": ratios.expected_shortfall(daily),
        "return_t_stat": ratios.return_t_stat(daily),
        "recovery_factor": _quotient(profit["net_profit"], depth["max_drawdown_abs"]),
        "ulcer_performance": _quotient(ratio["cagr"], _number(depth["ulcer_index_pct"]) / 100.0),
    }


def _quotient(gain: Value, depth: Value) -> Value:
    if isinstance(gain, Missing):
        return gain
    return gain / _number(depth) if _number(depth) else ratios.NO_DRAWDOWN


def _number(value: Value) -> float:
    """A value that always exists."""
    if isinstance(value, Missing):
        raise InvariantError(f"a number that always exists is missing: {value.reason}")
    return float(value)
