"""Exits at the venue: full and partial brackets, one cancels the other, limit take-profits, trailing stops, set_trading_stop."""

from __future__ import annotations

import pytest

from keel.core.actors.executor import Executor
from keel.core.model.messages import Bracket
from keel.core.system.config import ExecutionConfig

FLAT = (100.0, 100.0, 100.0, 100.0)
UP = (100.0, 110.0, 90.0, 105.0)  # O L H C
DOWN = (100.0, 110.0, 90.0, 95.0)  # O H L C


@pytest.mark.parametrize(
    ("side", "bracket", "bar", "said"),
    [
        pytest.param("BUY", Bracket(stop_loss=95.0, take_profit=120.0), UP,
                     ["triggered a-sl", "cancelled a-tp CancelByOCOTpCanceledBySlTriggered", "fill a-sl SELL 1 @ 95 taker", "filled a-sl"],
                     id="long stopped"),
        pytest.param("BUY", Bracket(stop_loss=80.0, take_profit=108.0), UP,
                     ["triggered a-tp", "cancelled a-sl CancelByOCOSlCanceledByTpTriggered", "fill a-tp SELL 1 @ 108 taker", "filled a-tp"],
                     id="long takes profit"),
        pytest.param("SELL", Bracket(stop_loss=105.0), UP, ["triggered a-sl", "fill a-sl BUY 1 @ 105 taker", "filled a-sl"],
                     id="short stopped"),
        pytest.param("SELL", Bracket(take_profit=91.0), UP, ["triggered a-tp", "fill a-tp BUY 1 @ 91 taker", "filled a-tp"],
                     id="short profit"),
        pytest.param("BUY", Bracket(trailing=6.0), DOWN, ["triggered a-ts", "fill a-ts SELL 1 @ 104 taker", "filled a-ts"],
                     id="trails from the high"),
        pytest.param("BUY", Bracket(trailing=6.0), UP, ["triggered a-ts", "fill a-ts SELL 1 @ 94 taker", "filled a-ts"],
                     id="trails from the entry"),
        pytest.param("SELL", Bracket(trailing=6.0), UP, ["triggered a-ts", "fill a-ts BUY 1 @ 96 taker", "filled a-ts"],
                     id="a short trails from the low"),
        pytest.param("BUY", Bracket(trailing=6.0, activation=108.0), DOWN,
                     ["triggered a-ts", "fill a-ts SELL 1 @ 104 taker", "filled a-ts"],
                     id="trails once activated"),
        pytest.param("BUY", Bracket(trailing=6.0, activation=111.0), DOWN, [], id="never activated"),
        pytest.param("BUY", Bracket(stop_loss=95.0, trailing=12.0), UP,
                     ["triggered a-sl", "fill a-sl SELL 1 @ 95 taker", "filled a-sl", "cancelled a-ts CancelByTpSlTsClear"],
                     id="the rest of a full set ends when the position closes"),
        pytest.param("BUY", Bracket(take_profit=105.0, take_profit_limit=106.0, mode="partial"), UP,
                     ["triggered a-tp", "fill a-tp SELL 1 @ 106 maker", "filled a-tp"], id="a limit take-profit rests first"),
        pytest.param("BUY", Bracket(take_profit=105.0, take_profit_limit=104.0, mode="partial"), UP,
                     ["triggered a-tp", "fill a-tp SELL 1 @ 105 taker", "filled a-tp"], id="or takes"),
        pytest.param("BUY", Bracket(stop_loss=95.0, trigger="mark"), UP, ["triggered a-sl", "fill a-sl SELL 1 @ 95 taker", "filled a-sl"],
                     id="by mark"),
    ],
)  # fmt: skip
def test_exits_of_an_entry_at_100(venue, side, bracket, bar, said) -> None:
    v = venue().send("a", side, 1.0, bracket=bracket)
    v.bar(FLAT)
    assert v.bar(bar) == said


def test_exits_live_from_the_fill_on_in_the_same_path(venue) -> None:
    v = venue().send("a", "BUY", 1.0, price=96.0, bracket=Bracket(stop_loss=92.0))
    assert v.bar(UP)[1:] == [
        "fill a BUY 1 @ 96 maker", "filled a", "accepted a-sl", "triggered a-sl", "fill a-sl SELL 1 @ 92 taker", "filled a-sl",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("side", "bracket"),
    [
        ("BUY", Bracket(stop_loss=100.0)),
        ("BUY", Bracket(take_profit=99.0)),
        ("SELL", Bracket(stop_loss=99.0)),
        ("SELL", Bracket(take_profit=101.0)),
        ("BUY", Bracket(trailing=-1.0)),
        ("BUY", Bracket(take_profit=110.0, take_profit_limit=110.0)),
    ],
)
def test_exits_on_the_wrong_side_refuse_the_order(venue, side, bracket) -> None:
    assert venue().send("a", side, 1.0, bracket=bracket).bar(FLAT) == ["rejected a 10001"]


def test_reduce_only_orders_carry_no_exits(venue) -> None:
    v = venue().send("a", "BUY", 1.0)
    v.bar(FLAT)
    assert v.send("b", "SELL", 1.0, reduce_only=True, bracket=Bracket(stop_loss=120.0)).bar(FLAT) == ["rejected b 10001"]


def test_a_new_full_bracket_replaces_the_old_and_covers_the_whole_position(venue) -> None:
    v = venue().send("a", "BUY", 1.0, bracket=Bracket(stop_loss=80.0, take_profit=150.0))
    v.bar(FLAT)
    assert v.send("b", "BUY", 2.0, bracket=Bracket(stop_loss=95.0)).bar(FLAT) == [
        "fill b BUY 2 @ 100 taker", "filled b", "cancelled a-sl CancelByTpSlTsClear", "cancelled a-tp CancelByTpSlTsClear", "accepted b-sl",
    ]  # fmt: skip
    assert v.bar(UP) == ["triggered b-sl", "fill b-sl SELL 3 @ 95 taker", "filled b-sl"]


def test_partial_brackets_are_sized_by_their_fills(venue) -> None:
    v = venue().send("a", "BUY", 1.0, bracket=Bracket(stop_loss=95.0, take_profit=120.0, mode="partial"))
    v.bar(FLAT)
    v.send("b", "BUY", 2.0, bracket=Bracket(stop_loss=92.0, mode="partial")).bar(FLAT)
    assert v.bar((100.0, 100.0, 94.0, 94.0)) == [
        "triggered a-sl", "cancelled a-tp CancelByOCOTpCanceledBySlTriggered", "fill a-sl SELL 1 @ 95 taker", "filled a-sl",
    ]  # fmt: skip
    assert v.steps == 200
    assert v.bar((94.0, 94.0, 90.0, 90.0)) == ["triggered b-sl", "fill b-sl SELL 2 @ 92 taker", "filled b-sl"]


def test_a_partial_bracket_grows_with_the_fills_of_its_order(venue) -> None:
    config = ExecutionConfig(slippage_bps=0.0, max_volume_share=0.0005)
    v = venue(config=config).send("a", "BUY", 1.0, bracket=Bracket(stop_loss=95.0, mode="partial"))
    v.bar(FLAT)
    assert v.bar(FLAT) == ["fill a BUY 0.5 @ 100 taker", "filled a", "amended a-sl"]
    assert v.book.orders["a-sl"].leaves == 100


def test_a_flip_ends_the_old_exits_and_begins_the_new(venue) -> None:
    v = venue().send("a", "BUY", 1.0, bracket=Bracket(stop_loss=90.0))
    v.bar(FLAT)
    assert v.send("b", "SELL", 2.0, bracket=Bracket(stop_loss=110.0)).bar(FLAT) == [
        "fill b SELL 2 @ 100 taker", "filled b", "cancelled a-sl CancelByTpSlTsClear", "accepted b-sl",
    ]  # fmt: skip


def test_a_stop_that_was_jumped_over_before_the_fill_fires_at_once(venue) -> None:
    """A gap below limit and stop: the limit fills at its own price, the stop at the price that is there."""
    v = venue().send("a", "BUY", 1.0, price=96.0, bracket=Bracket(stop_loss=92.0))
    v.bar(FLAT)
    assert v.bar((90.0,) * 4) == [
        "fill a BUY 1 @ 96 maker", "filled a", "accepted a-sl", "triggered a-sl", "fill a-sl SELL 1 @ 90 taker", "filled a-sl",
    ]  # fmt: skip


def test_set_trading_stop_sets_replaces_and_removes(venue) -> None:
    v = venue().send("a", "BUY", 1.0)
    v.bar(FLAT)
    assert v.exits(stop_loss=95.0).bar(FLAT) == ["accepted a-sl"]
    assert v.exits(take_profit=120.0, trailing=30.0).bar(FLAT) == ["cancelled a-sl CancelByTpSlTsClear", "accepted a-tp", "accepted a-ts"]
    assert v.exits().bar(FLAT) == ["cancelled a-tp CancelByTpSlTsClear", "cancelled a-ts CancelByTpSlTsClear"]
    assert v.exits(stop_loss=95.0).bar(FLAT) == ["accepted a-sl2"]
    assert v.exits(stop_loss=101.0).bar(FLAT) == ["rejected XUSDT-trading-stop 10001"]
    assert v.cancel("a-sl2").bar(FLAT) == ["cancelled a-sl2 CancelByUser"]


def test_set_trading_stop_needs_a_position(venue) -> None:
    assert venue().exits(stop_loss=95.0).bar(FLAT) == ["rejected XUSDT-trading-stop 10001"]


def test_an_exit_that_finds_no_volume_goes_on_in_the_next_bar(venue) -> None:
    v = venue(config=ExecutionConfig(slippage_bps=0.0, max_volume_share=0.001)).send("a", "BUY", 1.0, bracket=Bracket(stop_loss=95.0))
    v.bar(FLAT)
    assert v.bar(UP, volume=300.0) == ["triggered a-sl", "fill a-sl SELL 0.3 @ 95 taker", "partially_filled a-sl"]
    assert v.bar((80.0,) * 4) == ["fill a-sl SELL 0.7 @ 80 taker", "filled a-sl"]


def test_children_say_whose_they_are(venue) -> None:
    v = venue().send("a", "BUY", 1.0, bracket=Bracket(stop_loss=95.0))
    v.bar(FLAT)
    child = v.events[-1]
    assert (child.client_order_id, child.parent_id, child.trigger_price, child.side, child.leaves_qty) == ("a-sl", "a", 95.0, "SELL", 1.0)
    v.bar(UP)
    assert v.exchange.fills[-1].reason == "stop_loss"


def test_exits_of_each_side_in_hedge_mode(venue) -> None:
    v = venue(hedge=True)
    v.send("a", "BUY", 1.0, position_idx=1, bracket=Bracket(stop_loss=95.0))
    v.send("b", "SELL", 1.0, position_idx=2, bracket=Bracket(stop_loss=108.0)).bar(FLAT)
    assert [text for text in v.bar(UP) if text.startswith("fill ")] == ["fill a-sl SELL 1 @ 95 taker", "fill b-sl BUY 1 @ 108 taker"]


def test_a_trailing_stop_that_fires_in_the_bar_that_moved_it_is_ambiguous(venue) -> None:
    v = venue().send("a", "BUY", 1.0, bracket=Bracket(trailing=6.0))
    v.bar(FLAT)
    v.bar(DOWN)
    assert v.exchange.ambiguous_bars == 1


def test_a_refused_trading_stop_is_no_order_to_the_executor(venue) -> None:
    v = venue()
    executor = Executor("keel", {v.symbol: v.instrument}, v.clock, v.events.append)
    v.exits(stop_loss=95.0).bar(FLAT)
    (refusal,) = v.events
    executor.on_order_update(refusal)
    assert executor.orders_made == 0 and not executor.open_orders() and not executor.bracket_orders()
    entries = [(entry["kind"], entry["reason"], entry["order"]) for entry in executor.memory.order_log.entries]
    assert entries == [("rejected", refusal.reason, 0)]


def test_an_exit_that_ends_while_it_waits_for_volume_stays_ended(venue) -> None:
    """It fires in a bar without volume; within that bar new exits replace it: the next bar's volume finds nothing of it."""
    v = venue(config=ExecutionConfig(slippage_bps=0.0, latency_ms=2_700_000, max_volume_share=0.1))
    v.send("a", "BUY", 1.0, bracket=Bracket(stop_loss=95.0)).bar(FLAT)
    said = v.exits(stop_loss=80.0).bar((100.0, 100.0, 90.0, 100.0), volume=0.0)
    assert said == ["triggered a-sl", "cancelled a-sl CancelByTpSlTsClear", "accepted a-sl2"]
    assert v.bar(FLAT) == [] and v.steps == 100
