"""Spans are half-open and in UTC, calendar windows follow the calendar, weeks begin on Monday."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.machine import wall_ms
from keel.core.errors import ConfigError
from keel.core.model.time_range import TimeRange, to_datetime, to_iso, to_ms
from keel.core.model.timeframe import TIMEFRAMES, floor_ts, is_finer, tf_duration, tf_ms

NOW = datetime(2025, 3, 31, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[3]
NUMBER = re.compile(r"(?<![\w.])[0-9][0-9_]*")


@pytest.mark.parametrize(
    ("window", "start"),
    [
        ("24h", datetime(2025, 3, 30, 12, tzinfo=UTC)),
        ("90d", datetime(2024, 12, 31, 12, tzinfo=UTC)),
        ("2w", datetime(2025, 3, 17, 12, tzinfo=UTC)),
        ("1M", datetime(2025, 2, 28, 12, tzinfo=UTC)),
        ("6M", datetime(2024, 9, 30, 12, tzinfo=UTC)),
        ("1Y", datetime(2024, 3, 31, 12, tzinfo=UTC)),
        ("13M", datetime(2024, 2, 29, 12, tzinfo=UTC)),
    ],
)
def test_windows_reach_back_by_the_calendar(window: str, start: datetime) -> None:
    span = TimeRange.from_window_string(window, NOW)
    assert (to_datetime(span.start_ms), to_datetime(span.end_ms)) == (start, NOW)


@pytest.mark.parametrize("window", ["", "6", "M", "0d", "-1d", "6x", "1.5d", "9999999Y", "9" * 5000 + "d", None, 6])
def test_a_window_that_is_none_is_refused(window: str) -> None:
    with pytest.raises(ConfigError):
        TimeRange.from_window_string(window, NOW)


@pytest.mark.parametrize(
    "moment",
    [
        date(2025, 1, 2),
        "2025-01-02",
        "2025-01-02T00:00:00Z",
        datetime(2025, 1, 2),
        datetime(2025, 1, 2, 2, tzinfo=timezone(timedelta(hours=2))),
        1735776000000,
    ],
)
def test_every_form_of_a_time_is_the_same_instant(moment: object) -> None:
    assert to_ms(moment) == 1735776000000  # type: ignore[arg-type]  # a table of several types


@pytest.mark.parametrize("moment", ["yesterday", "2025-13-01", None, True, 1.5])
def test_what_is_no_time_is_refused(moment: object) -> None:
    with pytest.raises(ConfigError, match="not a time"):
        to_ms(moment)  # type: ignore[arg-type]  # the wrong type is the point


def test_an_empty_or_reversed_range_is_refused() -> None:
    for start, end in (("2025-01-01", "2025-01-01"), ("2025-01-02", "2025-01-01")):
        with pytest.raises(ConfigError, match="empty"):
            TimeRange.from_dates(start, end)


def test_last_24h_and_the_tuple() -> None:
    assert TimeRange.last_24h(NOW).to_tuple_ms() == (to_ms(NOW) - 86_400_000, to_ms(NOW))


def test_without_now_windows_reach_back_from_the_present() -> None:
    """As the documents call them; the clock is that of the adapters."""
    before = wall_ms()
    day, half_year = TimeRange.last_24h(), TimeRange.from_window_string("6M")
    after = wall_ms()
    assert before <= day.end_ms <= after and day.end_ms - day.start_ms == 86_400_000
    assert before <= half_year.end_ms <= after
    assert half_year == TimeRange.from_window_string("6M", half_year.end_ms)


@pytest.mark.parametrize("module", ["keel.adapters.store", "keel.runners.backtest.engine", "keel.runners.epoch"])
def test_whatever_a_user_works_with_brings_the_clock(module: str) -> None:
    code = f"import {module}; from keel.core.model.time_range import TimeRange; print(len(TimeRange.last_24h().to_tuple_ms()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "2\n"


def test_core_alone_has_no_clock_and_says_so() -> None:
    code = "from keel.core.model.time_range import TimeRange; TimeRange.last_24h()"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError: core has no clock of its own to know what is now: import adapters before, or say now=" in failed.stderr


@given(st.sampled_from(list(TIMEFRAMES)), st.integers(0, 4_102_444_800_000))
def test_a_time_lies_in_the_bar_that_its_floor_opens(timeframe: str, ts: int) -> None:
    start = floor_ts(ts, timeframe)
    assert start <= ts < start + tf_ms(timeframe)
    assert floor_ts(start, timeframe) == start


@given(st.integers(0, 4_102_444_800_000))
def test_weeks_begin_on_monday_at_midnight(ts: int) -> None:
    monday = to_datetime(floor_ts(ts, "1w"))
    assert (monday.weekday(), monday.hour, monday.minute) == (0, 0, 0)


def test_names_and_lengths() -> None:
    assert tf_duration("1h") == timedelta(hours=1)
    assert is_finer("5m", "1h") and not is_finer("1h", "1h") and not is_finer("4h", "6h")
    with pytest.raises(ConfigError, match="unknown timeframe '7m'"):
        tf_ms("7m")


def test_iso_text_shows_milliseconds_only_where_there_are_any() -> None:
    assert (to_iso(1735776000000), to_iso(1735776000001)) == ("2025-01-02T00:00:00Z", "2025-01-02T00:00:00.001Z")


def test_units_of_time_have_one_home() -> None:
    """An hour, a day or a week in ms is a name of core.model.timeframe, and a number nowhere."""
    written = {3_600_000, 86_400_000, 604_800_000}
    files = [path for room in ("core", "sim", "strategies", "adapters", "runners") for path in sorted((ROOT / room).rglob("*.py"))]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if any(int(text.replace("_", "")) in written for text in NUMBER.findall(line))
    ]
    assert len(files) > 400 and found == []
