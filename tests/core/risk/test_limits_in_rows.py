"""Limits that observe many instants at once: what one after the other would have come to."""

from __future__ import annotations

import numpy as np
import pytest

from keel.core.risk.limits import AccountLimits
from keel.core.system.config import RiskConfig
from tests.builders import HOUR, START

LIMITS = [(None, None), (2.0, None), (None, 3.0), (2.0, 3.0), (3.0, 2.0)]


@pytest.mark.parametrize(("daily", "drawdown"), LIMITS)
@pytest.mark.parametrize("seed", range(12))
def test_many_instants_of_a_day_as_one_after_the_other(daily: float | None, drawdown: float | None, seed: int) -> None:
    """Up to the first that breaks a limit, which is left to be observed; and on from there, a limit being broken."""
    config = RiskConfig(daily_loss_percent=daily, max_drawdown_percent=drawdown)
    one, many = AccountLimits(config), AccountLimits(config)
    equities = 10_000 + np.cumsum(np.random.default_rng(seed).normal(0, 40, 200))
    for limits in (one, many):
        limits.observe(START + HOUR, 10_000.0)
    row, breaches = 0, []
    while row < len(equities):
        taken = many.follow(equities[row : row + 50])
        for equity in equities[row : row + taken].tolist():
            assert one.observe(START + 2 * HOUR, equity) is None
        assert one.state() == many.state() and (one.floor, one.peak) == (many.floor, many.peak)
        row += taken
        if taken < 50 and row < len(equities):
            found = [limits.observe(START + 2 * HOUR, float(equities[row])) for limits in (one, many)]
            assert found[0] == found[1] is not None
            breaches.append(found[0])
            row += 1
    assert len(breaches) <= (daily is not None) + (drawdown is not None)
    assert many.follow(equities[:0]) == 0


def test_limits_are_broken_in_some_of_these_worlds() -> None:
    """Or the test above would show nothing."""
    counts = []
    for seed in range(12):
        limits = AccountLimits(RiskConfig(daily_loss_percent=2.0, max_drawdown_percent=3.0))
        limits.observe(START + HOUR, 10_000.0)
        counts.append(limits.follow(10_000 + np.cumsum(np.random.default_rng(seed).normal(0, 40, 200))))
    assert min(counts) < 50 < max(counts)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (9_801.0, 10_000.0, True),
        (9_800.0, 10_000.0, False),  # a loss that equals its limit is a breach
        (9_801.0, 10_103.0, True),  # a new peak brings the drawdown's floor to 9,799.91
        (9_801.0, 10_104.2, False),  # and this one to 9,801.07
    ],
)
def test_how_far_equity_may_go(low: float, high: float, expected: bool) -> None:
    limits = AccountLimits(RiskConfig(daily_loss_percent=2.0, max_drawdown_percent=3.0))
    limits.observe(START + HOUR, 10_000.0)
    assert limits.is_out_of_reach(low, high) is expected


def test_without_limits_everything_is_out_of_reach() -> None:
    assert AccountLimits(RiskConfig()).is_out_of_reach(-1e9, 1e9)
