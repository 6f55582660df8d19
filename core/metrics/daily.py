"""Equity by UTC day, on which every ratio rests, and returns by month.

Points: the initial equity at the start of the window, then the equity at each later 00:00 UTC, as the last bar that closed at or before
it left it. An incomplete last day is left out; a window that begins within a day has a shorter first one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keel.core.metrics.curve import Curve
from keel.core.metrics.missing import Missing
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import DAY_MS

MIN_DAYS = 30
"""Daily returns that a ratio needs."""

_MONTH = np.timedelta64(1, "M")


@dataclass(frozen=True, slots=True)
class Daily:
    """n + 1 points (ms UTC, quote coins) and the n fractional returns between them."""

    ts: np.ndarray
    equity: np.ndarray
    returns: np.ndarray
    problem: Missing | None
    """Why nothing can be said of the returns: too few days, or an equity that was spent (then ``returns`` is empty)."""


def daily_equity(curve: Curve) -> Daily:
    """The daily points of a curve."""
    stamps = np.arange((int(curve.ts[0]) // DAY_MS + 1) * DAY_MS, int(curve.ts[-1]) + 1, DAY_MS, dtype=np.int64)
    rows = np.searchsorted(curve.ts, stamps, side="right") - 1
    ts = np.concatenate((curve.ts[:1], stamps))
    equity = np.concatenate(([curve.initial], curve.equity[rows]))
    spent = equity[:-1] <= 0
    if spent.any():
        when = to_iso(int(ts[int(np.argmax(spent))]))
        return Daily(ts, equity, np.empty(0), Missing(f"equity was spent on {when[:10]}: there are no returns after it"))
    returns = equity[1:] / equity[:-1] - 1.0
    problem = Missing(f"{len(returns)} full days, {MIN_DAYS} are needed") if len(returns) < MIN_DAYS else None
    return Daily(ts, equity, returns, problem)


def monthly_returns(curve: Curve) -> dict[str, float]:
    """Return of each UTC calendar month in percent, by "2024-01"; the first and the last may be partial.

    A month that begins with no (or next to no) equity is not in it.
    """
    begin, end = curve.ts[[0, -1]].astype("datetime64[ms]")
    months = np.arange(begin.astype("datetime64[M]"), end.astype("datetime64[M]") + _MONTH)
    next_starts = (months + _MONTH).astype("datetime64[ms]").astype(np.int64)
    last_rows = np.searchsorted(curve.ts, next_starts, side="right") - 1  # a bar that closes at 00:00 on the 1st is the old month's
    closing = curve.equity[last_rows]
    opening = np.concatenate(([curve.initial], closing[:-1]))
    held = np.concatenate(([last_rows[0] > 0], last_rows[1:] > last_rows[:-1])) & (opening > 0)
    change = 100.0 * (np.divide(closing, opening, out=np.ones_like(closing), where=opening > 0) - 1.0)
    held &= np.isfinite(change)  # out of next to nothing
    return dict(zip(months[held].astype(str).tolist(), change[held].tolist(), strict=True))
