"""The same news in any order, doubled, or with others between them, give the same account."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.past import Past, seen_of
from keel.adapters.bybit.execution.tracking.queries import AskExecutions, AskOrder, Moment, Output
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.core.model.messages import Bracket, Fill, FundingPayment, Liquidation, Message, OrderUpdate, SubmitOrder
from keel.core.model.orders import OrderState, advance
from tests.builders import perpetual

T0 = 1_700_000_000_000
BTC = perpetual()
NOW = Moment(0, T0, T0)


class World:
    """A tracker with what it said."""

    def __init__(self, seen: set[str] | None = None) -> None:
        self.out: list[Message] = []
        self.notices: list[Notice] = []
        self.looked: list[tuple[str | None, str | None]] = []
        self.seen = seen if seen is not None else set()
        self.tracker = OrderTracker({"BTCUSDT": BTC}, self.take, Past(seen=self.seen), NOW)

    def take(self, output: Output) -> None:
        if isinstance(output, Message):
            self.out.append(output)
        elif isinstance(output, Notice):
            self.notices.append(output)
        elif isinstance(output, AskOrder):
            self.looked.append((output.client_order_id, output.order_id))
        elif isinstance(output, AskExecutions):
            self.looked.append((None, None))

    def submit(self, number: int = 1, **changes: Any) -> None:
        values: dict[str, Any] = {
            "client_order_id": f"t-{number}", "symbol": "BTCUSDT", "side": "BUY", "order_type": "limit", "qty": 0.01, "ts": T0,
            "price": 100.0,
        }  # fmt: skip
        self.tracker.submitted(SubmitOrder(**(values | changes)))

    def hear(self, row: wire.OrderRow | wire.ExecutionRow) -> None:
        if isinstance(row, wire.OrderRow):
            self.tracker.on_order(row, NOW)
        else:
            self.tracker.on_execution(row, NOW)

    def statuses(self, name: str = "t-1") -> list[str]:
        return [one.status for one in self.out if isinstance(one, OrderUpdate) and one.client_order_id == name]

    @property
    def fills(self) -> list[Fill]:
        return [one for one in self.out if isinstance(one, Fill)]

    @property
    def steps(self) -> int:
        return sum(BTC.qty_grid.count(fill.qty) * (1 if fill.side == "BUY" else -1) for fill in self.fills)


def order(status: str, filled: str = "0", at: int = 0, link: str = "t-1", oid: str = "o-1", **more: Any) -> wire.OrderRow:
    values = {
        "orderType": "Limit",
        "price": "100.0",
        "qty": "0.010",
        "cumExecQty": filled,
        "updatedTime": str(T0 + at),
        "orderLinkId": link,
    }
    return wire.OrderRow(oid, "BTCUSDT", more.pop("side", "Buy"), status, **(values | more))


def execution(number: int, qty: str, at: int = 0, link: str = "t-1", oid: str = "o-1", **more: Any) -> wire.ExecutionRow:
    values = {"orderId": oid, "orderLinkId": link, "execFee": "0.001", "orderQty": "0.010", "feeRate": "0.0001"}
    kind, side = more.pop("kind", "Trade"), more.pop("side", "Buy")
    return wire.ExecutionRow("BTCUSDT", f"e-{number}", kind, side, more.pop("price", "100.0"), qty, str(T0 + at), **(values | more))


STORIES: dict[str, tuple[list[wire.OrderRow | wire.ExecutionRow], str, int]] = {
    "filled in three": (
        [order("New", at=1), execution(1, "0.002", 2), order("PartiallyFilled", "0.002", 2), execution(2, "0.003", 3),
         execution(3, "0.005", 4),
         order("PartiallyFilled", "0.005", 3), order("Filled", "0.010", 4)], "filled", 10),
    "partly filled, then cancelled": (
        [order("New", at=1), execution(1, "0.004", 2), order("PartiallyFilled", "0.004", 2),
         order("Cancelled", "0.004", 3, cancelType="CancelByUser")],
        "cancelled", 4),
    "cancel lost the race: two Filled": (
        [order("New", at=1), execution(1, "0.010", 2), order("Filled", "0.010", 2),
         order("Filled", "0.010", 3, cancelType="CancelByUser", rejectReason="EC_OrigClOrdIDDoesNotExist")], "filled", 10),
    "never filled": ([order("New", at=1), order("Cancelled", at=2, rejectReason="EC_PostOnlyWillTakeLiquidity")], "expired", 0),
    "refused late": ([order("Rejected", at=2, rejectReason="EC_ReachRiskPriceLimit")], "rejected", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
@given(seed=st.integers(0, 10**9))
def test_any_order_of_the_news_ends_the_same(name: str, seed: int) -> None:
    rows, expected, steps = STORIES[name]
    rng = random.Random(seed)
    told = [row for row in rows for _ in range(rng.choice((1, 1, 2, 3)))]
    rng.shuffle(told)
    world = World()
    world.submit()
    for row in told:
        world.hear(row)
        is_over = "filled" in world.statuses() or expected in world.statuses()
        assert not is_over or world.steps == steps, "an end was told before its fills"
    assert world.statuses()[-1] == expected
    assert [world.statuses().count(end) for end in (expected,)] == [1]
    assert world.steps == steps
    state: OrderState = "pending_submit"
    for one in world.out:
        if isinstance(one, OrderUpdate):
            state = advance(state, one.status)  # raises for what the table does not allow


def test_a_status_alone_makes_no_quantity_and_asks_for_what_is_missing() -> None:
    world = World()
    world.submit()
    world.hear(order("Filled", "0.010", 5))
    assert world.out == []
    assert world.looked == [("t-1", "o-1")]
    world.hear(execution(1, "0.010", 5))
    assert [type(one).__name__ for one in world.out] == ["Fill", "OrderUpdate"]


def test_an_execution_is_counted_once_for_good_also_after_a_restart() -> None:
    first = World()
    first.submit()
    first.hear(execution(1, "0.010", 5))
    second = World(seen_of(first.out))
    second.submit()
    assert second.tracker.on_execution(execution(1, "0.010", 5), NOW) is False
    assert second.out == []


def test_a_late_fill_after_a_cancel_is_booked_and_ends_nothing_again() -> None:
    world = World()
    world.submit()
    world.hear(order("New", at=1))
    world.hear(order("Cancelled", at=2, cancelType="CancelByUser"))
    world.hear(execution(1, "0.004", 2))
    assert world.statuses() == ["accepted", "cancelled"]
    assert world.steps == 4


def test_an_order_that_returns_from_the_dead_freezes_its_symbol() -> None:
    world = World()
    world.submit()
    world.hear(order("Cancelled", at=2))
    world.hear(order("New", at=3))
    assert [(notice.code, notice.freezes) for notice in world.notices] == [("order_returned", True)]


def test_more_than_was_ordered_is_never_silent() -> None:
    world = World()
    world.submit()
    for number in (1, 2):
        world.hear(execution(number, "0.008", number))
    assert world.steps == 16
    assert "overfilled" in {notice.code for notice in world.notices}


# --- the order of fills ---


def test_an_amendment_upward_is_told_before_the_fill_that_shows_it() -> None:
    """The execution says how much the order is for now; the order's own news come later, or never."""
    world = World()
    world.submit()
    world.hear(order("New"))
    world.hear(execution(1, "0.015", at=2, orderQty="0.030"))
    world.hear(execution(2, "0.015", at=3, orderQty="0.030"))
    assert world.statuses() == ["accepted", "amended", "partially_filled", "filled"]
    assert [type(one).__name__ for one in world.out[1:3]] == ["OrderUpdate", "Fill"]
    assert not world.notices


def test_a_fill_waits_for_an_earlier_one_that_a_status_has_counted() -> None:
    """PnL depends on the order of fills: what another order is known to lack comes first."""
    world = World()
    world.submit(1)
    world.submit(2, side="SELL")
    world.hear(order("Filled", "0.010", 5))
    world.hear(execution(2, "0.010", 9, "t-2", "o-2", side="Sell", price="110.0"))
    assert world.fills == []
    world.hear(execution(1, "0.010", 5))
    assert [(fill.fill_id, fill.realized_pnl) for fill in world.fills] == [("e-1", 0), ("e-2", 10_000_000)]


def test_two_fills_that_wait_for_each_other_s_orders_are_both_booked() -> None:
    world = World()
    world.submit(1)
    world.submit(2, side="SELL")
    world.hear(order("Filled", "0.010", 5))
    world.hear(order("Filled", "0.010", 9, "t-2", "o-2", side="Sell"))
    world.hear(execution(2, "0.010", 9, "t-2", "o-2", side="Sell"))
    world.hear(execution(1, "0.010", 5))
    assert [fill.fill_id for fill in world.fills] == ["e-1", "e-2"]


def test_a_pnl_that_our_book_cannot_come_to_says_that_something_is_missing() -> None:
    world = World()
    world.submit(1)
    world.submit(2, side="SELL")
    world.hear(execution(2, "0.010", 9, "t-2", "o-2", side="Sell", price="110.0", execPnl="0.1"))
    assert world.fills == []
    assert world.looked == [(None, None)]
    world.hear(execution(1, "0.010", 5, execPnl="0"))
    assert [fill.fill_id for fill in world.fills] == ["e-1", "e-2"]
    assert world.notices == []


def test_what_no_list_explains_is_booked_as_it_is_and_told() -> None:
    world = World()
    world.submit(2, side="SELL")
    world.hear(execution(2, "0.010", 9, "t-2", "o-2", side="Sell", price="110.0", execPnl="0.1"))
    world.tracker.stop_waiting()
    assert [(fill.fill_id, fill.realized_pnl) for fill in world.fills] == [("e-2", 0)]
    assert [notice.code for notice in world.notices] == ["pnl_differs"]


def test_what_is_written_off_holds_nothing_up() -> None:
    world = World()
    world.submit(1)
    world.submit(2, side="SELL")
    world.hear(order("PartiallyFilled", "0.004", 5))
    world.hear(execution(2, "0.010", 9, "t-2", "o-2", side="Sell"))
    assert world.fills == []
    lacking = world.tracker.orders.get("t-1")
    assert lacking is not None
    world.tracker.write_off(lacking)
    assert [fill.fill_id for fill in world.fills] == ["e-2"]


# --- kinds of execution ---


def test_funding_moves_money_and_no_quantity_once_per_stamp() -> None:
    world = World()
    world.submit()
    world.hear(execution(1, "0.010", 5))
    for number in (2, 3):
        world.hear(
            execution(number, "0.010", 28_800_000, kind="Funding", link="", oid=f"f-{number}", execFee="-0.5", markPrice="101", side="Sell")
        )
    (payment,) = [one for one in world.out if isinstance(one, FundingPayment)]
    assert (payment.amount, payment.qty, payment.rate, payment.mark_price) == (-50_000_000, 0.01, -10_000, 101.0)
    assert world.steps == 10


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rate", ["0.0001", "-0.0001"])
@pytest.mark.parametrize("fee", ["0.5", "-0.5"])
def test_who_paid_settles_the_sign_of_the_rate(sign: int, rate: str, fee: str) -> None:
    world = World()
    world.tracker.books.seed("BTCUSDT", 10 * sign, 10**9)
    world.hear(execution(2, "0.010", 0, kind="Funding", link="", oid="f", execFee=fee, feeRate=rate, side="Buy"))
    (payment,) = [one for one in world.out if isinstance(one, FundingPayment)]
    assert (payment.amount > 0) == (payment.qty * payment.rate > 0)
    assert payment.qty * sign > 0


def test_a_takeover_is_told_with_its_loss() -> None:
    world = World()
    world.submit()
    world.hear(execution(1, "0.010", 5))
    world.hear(execution(2, "0.010", 6, kind="BustTrade", link="", oid="x", side="Sell", price="90.05", execFee="0.002", execPnl="-0.1"))
    (taken,) = [one for one in world.out if isinstance(one, Liquidation)]
    assert (taken.loss, taken.bankruptcy_price) == (10_200_000, 90.05)
    assert (world.fills[-1].kind, world.fills[-1].realized_pnl, world.steps) == ("bust", -10_000_000, 0)
    assert not [notice for notice in world.notices if notice.freezes]


def test_the_exchange_s_own_order_of_a_takeover_is_nobody_s_hand() -> None:
    world = World()
    world.hear(order("Filled", "0.010", 6, link="", oid="x", createType="CreateByTakeOver_PassThrough"))
    world.hear(order("Filled", "0.010", 6, link="", oid="y", createType="CreateByLiq"))
    assert not [notice for notice in world.notices if notice.freezes]
    world.hear(order("New", "0", 6, link="theirs", oid="z", createType="CreateByUser"))
    assert [notice.code for notice in world.notices if notice.freezes] == ["external_order"]


@pytest.mark.parametrize("kind", ["AdlTrade", "BlockTrade", "Delivery", "MovePosition", "CorporateAction", "Settle"])
def test_what_moves_quantity_without_us_is_booked_and_freezes(kind: str) -> None:
    world = World()
    world.hear(execution(1, "0.010", 5, kind=kind, link="", oid="x"))
    assert world.steps == 10
    assert [notice.freezes for notice in world.notices] == [True]


def test_an_unknown_kind_moves_nothing_and_freezes() -> None:
    world = World()
    world.hear(execution(1, "0.010", 5, kind="Something", link="", oid="x"))
    assert world.out == []
    assert [(notice.code, notice.freezes) for notice in world.notices] == [("unknown_execution", True)]


# --- brackets ---


def child(kind: str, status: str, at: int, oid: str, trigger: str, filled: str = "0", **more: Any) -> wire.OrderRow:
    return order(status, filled, at, "", oid, side="Sell", stopOrderType=kind, triggerPrice=trigger, orderType="Market", price="", **more)


@given(st.permutations(range(5)))
def test_a_stop_s_fill_waits_for_its_name(places: list[int]) -> None:
    rows: list[wire.OrderRow | wire.ExecutionRow] = [
        execution(1, "0.010", 1),
        child("StopLoss", "Untriggered", 2, "s-1", "95"),
        child("TakeProfit", "Untriggered", 2, "s-2", "110"),
        execution(2, "0.010", 9, "", "s-1", side="Sell", price="95", stopOrderType="StopLoss"),
        child("StopLoss", "Filled", 9, "s-1", "95", "0.010"),
    ]
    world = World()
    world.submit(bracket=Bracket(stop_loss=95.0, take_profit=110.0))
    for place in places:
        world.hear(rows[place])
    assert world.statuses("t-1-sl")[0] == "accepted"
    assert world.statuses("t-1-sl")[-1] == "filled"
    assert sorted((fill.client_order_id, fill.reason) for fill in world.fills) == [("t-1", "signal"), ("t-1-sl", "stop_loss")]
    first = next(one for one in world.out if getattr(one, "client_order_id", "") == "t-1-sl")
    assert isinstance(first, OrderUpdate) and first.parent_id == "t-1"


def test_names_are_never_given_twice() -> None:
    world = World()
    world.submit()
    for number in range(3):
        world.hear(child("StopLoss", "Untriggered", number, f"s-{number}", "95", parentOrderLinkId="t-1"))
    assert [one.client_order_id for one in world.out if isinstance(one, OrderUpdate)] == ["t-1-sl", "t-1-sl2", "t-1-sl3"]


def test_after_a_restart_an_open_exit_keeps_its_name() -> None:
    world = World()
    world.tracker.brackets.restore(["t-1-sl", "t-1-sl2"], [("t-1", "t-1-sl2")])
    world.hear(child("StopLoss", "Untriggered", 1, "s-9", "95", parentOrderLinkId="t-1"))
    world.hear(child("StopLoss", "Untriggered", 2, "s-10", "94", parentOrderLinkId="t-1"))
    assert [one.client_order_id for one in world.out if isinstance(one, OrderUpdate)] == ["t-1-sl2", "t-1-sl3"]


def test_what_a_list_tells_first_the_stream_owes() -> None:
    world = World()
    world.submit()
    row = execution(1, "0.010", at=1)
    world.tracker.on_execution(row, NOW)
    assert list(world.tracker.owed.values()) == ["BTCUSDT"]
    world.tracker.on_execution(row, NOW, is_pushed=True)
    assert not world.tracker.owed and len(world.fills) == 1
    world.tracker.on_execution(row, NOW)
    assert not world.tracker.owed


def test_a_trailing_stop_that_follows_the_market_is_no_amendment() -> None:
    world = World()
    world.submit()
    for at, level in enumerate(("95", "96", "97")):
        world.hear(child("TrailingStop", "Untriggered", at, "s-1", level, parentOrderLinkId="t-1"))
    assert world.statuses("t-1-ts") == ["accepted"]


# --- nonsense ---


@pytest.mark.parametrize(
    "row",
    [
        execution(1, "0.0105", 5), execution(1, "NaN", 5), execution(1, "", 5), execution(1, "-0.01", 5), execution(1, "1e999", 5),
        execution(1, "0.010", 5, price="100.05"), execution(1, "0.010", 5, price="0"), execution(1, "0.010", 5, side="Bought"),
        execution(1, "0.010", 5, execFee="x"), execution(1, "0.010", 10**15), execution(1, "0.010", -T0),
        execution(1, "Infinity", 5, link="", oid="nobody"),
    ],
)  # fmt: skip
def test_an_execution_that_cannot_be_changes_nothing(row: wire.ExecutionRow) -> None:
    world = World()
    world.submit()
    with pytest.raises(PayloadError):
        world.hear(row)
    assert (world.out, world.seen, world.tracker.orphans) == ([], set(), [])
    world.hear(execution(1, "0.010", 5))
    assert world.statuses() == ["filled"]


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ({"order_type": "limit", "price": 100.5}, ("limit", 100.5, None)),
        ({"order_type": "stop_limit", "price": 100.5, "trigger_price": 99.0}, ("stop_limit", 100.5, 99.0)),
    ],
)
def test_an_order_refused_at_once_is_told_with_its_own_type_and_prices(order: dict[str, Any], told: tuple[Any, ...]) -> None:
    world = World()
    world.submit(side="SELL", **order)
    world.tracker.end(next(iter(world.tracker.orders)), "rejected", "10001 Price invalid", NOW)
    (update,) = (one for one in world.out if isinstance(one, OrderUpdate))
    assert (update.status, update.side, update.order_type, update.price, update.trigger_price) == ("rejected", "SELL", *told)


def test_an_execution_that_is_pushed_is_news_of_its_order() -> None:
    """Else an answer that comes between an order's last push and its execution would wait for news that have been told, in vain."""
    world = World()
    world.submit()
    world.tracker.on_order(order("Filled", "0.010"), NOW, is_pushed=True)
    tracked = world.tracker.orders.get("t-1")
    assert tracked is not None and tracked.pushes == 1
    world.tracker.on_execution(execution(1, "0.010"), NOW, is_pushed=True)
    assert tracked.pushes == 2 and world.statuses() == ["filled"]
    world.submit(2)
    world.tracker.on_execution(execution(2, "0.004", link="t-2", oid="o-2"), NOW)
    listed = world.tracker.orders.get("t-2")
    assert listed is not None and listed.pushes == 0  # a list is no push


@pytest.mark.parametrize("kind", ["Trade", "Funding"])
def test_an_execution_of_an_unknown_kind_is_booked_once_a_list_tells_a_kind_that_we_know(kind: str) -> None:
    """Else a push whose kind was wrong would keep it out of the books for good."""
    world = World()
    world.submit()
    odd = execution(1, "0.010", kind="SomethingNew")
    for _ in range(2):
        world.tracker.on_execution(odd, NOW, is_pushed=True)
    assert [notice.code for notice in world.notices] == ["unknown_execution"]
    assert world.fills == [] and not world.tracker.owed
    world.tracker.on_execution(execution(1, "0.010", kind=kind, link="t-1" if kind == "Trade" else ""), NOW)
    booked = world.fills if kind == "Trade" else [one for one in world.out if isinstance(one, FundingPayment)]
    assert len(booked) == 1 and not world.tracker.owed
