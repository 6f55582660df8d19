"""The exchange's candle intervals: their lengths, and where a candle begins and ends."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from keel.core.model.timeframe import DAY_MS, MINUTE_MS, WEEK_MS, tf_origin
from keel.sim.sandbox.market.bar_source import Ints

INTERVALS: Final = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")


def interval_ms(interval: str) -> int:
    """Length of an interval; a month counts as 31 days (only to compare)."""
    return {"D": DAY_MS, "W": WEEK_MS, "M": 31 * DAY_MS}.get(interval) or int(interval) * MINUTE_MS


def start_of(ts: int, interval: str) -> int:
    """The open of the candle in which a time lies."""
    if interval == "M":
        return int(np.datetime64(ts, "ms").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64))
    return ts - (ts - _origin(interval)) % interval_ms(interval)


def starts_of(ts: Ints, interval: str) -> Ints:
    """``start_of`` of each time."""
    if interval == "M":
        months: Any = ts.astype("datetime64[ms]").astype("datetime64[M]")
        starts: Ints = months.astype("datetime64[ms]").astype(np.int64)
        return starts
    return ts - (ts - _origin(interval)) % interval_ms(interval)


def end_of(start: int, interval: str) -> int:
    """The first ms after the candle that opens at ``start``."""
    if interval == "M":
        month = np.datetime64(start, "ms").astype("datetime64[M]") + np.timedelta64(1, "M")
        return int(month.astype("datetime64[ms]").astype(np.int64))
    return start + interval_ms(interval)


def _origin(interval: str) -> int:
    return tf_origin(interval_ms(interval))
