"""Timeframes: names of bar lengths, and the grid of time that they make.

A timeframe divides a day (1w is seven of them) and is aligned to the Unix epoch; weeks begin on Monday, as the exchange's do.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from keel.core.errors import ConfigError

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
_WEEK_ORIGIN_MS = -3 * DAY_MS  # the Unix epoch was a Thursday; its week began on Monday 1969-12-29

NEVER: Final = 2**62
"""A time (ms) after everything."""

TIMEFRAMES: dict[str, int] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "1w": WEEK_MS,
}
"""Every timeframe, shortest first, with its length in milliseconds."""


def tf_ms(timeframe: str) -> int:
    """Length of a timeframe in milliseconds. Raises ConfigError for an unknown one."""
    try:
        return TIMEFRAMES[timeframe]
    except KeyError:
        raise ConfigError(f"unknown timeframe {timeframe!r}: use one of {', '.join(TIMEFRAMES)}") from None


def tf_duration(timeframe: str) -> timedelta:
    """Length of a timeframe as a timedelta."""
    return timedelta(milliseconds=tf_ms(timeframe))


def floor_ts(ts: int, timeframe: str) -> int:
    """The start of the bar of this timeframe in which ts (ms) lies."""
    duration = tf_ms(timeframe)
    return floor_time(ts, duration, tf_origin(duration))


def tf_origin(duration: int) -> int:
    """A time (ms) at which a bar of this length (ms) begins: the epoch, for weeks a Monday."""
    return _WEEK_ORIGIN_MS if duration == WEEK_MS else 0


def floor_time(ts: int, duration: int, origin: int) -> int:
    """The start of the bar of ``duration`` ms in which ts lies, where one begins at ``origin``."""
    return ts - (ts - origin) % duration


def is_finer(timeframe: str, than: str) -> bool:
    """Whether bars of ``than`` can be built out of bars of ``timeframe``: shorter, and dividing it."""
    short, long = tf_ms(timeframe), tf_ms(than)
    return short < long and long % short == 0
