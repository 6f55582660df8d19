"""Frames hold equal columns over ascending times; aggregation keeps first, highest, lowest, last and sum."""

from __future__ import annotations

import numpy as np
import pytest

from keel.core.errors import ConfigError, DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import Frame, as_known, doubled


def bars(minutes: list[int], timeframe: str = "1m") -> Frame:
    n = len(minutes)
    close = np.arange(1.0, n + 1)
    columns = {"open": close - 0.5, "high": close + 1, "low": close - 1, "close": close, "volume": np.full(n, 0.1)}
    return Frame(np.array(minutes) * 60_000, columns, symbol="BTCUSDT", timeframe=timeframe)


def test_columns_slices_and_spans() -> None:
    frame = bars([0, 1, 2, 5])
    assert len(frame) == 4 and "close" in frame and frame.close is frame["close"]
    assert frame[1:3].ts.tolist() == [60_000, 120_000]
    assert frame.between(60_000, 300_000)["close"].tolist() == [2.0, 3.0]
    assert frame.with_columns({"ema": np.zeros(4)}).columns[-1] == "ema"


def test_times_must_ascend_and_columns_be_of_one_length() -> None:
    with pytest.raises(DataError, match="row 2"):
        bars([0, 2, 2])
    with pytest.raises(DataError, match="column close"):
        Frame(np.zeros(1), {"close": np.zeros(2)})
    with pytest.raises(DataError, match="no column 'vwap'"):
        bars([0])["vwap"]


def test_coarser_bars_are_what_their_fine_bars_make() -> None:
    built = aggregate(bars([0, 1, 2, 3, 4, 5, 6]), "5m")
    assert built.ts.tolist() == [0]
    row = {name: built[name][0] for name in built}
    assert row == {"open": 0.5, "high": 6.0, "low": 0.0, "close": 5.0, "volume": pytest.approx(0.5)}


def test_an_incomplete_coarse_bar_is_left_out_or_made_of_what_there_is() -> None:
    fine = bars([0, 1, 3, 4, 15, 16])
    assert len(aggregate(fine, "5m")) == 0
    partial = aggregate(fine, "5m", complete=False)
    assert partial.ts.tolist() == [0, 900_000]
    assert partial["close"].tolist() == [4.0, 6.0]
    with pytest.raises(ConfigError, match="cannot be built"):
        aggregate(bars([0], "5m"), "1m")


def test_a_point_is_known_at_the_close_of_its_own_time_and_not_before() -> None:
    times, values, closes = np.array([10, 20]), np.array([1.0, 2.0]), np.array([9, 10, 19, 20, 99])
    np.testing.assert_array_equal(as_known(times, values, closes), [np.nan, 1.0, 1.0, 2.0, 2.0])
    assert np.isnan(as_known(times[:0], values[:0], closes)).all()


def test_a_column_grows_at_its_end() -> None:
    np.testing.assert_array_equal(doubled(np.array([1.0, 2.0]), np.nan), [1.0, 2.0, np.nan, np.nan])
    table = doubled(np.ones((2, 1), dtype=np.int64))
    assert table.dtype == np.int64 and table.tolist() == [[1, 0], [1, 0]]
