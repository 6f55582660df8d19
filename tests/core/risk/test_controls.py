"""Every control says no to what it is there for, with its own code, and lets the ordinary order through."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from keel.core.model.messages import SubmitOrder
from keel.core.model.orders import OrderRecord
from keel.core.risk.controls.controls import Controls
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.controls.table import TABLE
from keel.core.risk.gate.gate import Gate
from tests.builders import START, perpetual


class Account:
    """Flat at 10,000, mark 100, unless told otherwise."""

    def __init__(self) -> None:
        self.equity, self.held, self.price = 10_000.0, 0.0, 100.0

    def position_qty(self, symbol: str) -> float:
        return self.held

    def mark(self, symbol: str) -> float:
        return self.price


class Working:
    def __init__(self) -> None:
        self.records: list[OrderRecord] = []

    def open_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        return [record for record in self.records if symbol in (None, record.symbol)]


class Room:
    """Controls with everything around them."""

    def __init__(self, **limits: Any) -> None:
        self.account, self.working, self.gate = Account(), Working(), Gate(["BTCUSDT"])
        self.armed, self.age = True, 0.0
        values = {"max_leverage": 10.0, "stale_ms": 15_000.0} | limits
        instrument = perpetual(min_notional=5 * 10**8, max_qty=500.0, max_market_qty=200.0, min_qty=0.01)
        self.controls = Controls(
            ControlLimits(**values), {"BTCUSDT": instrument}, self.account, self.working, self.gate,
            environment_is_armed=lambda: self.armed, age_ms=lambda symbol: self.age,
        )  # fmt: skip
        self.count = 0

    def order(self, **changes: Any) -> SubmitOrder:
        self.count += 1
        values: dict[str, Any] = {
            "client_order_id": f"c-{self.count}", "symbol": "BTCUSDT", "side": "BUY", "order_type": "market", "qty": 1.0,
            "ts": START + self.count * 5_000,
        }  # fmt: skip
        return SubmitOrder(**(values | changes))

    def code(self, **changes: Any) -> str:
        denial = self.controls.check(self.order(**changes))
        assert denial is None or any(denial.code in row.codes for row in TABLE), denial
        return "" if denial is None else denial.code

    def rest(self, **changes: Any) -> None:
        command = self.order(**({"order_type": "limit", "price": 100.0} | changes))
        record = OrderRecord(self.count, command.client_order_id, command.symbol, command.side, command.ts, command)
        record.told = "accepted"
        self.working.records.append(record)


def test_an_ordinary_order_passes() -> None:
    assert Room().code() == ""


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "ETHUSDT"}, "symbol_not_allowed"),
        ({"qty": 0.0005}, "qty_off_grid"),
        ({"order_type": "limit", "price": 100.05}, "price_off_grid"),
        ({"qty": 0.005}, "below_min_qty"),
        ({"qty": 0.02}, "below_min_notional"),
        ({"order_type": "limit", "price": 120.0}, "price_collar_percent"),
        ({"order_type": "limit", "price": 80.0, "side": "SELL"}, "price_collar_percent"),
        ({"qty": 201.0}, "max_qty"),
        ({"reduce_only": True}, "reduce_only_increases"),
    ],
)
def test_what_the_order_itself_shows(changes: dict[str, Any], code: str) -> None:
    assert Room().code(**changes) == code


def test_states_of_the_gate() -> None:
    room = Room()
    room.account.held = 2.0
    room.gate.close("clock_off", "600 ms behind")
    assert room.code() == "trading_reducing"
    assert room.code(side="SELL", reduce_only=True) == ""
    room.gate.close("lock_lost", "all of it")
    assert room.code(side="SELL", reduce_only=True) == "trading_halted"
    room.gate.open("lock_lost")
    room.gate.open("clock_off")
    assert room.code() == ""
    room.gate.close("position_differs", "unclear", "BTCUSDT")
    assert room.code() == "symbol_frozen"
    assert room.code(side="SELL", reduce_only=True) == ""
    room.gate.open("position_differs", "BTCUSDT")
    assert room.code() == ""


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("armed", False, "not_armed"), ("age", 20_000.0, "price_stale"), ("age", None, "price_stale"),
    ],
)  # fmt: skip
def test_what_the_surroundings_say(name: str, value: Any, code: str) -> None:
    room = Room()
    setattr(room, name, value)
    assert room.code() == code


def test_what_would_deny_any_entry_is_known_before_one_is_asked_for() -> None:
    """ACTIVE means that an entry could leave: neither with as many orders at rest as may, nor without equity."""
    room = Room(max_open_orders=2, max_open_orders_per_symbol=2)
    assert room.controls.pauses(START) == {}
    room.rest(side="BUY", price=50.0)
    room.rest(side="BUY", price=50.0)
    assert set(room.controls.pauses(START)) == {("max_open_orders", None), ("max_open_orders_per_symbol", "BTCUSDT")}
    assert room.code(side="BUY", price=50.0, order_type="limit") == "max_open_orders_per_symbol"
    room.working.records.clear()
    room.account.equity = 0.0
    assert room.controls.pauses(START) == {("no_equity", None): "the equity is 0"} and room.code() != ""


def test_a_limit_that_broke_is_named_and_the_drawdown_which_holds_for_good_first() -> None:
    room = Room()
    for cause in ("daily_loss_percent", "max_drawdown_percent"):
        room.gate.close(cause, "lost")
        assert room.code() == cause
        assert room.code(side="SELL", reduce_only=True) != cause


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_order_usd": 99.0}, "max_order_usd"),
        ({"max_position_usd": 99.0}, "max_position_usd"),
        ({"max_gross_usd": 99.0}, "max_gross_usd"),
        ({"max_net_usd": 99.0}, "max_net_usd"),
        ({"max_leverage": 0.009}, "max_leverage"),
    ],
)
def test_limits_of_value(limits: dict[str, Any], code: str) -> None:
    assert Room(**limits).code() == code


def test_positions_count_with_everything_that_may_still_fill() -> None:
    room = Room(max_position_usd=300.0)
    room.rest(qty=1.0, price=99.0)
    assert room.code(qty=2.0) == ""
    assert room.code(qty=2.1) == "max_position_usd"
    room.account.held = -2.0
    assert room.code(qty=3.0) == ""  # a flip: what is held goes first


def test_numbers_of_open_orders() -> None:
    room = Room(max_open_orders_per_symbol=1)
    room.rest()
    assert room.code() == "max_open_orders_per_symbol"
    room = Room(max_open_orders=1)
    room.rest()
    assert room.code() == "max_open_orders"


def test_the_same_order_twice_within_a_moment() -> None:
    room = Room()
    first = room.order(ts=START)
    room.controls.counts.note_sent(first)
    assert room.code(ts=START + 500) == "duplicate_order"
    assert room.code(ts=START + 500, qty=2.0) == ""
    assert room.code(ts=START + 2_000) == ""


def test_rates() -> None:
    for code in ("max_orders_per_symbol_per_minute", "max_orders_per_minute"):
        room = Room(**{code: 3})
        for number in range(3):
            room.controls.counts.note_sent(room.order(ts=START + number * 2_000, side="SELL" if number % 2 else "BUY"))
        assert room.code(ts=START + 10_000) == code
        assert room.code(ts=START + 70_000) == ""


def test_repetition_stops_until_a_person_looks() -> None:
    room = Room(max_repeats_per_minute=3)
    for number in range(3):
        room.controls.counts.note_sent(room.order(ts=START + number * 2_000))
    assert room.code(ts=START + 10_000) == "repeated_execution"
    assert room.code(ts=START + 300_000) == "trading_reducing"


def test_rejections_in_a_row_pause_the_symbol() -> None:
    room = Room(max_rejects=2, reject_pause_ms=60_000)
    for _ in range(2):
        room.controls.counts.note_end("BTCUSDT", "rejected", START)
    assert room.code(ts=START + 1_000) == "reject_breaker"
    assert room.code(ts=START + 61_000) == ""
    room.controls.counts.note_end("BTCUSDT", "filled", START)
    assert room.code(ts=START + 1_000) == ""


def test_cancels_out_of_proportion() -> None:
    room = Room(max_cancels_per_order=2.0)
    for _ in range(21):
        room.controls.counts.note_cancel()
    assert room.code() == "cancel_ratio"


def test_no_trade_with_ourselves() -> None:
    room = Room()
    room.rest(side="SELL", price=100.0)
    assert room.code() == "self_trade"
    assert room.code(order_type="limit", price=99.0) == ""
    assert room.code(order_type="limit", price=100.0) == "self_trade"
    room.working.records[0].cancelling()
    assert room.code() == ""


REDUCTION = {"side": "SELL", "reduce_only": True}
ASKED_OF_REDUCTIONS = {
    "not_armed": lambda room: setattr(room, "armed", False),
    "symbol_not_allowed": {"symbol": "ETHUSDT"},
    "qty_off_grid": {"qty": 0.0005},
    "price_off_grid": {"order_type": "limit", "price": 100.05},
    "price_collar_percent": {"order_type": "limit", "price": 80.0},
    "max_qty": {"qty": 201.0},
    "max_orders_per_symbol_per_minute": lambda room: [room.controls.counts.note_sent(room.order()) for _ in range(61)],
}
NOT_ASKED = {
    "symbol_frozen": lambda room: room.gate.close("position_differs", "unclear", "BTCUSDT"),
    "below_min_qty": {"qty": 0.005},
    "below_min_notional": {"qty": 0.02},
    "price_stale": lambda room: setattr(room, "age", None),
    "max_open_orders": lambda room: [room.rest(side="BUY", price=50.0) for _ in range(201)],
    "duplicate_order": lambda room: room.controls.counts.note_sent(room.order(ts=START + 5_000, **REDUCTION)),
    "cancel_ratio": lambda room: [room.controls.counts.note_cancel() for _ in range(1_000)],
    "daily_loss_percent": lambda room: room.gate.close("daily_loss_percent", "lost"),
    "reject_breaker": lambda room: [room.controls.counts.note_end("BTCUSDT", "rejected", START) for _ in range(5)],
    "repeated_execution": lambda room: [room.controls.counts.note_sent(room.order(side="SELL", ts=START + n)) for n in range(21)],
    "self_trade": lambda room: room.rest(side="BUY", price=100.0),
}


def way_out(cause: Any, **limits: Any) -> str:
    """The code by which a reduction of 1 is denied, in a long of 300 under this cause."""
    room = Room(**limits)
    room.account.held, room.account.equity = 300.0, 100_000.0
    if callable(cause):
        cause(room)
    return room.code(**(REDUCTION | {"ts": START + 5_000} | ({} if callable(cause) else cause)))


@pytest.mark.parametrize("code", ASKED_OF_REDUCTIONS)
def test_what_a_reduction_is_asked_too(code: str) -> None:
    assert way_out(ASKED_OF_REDUCTIONS[code]) == code


@pytest.mark.parametrize("code", NOT_ASKED)
def test_what_does_not_bar_the_way_out(code: str) -> None:
    assert way_out(NOT_ASKED[code]) == ""


@pytest.mark.parametrize("limit", ["max_order_usd", "max_position_usd", "max_gross_usd", "max_net_usd", "max_leverage"])
def test_no_limit_of_value_bars_the_way_out(limit: str) -> None:
    assert way_out({}, **{limit: 0.001}) == ""


def test_the_document_marks_what_reductions_are_asked() -> None:
    page = Path(__file__).parents[3] / "docs" / "life-of-a-live-order.md"
    table = page.read_text().split("## Controls")[1].split("## When it breaks")[0]
    rows = [line.strip("| \n").split("|") for line in table.splitlines() if line.startswith("| `")]
    marked = {code.strip("` ") for row in rows for code in row[0].split() if len(row) > 2 and row[2].strip() == "yes"}
    named = {code.strip("` ") for row in rows for code in row[0].split()}
    assert marked == {*ASKED_OF_REDUCTIONS, "trading_halted", "reduce_only_increases", "max_orders_per_minute"}
    assert {*ASKED_OF_REDUCTIONS, *NOT_ASKED, "max_order_usd", "max_net_usd", "margin_headroom"} <= named


def test_a_stop_order_goes_by_the_size_of_market_orders() -> None:
    assert Room(max_leverage=1_000.0).code(qty=201.0, order_type="stop_market", trigger_price=110.0) == "max_qty"
    assert Room(max_leverage=1_000.0).code(qty=201.0, order_type="limit", price=100.0) == ""


def test_margin_for_the_worst_case() -> None:
    room = Room(max_leverage=1.0)
    room.account.equity = 100.0
    room.account.price = 104.99
    assert room.code(qty=1.0) == "margin_headroom"


def test_what_is_no_number_is_above_every_limit() -> None:
    room = Room(max_position_usd=1_000.0)
    room.account.held = math.nan
    assert room.code() == "max_position_usd"
