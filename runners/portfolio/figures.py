"""The figures of a portfolio run, from its value at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from keel.core.metrics.curve import read_curve
from keel.core.metrics.daily import daily_equity
from keel.core.metrics.missing import Missing
from keel.core.metrics.ratios import sharpe
from keel.core.model.time_range import to_ms

STATISTICS: Final = ("total_return", "sharpe_ratio", "max_drawdown")
"""Figures that a permutation test can be made of."""
SMALLER_IS_BETTER: Final = ("max_drawdown",)


@dataclass(frozen=True, slots=True)
class Figures:
    """total_return: a fraction.  returns: from step to step, fractions.  max_drawdown: a positive fraction of the highest value before it.

    sharpe_ratio: mean / deviation of daily returns x sqrt(365), risk-free rate 0; None under 30 days, or where nothing moves.
    """

    total_return: float
    returns: list[float]
    max_drawdown: float
    sharpe_ratio: float | None


def figures_of(values: Sequence[tuple[datetime, float]], final: float, initial: float, start_ms: int) -> Figures:
    """values: (time, portfolio value) by step; final: the value at the end."""
    equity = np.array([initial, *(value for _, value in values), final])
    peaks = np.maximum.accumulate(equity)
    times = [to_ms(time) for time, _ in values]
    ratio = sharpe(daily_equity(read_curve(([start_ms, *times], equity[:-1]), initial)))
    steps = equity[1:-1]
    return Figures(
        total_return=final / initial - 1.0,
        returns=(steps[1:] / steps[:-1] - 1.0).tolist(),
        max_drawdown=float((1.0 - equity / peaks).max()),
        sharpe_ratio=None if isinstance(ratio, Missing) else float(ratio),
    )
