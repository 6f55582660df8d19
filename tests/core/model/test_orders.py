"""The order life-cycle table: what may follow what, and nothing after an end."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import InvariantError
from keel.core.model.messages import OrderStatus
from keel.core.model.orders import CLOSED, TRANSITIONS, OrderLife, advance, fires_when_rising


@pytest.mark.parametrize(
    ("state", "status", "after"),
    [
        ("pending_submit", "filled", "filled"),
        ("pending_submit", "accepted", "accepted"),
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


WORDS = sorted(get_args(OrderStatus))
ACTS = [OrderLife.amending, OrderLife.cancelling, OrderLife.answered, OrderLife.doubted, OrderLife.found]


@given(st.lists(st.sampled_from([*ACTS, *WORDS]), max_size=30))
def test_whatever_is_asked_lost_found_and_told_moves_an_order_along_the_table(steps: list[Any]) -> None:
    life = OrderLife()
    for step in steps:
        before, was = life.state, (life.told, life.asked, life.is_unknown)
        if callable(step):
            step(life)
        else:
            try:
                life.follow(step)
            except InvariantError:
                assert (life.told, life.asked, life.is_unknown) == was
        assert life.state == before or life.state in TRANSITIONS[before]
        assert life.is_open == (life.state not in CLOSED) != life.has_ended


def test_an_order_that_is_being_cancelled_may_be_filled_further_and_is_still_being_cancelled() -> None:
    life = OrderLife()
    life.follow("accepted")
    life.cancelling()
    life.follow("partially_filled")
    assert life.state == "pending_cancel" and life.is_being_cancelled
    life.follow("cancel_rejected")
    assert life.state == "partially_filled" and not life.is_being_cancelled


def test_a_refused_cancel_of_an_order_that_nobody_has_found_leaves_it_unwanted() -> None:
    life = OrderLife()
    life.cancelling()
    life.doubted()
    life.follow("cancel_rejected")
    assert life.state == "unknown" and life.is_being_cancelled
    life.follow("accepted")
    assert life.state == "pending_cancel"


def test_a_change_is_pending_until_it_is_answered_and_a_cancel_outweighs_it() -> None:
    life = OrderLife()
    life.follow("accepted")
    life.amending()
    assert life.state == "pending_amend"
    life.answered()
    assert life.state == "accepted"
    life.amending()
    life.cancelling()
    life.answered()
    assert life.state == "pending_cancel"


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
