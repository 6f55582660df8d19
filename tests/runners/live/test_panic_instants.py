"""Panic at random instants of a session that trades: 20 here, 200 in ``make panic-proof``."""

from __future__ import annotations

import pytest

from benchmarks.panic_instants import press_at_random


@pytest.mark.long
def test_no_order_that_adds_comes_in_after_the_latch() -> None:
    found = press_at_random(20, seed=7)
    assert (found.pressed, found.violations, found.not_flat) == (20, [], [])
    assert found.orders >= 20  # it was in the middle of trading


@pytest.mark.long
def test_the_judge_sees_what_a_trader_sends_that_does_not_look() -> None:
    found = press_at_random(4, seed=3, looks=False)
    assert found.pressed == 4 and found.violations
