"""Whether a column looks ahead: what it says at a row must not change when the rows after it are taken away.

A whole column is cheap to recompute over a short prefix. So a run recomputes it at a few dozen cuts and compares all rows, which
catches what peeks at the next bar, shifts by mistake, or normalises by the whole series. It is a guard, not a proof: a peek that never
shows at a cut passes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_LEAST_ROWS = 100
"""Shorter prefixes are not tried: a function may rightly need more."""
_NEAR_CUTS = 48
_NEAR_ROWS = 1_500
_FAR_CUTS = 12
_FAR_ROWS = 100_000
_TOLERANCE = 1e-9
"""Relative: sums whose order depends on the length differ in the last bits."""


def cuts(rows: int, first: int) -> list[int]:
    """Lengths of the prefixes to try, ascending: most within the first rows from ``first`` on, where they cost little, some further out."""
    first = max(first, _LEAST_ROWS)
    near = np.linspace(first + 1, min(rows, first + _NEAR_ROWS), _NEAR_CUTS).astype(int)
    far = np.linspace(first + 1, max(first + 1, min(rows, _FAR_ROWS)), _FAR_CUTS).astype(int)
    return sorted({int(cut) for cut in np.concatenate([near, far]) if first < cut < rows})


def first_peek(column: npt.NDArray[np.generic], recompute: Callable[[int], npt.NDArray[np.generic]], first: int) -> int | None:
    """The first row at which a column and its recomputation over the rows up to it differ; None where no cut shows one.

    recompute(length) gives the column over the first ``length`` rows.
    """
    values = np.asarray(column, dtype=np.float64)
    for cut in cuts(len(values), first):
        known, then = values[:cut], np.asarray(recompute(cut), dtype=np.float64)
        same = (known == then) | (np.isnan(known) & np.isnan(then))
        close = np.abs(known - then) <= _TOLERANCE * np.maximum(np.abs(known), np.abs(then))
        if not (same | close).all():
            return int(np.argmin(same | close))
    return None
