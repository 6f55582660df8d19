"""The hard limits of a live session are exact: no order of events between decision and exchange leads beyond them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from keel.core.model.messages import AmendOrder, CancelOrder, OrderUpdate, SubmitOrder
from keel.core.model.orders import OrderRecord
from keel.core.risk.controls.controls import REPLACED_RESTS, Controls
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.gate import Gate
from keel.runners.live.session.decisions import Decisions
from keel.runners.live.session.order_gateway import OrderGateway
from tests.builders import START, perpetual

PRICE = {"BTCUSDT": 100.0, "DOGEUSDT": 0.1}
STEPS = {"BTCUSDT": 0.01, "DOGEUSDT": 1.0}
LIMITS = ControlLimits(
    max_order_usd=900.0, max_position_usd=500.0, max_gross_usd=700.0, max_net_usd=400.0, max_leverage=100.0, max_exposure=0.065,
    is_hard=True,
    max_orders_per_minute=10**6, max_orders_per_symbol_per_minute=10**6, max_repeats_per_minute=10**6, max_cancels_per_order=10**6,
    max_open_orders=10**6, max_open_orders_per_symbol=10**6, duplicate_ms=0,
)  # fmt: skip
EQUITY = 10_000.0


class Clock:
    now_ms = START


class Exchange:
    """Orders on their way, resting, and filled: the truth, and what our side knows of it. Nothing is known before it is told."""

    def __init__(self, seed: int, limits: ControlLimits = LIMITS) -> None:
        self.random = random.Random(seed)
        self.equity, self.truth, self.known = EQUITY, dict.fromkeys(PRICE, 0.0), dict.fromkeys(PRICE, 0.0)
        self.records: dict[str, OrderRecord] = {}
        self.queued: dict[str, SubmitOrder] = {}
        self.resting: dict[str, list[float]] = {}
        self.cancels: list[str] = []
        self.is_ahead, self.ahead = False, 0.0
        self.told: list[Any] = []
        self.count, self.worst = 0, dict.fromkeys(("position", "gross", "net"), 0.0)
        instruments = {symbol: perpetual(symbol, tick="0.0001", step=str(STEPS[symbol])) for symbol in PRICE}
        self.controls = Controls(limits, instruments, self, self, Gate(list(PRICE)), environment_is_armed=lambda: True)
        self.gateway = OrderGateway(self.controls, self.told.append, Decisions(Clock(), lambda decided: None))
        self.gateway.open(self)  # type: ignore[arg-type]

    # as the books see it
    def position_qty(self, symbol: str) -> float:
        return self.known[symbol]

    def mark(self, symbol: str) -> float:
        return PRICE[symbol]

    def open_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        return [record for record in self.records.values() if symbol in (None, record.symbol)]

    # as the gateway sends it
    def submit_order(self, command: SubmitOrder) -> None:
        record = OrderRecord(self.count, command.client_order_id, command.symbol, command.side, command.ts, command)
        record.told = "accepted"
        self.records[command.client_order_id] = record
        self.queued[command.client_order_id] = command

    def cancel_order(self, command: CancelOrder) -> None:
        self.records[command.client_order_id].cancelling()
        self.cancels.append(command.client_order_id)

    def amend_order(self, command: AmendOrder) -> None:
        record = self.records[command.client_order_id]
        assert record.command is not None and command.qty is not None
        record.command = SubmitOrder(
            **({name: getattr(record.command, name) for name in record.command.__struct_fields__} | {"qty": command.qty})
        )
        if command.client_order_id in self.queued:
            self.queued[command.client_order_id] = record.command
        elif (left := self.resting.get(command.client_order_id)) is not None:
            left[0] = max(0.0, command.qty - record.filled_qty)

    def fate(self, name: str) -> float | None:
        return None if name in self.records and not self.is_ahead else self.ahead

    # what may happen
    def decide(self) -> None:
        symbol = self.random.choice(list(PRICE))
        side = self.random.choice(("BUY", "SELL"))
        usd = self.random.choice((50.0, 130.0, 260.0, 390.0, 500.0, 640.0, 900.0, 2_000.0))
        step = STEPS[symbol]
        qty = round(usd / PRICE[symbol] / step) * step
        self.count += 1
        kind = self.random.choice(("market", "limit"))
        price = PRICE[symbol] if kind == "limit" else None
        self.gateway.submit_order(SubmitOrder(f"c{self.count}", symbol, side, kind, round(qty, 8), START + self.count, price))

    def cancel(self) -> None:
        if self.records:
            name = self.random.choice(list(self.records))
            self.gateway.cancel_order(CancelOrder(name, self.records[name].symbol, START))

    def amend(self) -> None:
        if self.records:
            name = self.random.choice(list(self.records))
            command = self.records[name].command
            assert command is not None
            qty = round(round(command.qty * self.random.choice((0.5, 2.0, 4.0)) / STEPS[command.symbol]) * STEPS[command.symbol], 8)
            if qty > 0:
                self.gateway.amend_order(AmendOrder(name, command.symbol, START, qty=qty))

    def leave(self) -> None:
        """The next queued order of a symbol leaves, if it still may."""
        for name, command in list(self.queued.items())[:1]:
            if command.symbol not in PRICE:
                continue
            why = self.gateway.last_look(command, self.fate)
            if why is None:
                self.end_cancels()
                return
            del self.queued[name]
            if why:
                self.end(name, "rejected")
            else:
                self.resting[name] = [command.qty]

    def fill(self) -> None:
        """Part or all of one, at the exchange and told at once: what is not told yet is the order that may still be filled."""
        if self.resting:
            name = self.random.choice(list(self.resting))
            record, left = self.records[name], self.resting[name]
            step = STEPS[record.symbol]
            part = left[0] if self.random.random() < 0.5 else round(max(1, round(left[0] / step / 2)) * step, 8)
            part = min(part, left[0])
            signed = part if record.side == "BUY" else -part
            self.truth[record.symbol] = round(self.truth[record.symbol] + signed, 8)
            self.known[record.symbol] = self.truth[record.symbol]
            record.filled_qty += part
            left[0] = round(left[0] - part, 8)
            self.look()
            if left[0] <= 0.0:
                del self.resting[name]
                self.end(name, "filled")

    def end_cancels(self) -> None:
        for name in self.cancels:
            self.resting.pop(name, None)
            self.queued.pop(name, None)
            if name in self.records:
                self.end(name, "cancelled")
        self.cancels.clear()

    def end(self, name: str, status: Any) -> None:
        record = self.records.pop(name)
        self.gateway.on_update(OrderUpdate(name, record.symbol, START, status, order_type="market", side=record.side))

    def look(self) -> None:
        usd = {symbol: qty * PRICE[symbol] for symbol, qty in self.truth.items()}
        now = {"position": max(map(abs, usd.values())), "gross": sum(map(abs, usd.values())), "net": abs(sum(usd.values()))}
        self.worst = {name: max(self.worst[name], value) for name, value in now.items()}

    def play(self, moments: int) -> None:
        acts = (self.decide, self.decide, self.cancel, self.amend, self.leave, self.leave, self.fill, self.fill, self.end_cancels)
        for _ in range(moments):
            self.random.choice(acts)()


@pytest.mark.parametrize("seed", range(25))
def test_no_order_of_events_leads_beyond_them(seed: int) -> None:
    """Signals to both sides, flips, cancels that lose against a fill, amendments and partial fills, of two symbols."""
    exchange = Exchange(seed)
    exchange.play(400)
    assert exchange.worst["position"] <= 500.0 + 1e-6
    assert exchange.worst["gross"] <= 650.0 + 1e-6
    assert exchange.worst["net"] <= 400.0 + 1e-6
    assert exchange.worst["gross"] > 300.0


def test_a_cancelled_order_that_is_filled_after_all_keeps_back_what_was_to_replace_it() -> None:
    exchange = Exchange(0)
    exchange.submit_order(SubmitOrder("old", "BTCUSDT", "BUY", "limit", 4.0, START, 100.0))
    exchange.gateway.cancel_order(CancelOrder("old", "BTCUSDT", START))
    new = SubmitOrder("new", "BTCUSDT", "BUY", "limit", 4.0, START + 1, 100.0)
    assert exchange.controls.check(new) is None
    assert (waits := exchange.controls.last_look(new, exchange.fate)) is not None and waits.code == REPLACED_RESTS
    exchange.known["BTCUSDT"] = 4.0
    exchange.end("old", "filled")
    denial = exchange.controls.last_look(new, exchange.fate)
    assert denial is not None and denial.code == "max_position_usd" and denial.value == pytest.approx(800.0)


def test_what_the_venue_knows_counts_before_the_books_hear_it() -> None:
    for filled, code in ((0.0, ""), (0.9, ""), (1.1, "max_net_usd"), (4.0, "max_position_usd")):
        exchange = Exchange(0)
        exchange.submit_order(SubmitOrder("old", "BTCUSDT", "BUY", "limit", 4.0, START, 100.0))
        exchange.gateway.cancel_order(CancelOrder("old", "BTCUSDT", START))
        new = SubmitOrder("new", "BTCUSDT", "BUY", "limit", 3.0, START + 1, 100.0)
        assert exchange.controls.check(new) is None
        exchange.is_ahead, exchange.ahead = True, filled
        denial = exchange.controls.last_look(new, exchange.fate)
        assert (denial.code if denial else "") == code, filled


def test_one_that_was_cancelled_lets_its_replacement_go_and_a_lost_cancel_does_not_bind_another_symbol_loosely() -> None:
    exchange = Exchange(0)
    exchange.submit_order(SubmitOrder("old", "BTCUSDT", "BUY", "limit", 4.0, START, 100.0))
    exchange.gateway.cancel_order(CancelOrder("old", "BTCUSDT", START))
    other = SubmitOrder("other", "DOGEUSDT", "BUY", "market", 4_000.0, START + 1)
    assert (denial := exchange.controls.check(other)) is not None and denial.code == "max_gross_usd"
    new = SubmitOrder("new", "BTCUSDT", "BUY", "limit", 4.0, START + 1, 100.0)
    assert exchange.controls.check(new) is None
    exchange.end("old", "cancelled")
    assert exchange.controls.last_look(new, exchange.fate) is None


def test_an_amendment_is_asked_as_the_order_that_it_makes() -> None:
    exchange = Exchange(0)
    exchange.gateway.submit_order(SubmitOrder("one", "BTCUSDT", "BUY", "limit", 3.0, START, 100.0))
    exchange.gateway.amend_order(AmendOrder("one", "BTCUSDT", START + 1, qty=6.0))
    assert [(told.reason, getattr(told, "status", "")) for told in exchange.told] == [
        ("max_position_usd", ""), ("denied: max_position_usd", "amend_rejected")
    ]  # fmt: skip
    assert exchange.records["one"].command is not None and exchange.records["one"].command.qty == 3.0
    exchange.gateway.amend_order(AmendOrder("one", "BTCUSDT", START + 2, qty=3.9))
    assert exchange.records["one"].command.qty == 3.9


def test_without_a_mark_nothing_that_is_limited_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = Exchange(0)
    monkeypatch.setitem(PRICE, "BTCUSDT", 0.0)
    exchange.known["BTCUSDT"] = 0.01
    assert (
        denial := exchange.controls.check(SubmitOrder("c", "BTCUSDT", "BUY", "market", 1.0, START))
    ) is not None and denial.code == "no_price"
    assert (denial := exchange.controls.check(SubmitOrder("d", "DOGEUSDT", "BUY", "market", 10.0, START))) is not None
    assert denial.code == "max_gross_usd"
