"""Return, risk and their ratios, from daily returns; annualised with 365 days, for these markets never close.

r: daily fractional returns; n of them; rates of interest are fractions per year, 1/365 of which is due per day.
"""

from __future__ import annotations

import math

import numpy as np

from keel.core.metrics.daily import Daily
from keel.core.metrics.missing import Missing, Value
from keel.core.model.timeframe import DAY_MS

YEAR_DAYS = 365
NO_DRAWDOWN = Missing("equity never fell below an earlier peak")
_NO_LOSS = Missing("no day lost")
_NOTHING_MOVES = 1e-12
"""A deviation this small beside the largest return is rounding."""


def volatility(daily: Daily) -> Value:
    """std(r, n - 1) x sqrt(365), a fraction per year. 0 for a constant curve."""
    return daily.problem or _deviation(daily.returns) * math.sqrt(YEAR_DAYS)


def cagr(daily: Daily) -> Value:
    """(last point / initial) ^ (365 / days between them) - 1, a fraction per year; -1 when nothing was left."""
    if daily.problem:
        return daily.problem
    growth = float(daily.equity[-1] / daily.equity[0])
    if growth <= 0:
        return -1.0
    exponent = math.log(growth) * YEAR_DAYS * DAY_MS / int(daily.ts[-1] - daily.ts[0])
    return math.expm1(exponent) if exponent < 700 else math.inf


def sharpe(daily: Daily, risk_free_rate: float = 0.0) -> Value:
    """mean(r - risk_free / 365) / std(r, n - 1) x sqrt(365)."""
    if daily.problem:
        return daily.problem
    deviation = _deviation(daily.returns)
    return _excess(daily, risk_free_rate) / deviation * math.sqrt(YEAR_DAYS) if deviation else _unmoved(daily)


def sortino(daily: Daily, risk_free_rate: float = 0.0) -> Value:
    """mean(r - risk_free / 365) / downside deviation x sqrt(365), with the downside deviation against 0 over all days."""
    if daily.problem:
        return daily.problem
    if not _deviation(daily.returns):
        return _unmoved(daily)
    downside = _downside(daily.returns)
    return _excess(daily, risk_free_rate) / downside * math.sqrt(YEAR_DAYS) if downside else _NO_LOSS


def downside_deviation(daily: Daily) -> Value:
    """sqrt(mean(min(r, 0)^2)) x sqrt(365), a fraction per year."""
    return daily.problem or _downside(daily.returns) * math.sqrt(YEAR_DAYS)


def calmar(daily: Daily, max_drawdown_pct: float) -> Value:
    """CAGR / |maximum drawdown| (``max_drawdown_pct``: negative percent, from the equity of every bar)."""
    growth = cagr(daily)
    if isinstance(growth, Missing):
        return growth
    return growth / (-max_drawdown_pct / 100.0) if max_drawdown_pct else NO_DRAWDOWN


def omega(daily: Daily) -> Value:
    """Sum of gaining days' returns / |sum of losing days' returns|; threshold 0, not annualised."""
    if daily.problem:
        return daily.problem
    losses = -float(daily.returns[daily.returns < 0].sum())
    return float(daily.returns[daily.returns > 0].sum()) / losses if losses else _NO_LOSS


def tail_ratio(daily: Daily) -> Value:
    """|95th percentile of r| / |5th percentile of r|."""
    if daily.problem:
        return daily.problem
    low, high = np.percentile(daily.returns, (5, 95))
    return float(abs(high) / abs(low)) if low else Missing("the 5th percentile of daily returns is zero")


def value_at_risk(daily: Daily) -> Value:
    """5th percentile of r, percent per day (negative: a loss)."""
    return daily.problem or 100.0 * float(np.percentile(daily.returns, 5))


def expected_shortfall(daily: Daily) -> Value:
    """Mean of the floor(0.05 x (n - 1)) + 1 worst of n days, percent per day (of 30 days: the two worst)."""
    if daily.problem:
        return daily.problem
    worst = np.sort(daily.returns)[: int((len(daily.returns) - 1) * 0.05) + 1]
    return 100.0 * float(worst.mean())


def return_t_stat(daily: Daily) -> Value:
    """mean(r) / (std(r, n - 1) / sqrt(n)): how far the mean day is from zero in its standard errors."""
    if daily.problem:
        return daily.problem
    deviation = _deviation(daily.returns)
    return float(daily.returns.mean()) / deviation * math.sqrt(len(daily.returns)) if deviation else _unmoved(daily)


def skewness(daily: Daily) -> Value:
    """mean(((r - mean) / std)^3), population moments."""
    return _moment(daily, 3)


def excess_kurtosis(daily: Daily) -> Value:
    """mean(((r - mean) / std)^4) - 3, population moments."""
    fourth = _moment(daily, 4)
    return fourth if isinstance(fourth, Missing) else fourth - 3.0


def _moment(daily: Daily, order: int) -> Value:
    if daily.problem:
        return daily.problem
    if not _deviation(daily.returns):
        return _unmoved(daily)
    return float((((daily.returns - daily.returns.mean()) / daily.returns.std()) ** order).mean())


def _excess(daily: Daily, risk_free_rate: float) -> float:
    return float(daily.returns.mean()) - risk_free_rate / YEAR_DAYS


def _deviation(returns: np.ndarray) -> float:
    deviation = float(returns.std(ddof=1))
    return deviation if deviation > _NOTHING_MOVES * float(np.abs(returns).max()) else 0.0


def _downside(returns: np.ndarray) -> float:
    return math.sqrt(float((np.minimum(returns, 0.0) ** 2).mean()))


def _unmoved(daily: Daily) -> Missing:
    return Missing("daily returns are all the same" if daily.returns[0] else "the equity curve is constant")
