"""Drawdowns: a worked table, empyrical, and properties that any curve keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.metrics.curve import read_curve
from keel.core.metrics.drawdown import Drawdowns, find_drawdowns
from keel.core.metrics.missing import Missing
from keel.core.model.timeframe import DAY_MS
from tests.core.metrics.build import START, curve

equities = st.lists(st.floats(1.0, 1e6), min_size=2, max_size=60)


def drawdowns(equity: list[float], **columns: list[float]) -> Drawdowns:
    return find_drawdowns(read_curve(curve(equity, **columns), equity[0]))


def day(number: int) -> int:
    return START + number * DAY_MS


def test_a_worked_table() -> None:
    #                 0    1    2    3    4    5    6    7    8    9   10   11
    found = drawdowns([100, 120, 90, 96, 120, 130, 117, 130, 140, 105, 119, 112])
    rows = [(e.start_ts, e.trough_ts, e.end_ts, e.depth_abs, e.days, e.days_to_trough, e.recovery_days) for e in found.top(10)]
    assert rows == [
        (day(1), day(2), day(4), 30, 3, 1, 2),  # -25 %; of equals the earlier first
        (day(8), day(9), None, 35, 3, 1, None),  # -25 %, never recovered
        (day(5), day(6), day(7), 13, 2, 1, 1),  # -10 %
    ]
    assert [e.depth_pct for e in found.top(10)] == pytest.approx([-25, -25, -10])
    assert (found.max_abs, found.max_pct, found.longest_days, found.recovery_days) == (35, -25, 3, 2)


def test_an_open_drawdown_has_no_recovery() -> None:
    found = drawdowns([100, 90, 80, 85])
    assert found.recovery_days == Missing("the deepest drawdown was not recovered by the end")
    assert found.longest_days == 3


def test_a_curve_that_only_rises_has_none() -> None:
    found = drawdowns([100, 100, 101, 105])
    assert (found.max_abs, found.max_pct, found.longest_days, found.top(5)) == (0, 0, 0, [])
    assert isinstance(found.recovery_days, Missing)


def test_the_initial_equity_is_the_first_peak() -> None:
    found = find_drawdowns(read_curve(curve([90.0, 95, 99]), 100))
    assert found.max_pct == pytest.approx(-10)
    assert found.top(1)[0].end_ts is None


def test_inside_a_bar_the_worst_is_held_against_the_peak_before_it() -> None:
    """The second bar closes at a new high of 200, after its worst of 95: that is 5 % under 100, not 52.5 % under 200."""
    assert drawdowns([100, 200, 190], equity_worst=[100, 95, 180]).max_intrabar_pct == pytest.approx(-10)
    assert drawdowns([100, 200, 199], equity_worst=[100, 80, 199]).max_intrabar_pct == pytest.approx(-20)
    assert isinstance(drawdowns([100, 90]).max_intrabar_pct, Missing)


def test_the_underwater_curve_keeps_each_day_s_lowest() -> None:
    hourly = [100.0] + [99.0] * 10 + [90.0] + [95.0] * 12 + [98.0, 97.0, 100.0]  # 24 bars of the first day, 2 of the second
    found = find_drawdowns(read_curve(curve(hourly, step_ms=DAY_MS // 24), 100))
    days, lowest = found.by_day()
    assert days == [day(0), day(1)]
    assert lowest == pytest.approx([-10, -3])


@given(equity=equities)
def test_depth_agrees_with_empyrical(equity: list[float], empyrical: Any) -> None:
    values = np.array(equity)
    theirs = empyrical.max_drawdown(values[1:] / values[:-1] - 1)
    assert drawdowns(equity).max_pct / 100 == pytest.approx(theirs, abs=1e-9)


@given(equities)
def test_episodes_cover_every_row_below_the_peak_and_no_other(equity: list[float]) -> None:
    found = drawdowns(equity)
    covered = np.zeros(len(equity), dtype=bool)
    for first, stop in zip(found.first, found.stop, strict=True):
        assert not covered[first:stop].any()
        covered[first:stop] = True
    assert (covered == (found.underwater < 0)).all()
    assert (found.days > 0).all()
    assert found.max_pct == pytest.approx(100 * float(min(found.depth, default=0)))
    assert -100 <= found.max_pct <= 0 <= found.max_abs


@given(equities)
def test_a_new_high_at_the_end_deepens_nothing_and_recovers_all(equity: list[float]) -> None:
    before, after = drawdowns(equity), drawdowns([*equity, max(equity)])
    assert (after.max_pct, after.max_abs) == (before.max_pct, before.max_abs)
    assert all(episode.end_ts is not None for episode in after.top(100))


@given(equities, st.integers(-10, 10))
def test_depth_in_percent_does_not_depend_on_scale(equity: list[float], power: int) -> None:
    scaled = [value * 2.0**power for value in equity]
    assert drawdowns(scaled).max_pct == drawdowns(equity).max_pct
    assert drawdowns(scaled).max_abs == drawdowns(equity).max_abs * 2.0**power
