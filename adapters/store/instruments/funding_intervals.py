"""Funding intervals: those that exchanges have, and which distances between settlements are none.

Exchanges settle every 1, 2, 4 or 8 hours, some milliseconds late. A longer distance is a hole, even where all are alike (every second
settlement missing, or one row a day); so is one in between, such as 12 hours; a shorter one is a settlement that stands there twice.
"""

from __future__ import annotations

import numpy as np

from keel.core.model.timeframe import HOUR_MS, MINUTE_MS

INTERVALS_MS = (HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS, 8 * HOUR_MS)
LATE_MS = MINUTE_MS
"""Stamps may be so late or early, and stay those of their hour."""


def is_interval(distances: np.ndarray) -> np.ndarray:
    """Which distances (ms) are an interval that an exchange has."""
    return np.asarray((np.abs(distances[:, None] - np.array(INTERVALS_MS)) <= LATE_MS).any(axis=1))


def nearest_interval(distance: float) -> int:
    """The interval (ms) nearest to a distance."""
    return min(INTERVALS_MS, key=lambda interval: abs(interval - distance))


def usual_interval(distances: np.ndarray) -> int | None:
    """The commonest interval (ms) of a series' distances, the longest of several; None where none of them is an interval."""
    fitting = distances[is_interval(distances)] if len(distances) else distances
    if not len(fitting):
        return None
    counts = {interval: int(np.count_nonzero(np.abs(fitting - interval) <= LATE_MS)) for interval in INTERVALS_MS}
    return max(INTERVALS_MS, key=lambda interval: (counts[interval], interval))


def interval_inside(distance: int, before: int | None, after: int | None) -> int:
    """The interval (ms) that settlements within a hole of ``distance`` would have had: the longer of its neighbours that are intervals
    and shorter than it, else the longest that divides it."""
    beside = [nearest_interval(near) for near in (before, after) if near is not None and is_interval(np.array([near]))[0]]
    shorter = [interval for interval in beside if interval + LATE_MS < distance]
    if shorter:
        return max(shorter)
    dividing = [interval for interval in INTERVALS_MS if interval < distance and min(distance % interval, -distance % interval) <= LATE_MS]
    return max(dividing, default=INTERVALS_MS[0])
