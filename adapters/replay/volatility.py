"""Volatility before each bar, for the impact model."""

from __future__ import annotations

import numpy as np

from keel.adapters.replay.history import Floats


def rolling_volatility_bps(closes: Floats, window: int) -> Floats:
    """Sample deviation of the log returns of the ``window`` bars before each bar, in bps; of fewer while there are fewer, 0 under 2."""
    returns = np.diff(np.log(closes)) * 1e4
    at = np.arange(len(closes))
    back = np.clip(at - 1, 0, window)  # bar i has i - 1 returns that end before it begins (those between bars 0 .. i - 1)
    sums = np.concatenate([[0.0, 0.0], np.cumsum(returns)])[: len(closes)]
    squares = np.concatenate([[0.0, 0.0], np.cumsum(returns**2)])[: len(closes)]
    total, total_squares = sums - sums[at - back], squares - squares[at - back]
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (total_squares - total**2 / back) / (back - 1)
    result: Floats = np.where(back >= 2, np.sqrt(np.maximum(variance, 0.0)), 0.0)
    return result
