"""Long series cut down to what a screen can show, with every extreme kept.

A series is divided into buckets of equal row count; of each, the first, the lowest, the highest and the last row stay. A line through
them covers the same pixels as the whole series, and the global minimum, maximum and both ends are always among them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SCREEN_BUCKETS = 1200
"""As many as a wide chart has pixels, about."""


def extreme_rows(values: npt.NDArray[np.float64], buckets: int = SCREEN_BUCKETS) -> npt.NDArray[np.int64]:
    """Ascending row numbers of every bucket's first, lowest, highest and last value: at most 4 x buckets.

    All rows where there are no more than that. nan is neither lowest nor highest.
    """
    size = len(values)
    if size <= 4 * buckets:
        return np.arange(size, dtype=np.int64)
    starts = _bucket_starts(size, buckets)
    ends = np.append(starts[1:], size)
    unknown = np.isnan(values)
    lows = _rows_of(np.where(unknown, np.inf, values), starts, ends, np.minimum)
    highs = _rows_of(np.where(unknown, -np.inf, values), starts, ends, np.maximum)
    return np.unique(np.concatenate((starts, lows, highs, ends - 1)))


def extreme_band(
    lows: npt.NDArray[np.float64], highs: npt.NDArray[np.float64], buckets: int = SCREEN_BUCKETS
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(first row, lowest low, highest high) of each bucket: the range within which the series moved."""
    starts = _bucket_starts(len(lows), buckets)
    if not len(starts):
        return starts, lows, highs
    return starts, np.minimum.reduceat(lows, starts), np.maximum.reduceat(highs, starts)


def _bucket_starts(size: int, buckets: int) -> npt.NDArray[np.int64]:
    count = min(size, buckets)
    return np.arange(count, dtype=np.int64) * size // max(count, 1)


def _rows_of(
    values: npt.NDArray[np.float64], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], pick: np.ufunc
) -> npt.NDArray[np.int64]:
    """The first row of each bucket that holds its extreme. A bucket of nothing but nan gives its first row."""
    extremes = pick.reduceat(values, starts)
    hits = np.flatnonzero(values == np.repeat(extremes, ends - starts))
    return hits[np.searchsorted(hits, starts)]
