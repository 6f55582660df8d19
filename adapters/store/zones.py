"""Times of day of a place as UTC: a fixed offset, or a zone with summer time, whose doubled hour is told apart by the order of the rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from adapters.store.checks import Where
from adapters.store.words import printable, shortened
from core.errors import ConfigError, DataError

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
