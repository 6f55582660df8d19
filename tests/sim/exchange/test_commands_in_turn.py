"""Commands of one instant are taken one after the other: each is judged, and filled if it takes, before the next one is judged."""

from __future__ import annotations

import pytest

FLAT = (100.0, 100.0, 100.0, 100.0)
BOUGHT = ["fill m BUY 1 @ 100 taker", "filled m"]


@pytest.mark.parametrize(
    "order", [{}, {"price": 101.0}, {"price": 101.0, "time_in_force": "IOC"}, {"price": 101.0, "time_in_force": "FOK"}],
    ids=["market", "limit that crosses", "IOC", "FOK"],
)  # fmt: skip
def test_what_takes_cannot_be_cancelled_in_the_same_instant(venue, order) -> None:
    v = venue()
    assert v.send("m", "BUY", 1.0, **order).cancel("m").bar(FLAT) == [*BOUGHT, "cancel_rejected m 110001"]
    v = venue()
    assert v.send("m", "BUY", 1.0, **order).cancel_all().bar(FLAT) == BOUGHT


def test_what_rests_is_accepted_before_it_is_cancelled(venue) -> None:
    assert venue().send("m", "BUY", 1.0, price=90.0).cancel("m").bar(FLAT) == ["accepted m", "cancelled m CancelByUser"]


def test_what_has_taken_cannot_be_amended_away(venue) -> None:
    assert venue().send("m", "BUY", 1.0, price=101.0).amend("m", price=90.0).bar(FLAT) == [*BOUGHT, "amend_rejected m 110001"]


@pytest.mark.parametrize(
    ("close", "said"),
    [
        pytest.param({}, ["fill x SELL 0.5 @ 100 taker", "filled x"], id="at market"),
        pytest.param({"price": 104.0}, ["accepted x"], id="a limit"),
        pytest.param({"trigger_price": 96.0}, ["accepted x"], id="a stop"),
    ],
)
def test_an_entry_and_its_reduce_only_exit_in_one_instant(venue, close, said) -> None:
    v = venue().send("m", "BUY", 1.0).send("x", "SELL", 0.5, reduce_only=True, **close)
    assert v.bar(FLAT) == [*BOUGHT, *said]


def test_a_reduce_only_order_before_its_entry_finds_nothing_to_reduce(venue) -> None:
    v = venue().send("x", "SELL", 0.5, reduce_only=True).send("m", "BUY", 1.0)
    assert v.bar(FLAT) == ["rejected x 110017", *BOUGHT]


def test_a_reduce_only_taker_and_a_cancel_of_everything(venue) -> None:
    v = venue().send("s", "SELL", 2.0)
    v.bar(FLAT)
    assert v.send("m", "BUY", 1.0, reduce_only=True).cancel_all().bar(FLAT) == BOUGHT
    assert v.steps == -100


def test_exits_are_set_for_what_was_bought_in_the_same_instant(venue) -> None:
    v = venue().send("m", "BUY", 1.0).exits(stop_loss=95.0)
    assert v.bar((100.0, 100.0, 94.0, 96.0))[:3] == [*BOUGHT, "accepted m-sl"]
    assert v.steps == 0


def test_the_second_of_two_orders_sees_the_margin_that_the_first_one_left(venue) -> None:
    """10,000 USDT at leverage 1: the first close gives back what the second entry needs."""
    v = venue().send("m", "BUY", 90.0)
    v.bar(FLAT)
    v.send("more", "BUY", 20.0).send("x", "SELL", 90.0, reduce_only=True).send("again", "BUY", 80.0)
    assert [line.split(" ")[:2] for line in v.bar(FLAT)] == [
        ["rejected", "more"], ["fill", "x"], ["filled", "x"], ["fill", "again"], ["filled", "again"]
    ]  # fmt: skip


def test_a_cancel_that_comes_first_prevents_the_stop_that_the_open_would_fire(venue) -> None:
    v = venue().send("m", "BUY", 1.0).exits(stop_loss=95.0)
    v.bar(FLAT)
    assert v.cancel("m-sl").send("more", "BUY", 1.0).bar((94.0,) * 4) == [
        "cancelled m-sl CancelByUser", "fill more BUY 1 @ 94 taker", "filled more"
    ]  # fmt: skip
