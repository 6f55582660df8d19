"""Resampling keeps what a reader would miss: both ends, the global extremes, and those of every bucket."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keel.adapters.report.resample import SCREEN_BUCKETS, extreme_band, extreme_rows

series = hnp.arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e9, 1e9))


@given(series, st.integers(1, 40))
def test_ends_and_global_extremes_survive(values: np.ndarray, buckets: int) -> None:
    rows = extreme_rows(values, buckets)
    kept = values[rows]
    assert rows[0] == 0 and rows[-1] == len(values) - 1
    assert kept.min() == values.min() and kept.max() == values.max()
    assert (np.diff(rows) > 0).all()
    assert len(rows) <= max(4 * buckets, 1)


@given(series, st.integers(1, 40))
def test_every_bucket_keeps_its_first_lowest_highest_and_last(values: np.ndarray, buckets: int) -> None:
    rows = set(extreme_rows(values, buckets).tolist())
    if len(values) <= 4 * buckets:
        assert rows == set(range(len(values)))
        return
    edges = [i * len(values) // buckets for i in range(buckets + 1)]
    for first, end in pairwise(edges):
        kept = [values[row] for row in range(first, end) if row in rows]
        assert first in rows and end - 1 in rows
        assert min(kept) == values[first:end].min() and max(kept) == values[first:end].max()


@given(series, st.integers(1, 40))
def test_a_short_series_is_left_alone(values: np.ndarray, buckets: int) -> None:
    if len(values) <= 4 * buckets:
        assert extreme_rows(values, buckets).tolist() == list(range(len(values)))


def test_one_spike_in_a_year_of_minutes_is_kept() -> None:
    values = np.zeros(525_600)
    values[300_001], values[77_777] = 5.0, -3.0
    rows = extreme_rows(values)
    assert {300_001, 77_777} <= set(rows.tolist())
    assert len(rows) <= 4 * SCREEN_BUCKETS


def test_nan_is_neither_lowest_nor_highest() -> None:
    values = np.full(1000, np.nan)
    values[[400, 600]] = 1.0, 2.0
    assert {0, 400, 600, 999} <= set(extreme_rows(values, 4).tolist())


@given(series, st.integers(1, 40))
def test_a_band_covers_the_series(values: np.ndarray, buckets: int) -> None:
    starts, lows, highs = extreme_band(values - 1.0, values + 1.0, buckets)
    assert lows.min() == (values - 1.0).min() and highs.max() == (values + 1.0).max()
    assert starts[0] == 0 and len(starts) == min(len(values), buckets)


@pytest.mark.parametrize("size", [0, 1])
def test_almost_nothing_is_no_error(size: int) -> None:
    assert len(extreme_rows(np.zeros(size))) == size
    assert len(extreme_band(np.zeros(size), np.zeros(size))[0]) == size
