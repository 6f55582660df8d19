"""Times of day of a place as UTC: a fixed offset, or a zone with summer time, whose doubled hour is told apart by the order of the rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from keel.adapters.store.words import Where, printable, shortened
from keel.core.errors import ConfigError, DataError

ZONE = r":[0-9]{2}(?:[.][0-9]+)? ?([A-Za-z][A-Za-z0-9_/+:-]*|[+-][0-9]{1,2}(?::?[0-9]{2}){0,2})$"
"""How a time as text says its zone, behind its time of day: Z, UTC, +02:00, -0500, EST, Europe/Berlin (re and RE2 alike)."""
_CERTAIN = re.compile(r"^(?:Z|(?:UTC|GMT)?(?:[+-]\d{1,2}(?::?\d{2}){0,2})?)$", re.IGNORECASE)
"""Zones that mean one thing."""
_GOING_BACK = ("Europe/Berlin", "America/New_York", "Europe/London", "Europe/Athens", "Australia/Sydney", "America/Santiago")
"""Places whose clocks go back at different times, the likeliest first: what one of them doubles is doubled in many others, too."""
_HALVES_OF_DAY = ("AM", "PM")
_OFFSETS = {"EST": "-05:00", "EDT": "-04:00", "CST": "-06:00", "CDT": "-05:00", "MST": "-07:00", "MDT": "-06:00", "PST": "-08:00",
            "PDT": "-07:00", "WET": "+00:00", "BST": "+01:00", "CET": "+01:00", "CEST": "+02:00", "EET": "+02:00", "EEST": "+03:00",
            "MSK": "+03:00", "HKT": "+08:00", "JST": "+09:00"}  # fmt: skip
"""What names of zones mostly mean."""
_OFFSET = re.compile(r"^(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d\d))?$")
_QUARTER = 900_000_000
"""us: offsets change on quarters of an hour."""
_EPOCH = datetime(1970, 1, 1)


def read_zone(text: str) -> tzinfo:
    """A zone: UTC, +03:00, -5, or a name such as Europe/Berlin. Raises ConfigError for what is none."""
    if text.upper() in ("UTC", "GMT", "Z"):
        return UTC
    match = _OFFSET.match(text)
    if match is not None:
        minutes = 60 * int(match["hours"]) + int(match["minutes"] or 0)
        if minutes <= 15 * 60 and int(match["minutes"] or 0) < 60:
            return timezone((1 if match["sign"] == "+" else -1) * timedelta(minutes=minutes))
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        shown = shortened(repr(printable(text)))
        raise ConfigError(f"--timezone {shown} is no zone: use UTC, an offset such as +03:00, or a name such as Europe/Berlin") from error


def zone_of(cell: str) -> str:
    """The zone that a time as text says behind its time of day; "" for none (AM and PM are none)."""
    found = re.search(ZONE, cell.strip())
    return "" if found is None or found[1].upper() in _HALVES_OF_DAY else found[1]


def is_certain(zone: str) -> bool:
    """Whether a zone means one thing: Z, UTC, an offset. CST is of Chicago, Havana and Shanghai, and Europe/Berlin has an hour twice."""
    return _CERTAIN.match(zone) is not None


def offset_of(zone: str) -> str | None:
    """The value of --timezone for a zone's name: of a place the name, of letters what they mostly mean; None for others."""
    if "/" not in zone:
        return _OFFSETS.get(zone.upper())
    try:
        read_zone(zone)
    except ConfigError:  # no zone of that name is known
        return None
    return zone


def zone_that_doubles(ts: np.ndarray) -> str | None:
    """A place whose clock shows every one of these times (ms of its day) twice, as it goes back then; None where none is known."""
    quarters = np.unique(np.asarray(ts) * 1000 // _QUARTER)
    for text in _GOING_BACK:
        zone = read_zone(text)
        if all(_offset(int(each), zone, 0) > _offset(int(each), zone, 1) for each in quarters):
            return text
    return None


def to_utc(name: str, micros: np.ndarray, text: str, where: Where, notes: list[str]) -> np.ndarray:
    """us of a local clock as us UTC; told in ``notes``. Raises DataError for an hour that the clock skips, or that it has twice and the
    rows do not."""
    zone = read_zone(text)
    quarters, place = np.unique(micros // _QUARTER, return_inverse=True)
    early, late = (np.array([_offset(int(each), zone, fold) for each in quarters], dtype=np.int64) for fold in (0, 1))
    offsets = early[place]
    skipped = np.flatnonzero((early < late)[place])
    if len(skipped):
        raise DataError(
            f"{name}, {where(int(skipped[0]))}: the time {_shown(micros[skipped[0]])} does not exist in {text}, where the clock is put "
            f"forward: the times are of another zone, or of {text} without summer time (then --timezone {_fixed(early[place][skipped[0]])})"
        )
    doubled = (early > late)[place]
    if doubled.any():
        offsets = np.where(_second_pass(name, micros, doubled, text, where, _fixed(late.min())), late[place], offsets)
    notes.append(f"the times were read as those of {text} and converted to UTC")
    return np.asarray(micros - offsets)


def _offset(quarter: int, zone: tzinfo, fold: int) -> int:
    try:
        local = (_EPOCH + timedelta(microseconds=quarter * _QUARTER)).replace(tzinfo=zone, fold=fold)
        found = local.utcoffset()
    except OverflowError:
        return 0
    return int((found or timedelta()) / timedelta(microseconds=1))


def _second_pass(name: str, micros: np.ndarray, doubled: np.ndarray, text: str, where: Where, fixed: str) -> np.ndarray:
    """Which rows of doubled hours belong to the second pass of the clock: those after it has gone back, in the order of time."""
    falling = len(micros) > 1 and micros[-1] < micros[0]
    order = np.arange(len(micros))[::-1] if falling else np.arange(len(micros))
    ordered, inside = micros[order], doubled[order]
    second = np.zeros(len(micros), dtype=bool)
    starts = np.flatnonzero(inside & ~np.concatenate(([False], inside[:-1])))
    ends = np.flatnonzero(inside & ~np.concatenate((inside[1:], [False]))) + 1
    for start, end in zip(starts, ends, strict=True):
        steps = np.diff(ordered[start:end])
        back = np.flatnonzero(steps < 0 if (steps < 0).any() else steps == 0)
        if len(back) != 1:
            raise DataError(
                f"{name}, {where(int(order[start]))}: the clock of {text} has the hour of {_shown(ordered[start])} twice, and the rows do "
                f"not: import them in UTC, or, if they know no summer time, with --timezone {fixed}"
            )
        second[start + int(back[0]) + 1 : end] = True
    result = np.empty_like(second)
    result[order] = second
    return result


def _fixed(offset: int) -> str:
    minutes = int(offset) // 60_000_000
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _shown(micros: int) -> str:
    try:
        return str(_EPOCH + timedelta(microseconds=int(micros)))
    except OverflowError:
        return f"{int(micros)} us"
