"""The risk actor: targets and flips, orders in flight, exits by time, the gate. Signals in, messages out."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.model.messages import CancelOrder, Fill, Halt, Message, OrderIntent, OrderUpdate, Signal, SignalDenied
from keel.core.system.config import ExitsConfig
from tests.core.risk.account import DAY, HOUR, Account, Desk, instrument


def signal(direction: Any, symbol: str = "BTCUSDT", **own: Any) -> Signal:
    return Signal(symbol, direction, ts=DAY, strategy="s", **own)


def orders(messages: list[Message]) -> list[tuple[str, str, float, bool]]:
    return [(m.symbol, m.side, m.qty, m.reduce_only) for m in messages if isinstance(m, OrderIntent)]


BUY, SELL = "BUY", "SELL"
TARGETS = [
    # (held, direction, side, quantity, reduce only); the sizer wants 1.0
    (0.0, "LONG", BUY, 1.0, False),
    (0.0, "SHORT", SELL, 1.0, False),
    (0.0, "FLAT", None, 0.0, False),
    (0.4, "LONG", None, 0.0, False),  # the target is reached: no pyramiding
    (-0.4, "SHORT", None, 0.0, False),
    (0.4, "SHORT", SELL, 1.4, False),  # a flip is one order
    (-0.4, "LONG", BUY, 1.4, False),
    (0.4, "FLAT", SELL, 0.4, True),
    (-0.4, "FLAT", BUY, 0.4, True),
    (0.001, "FLAT", SELL, 0.001, True),  # under the exchange's minimum value, yet a reduction
]


@pytest.mark.parametrize(("held", "direction", "side", "qty", "reduce_only"), TARGETS)
def test_a_signal_is_a_target(held: float, direction: str, side: str | None, qty: float, reduce_only: bool) -> None:
    desk = Desk(Account(BTCUSDT=held))
    desk.actor.on_signal(signal(direction))
    assert orders(desk.out) == ([("BTCUSDT", side, qty, reduce_only)] if side else [])
    assert not [m for m in desk.out if isinstance(m, SignalDenied)]


def test_what_an_intent_carries() -> None:
    desk = Desk()
    desk.actor.on_signal(signal("SHORT", order_type="limit", limit_price=101.23))
    assert desk.out == [
        OrderIntent("BTCUSDT", "SELL", 1.0, DAY, "limit", 101.3, cancel_first=True, strategy="s", decision_price=100.0)
    ]  # fmt: skip
    desk.out.clear()
    desk.actor.on_signal(signal("LONG", order_type="limit", limit_price=98.77))
    assert [m.price for m in desk.out if isinstance(m, OrderIntent)] == [98.7]


def test_a_flip_whose_entry_is_denied_still_closes() -> None:
    desk = Desk(Account(BTCUSDT=1.0), risk={"max_position_usd": 1.0})
    desk.actor.on_signal(signal("SHORT"))
    assert [type(m) for m in desk.out] == [SignalDenied, OrderIntent]
    assert orders(desk.out) == [("BTCUSDT", "SELL", 1.0, True)]


@pytest.mark.parametrize("limit_price", [None, 0.0, -1.0])
@pytest.mark.parametrize(("held", "direction"), [(0.0, "LONG"), (1.0, "SHORT"), (1.0, "FLAT")])
def test_a_limit_order_without_a_price_is_refused_whatever_else_holds(held: float, direction: str, limit_price: float | None) -> None:
    """Nothing of it is done: an order that closes would have no price either. Neither a wish nor a limit of risk is asked before."""
    for risk in ({}, {"max_open_positions": 1, "price_collar_percent": 1.0}):
        desk = Desk(Account(BTCUSDT=held, ETHUSDT=1.0), risk=risk)
        desk.actor.on_signal(signal(direction, order_type="limit", limit_price=limit_price, size_usd=10.0))
        assert [(type(m), getattr(m, "reason", "")) for m in desk.out] == [(SignalDenied, "limit_price_missing")]


def test_orders_above_the_maximum_are_split() -> None:
    """At most 2.0 per market order: a close of 5 goes out as 2 + 2 + 1; a flip of 1 to 1.5 as a close and an entry."""
    small = (instrument(max_market_qty=2.0),)
    desk = Desk(Account(BTCUSDT=5.0), symbols=small)
    desk.actor.on_signal(signal("FLAT"))
    assert orders(desk.out) == [("BTCUSDT", "SELL", qty, True) for qty in (2.0, 2.0, 1.0)]
    assert [m.cancel_first for m in desk.out if isinstance(m, OrderIntent)] == [True, False, False]
    desk = Desk(Account(BTCUSDT=1.0), symbols=small, sizing={"model": "fixed_qty", "qty": 1.5})
    desk.actor.on_signal(signal("SHORT"))
    assert orders(desk.out) == [("BTCUSDT", "SELL", 1.0, True), ("BTCUSDT", "SELL", 1.5, False)]


# --- in flight ---


def test_two_signals_of_one_instant_share_the_room() -> None:
    """The second is asked before the executor has even taken the first."""
    desk = Desk(risk={"max_gross_usd": 150.0})
    desk.actor.on_signal(signal("LONG"))
    desk.actor.on_signal(signal("SHORT", "ETHUSDT"))
    assert orders(desk.out) == [("BTCUSDT", "BUY", 1.0, False), ("ETHUSDT", "SELL", 0.5, False)]


@pytest.mark.parametrize("taken", [False, True], ids=["in the queue", "at the executor"])
@pytest.mark.parametrize("kind", ["market", "limit"])
def test_entries_in_flight_count_as_positions(taken: bool, kind: Any) -> None:
    desk = Desk(risk={"max_open_positions": 1})
    desk.actor.on_signal(signal("LONG", order_type=kind, limit_price=99.0 if kind == "limit" else None))
    if taken:
        desk.said()
    desk.actor.on_signal(signal("LONG", "ETHUSDT"))
    assert [m.reason for m in desk.out if isinstance(m, SignalDenied)] == ["max_open_positions"]


@pytest.mark.parametrize("taken", [False, True], ids=["in the queue", "at the executor"])
def test_a_market_order_in_flight_is_part_of_the_position(taken: bool) -> None:
    """With latency beyond a bar: a second LONG must not buy twice, and a flip must sell what is still to come."""
    desk = Desk()
    desk.actor.on_signal(signal("LONG"))
    if taken:
        desk.said()
    desk.out.clear()
    desk.actor.on_signal(signal("LONG"))
    assert desk.out == []
    desk.actor.on_signal(signal("SHORT"))
    assert orders(desk.out) == [("BTCUSDT", "SELL", 2.0, False)]


def test_a_resting_entry_is_replaced() -> None:
    """It takes no room of its own: it will be cancelled first."""
    desk = Desk(risk={"max_open_positions": 1, "cooldown_bars": 1})
    desk.actor.on_signal(signal("LONG", order_type="limit", limit_price=99.0))
    desk.said()
    desk.executor.on_order_update(OrderUpdate("t-1", "BTCUSDT", DAY, "accepted", order_type="limit"))
    desk.actor.on_signal(signal("LONG", order_type="limit", limit_price=98.0))
    desk.commands.clear()
    assert orders(desk.said()) == [("BTCUSDT", "BUY", 1.0, False)]
    assert desk.commands[0] == CancelOrder("t-1", "BTCUSDT", DAY)


CANCELS = [
    # (held, direction of the new signal, side of the resting order, whether it is cancelled)
    (0.0, "FLAT", "LONG", True),
    (1.0, "LONG", "LONG", False),
    (1.0, "LONG", "FLAT", True),
    (-1.0, "SHORT", "FLAT", True),
]


@pytest.mark.parametrize(("held", "direction", "resting", "cancelled"), CANCELS)
def test_an_order_that_leads_away_from_the_target_is_cancelled(held: float, direction: str, resting: str, cancelled: bool) -> None:
    account = Account(BTCUSDT=0.0 if resting == "LONG" else held)
    desk = Desk(account)
    desk.actor.on_signal(signal(resting, order_type="limit", limit_price=100.0))
    desk.said()
    desk.executor.on_order_update(OrderUpdate("t-1", "BTCUSDT", DAY, "accepted", order_type="limit"))
    account.positions["BTCUSDT"] = held
    desk.commands.clear()
    desk.actor.on_signal(signal(direction))
    desk.said()
    assert desk.commands == ([CancelOrder("t-1", "BTCUSDT", DAY)] if cancelled else [])


def test_two_spot_entries_of_one_instant_share_the_wallet() -> None:
    """100 coins: the first takes 60, 40 are left to the second."""
    spot = (instrument(category="spot"), instrument("ETHUSDT", category="spot"))
    desk = Desk(Account(100.0), symbols=spot, allow_short=False, sizing={"model": "fixed_qty", "qty": 0.6})
    desk.actor.on_signal(signal("LONG"))
    desk.actor.on_signal(signal("LONG", "ETHUSDT"))
    assert orders(desk.out) == [("BTCUSDT", "BUY", 0.6, False), ("ETHUSDT", "BUY", 0.4, False)]


def test_flattening_goes_on_when_an_order_in_flight_is_filled_late() -> None:
    """An entry that had not arrived at the halt fills after it: the next instant closes it."""
    desk = Desk(exits=ExitsConfig(max_bars=99))
    desk.actor.on_signal(signal("LONG"))
    desk.said()
    desk.executor.on_order_update(OrderUpdate("t-1", "BTCUSDT", DAY, "accepted"))
    desk.actor.on_halt(Halt(DAY, "panic", flatten=True))
    assert orders(desk.said()) == []
    fill(desk, 0.5, DAY + 1)
    desk.actor.on_instant(DAY + HOUR)
    assert orders(desk.said()) == [("BTCUSDT", "SELL", 0.5, True)]


# --- exits by time ---


def fill(desk: Desk, position: float, ts: int) -> None:
    """The account's BTC position becomes this at ts."""
    desk.account.positions["BTCUSDT"] = position
    desk.actor.on_fill(Fill("f", "t-1", "BTCUSDT", ts, "BUY", 1.0, 100.0, 0, 0, False, 100.0))


MAX_BARS = [
    # (entry at, bars, closed at): decision bars of one hour
    (DAY, 1, DAY + HOUR),
    (DAY, 3, DAY + 3 * HOUR),
    (DAY + 1, 1, DAY + HOUR),  # an entry inside a bar: that bar's close is the first
    (DAY + HOUR - 1, 2, DAY + 2 * HOUR),
]


@pytest.mark.parametrize(("entry_ts", "bars", "due"), MAX_BARS)
def test_max_bars_closes_at_the_nth_decision_close(entry_ts: int, bars: int, due: int) -> None:
    desk = Desk(exits=ExitsConfig(max_bars=bars))
    assert desk.actor.needs_fills
    fill(desk, 1.0, entry_ts)
    for ts in range(DAY, due, HOUR // 4):
        desk.actor.on_instant(ts)
    assert desk.out == []
    desk.actor.on_instant(due)
    assert [(m.qty, m.reason, m.reduce_only, m.ts) for m in desk.said() if isinstance(m, OrderIntent)] == [(1.0, "max_bars", True, due)]


def test_max_bars_starts_anew_with_a_flip_and_ends_with_the_position() -> None:
    desk = Desk(exits=ExitsConfig(max_bars=2))
    fill(desk, 1.0, DAY)
    fill(desk, -1.0, DAY + HOUR)
    desk.actor.on_instant(DAY + 2 * HOUR)
    assert desk.out == []
    fill(desk, 0.0, DAY + 2 * HOUR + 1)
    desk.actor.on_instant(DAY + 9 * HOUR)
    assert desk.out == []


def test_max_bars_is_not_restarted_by_a_second_fill_and_is_asked_again() -> None:
    """What was not filled is asked for again at the next decision close, once it is no longer on its way."""
    desk = Desk(exits=ExitsConfig(max_bars=1))
    fill(desk, 0.5, DAY)
    fill(desk, 1.0, DAY + HOUR // 2)
    desk.actor.on_instant(DAY + HOUR)
    assert orders(desk.said()) == [("BTCUSDT", "SELL", 1.0, True)]
    desk.actor.on_instant(DAY + 2 * HOUR)
    assert desk.said() == []
    desk.executor.on_order_update(OrderUpdate("t-1", "BTCUSDT", DAY + 2 * HOUR, "cancelled"))
    desk.actor.on_instant(DAY + 3 * HOUR)
    assert orders(desk.said()) == [("BTCUSDT", "SELL", 1.0, True)]


def test_an_exit_starts_the_cooldown() -> None:
    desk = Desk(risk={"cooldown_bars": 2})
    assert desk.actor.needs_fills
    fill(desk, 1.0, DAY)
    fill(desk, 0.5, DAY + 1)
    fill(desk, 0.0, DAY + HOUR)
    for bars, reason in ((1, "cooldown_bars"), (2, "cooldown_bars"), (3, None)):
        desk.actor.on_signal(Signal("BTCUSDT", "LONG", ts=DAY + bars * HOUR))
        message = desk.out.pop()
        assert (message.reason if isinstance(message, SignalDenied) else None) == reason


def test_nothing_to_remember_nothing_to_hear() -> None:
    desk = Desk()
    assert not desk.actor.needs_fills and not desk.actor.limits.is_limited


SPOT = instrument(category="spot")


def test_flat_on_dust_is_denied_once_and_a_later_long_works() -> None:
    desk = Desk(Account(BTCUSDT=0.049), symbols=(SPOT,), allow_short=False)
    for _ in range(3):
        desk.actor.on_signal(signal("FLAT"))
    (denial,) = desk.said()
    assert isinstance(denial, SignalDenied)
    assert (denial.reason, denial.value, denial.limit) == ("below_min_notional", 4.9, 5.0)
    assert [(reason, counted.count) for reason, counted in desk.actor.counts.ignored.items()] == [("flat_already", 2)]
    desk.actor.on_signal(signal("LONG"))
    assert orders(desk.said()) == [("BTCUSDT", "BUY", 1.0, False)]


def test_another_rest_is_told_anew_also_after_a_restart() -> None:
    desk = Desk(Account(BTCUSDT=0.049), symbols=(SPOT,), allow_short=False)
    desk.actor.on_signal(signal("FLAT"))
    again = Desk(Account(BTCUSDT=0.049), symbols=(SPOT,), allow_short=False)
    again.actor.restore(desk.actor.state())
    again.actor.on_signal(signal("FLAT"))
    assert again.said() == []
    again.account.positions["BTCUSDT"] = 0.048
    again.actor.on_signal(signal("FLAT"))
    assert [type(m) for m in again.said()] == [SignalDenied]


@pytest.mark.parametrize("is_halted", [False, True])
def test_a_short_on_spot_sells_nothing_with_the_gate_closed_either(is_halted: bool) -> None:
    desk = Desk(Account(BTCUSDT=2.0), symbols=(SPOT,), allow_short=False)
    if is_halted:
        desk.actor.on_halt(Halt(DAY, "operator", False))
    desk.actor.on_signal(signal("SHORT"))
    (denial,) = desk.said()
    assert isinstance(denial, SignalDenied) and denial.reason == "short_not_allowed"
