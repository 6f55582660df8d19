"""The metrics of a run: what it earned, at which risk, by which trades. Formulas and units: ``METRICS``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keel.core.metrics.curve import Curve, EquityCurve, read_curve
from keel.core.metrics.daily import Daily, daily_equity
from keel.core.metrics.drawdown import Drawdowns, find_drawdowns
from keel.core.metrics.exposure import time_in_market
from keel.core.metrics.missing import Value, split
from keel.core.metrics.ratios import cagr, calmar, sharpe, sortino, volatility
from keel.core.metrics.trades import trade_metrics
from keel.core.model.money import UNIT, to_units
from keel.core.model.timeframe import DAY_MS
from keel.core.model.trade import Trade, Trades

METRICS: dict[str, str] = {
    "initial_equity": "equity before the first bar; quote coins",
    "final_equity": "equity at the last bar, open positions at market; quote coins",
    "total_return": "final_equity / initial_equity - 1; a fraction, not annualised",
    "total_pnl": "PnL at fill prices, before fees and funding, open positions at market: net_profit + fees + funding; quote coins",
    "net_profit": "final_equity - initial_equity; quote coins",
    "unrealized_pnl": "the part of total_pnl that stands in open positions; quote coins",
    "fees": "fees of all trades, open ones included; quote coins, positive is paid",
    "funding": "funding of all trades, open ones included; quote coins, positive is paid",
    "slippage": "sum of |fill price - price before costs| x size; quote coins, already inside the fill prices",
    "win_rate": "winning_trades / total_trades; percent",
    "loss_rate": "losing_trades / total_trades; percent",
    "sharpe": "mean(r - risk_free / 365) / std(r, n - 1) x sqrt(365), r: daily returns (UTC)",
    "sortino": "mean(r - risk_free / 365) / sqrt(mean(min(r, 0)^2)) x sqrt(365), over all days",
    "calmar": "cagr / |max_drawdown_pct / 100|",
    "cagr": "(last daily equity / initial_equity) ^ (365 / days) - 1; a fraction per year",
    "volatility": "std(r, n - 1) x sqrt(365); a fraction per year",
    "max_drawdown_abs": "largest (peak so far - equity) over all bars; quote coins, positive",
    "max_drawdown_pct": "lowest (equity / peak so far - 1) over all bars; percent, negative",
    "max_drawdown_intrabar_pct": "as max_drawdown_pct, with each bar's worst equity against the peak before it; percent, negative",
    "longest_drawdown_days": "longest time from a peak until it is reached again, or to the end; days",
    "recovery_days": "time from the lowest point of the deepest drawdown until its peak is reached again; days",
    "total_trades": "closed round trips (flat to flat, or to a flip)",
    "open_trades": "positions open at the end; not in total_trades",
    "winning_trades": "closed trades with net PnL above zero",
    "losing_trades": "closed trades with net PnL below zero",
    "avg_trade_pnl": "mean net PnL of closed trades; quote coins",
    "avg_trade_return_pct": "mean of net PnL / entry notional; percent",
    "avg_win": "mean net PnL of winning trades; quote coins",
    "avg_loss": "mean net PnL of losing trades; quote coins, negative",
    "expectancy": "share of wins x avg_win + share of losses x avg_loss; quote coins per trade",
    "payoff_ratio": "avg_win / |avg_loss|",
    "profit_factor": "sum of wins / |sum of losses|",
    "avg_holding_time_s": "mean time from a trade's first fill to its last; seconds",
    "exposure_pct": "share of the window in which a position was open; percent",
    "days": "length of the window; days of 24 hours",
}
"""Every metric by name: its formula, unit and annualisation."""


@dataclass(frozen=True, slots=True)
class BacktestMetrics(Mapping[str, float | int | None]):
    """The metrics by name (``metrics["sharpe"]``): plain numbers, or None where ``notes`` says why. The names are those of METRICS."""

    metrics: dict[str, float | int | None]
    notes: dict[str, str]

    def __getitem__(self, name: str) -> float | int | None:
        return self.metrics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)


@np.errstate(over="ignore", invalid="ignore")  # what overflows becomes None with a note, in split
def compute_backtest_metrics(
    trades: Sequence[Trade],
    equity_curve: EquityCurve,
    initial_capital: float | None = None,
    *,
    open_trades: Sequence[Trade] | None = None,
    risk_free_rate: float = 0.0,
) -> BacktestMetrics:
    """All metrics of ``METRICS``.

    trades: closed round trips. equity_curve: Frame with ts (ms UTC; the window's start, then closes of bars) and ``equity`` (quote coins),
    with ``equity_worst`` where it is known; or (ts, equity), or rows of both. initial_capital: None is the equity of the first row.
    open_trades: None are those that ``trades`` of an exchange or a result knows of. risk_free_rate: fraction per year.
    Raises DataError for an empty curve, values that are not finite or an open trade among the closed, ConfigError for a capital <= 0.
    """
    if open_trades is None:
        open_trades = trades.open if isinstance(trades, Trades) else ()
    curve = read_curve(equity_curve, initial_capital)
    daily, drawdowns = daily_equity(curve), find_drawdowns(curve)
    values: dict[str, Value] = {
        **profit_values([*trades, *open_trades], curve),
        **trade_metrics(trades),
        **ratio_values(daily, drawdowns, risk_free_rate),
        **drawdown_values(drawdowns),
        "open_trades": len(open_trades),
        "exposure_pct": time_in_market([*trades, *open_trades], curve),
        "days": curve.span_ms / DAY_MS,
    }
    return BacktestMetrics(*split({name: values[name] for name in METRICS}))


def profit_values(trades: Sequence[Trade], curve: Curve) -> dict[str, Value]:
    """What was earned and paid, from the integers of all trades (closed and open) and both ends of the curve."""
    final = float(curve.equity[-1])
    net = to_units(final) - to_units(curve.initial)
    fees = sum(trade.fees for trade in trades)
    funding = sum(trade.funding for trade in trades)
    pnl = net + fees + funding
    return {
        "initial_equity": curve.initial,
        "final_equity": final,
        "total_return": final / curve.initial - 1.0,
        "total_pnl": pnl / UNIT,
        "net_profit": net / UNIT,
        "unrealized_pnl": (pnl - sum(trade.gross_pnl for trade in trades)) / UNIT,
        "fees": fees / UNIT,
        "funding": funding / UNIT,
        "slippage": sum(trade.slippage for trade in trades) / UNIT,
    }


def ratio_values(daily: Daily, drawdowns: Drawdowns, risk_free_rate: float) -> dict[str, Value]:
    """Growth, volatility and the three ratios."""
    return {
        "sharpe": sharpe(daily, risk_free_rate),
        "sortino": sortino(daily, risk_free_rate),
        "calmar": calmar(daily, drawdowns.max_pct),
        "cagr": cagr(daily),
        "volatility": volatility(daily),
    }


def drawdown_values(drawdowns: Drawdowns) -> dict[str, Value]:
    """The depth and length of the worst drawdowns."""
    return {
        "max_drawdown_abs": drawdowns.max_abs,
        "max_drawdown_pct": drawdowns.max_pct,
        "max_drawdown_intrabar_pct": drawdowns.max_intrabar_pct,
        "longest_drawdown_days": drawdowns.longest_days,
        "recovery_days": drawdowns.recovery_days,
    }
