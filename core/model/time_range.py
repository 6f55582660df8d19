"""Half-open spans of time in UTC.

Nothing in core reads a clock. A window before "now" is told the time, or asks the clock that the adapters, which alone have one, hand in
when they are imported (``adapters/__init__.py``): so the calls without ``now`` work for whoever works with a store or an engine.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

from keel.core.errors import ConfigError

Moment = datetime | date | str | int
"""What is taken for a time: a datetime (naive means UTC), a date, ISO text, or milliseconds since the Unix epoch."""

_EPOCH = datetime(1970, 1, 1)
_WINDOW = re.compile(r"^(\d{1,9})(m|h|d|w|M|Y)$")
_STEPS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def to_ms(moment: Moment) -> int:
    """A time as milliseconds since the Unix epoch, UTC. Raises ConfigError for what is not a time."""
    if isinstance(moment, bool) or not isinstance(moment, (datetime, date, str, int)):
        raise ConfigError(f"{moment!r} is not a time: use 2025-01-31, 2025-01-31T08:00 or milliseconds since 1970")
    if isinstance(moment, int):
        return moment
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.strip())
        except ValueError:
            raise ConfigError(f"{moment!r} is not a time: use 2025-01-31 or 2025-01-31T08:00") from None
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


def to_datetime(ts: int) -> datetime:
    """Milliseconds since the Unix epoch as an aware UTC datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts)


def to_iso(ts: int) -> str:
    """Milliseconds since the Unix epoch as ISO text with a Z; milliseconds only where there are any."""
    moment = _EPOCH + timedelta(milliseconds=ts)
    return moment.isoformat(timespec="milliseconds" if ts % 1000 else "seconds") + "Z"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """[start, end) in milliseconds since the Unix epoch, UTC. Raises ConfigError when it is empty or reversed."""

    start_ms: int
    end_ms: int
    clock: ClassVar[Callable[[], int] | None] = None
    """The time now in ms since the Unix epoch, for calls without ``now``; a strategy's time is its snapshot's ``ts_close``, never this."""

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ConfigError(f"the range from {to_iso(self.start_ms)} to {to_iso(self.end_ms)} is empty: its end must be later")

    @classmethod
    def from_dates(cls, start: Moment, end: Moment) -> TimeRange:
        """The range between two times; the end is not part of it."""
        return cls(to_ms(start), to_ms(end))

    @classmethod
    def last_24h(cls, now: Moment | None = None) -> TimeRange:
        """The 24 hours before now; None: before the present time."""
        return cls.from_window_string("24h", now)

    @classmethod
    def from_window_string(cls, window: str, now: Moment | None = None) -> TimeRange:
        """The span of "90d", "24h", "2w", "6M" or "1Y" before now; None: before the present time. M and Y go by the calendar; a day that a
        month lacks becomes its last (31 March less one month is 28 or 29 February)."""
        match = _WINDOW.match(window.strip()) if isinstance(window, str) else None
        if match is None or int(match[1]) == 0:
            raise ConfigError(f"{window!r} is not a window: use a number and m, h, d, w, M or Y, such as 90d or 6M")
        count, unit = int(match[1]), match[2]
        end_ms = cls._present() if now is None else to_ms(now)
        end = to_datetime(end_ms)
        try:
            if unit in _STEPS:
                start = end - count * _STEPS[unit]
            else:
                months = end.year * 12 + end.month - 1 - count * (12 if unit == "Y" else 1)
                year, month = divmod(months, 12)
                day = min(end.day, calendar.monthrange(year, month + 1)[1])
                start = end.replace(year=year, month=month + 1, day=day)
        except (ValueError, OverflowError, calendar.IllegalMonthError):
            raise ConfigError(f"the window {window!r} reaches back before the calendar begins") from None
        return cls(to_ms(start), end_ms)

    @classmethod
    def _present(cls) -> int:
        if cls.clock is None:
            raise ConfigError('core has no clock of its own to know what is now: import adapters before, or say now="2025-01-31"')
        return cls.clock()

    def to_tuple_ms(self) -> tuple[int, int]:
        """(start, end) in milliseconds."""
        return self.start_ms, self.end_ms

    def __str__(self) -> str:
        return f"{to_iso(self.start_ms)} to {to_iso(self.end_ms)}"
