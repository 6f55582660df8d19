"""One symbol's history as the kernel reads it: contiguous read-only columns, made once and shared by every run and thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.core.errors import DataError
from keel.core.model.timeframe import DAY_MS, NEVER
from keel.sim.kernel.layout import BLOCK, BLOCK_WIDTH

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Ohlc = tuple[Floats, Floats, Floats, Floats]
NO_INTS: Ints = np.zeros(0, dtype=np.int64)
NO_FLOATS: Floats = np.zeros(0)


@dataclass(frozen=True, slots=True)
class KernelColumns:
    """Execution bars with what values and triggers at them, funding, and where decisions fall. Make it with ``of``.

    ts: opens of the bars (ms).  last, mark, index: (open, high, low, close).  value: what values a position at each close.
    reach: how low and how high last, mark and index go in each bar, and the extremes of each block of bars (``loop.Reach``).
    funding: stamps (ms), of which the last never comes, rates and marks (1e-8), the row in which each stamp falls due.  decisions: the row
    at whose close each signal is known; empty: there is one for each row.  day_rows: the row that stands for each 00:00 UTC after the start
    (-1: the start itself).
    """

    ts: Ints
    bar_ms: int
    start_ms: int
    last: Ohlc
    mark: Ohlc
    index: Ohlc
    value: Floats
    reach: tuple[Floats, Floats, Floats]
    funding: tuple[Ints, Ints, Ints, Ints]
    decisions: Ints
    day_rows: Ints = field(repr=False)

    @classmethod
    def of(
        cls,
        ts: Ints,
        bar_ms: int,
        start_ms: int,
        last: Sequence[Floats],
        *,
        mark: Sequence[Floats] | None = None,
        index: Sequence[Floats] | None = None,
        value: Floats | None = None,
        funding: tuple[Ints, Ints, Ints] | None = None,
        decisions: Ints | None = None,
    ) -> KernelColumns:
        """Columns of one length; what is not given is the last price's (the index's: the mark's). ``funding``: stamps, rates, marks.

        Raises DataError for columns that do not fit.
        """
        lasts = _four(last, len(ts))
        marks = lasts if mark is None else _four(mark, len(ts))
        indexes = marks if index is None else _four(index, len(ts))
        low, high = lasts[2], lasts[1]
        for other in (marks, indexes):
            if other is not lasts:
                low, high = np.minimum(low, other[2]), np.maximum(high, other[1])
        values = lasts[3] if value is None else shared(value, np.float64)
        closes = ts + bar_ms
        stamps, stamp_rates, stamp_marks = (NO_INTS, NO_INTS, NO_INTS) if funding is None else funding
        due = np.append(np.searchsorted(closes, stamps, side="right"), len(ts)).astype(np.int64)
        stamps = np.append(stamps, NEVER).astype(np.int64)
        end = int(closes[-1]) if len(ts) else start_ms
        midnights = np.arange((start_ms // DAY_MS + 1) * DAY_MS, end + 1, DAY_MS, dtype=np.int64)
        day_rows = np.searchsorted(closes, midnights, side="right").astype(np.int64) - 1
        return cls(
            shared(ts, np.int64), bar_ms, start_ms, lasts, marks, indexes, values,
            (shared(low, np.float64), shared(high, np.float64), _by_block(low, high, values)),
            (shared(stamps, np.int64), shared(stamp_rates, np.int64), shared(stamp_marks, np.int64), shared(due, np.int64)),
            shared(NO_INTS if decisions is None else decisions, np.int64), shared(day_rows, np.int64),
        )  # fmt: skip

    def __len__(self) -> int:
        """Execution bars."""
        return len(self.ts)

    @property
    def signals_wanted(self) -> int:
        """How many signals a run takes: one for each decision."""
        return len(self.decisions) or len(self.ts)


def shared(array: npt.NDArray[Any], kind: type) -> npt.NDArray[Any]:
    """The array, contiguous and of this kind, as a view that cannot be written."""
    view: npt.NDArray[Any] = np.ascontiguousarray(array, dtype=kind).view()
    view.flags.writeable = False
    return view


def _four(columns: Sequence[Floats], rows: int) -> Ohlc:
    if len(columns) != 4 or any(len(column) != rows for column in columns):
        raise DataError(f"the kernel takes open, high, low and close with {rows} rows each, not {[len(column) for column in columns]}")
    open_, high, low, close = (shared(column, np.float64) for column in columns)
    return open_, high, low, close


def _by_block(low: Floats, high: Floats, value: Floats) -> Floats:
    """Of each block of bars (the last may be shorter): lowest, highest, least and greatest value, one after the other."""
    starts = np.arange(0, len(low), BLOCK)
    blocks = np.empty((len(starts), BLOCK_WIDTH))
    if len(starts):
        for place, (extreme, column) in enumerate([(np.minimum, low), (np.maximum, high), (np.minimum, value), (np.maximum, value)]):
            extreme.reduceat(column, starts, out=blocks[:, place])
    return shared(blocks.ravel(), np.float64)
