"""Times that say their zone, times that say none, and the hour that a clock shows twice."""

from __future__ import annotations

import re
import shlex

import pytest

from keel.adapters.store.columns.zones import is_certain, zone_of
from keel.core.errors import DataError

START = 1_735_689_600_000  # 2025-01-01
HOUR = 3_600_000
HEADER = "ts,open,high,low,close,volume\n"


def bars(times) -> str:
    """Rows of one price each, their volumes 1, 2, ..."""
    return HEADER + "".join(f"{at},2,3,1,2.5,{volume}\n" for volume, at in enumerate(times, 1))


def advised(said: str) -> dict[str, str]:
    """--time-format and --timezone as a message says them."""
    words = [word.rstrip(",;:.)").lstrip("(") for word in shlex.split(said)]
    return {option[2:].replace("-", "_"): words[words.index(option) + 1] for option in ("--time-format", "--timezone") if option in words}


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        ("Z", 0),
        (" UTC", 0),
        (" utc", 0),
        (" GMT", 0),
        ("+00:00", 0),
        ("+0000", 0),
        ("+02:00", 2),
        ("-05", -5),
        (" +0200", 2),
        (" -05:00", -5),
    ],
)
@pytest.mark.parametrize("clock", ["2025-01-01 {:02d}:00:00", "2025-01-01 {:02d}:00"])
@pytest.mark.covering(1)
def test_a_zone_that_times_say_is_heeded_and_no_other_may_be_said(store, file, clock, zone, offset):
    path = file("BTCUSDT_1h.csv", bars(clock.format(hour) + zone for hour in range(3)))
    with pytest.raises(DataError, match="--timezone Europe/Berlin was given, but the times say their own zone: leave it out"):
        store.import_file(path, timezone="Europe/Berlin")
    store.import_file(path)
    assert store.get_ohlcv("BTCUSDT", "1h").ts.tolist() == [START + (hour - offset) * HOUR for hour in range(3)]


@pytest.mark.parametrize(
    ("cell", "zone"),
    [
        ("2025-01-01", ""),
        ("2025-01-01 00:00", ""),
        ("2025-01-01T00:00:00.123456", ""),
        ("2025-01-01 01:00 PM", ""),
        ("2025-01-01T00:00:00.5Z", "Z"),
        ("2025-01-01 00:00-05", "-05"),
        ("2025-01-01 00:00:00+02:30", "+02:30"),
        ("2025-01-01 00:00 Etc/GMT+5", "Etc/GMT+5"),
    ],
)
def test_what_says_a_zone(cell, zone):
    assert zone_of(cell) == zone


def test_zones_that_mean_one_thing():
    assert all(is_certain(zone) for zone in ("Z", "utc", "GMT", "+2", "+02:00", "-0530", "UTC+3", "GMT-05:00"))
    assert not any(is_certain(zone) for zone in ("EST", "CET", "Europe/Berlin", "Etc/GMT+5", "PST8PDT"))


@pytest.mark.parametrize(
    ("times", "words"),
    [
        (["00:00:00Z", "01:00:00", "02:00:00Z"], "line 4: the time '2025-01-01 01:00:00' says no zone, and line 3 does"),
        (["00:00", "01:00", "02:00+02:00"], "line 3: the time '2025-01-01 00:00' says no zone, and line 5 does"),
        (["00:00:00 +0000", "01:00:00", "02:00:00"], "line 4: the time '2025-01-01 01:00:00' says no zone, and line 3 does"),
    ],
)
def test_times_with_and_without_a_zone_in_one_file_are_refused(store, file, times, words):
    text = bars(f"2025-01-01 {at}" for at in times).replace(HEADER, HEADER + "\n")
    with pytest.raises(DataError, match=re.escape(words) + ".*write the zone to each time, or to none"):
        store.import_file(file("BTCUSDT_1h.csv", text))
    assert store.coverage() == []


@pytest.mark.parametrize(
    ("cell", "ahead"),
    [
        ("2025-01-01 {:02d}:00 EST", -5),
        ("2025-01-01T{:02d}:00:00 CET", 1),
        ("2025-01-01 {:02d}:00:00.000 MSK", 3),
        ("2025/01/01 {:02d}:00:00 JST", 9),
        ("2025-01-01 {:02d}:00:00 Europe/Berlin", 1),
        ("2025-01-01 {:02d}:00 America/New_York", -5),
        ("2025-01-01 {:02d}:00 XYZ", 1),
    ],
)
@pytest.mark.parametrize("zone", [None, "Europe/Athens"])
@pytest.mark.covering(1)
def test_a_zone_that_is_named_is_asked_about_and_the_answer_works(store, file, cell, ahead, zone):
    path = file("BTCUSDT_1h.csv", bars(cell.format(hour) for hour in range(3)))
    with pytest.raises(DataError, match=r"line 2: the time .* says its zone by a name, and .* may mean several offsets") as error:
        store.import_file(path, timezone=zone)
    assert store.coverage() == []
    store.import_file(path, **advised(str(error.value)))
    assert store.get_ohlcv("BTCUSDT", "1h").ts.tolist() == [START + (hour - ahead) * HOUR for hour in range(3)]


def test_zones_of_several_names_are_refused_with_what_to_write(store, file):
    with pytest.raises(DataError, match=r"line 2: .*EDT may mean several offsets: write the times in UTC, or with an offset"):
        store.import_file(file("BTCUSDT_1h.csv", bars(["2024-11-03 01:00 EDT", "2024-11-03 01:00 EST"])))


@pytest.mark.parametrize(
    ("day", "times", "zone", "first"),
    [
        ("2024-10-27", ["01:00", "02:00", "02:00", "03:00"], "Europe/Berlin", "2024-10-26T23:00:00Z"),
        ("2024-10-27", ["03:00", "02:00", "02:00", "01:00"], "Europe/Berlin", "2024-10-26T23:00:00Z"),
        ("2024-10-27", [f"02:{minute}" for minute in ("00", "15", "30", "45")] * 2, "Europe/Berlin", "2024-10-27T00:00:00Z"),
        ("2024-11-03", ["00:00", "01:00", "01:00", "02:00"], "America/New_York", "2024-11-03T04:00:00Z"),
        ("2024-10-27", ["00:00", "01:00", "01:00", "02:00"], "Europe/London", "2024-10-26T23:00:00Z"),
        ("2024-04-07", ["01:00", "02:00", "02:00", "03:00"], "Australia/Sydney", "2024-04-06T14:00:00Z"),
    ],
)
def test_an_hour_that_clocks_show_twice_in_autumn_is_asked_about_and_the_answer_works(store, file, day, times, zone, first):
    timeframe = "15m" if len(times) == 8 else "1h"
    path = file(f"BTCUSDT_{timeframe}.csv", bars(f"{day} {at}" for at in times))
    with pytest.raises(DataError, match=rf"line \d and line \d have the same time .*clocks go back .*--timezone {zone}\)") as error:
        store.import_file(path)
    assert store.coverage() == []
    report = store.import_file(path, **advised(str(error.value)))
    assert report.rows == len(times) and report.duplicates == 0
    assert store.get_ohlcv("BTCUSDT", timeframe, first).ts.tolist() == store.get_ohlcv("BTCUSDT", timeframe).ts.tolist()


@pytest.mark.parametrize(
    ("times", "options"),
    [
        (["2024-06-27 01:00", "2024-06-27 02:00", "2024-06-27 02:00"], {}),
        (["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 05:00", "2024-10-27 05:00"], {}),
        (["2024-10-27 02:00Z", "2024-10-27 02:00Z"], {}),
        (["2024-10-27 02:00", "2024-10-27 02:00"], {"timezone": "UTC"}),
        ([1_729_994_400_000, 1_729_994_400_000], {}),
    ],
    ids=["in June", "another hour, too", "with a zone", "said to be UTC", "numbers"],
)
def test_other_times_that_come_twice_are_told_as_before(store, file, times, options):
    with pytest.raises(DataError, match=r"have the same time .*\): remove the wrong one; nothing was imported"):
        store.import_file(file("BTCUSDT_1h.csv", bars(times)), **options)
