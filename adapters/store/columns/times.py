"""The times of a file's rows, in ms UTC: numbers of s, ms, us or ns; ISO text; other text with one meaning; or as an option says.

Text that says no zone is UTC, unless the option --timezone says another, and but for two shapes whose writers are known to keep a clock of
their own: those are refused until the option says which.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keel.adapters.store.columns.zones import ZONE, is_certain, offset_of, to_utc, zone_of
from keel.adapters.store.files.table import RawFile, Reading
from keel.adapters.store.words import Where, shortened
from keel.core.errors import DataError
from keel.core.model.timeframe import TIMEFRAMES

_US_OF = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
_MS = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_UNITS = (("s", 1e8, 1e11), ("ms", 1e11, 1e14), ("us", 1e14, 1e17), ("ns", 1e17, 1e20))
"""Units of time and the magnitudes that mean them: each covers the years 1973 to 5138."""
_LATEST = 10**14
"""Times in ms lie before it (the year 5138), as those of every unit do."""

_YEAR_FIRST = (
    "%Y.%m.%d %H:%M", "%Y.%m.%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %I-%p", "%Y-%m-%d %I:%M %p",
    "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%dD%H:%M:%S.%n", "%Y.%m.%d", "%Y/%m/%d", "%Y%m%d", "%Y%m%d %H%M", "%Y%m%d %H:%M", "%Y%m%d %H:%M:%S",
    "%Y%m%d %H%M%S", "%Y-%m-%d %H%M%S", "%Y-%m-%dT%H:%M:%S %z", "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M %z", "%Y-%m-%d %H:%M:%S.%f %z",
)  # fmt: skip
"""Formats that can mean one thing only."""
_ASKED = tuple(
    f"{date}{clock}"
    for date in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m.%d.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d %b %Y",
                 "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y")
    for clock in ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %H:%M:%S")
)  # fmt: skip
"""Formats that are proposed where they fit: with days first and months first, both may."""
_CLOCKS = tuple(
    f"{date}{clock}" for date in ("%Y-%m-%d ", "%Y-%m-%dT", "%Y/%m/%d ", "%Y.%m.%d ") for clock in ("%H:%M:%S", "%H:%M", "%H:%M:%S.%f")
)
"""Formats of times before a zone's name."""
_DATES = (19_000_101, 21_000_101)
"""Numbers of this size are dates, 20250131."""
_PACKED = {10**4: "%Y%m%d%H%M", 10**6: "%Y%m%d%H%M%S"}
"""Dates with times of day behind them, by what the date is multiplied with."""
_FEW = 3


class Times(NamedTuple):
    """ts: ms; unit: what they were in; is_local: text that says no zone, taken as UTC, as nobody said another."""

    ts: np.ndarray
    unit: str
    is_local: bool = False


def read_times(raw: RawFile, places: dict[str, int], reading: Reading, notes: list[str]) -> Times:
    """The times of the rows. What was decided or is finer than a ms is told in ``notes``. Raises DataError for a cell that is no time."""
    place = places["ts"]
    if reading.time_format is not None or "clock" in places or raw.is_moment(place):
        return _moments(raw, places, reading, notes)
    numbers = raw.integers(place) if raw.is_integer(place) else raw.numbers(place)
    if _are_within(numbers, *_DATES):
        return _moments(raw, places, reading, notes)
    _refuse_zone(raw, reading, "are numbers since 1970, which are UTC")
    _refuse_packed(raw, place, numbers)
    try:
        ts, unit = to_milliseconds(raw.name, numbers, raw.where)
    except DataError:
        if "ts_text" not in places:
            raise
        times = read_times(raw, {"ts": places["ts_text"]}, reading, notes)
        notes.append(f"{raw.headers[place]} is in several units: the times were taken from {raw.headers[places['ts_text']]}")
        return times
    if bool((np.abs(numbers * _MS[unit] - ts) > 0.01).any()):
        notes.append("times finer than a millisecond are kept to the millisecond")
    return Times(ts, unit)


def _moments(raw: RawFile, places: dict[str, int], reading: Reading, notes: list[str]) -> Times:
    _refuse_odd_one(raw, places["ts"], reading)
    micros, has_zone, own_clock = _read_moments(raw, [places["ts"], *([places["clock"]] if "clock" in places else [])], reading, notes)
    if has_zone:
        _refuse_zone(raw, reading, "say their own zone")
    elif reading.timezone is not None:
        micros = to_utc(raw.name, micros, reading.timezone, raw.where, notes)
    elif own_clock:
        raise DataError(
            f"{raw.name}: the times say no zone, and files of this shape come {own_clock}; nothing was imported ({raw.first_rows()})"
        )
    ts = whole_milliseconds(micros)
    strange = (ts < 0) | (ts >= _LATEST)
    if strange.any():
        row = int(np.argmax(strange))
        raise DataError(
            f"{raw.name}, {raw.where(row)}: {raw.headers[places['ts']]} is no time since 1970 and before 5138; nothing was imported"
        )
    if bool((micros % 1000).any()):
        notes.append("times finer than a millisecond are kept to the millisecond")
    return Times(ts, "time", is_local=not has_zone and reading.timezone is None)


def _refuse_odd_one(raw: RawFile, place: int, reading: Reading) -> None:
    """Among numbers of s or ms a word is the mistake, not the numbers."""
    odd = raw.odd_one(place) if reading.time_format is None and raw.is_text(place) else None
    if odd is not None:
        raise DataError(
            f"{raw.name}, {raw.where(odd[0])}: {raw.headers[place]} is {shortened(repr(odd[1]))}, not a time, and most others are numbers "
            "since 1970. Nothing was imported"
        )


def _read_moments(raw: RawFile, columns: list[int], reading: Reading, notes: list[str]) -> tuple[np.ndarray, bool, str]:
    """(us, whether the text says its zone, on whose own clock files of this shape are known to be: "" for none)."""
    asked = reading.time_format
    if asked is not None:
        if not raw.is_text(columns[0]) and not raw.is_integer(columns[0]):
            raise DataError(f"{raw.name}: --time-format was given, and the file's times are times already: leave it out")
        micros = raw.parsed(columns, asked)
        if micros is None:
            row, cell = raw.misfit(columns, asked)
            raise DataError(
                f"{raw.name}, {raw.where(row)}: the time {shortened(repr(cell))} does not fit --time-format '{asked}'"
                f"{_proposal(raw, columns)}. Nothing was imported ({raw.first_rows()})"
            )
        return micros, "%z" in asked or "%Z" in asked, ""
    has_zone = len(columns) == 1 and _has_zone(raw, columns[0])
    if len(columns) == 1 and raw.is_iso(columns[0]) and not raw.is_integer(columns[0]):
        return raw.moments(columns[0]), has_zone, ""
    for time_format in _YEAR_FIRST:
        micros = raw.parsed(columns, time_format)
        if micros is not None:
            notes.extend(_on_bybits_clock(raw, columns, time_format, reading))
            return micros, has_zone, _own_clock(len(columns), time_format)
    proposal = _proposal(raw, columns)
    if not proposal and len(columns) == 1:
        raw.moments(columns[0])
    raise DataError(
        f"{raw.name}: the times ({shortened(repr(raw.sample(1)[0][columns[0]]))}, ...) can be read in several ways or in none"
        f"{proposal or ': say how with --time-format, such as --time-format ' + repr('%d/%m/%Y %H:%M')}. Nothing was imported "
        f"({raw.first_rows()})"
    )


def _has_zone(raw: RawFile, place: int) -> bool:
    """Whether the times of a column say their zone. Raises DataError where some do and some do not, or by a name that may mean several."""
    if not raw.is_text(place):
        return raw.is_in_utc(place)
    if {zone_of(f":00{part}") for part in raw.parts(place, ZONE)} <= {""}:
        return False
    cells = raw.texts(place)
    zones = np.array([zone_of(str(cell)) for cell in cells], dtype=object)
    if (zones == "").any():
        with_one, without = int(np.argmax(zones != "")), int(np.argmax(zones == ""))
        raise DataError(
            f"{raw.name}, {raw.where(without)}: the time {shortened(repr(cells[without]))} says no zone, and {raw.where(with_one)} does "
            f"({shortened(repr(cells[with_one]))}): write the zone to each time, or to none. Nothing was imported"
        )
    named = np.array([not is_certain(zone) for zone in zones])
    if named.any():
        row = int(np.argmax(named))
        raise DataError(
            f"{raw.name}, {raw.where(row)}: the time {shortened(repr(cells[row]))} says its zone by a name, and {zones[row]} may mean "
            f"several offsets: {_by_offset(raw, place, zones[row])}. Nothing was imported"
        )
    return True


def _by_offset(raw: RawFile, place: int, zone: str) -> str:
    """How times that say their zone by a name are imported: the name as a part of the format, and what it means as an option."""
    formats = (f"{clock}{gap}{zone}" for clock in _CLOCKS for gap in (" ", ""))
    fits = next((fit for fit in formats if raw.parsed([place], fit) is not None), None)
    meant = offset_of(zone)
    if fits is None:
        return "write the times in UTC, or with an offset such as +01:00"
    if meant is None:
        return f"say its offset, as in --time-format '{fits}' --timezone +01:00"
    usually = "" if meant == zone else f" (if {zone} is that)"
    return f"use --time-format '{fits}' --timezone {meant}{usually}"


def _own_clock(columns: int, time_format: str) -> str:
    if columns == 2 and time_format.startswith("%Y.%m.%d"):
        return (
            "out of MetaTrader on the clock of the broker's server (mostly --timezone +02:00 or +03:00 in summer, --timezone Europe/Athens "
            "for both; of HistData --timezone -05:00)"
        )
    if columns == 1 and time_format == "%Y%m%d %H%M%S":
        return "from HistData in Eastern Standard Time without summer time (--timezone -05:00); if they are UTC, use --timezone UTC"
    return ""


def _on_bybits_clock(raw: RawFile, columns: list[int], time_format: str, reading: Reading) -> list[str]:
    if reading.timezone is not None or len(columns) != 1 or time_format != "%Y.%m.%d %H:%M":
        return []
    return [
        "the times say no zone and were taken as UTC; Bybit's archive for MetaTrader is described as UTC+3: hold a bar against another "
        "source, and use --timezone +03:00 if it is three hours late"
    ]


def _proposal(raw: RawFile, columns: list[int]) -> str:
    fits = [time_format for time_format in _ASKED if raw.parsed(columns, time_format) is not None][:_FEW]
    if not fits:
        return ""
    words = {"%d": "days first", "%m": "months first"}
    return ": use " + " or ".join(f"--time-format '{fit}'{' (' + words[fit[:2]] + ')' if fit[:2] in words else ''}" for fit in fits)


def _refuse_zone(raw: RawFile, reading: Reading, why: str) -> None:
    if reading.timezone is not None:
        raise DataError(f"{raw.name}: --timezone {shortened(reading.timezone)} was given, but the times {why}: leave it out")


def _refuse_packed(raw: RawFile, place: int, numbers: np.ndarray) -> None:
    """Numbers such as 202501312359 are dates, and no ms of 1976."""
    for factor, time_format in _PACKED.items():
        if _are_within(numbers, *(bound * factor for bound in _DATES)) and raw.parsed([place], time_format) is not None:
            raise DataError(
                f"{raw.name}: the times ({numbers[0]}, ...) look like dates: use --time-format '{time_format}' ({raw.first_rows()})"
            )


def _are_within(numbers: np.ndarray, low: int, high: int) -> bool:
    return numbers.dtype.kind == "i" and bool(((numbers >= low) & (numbers < high)).all())


def timeframe_of_spacing(ts: np.ndarray) -> str | None:
    """The timeframe whose length is the smallest distance of times (any order) and that of more than half; None when there is none."""
    values, counts = np.unique(np.diff(np.unique(ts)), return_counts=True)
    if not len(values) or 2 * counts[0] <= counts.sum():
        return None
    return next((timeframe for timeframe, length in TIMEFRAMES.items() if length == values[0]), None)


def to_milliseconds(name: str, times: np.ndarray, where: Where) -> tuple[np.ndarray, str]:
    """(times in ms, unit) of integers or floats whose unit is told by their magnitude; all rows must agree. Raises DataError."""
    units = np.full(len(times), -1, dtype=np.int8)
    for index, (_, low, high) in enumerate(_UNITS):
        units[(times >= low) & (times < high)] = index
    strange = units != units[0] if units[0] >= 0 else units < 0
    if strange.any():
        row = int(np.argmax(strange))
        shown = f"{name}, {where(row)}: the time {times[row]}"
        if units[row] < 0:
            raise DataError(f"{shown} is no time in s, ms, us or ns since 1970")
        raise DataError(
            f"{shown} is in {_UNITS[units[row]][0]}, the first row ({times[0]}) in {_UNITS[units[0]][0]}: use one unit throughout"
        )
    unit = _UNITS[int(units[0])][0]
    if unit == "s" or times.dtype.kind == "f":
        return whole_milliseconds(np.rint(times * _US_OF[unit]).astype(np.int64)), unit
    return times // {"ms": 1, "us": 1_000, "ns": 1_000_000}[unit], unit


def whole_milliseconds(micros: np.ndarray) -> np.ndarray:
    """us as ms, to the nearest one, but never up into the next second: 59.999999 is a closing time, and stays one."""
    nearest = (micros + 500) // 1000
    carried = (nearest % 1000 == 0) & (nearest * 1000 > micros)
    return np.asarray(nearest - carried)
