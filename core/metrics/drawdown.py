"""Drawdown: how far and how long equity was below its highest value so far. Peaks start at the initial equity.

An episode begins at the last row at the peak and ends at the first row that reaches it again; one that never does is open.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

from keel.core.metrics.curve import Curve
from keel.core.metrics.missing import Missing, Value
from keel.core.metrics.ratios import NO_DRAWDOWN
from keel.core.model.timeframe import DAY_MS


class DrawdownEpisode(msgspec.Struct, frozen=True):
    """One drawdown. Times in ms UTC, lengths in days; depth_pct is negative percent of the peak, depth_abs positive quote coins."""

    start_ts: int
    trough_ts: int
    end_ts: int | None
    """None while not recovered."""
    depth_pct: float
    depth_abs: float
    days: float
    """From the peak to the recovery, or to the end of the curve."""
    days_to_trough: float
    recovery_days: float | None
    """From the trough to the recovery."""


@dataclass(frozen=True, slots=True)
class Drawdowns:
    """All drawdowns of a curve. ``underwater``: equity / peak - 1 per row; ``first`` and ``stop``: rows [first, stop) of each episode."""

    curve: Curve
    peak: np.ndarray
    underwater: np.ndarray
    first: np.ndarray
    stop: np.ndarray

    @property
    def max_abs(self) -> float:
        """Largest peak - equity, quote coins, positive."""
        return float((self.peak - self.curve.equity).max())

    @property
    def max_pct(self) -> float:
        """Deepest equity / peak - 1, percent, negative; 0 when there was none."""
        return 100.0 * float(self.underwater.min())

    @property
    def max_intrabar_pct(self) -> Value:
        """As ``max_pct``, with each bar's worst equity against the highest equity before that bar."""
        if self.curve.worst is None:
            return Missing("the equity curve has no column equity_worst")
        low = np.minimum(self.curve.worst, self.curve.equity)
        low[1:] /= self.peak[:-1]
        low[0] /= self.curve.initial
        return min(100.0 * (float(low.min()) - 1.0), self.max_pct)

    @property
    def start_ts(self) -> np.ndarray:
        """Time of the last row at the peak, per episode, ms."""
        times: np.ndarray = self.curve.ts[np.maximum(self.first - 1, 0)]
        return times

    @property
    def days(self) -> np.ndarray:
        """Length of each episode in days; an open one lasts to the end of the curve."""
        ends = self.curve.ts[np.minimum(self.stop, len(self.curve.ts) - 1)]
        lengths: np.ndarray = (ends - self.start_ts) / DAY_MS
        return lengths

    @property
    def depth(self) -> np.ndarray:
        """Deepest underwater of each episode, a negative fraction."""
        # a segment of reduceat also spans the dry rows up to the next episode, whose underwater is 0
        return np.minimum.reduceat(self.underwater, self.first) if len(self.first) else np.empty(0)

    @property
    def longest_days(self) -> float:
        """Length of the longest episode in days; 0 when there was none."""
        return float(self.days.max()) if len(self.first) else 0.0

    @property
    def recovery_days(self) -> Value:
        """Days from the deepest point of the deepest drawdown until its peak was reached again."""
        deepest = self.top(1)
        if not deepest:
            return NO_DRAWDOWN
        days = deepest[0].recovery_days
        return Missing("the deepest drawdown was not recovered by the end") if days is None else days

    def top(self, count: int) -> list[DrawdownEpisode]:
        """The deepest episodes, deepest first (of equals the earlier)."""
        return [self._episode(int(number)) for number in np.argsort(self.depth, kind="stable")[:count]]

    def _episode(self, number: int) -> DrawdownEpisode:
        first, stop = int(self.first[number]), int(self.stop[number])
        ts = self.curve.ts
        trough = first + int(np.argmin(self.underwater[first:stop]))
        start_ts, trough_ts = int(self.start_ts[number]), int(ts[trough])
        end_ts = int(ts[stop]) if stop < len(ts) else None
        return DrawdownEpisode(
            start_ts=start_ts,
            trough_ts=trough_ts,
            end_ts=end_ts,
            depth_pct=100.0 * float(self.underwater[trough]),
            depth_abs=float(self.peak[trough] - self.curve.equity[trough]),
            days=float(self.days[number]),
            days_to_trough=(trough_ts - start_ts) / DAY_MS,
            recovery_days=None if end_ts is None else (end_ts - trough_ts) / DAY_MS,
        )

    def by_day(self) -> tuple[list[int], list[float]]:
        """The underwater curve for people: per UTC day its start (ms) and its deepest value (percent, <= 0)."""
        bars = self.curve.bars
        day = (self.curve.ts[bars] - 1) // DAY_MS  # a bar that closes at 00:00 belongs to the day that ended
        rows = np.concatenate(([0], np.flatnonzero(day[1:] != day[:-1]) + 1))
        lowest = 100.0 * np.minimum.reduceat(self.underwater[bars], rows)
        return (day[rows] * DAY_MS).tolist(), lowest.tolist()


def find_drawdowns(curve: Curve) -> Drawdowns:
    """The drawdowns of a curve, in one pass over its columns."""
    peak = np.maximum.accumulate(curve.equity)
    np.maximum(peak, curve.initial, out=peak)
    wet = curve.equity < peak
    edges = np.flatnonzero(wet[1:] != wet[:-1]) + 1
    if wet[0]:
        edges = np.concatenate(([0], edges))
    first, stop = edges[0::2], edges[1::2]
    if len(stop) < len(first):
        stop = np.append(stop, len(wet))
    return Drawdowns(curve, peak, curve.equity / peak - 1.0, first, stop)
