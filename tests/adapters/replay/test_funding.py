"""Funding of a window: which stamps, which rates, which marks; what is missing is named."""

from __future__ import annotations

import numpy as np
import pytest

from keel.adapters.replay.funding import funding_columns, refuse_holes
from keel.adapters.replay.marks import price_columns
from keel.core.errors import DataError
from keel.core.model.time_range import TimeRange
from keel.core.system.config import ConstantFunding, ExecutionConfig
from tests.builders import HOUR, START, perpetual, spot_pair

WINDOW = TimeRange(START + 24 * HOUR, START + 48 * HOUR)
HISTORY = ExecutionConfig()


def add_rates(store, hours):
    hours = list(hours)
    store.upsert_funding("BTCUSDT", {"ts": START + HOUR * np.array(hours), "funding_rate": 1e-5 * np.array(hours)}, source="test")


@pytest.fixture
def execution(store, walk):
    """Four days of hours."""
    store.upsert_bars("BTCUSDT", "1h", walk(96, "1h"), source="test")
    return store.get_ohlcv("BTCUSDT", "1h", WINDOW)


def hours_of(found):
    return [(stamp - START) / HOUR for stamp in found.stamps.tolist()]


def columns(store, execution, config=HISTORY, *, mark=None, instrument=None, window=WINDOW):
    return funding_columns(store, instrument or perpetual(), execution, mark, window, config, env="live")


def test_history_from_the_last_rate_before_the_window_to_that_at_its_end(store, execution):
    """What stands before is known when the run begins, that at the end when it ends; neither finds a position to pay."""
    add_rates(store, range(0, 97, 8))
    found = columns(store, execution)
    assert hours_of(found) == [16, 24, 32, 40, 48]
    assert found.rates.tolist() == pytest.approx([16e-5, 24e-5, 32e-5, 40e-5, 48e-5])
    assert found.source == "history"


def test_a_constant_rate_at_the_instrument_s_interval(store, execution):
    found = columns(
        store, execution, ExecutionConfig(funding=ConstantFunding(constant=0.0002)), instrument=perpetual(funding_interval_min=720)
    )
    assert (hours_of(found), found.rates.tolist(), found.source) == ([12, 24, 36, 48], [0.0002] * 4, "constant")


def test_none_and_spot_have_no_funding(store, execution):
    assert columns(store, execution, ExecutionConfig(funding="none")) is None
    assert columns(store, execution, instrument=spot_pair()) is None


@pytest.mark.parametrize(
    ("stamps", "hole"),
    [
        pytest.param([*range(0, 97, 8)], None, id="whole"),
        pytest.param([*range(0, 32, 8), *range(32, 97, 4)], None, id="the interval becomes shorter"),
        pytest.param([*range(0, 32, 4), *range(32, 97, 8)], None, id="and longer"),
        pytest.param([h for h in range(0, 97, 8) if h != 32], (24, 40), id="one is missing"),
        pytest.param([h for h in range(0, 97, 8) if h not in (32, 40)], (24, 48), id="two on end"),
        pytest.param([h for h in range(0, 97, 8) if h not in (32, 48)], (24, 40), id="every second, twice: alike, and a hole"),
        pytest.param([0, 8, 16, 24, 36, 40, 44, 48, 52], (24, 36), id="one is missing where the interval changes"),
        pytest.param([0, 8, 16, *range(24, 97, 16)], (24, 40), id="every second is missing from here on"),
        pytest.param([*range(0, 97, 24)], (24, 48), id="one a day"),
        pytest.param([*range(0, 97, 16)], (16, 32), id="every second is missing from the beginning"),
        pytest.param([*range(0, 40, 8), *range(44, 97, 6)], (32, 44), id="an interval that no exchange has"),
        pytest.param([h for h in range(0, 97, 8) if h != 8], None, id="a hole before the window"),
        pytest.param([h for h in range(0, 97, 8) if h != 72], None, id="a hole behind it"),
        pytest.param([*range(40, 97, 8)], (24, 40), id="they begin too late"),
        pytest.param([*range(32, 97, 8)], None, id="the first would have been that of the window's start"),
        pytest.param([*range(0, 40, 8)], (32, 48), id="they end too early"),
        pytest.param([*range(0, 48, 8)], None, id="the next would be that of the window's end"),
        pytest.param([*range(0, 33, 4)], (32, 48), id="they end too early at a short interval"),
        pytest.param([0, 8, 16, 24, 48], (24, 48), id="a hole between the last two"),
        pytest.param([16, 40, 48, 56, 64], (16, 40), id="a hole between the first two"),
    ],
)  # fmt: skip
def test_a_hole_longer_than_its_neighbours_is_named(stamps, hole):
    ts = START + HOUR * np.array(stamps, dtype=np.int64)
    if hole is None:
        refuse_holes("BTCUSDT", ts, WINDOW)
        return
    with pytest.raises(DataError) as error:
        refuse_holes("BTCUSDT", ts, WINDOW)
    names = [f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z" for hour in hole]
    assert f"BTCUSDT: funding rates are missing between {names[0]} and {names[1]}" in str(error.value)
    assert "{constant: RATE}" in str(error.value)


def test_stamps_that_come_milliseconds_late_are_no_holes():
    late = np.random.default_rng(1).integers(0, 70, 13)
    refuse_holes("BTCUSDT", START + 8 * HOUR * np.arange(13) + late, WINDOW)


def test_two_settlements_within_an_hour_would_be_paid_twice():
    stamps = START + HOUR * np.array([0, 8, 16, 24, 32, 40, 48, 56], dtype=np.int64)
    doubled = np.sort(np.append(stamps, stamps[4] + 600))
    with pytest.raises(DataError, match=r"2024-01-02T08:00:00Z and 2024-01-02T08:00:00.600Z are less than an hour apart"):
        refuse_holes("BTCUSDT", doubled, WINDOW)


@pytest.mark.parametrize("hours", [[], [24], [400, 408, 416]])
def test_no_rates_near_the_window_are_an_error(store, execution, hours):
    if hours:
        add_rates(store, hours)
    with pytest.raises(DataError, match=r"BTCUSDT: .*funding rate.* near 2024-01-02T00:00:00Z to 2024-01-03T00:00:00Z"):
        columns(store, execution)


def test_the_mark_at_a_stamp_is_the_open_of_the_mark_bar_that_begins_there(store, execution, walk):
    add_rates(store, range(0, 97, 8))
    marks = walk(24, "4h", basis=True)
    store.upsert_bars("BTCUSDT", "4h", marks, source="test", kind="mark")
    mark = price_columns(store, execution, "mark", env="live", category="linear")
    assert columns(store, execution, mark=mark).marks[1:].tolist() == marks["open"][[6, 8, 10, 12]].tolist()


def test_else_it_is_the_derived_mark_and_without_any_the_last_price(store, execution, walk):
    add_rates(store, [17, 25, 33, 41, 49])
    derived = walk(24, "4h", basis=True)
    store.upsert_bars("BTCUSDT", "4h", derived, source="test", kind="mark")
    mark = price_columns(store, execution, "mark", env="live", category="linear")
    assert columns(store, execution, mark=mark).marks[3] == mark.open[17]  # 41: inside a mark bar, at the open of an execution bar
    assert columns(store, execution).marks[1:4].tolist() == execution["open"][[1, 9, 17]].tolist()


def test_inside_a_bar_the_mark_is_that_of_its_open_never_of_its_close(store, walk):
    store.upsert_bars("BTCUSDT", "1d", walk(4, "1d"), source="test")
    add_rates(store, range(0, 97, 8))
    days = store.get_ohlcv("BTCUSDT", "1d", WINDOW)
    assert columns(store, days).marks[1:4].tolist() == [days["open"][0]] * 3


def test_stamps_in_a_hole_keep_their_times_and_the_mark_that_was_known(store, execution):
    add_rates(store, range(0, 97, 4))
    keep = (execution.ts < START + 30 * HOUR) | (execution.ts >= START + 38 * HOUR)
    holed = type(execution)(execution.ts[keep], {name: execution[name][keep] for name in execution}, symbol="BTCUSDT", timeframe="1h")
    found = columns(store, holed)
    assert hours_of(found) == [20, 24, 28, 32, 36, 40, 44, 48]
    assert found.marks[3:5].tolist() == [execution["close"][5]] * 2  # the last close before the hole
