"""Gaps are found where bars are missing, and filled only with bars that a finer series proves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.store.gaps import bar_gaps, point_gaps
from keel.core.errors import DataError
from keel.core.model.timeframe import WEEK_MS, floor_ts, tf_ms

START = 1_735_689_600_000
HOUR = 3_600_000


@given(
    present=st.sets(st.integers(0, 40), min_size=1), bounds=st.tuples(st.integers(-5, 45), st.integers(1, 50)), odd=st.integers(0, HOUR - 1)
)
def test_gaps_are_exactly_the_missing_bars(present, bounds, odd):
    first, count = bounds
    start, end = START + first * HOUR - odd, START + (first + count) * HOUR
    ts = np.array(sorted(START + hour * HOUR for hour in present), dtype=np.int64)
    inside = ts[(ts >= start) & (ts < end)]
    wanted = {START + hour * HOUR for hour in range(first, first + count)}
    found = bar_gaps(inside, "1h", start, end)
    missing = [ts for gap in found for ts in range(gap.start, gap.end, HOUR)]
    assert missing == sorted(wanted - set(inside.tolist()))
    assert [gap.missing for gap in found] == [(gap.end - gap.start) // HOUR for gap in found]
    between = bar_gaps(ts, "1h")
    assert sum(gap.missing for gap in between) == max(present) - min(present) + 1 - len(present)


def test_weeks_begin_on_monday(store, bars):
    monday = floor_ts(START, "1w")
    columns = bars(4, "1w", start=monday)
    store.upsert_bars("BTCUSDT", "1w", {name: np.delete(column, 2) for name, column in columns.items()}, source="made")
    (gap,) = store.find_gaps("BTCUSDT", "1w")
    assert (gap.start, gap.end, gap.missing) == (monday + 2 * WEEK_MS, monday + 3 * WEEK_MS, 1)


@pytest.mark.parametrize(
    ("hours", "holes"),
    [
        ([0, 8, 16, 24], []),
        ([0, 8, 16, 20, 24, 28], []),  # the interval changed from 8 h to 4 h
        ([0, 4, 8, 16, 24], []),
        ([0, 8, 24, 32], [(16, 24, 1)]),
        ([0, 8, 40, 44, 48], [(16, 40, 3)]),
        ([0, 24, 32], [(8, 24, 2)]),
        ([0], []),
        ([0, 16], [(8, 16, 1)]),  # two settlements, and no exchange has such an interval
        ([0, 8, 16, 24, 40, 56, 72, 88], [(32, 40, 1), (48, 56, 1), (64, 72, 1), (80, 88, 1)]),  # every second is missing
        ([0, 24, 48, 72], [(8, 24, 2), (32, 48, 2), (56, 72, 2)]),  # one row a day
        ([0, 4, 8, 20, 24], [(12, 20, 2)]),
        ([0, 1, 2, 5, 6], [(3, 5, 2)]),
        ([0, 6, 12], [(2, 6, 2), (8, 12, 2)]),
        ([0, 2, 4, 6], []),
    ],
)
def test_a_funding_hole_is_longer_than_its_neighbours(hours, holes):
    found = point_gaps(np.array(hours, dtype=np.int64) * HOUR)
    assert [(gap.start // HOUR, gap.end // HOUR, gap.missing) for gap in found] == holes


def test_gaps_are_filled_from_finer_series_that_have_every_bar(store, bars):
    minute, five, hour = bars(60 * 12, "1m"), bars(12 * 12, "5m", seed=2), bars(12, "1h", seed=3)
    store.upsert_bars("BTCUSDT", "1h", {name: np.delete(column, [2, 3, 6, 9]) for name, column in hour.items()}, source="made")
    # 5m lacks a bar of hours 3 and 9; 1m lacks one of hour 9: hours 2 and 6 come from 5m, 3 from 1m, 9 stays missing.
    store.upsert_bars("BTCUSDT", "5m", {name: np.delete(column, [3 * 12 + 5, 9 * 12]) for name, column in five.items()}, source="made")
    store.upsert_bars("BTCUSDT", "1m", {name: np.delete(column, 9 * 60 + 59) for name, column in minute.items()}, source="made")
    before = store.get_ohlcv("BTCUSDT", "1h")
    report = store.fill_gaps("BTCUSDT", "1h")
    assert (report.filled, report.built_from) == (3, {"5m": 2, "1m": 1})
    assert [(gap.start, gap.missing) for gap in report.remaining] == [(START + 9 * HOUR, 1)]
    after = store.get_ohlcv("BTCUSDT", "1h")
    assert after.ts.tolist() == [START + n * HOUR for n in range(12) if n != 9]
    assert (after.open[2], after.close[3]) == (five["open"][24], minute["close"][4 * 60 - 1])
    kept = np.isin(after.ts, before.ts)
    assert after.close[kept].tolist() == before.close.tolist(), "what was there is not touched"
    assert store.sources("BTCUSDT", "1h") == {"made": 8, "built:5m": 2, "built:1m": 1}
    assert store.fill_gaps("BTCUSDT", "1h").filled == 0


def test_a_window_beyond_the_series_is_a_gap_too(store, bars):
    store.upsert_bars("BTCUSDT", "1h", bars(5, "1h"), source="made")
    assert store.find_gaps("BTCUSDT", "1h") == []
    found = store.find_gaps("BTCUSDT", "1h", START - 2 * HOUR, START + 8 * HOUR)
    assert [(gap.start, gap.missing) for gap in found] == [(START - 2 * HOUR, 2), (START + 5 * HOUR, 3)]
    (whole,) = store.find_gaps("BTCUSDT", "1h", START + 100 * HOUR, START + 110 * HOUR)
    assert whole.missing == 110 * HOUR // tf_ms("1h") - 100
    with pytest.raises(DataError, match="ETHUSDT"):
        store.find_gaps("ETHUSDT", "1h")
