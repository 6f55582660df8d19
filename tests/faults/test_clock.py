"""A clock that is off, in both directions: by 0.3 s it is told, by more nothing is added, and no order has a timestamp that is refused."""

from __future__ import annotations

import pytest

from keel.core.errors import SafetyError
from keel.core.model.messages import OrderUpdate
from tests.faults.conftest import Stage, fills_of


def clock(ms: int) -> dict[str, object]:
    return {"action": {"kind": "clock", "ms": ms}}


@pytest.mark.parametrize("ms", [300, -300])
def test_by_a_little_at_the_start(ms: int, stage: Stage) -> None:
    stage.sandbox.faults(clock(ms))
    played = stage.play().check(clock_slack_ms=600)
    assert "clock_off" in played.codes()
    assert fills_of(played) == fills_of(stage.without_faults())


@pytest.mark.parametrize("ms", [1_000, -1_000, 10_000, -10_000])
def test_by_too_much_at_the_start(ms: int, stage: Stage) -> None:
    stage.sandbox.faults(clock(ms))
    with pytest.raises(SafetyError, match=r"clock is \d+ ms (behind|ahead of)"):
        stage.play()
    assert stage.sandbox.truth()["creates"] == []


@pytest.mark.parametrize("ms", [300, 10_000, *(pytest.param(ms, marks=pytest.mark.long) for ms in (-300, 1_000, -1_000, -10_000))])
def test_it_jumps_and_jumps_back(ms: int, stage: Stage) -> None:
    """Where a request finds out (its timestamp is refused), the clock is measured anew, and nothing is added while it is off by so much.
    At the latest the look of every minute finds it right again."""

    played = stage.play(clock(ms), at=6, until=14).check(clock_slack_ms=abs(ms) + 300)
    refused = [update.reason for update in played.of(OrderUpdate) if update.status == "rejected"]
    if ms in (10_000, -10_000):
        assert any("clock" in reason or "symbol_frozen" in reason for reason in refused), refused
    if abs(ms) == 300:
        assert fills_of(played) == fills_of(stage.without_faults())
