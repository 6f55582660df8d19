"""Under a cap on volume: an entry's rest ends when an exit of its position fires, and what closes is filled before what opens."""

from __future__ import annotations

from keel.core.model.messages import Bracket
from keel.core.system.config import ExecutionConfig

CAPPED = ExecutionConfig(slippage_bps=0.0, taker_fee=0.0, maker_fee=0.0, max_volume_share=0.01)
FALL = (100.0, 101.0, 94.0, 95.0)


def test_the_rest_of_a_market_entry_ends_when_its_stop_fires(venue) -> None:
    v = venue(config=CAPPED).send("e", "BUY", 25.0, bracket=Bracket(stop_loss=96.0))
    assert v.bar(FALL, volume=1000.0) == [
        "accepted e", "fill e BUY 10 @ 100 taker", "partially_filled e", "accepted e-sl", "triggered e-sl", "cancelled e CancelByExit"
    ]  # fmt: skip
    assert v.bar((95.0,) * 4) == ["fill e-sl SELL 10 @ 95 taker", "filled e-sl"]
    assert (v.steps, v.book.orders) == (0, {})


def test_the_rest_of_a_limit_entry_ends_as_well(venue) -> None:
    v = venue(config=CAPPED).send("e", "BUY", 25.0, price=99.0, bracket=Bracket(stop_loss=96.0))
    assert v.bar((100.0, 101.0, 94.0, 95.0))[1:] == [
        "fill e BUY 10 @ 99 maker", "partially_filled e", "accepted e-sl", "triggered e-sl", "cancelled e CancelByExit"
    ]  # fmt: skip


def test_a_stop_order_of_ones_own_that_only_reduces_ends_it_too(venue) -> None:
    v = venue(config=CAPPED).send("e", "BUY", 25.0).send("s", "SELL", 0.0, trigger_price=96.0, reduce_only=True, close_on_trigger=True)
    assert "cancelled e CancelByExit" in v.bar(FALL)


def test_an_exit_that_waited_goes_before_an_entry_that_was_there_first(venue) -> None:
    """Both wait for the volume of the next bar: b was sent before the stop came to life, and opens; the stop closes."""
    v = venue(config=CAPPED).send("a", "BUY", 10.0, bracket=Bracket(stop_loss=96.0)).send("b", "BUY", 5.0)
    v.bar(FALL)
    assert [order.client_order_id for order in v.book.waiting] == ["b", "a-sl"]
    assert v.bar((95.0,) * 4)[:2] == ["fill a-sl SELL 10 @ 95 taker", "filled a-sl"]
    assert v.steps == 0
    assert v.bar((95.0,) * 4) == ["fill b BUY 5 @ 95 taker", "filled b"]


def test_a_close_goes_before_an_older_limit_at_the_same_open(venue) -> None:
    v = venue(config=CAPPED).send("a", "BUY", 10.0)
    v.bar((100.0,) * 4)
    v.send("b", "BUY", 10.0, price=98.0).bar((100.0,) * 4)
    v.send("x", "SELL", 10.0, reduce_only=True)
    assert v.bar((97.0,) * 4) == ["fill x SELL 10 @ 97 taker", "filled x"]


def test_without_a_cap_the_older_order_goes_first(venue) -> None:
    v = venue(config=ExecutionConfig(slippage_bps=0.0, taker_fee=0.0, maker_fee=0.0)).send("a", "BUY", 10.0)
    v.bar((100.0,) * 4)
    v.send("b", "BUY", 10.0, price=98.0).bar((100.0,) * 4)
    v.send("x", "SELL", 10.0, reduce_only=True)
    assert [line.split(" ")[:2] for line in v.bar((97.0,) * 4)] == [["fill", "b"], ["filled", "b"], ["fill", "x"], ["filled", "x"]]


def test_a_bar_in_which_the_cap_holds_back_counts_once_however_often_it_is_looked_at(venue) -> None:
    v = venue(config=CAPPED).send("a", "BUY", 25.0)
    v.bar(FALL, volume=1000.0)
    v.send("b", "BUY", 1.0, price=90.0).bar(FALL, volume=1000.0)
    assert v.exchange.metrics.capped == 2 and v.steps == 2000
    v.bar(FALL, volume=1000.0)
    assert v.exchange.metrics.capped == 2 and v.steps == 2500
