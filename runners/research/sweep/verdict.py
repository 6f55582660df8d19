"""Whether the best neighbourhood is a robust region: it must be better than doing nothing, and than what luck alone would reach.

"There is none" is an answer. A metric of which more can be had without an end has a luck line; a bounded one (a win rate, a drawdown, an
exposure) has none, for the best of many tries would be expected beyond what it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from keel.runners.research.sweep.region import best_by_luck

NOTHING: Final = {
    "total_return": 0.0, "total_pnl": 0.0, "net_profit": 0.0, "sharpe": 0.0, "sortino": 0.0, "calmar": 0.0, "cagr": 0.0,
    "avg_trade_pnl": 0.0, "avg_trade_return_pct": 0.0, "expectancy": 0.0, "profit_factor": 1.0,
}  # fmt: skip
"""What doing nothing would have, of metrics that tell gain from loss (profit_factor: where wins pay for losses). Other metrics are held to
the total return: a region that loses money is none, however shallow its drawdown."""

LUCKY: Final = (
    "total_return", "total_pnl", "net_profit", "final_equity", "sharpe", "sortino", "calmar", "cagr", "avg_trade_pnl",
    "avg_trade_return_pct", "expectancy",
)  # fmt: skip
"""Metrics that have a luck line."""


def luck_of(metric: str, scores: Sequence[float | None], sign: float) -> tuple[float | None, str]:
    """(What luck alone would reach, in the metric's own direction; why there is no such line). scores: larger is better."""
    if metric not in LUCKY:
        return None, f"there is no luck line for {metric}, which is bounded: the expected best of many tries would lie beyond its bound"
    line = best_by_luck(scores)
    measured = sum(score is not None for score in scores)
    if line is None:
        return None, f"there is no luck line: {measured:,} settings have a score, and they must be at least 10 that differ"
    return sign * line, ""


def why_no_region(
    metric: str, robust: float, returns: Sequence[float | None], luck: float | None, shown: Callable[[float], str], better: str
) -> str:
    """Why a neighbourhood is no robust region, in words; empty where it is one.

    robust: its centre's robust score, in the metric's own direction; returns: the total return of its settings; better: above or below.
    """
    nothing = NOTHING.get(metric)
    if nothing is not None and not robust > nothing:
        return f"the best neighbourhood has {metric} {shown(robust)}, no better than doing nothing ({shown(nothing)})"
    known = sorted(value for value in returns if value is not None)
    if nothing is None and known and not known[len(known) // 2] > 0.0:
        return f"the best neighbourhood by {metric} loses money: a median return of {100 * known[len(known) // 2]:.1f} %"
    if luck is not None and not robust > luck:
        return (
            f"the best neighbourhood has {metric} {shown(robust)}, not {better} {shown(luck)},"
            " which the best of so many tries would be expected to reach by luck alone"
        )
    return ""
