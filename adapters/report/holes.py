"""Holes in time: where a chart over time has to lift its pen, because there were no bars to trade on.

A hole counts when it is wide enough to be seen. Lines are broken by a nan; areas, which a nan would not keep from being filled across,
are brought down to nothing at both edges.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEAST_SHARE = 1 / 1200
"""Of the whole length: about one pixel. What is narrower looks like a line in any case."""

MOST = 60
"""Of more holes than this only the longest are drawn."""


def hole_rows(ts: Ints) -> Ints:
    """Ascending rows after which time is missing: the step to the next one is longer than the usual, and long enough to be seen."""
    steps = np.diff(ts)
    if not len(steps):
        return np.empty(0, dtype=np.int64)
    least = max(float(np.median(steps)) * 1.5, float(ts[-1] - ts[0]) * LEAST_SHARE)
    rows = np.flatnonzero(steps > least)
    longest = rows[np.argsort(-steps[rows], kind="stable")[:MOST]]
    return np.sort(longest)


def lifted(ts: Ints, values: Floats, rows: Ints, holes: Ints) -> tuple[Ints, Floats]:
    """Times and values of the rows that are drawn, with both edges of every hole among them and a nan in between."""
    if not len(holes):
        return ts[rows], values[rows]
    drawn = np.union1d(rows, np.concatenate((holes, holes + 1)))
    after = np.searchsorted(drawn, holes) + 1
    return np.insert(ts[drawn], after, ts[holes] + 1), np.insert(values[drawn], after, np.nan)


def emptied(ts: Ints, values: Floats, rows: Ints, holes: Ints) -> tuple[Ints, Floats]:
    """Times and values for the edge of an area over zero: at both edges of a hole the value is zero."""
    drawn = np.union1d(rows, np.concatenate((holes, holes + 1)))
    after = np.repeat(np.searchsorted(drawn, holes) + 1, 2)
    edges = np.column_stack((holes, holes + 1)).ravel()
    return np.insert(ts[drawn], after, ts[edges]), np.insert(values[drawn], after, 0.0)


def segments(size: int, holes: Ints) -> list[slice]:
    """The rows between holes, in order."""
    edges = [0, *(holes + 1).tolist(), size]
    return [slice(first, last) for first, last in pairwise(edges)]
