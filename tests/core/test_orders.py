"""The order life-cycle table: what may follow what, and nothing after an end."""

from __future__ import annotations

import pytest

from core.errors import InvariantError
from core.orders import CLOSED, TRANSITIONS, advance


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
