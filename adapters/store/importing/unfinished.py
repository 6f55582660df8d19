"""Rows that cannot be final: bars that have not closed, and rows of the future, by the clock that the caller gives."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.schema import BAR_KINDS, SeriesKey
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import tf_ms


def is_unfinished(key: SeriesKey, ts: np.ndarray, now_ms: int) -> np.ndarray:
    """Which rows are of a time that ``now_ms`` has not reached: bars by their close, other rows by their own time."""
    return ts + (tf_ms(key.timeframe) if key.kind in BAR_KINDS else 0) > now_ms


def in_words(key: SeriesKey, ts: np.ndarray, now_ms: int) -> str:
    """Unfinished rows with their number, the first and the last: "2 bars (the one in progress and 1 of the future: ...)"."""
    ahead = int(np.count_nonzero(ts > now_ms))
    noun = "bar" if key.kind in BAR_KINDS else f"{key.kind} row"
    parts = ["the one in progress"] * (len(ts) > ahead) + [f"{ahead:,} of the future"] * (ahead > 0)
    times = to_iso(int(ts.min())) if len(ts) == 1 else f"the first {to_iso(int(ts.min()))}, the last {to_iso(int(ts.max()))}"
    return f"{len(ts):,} unfinished {noun}{'s' if len(ts) > 1 else ''} ({' and '.join(parts)}; {times}; the clock says {to_iso(now_ms)})"
