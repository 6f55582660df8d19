"""The order life-cycle table: what may follow what, and nothing after an end."""

from __future__ import annotations

import pytest

from keel.core.errors import InvariantError
from keel.core.model.orders import CLOSED, TRANSITIONS, advance, fires_when_rising


@pytest.mark.parametrize(
    ("state", "status", "after"),
    [
        ("submitted", "filled", "filled"),
        ("submitted", "accepted", "accepted"),
        ("accepted", "triggered", "triggered"),
        ("triggered", "filled", "filled"),
        ("accepted", "amended", "accepted"),
        ("partially_filled", "amended", "partially_filled"),
        ("partially_filled", "cancelled", "cancelled"),
        ("accepted", "cancel_rejected", "accepted"),
        ("unknown", "filled", "filled"),
    ],
)
def test_allowed_steps(state: str, status: str, after: str) -> None:
    assert advance(state, status) == after  # type: ignore[arg-type]  # literals in a table


@pytest.mark.parametrize("state", sorted(CLOSED))
@pytest.mark.parametrize("status", ["accepted", "filled", "cancelled", "partially_filled", "triggered", "rejected", "expired"])
def test_nothing_follows_an_end(state: str, status: str) -> None:
    with pytest.raises(InvariantError):
        advance(state, status)  # type: ignore[arg-type]  # literals in a table


def test_every_state_that_may_follow_is_a_state() -> None:
    assert {after for row in TRANSITIONS.values() for after in row} <= set(TRANSITIONS)


RISING = [  # buys?, trigger, price now -> waits for a rise
    (True, 110.0, 100.0, True),
    (False, 110.0, 100.0, True),
    (True, 90.0, 100.0, False),
    (False, 90.0, 100.0, False),
    (True, 100.0, 100.0, True),
    (False, 100.0, 100.0, False),
    (True, 90.0, None, True),
    (False, 110.0, None, False),
]


@pytest.mark.parametrize(("is_buy", "trigger", "current", "rising"), RISING)
def test_a_trigger_is_met_from_the_side_on_which_the_price_is(is_buy: bool, trigger: float, current: float | None, rising: bool) -> None:
    assert fires_when_rising(is_buy, trigger, current) is rising
