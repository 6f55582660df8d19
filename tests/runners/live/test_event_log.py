"""A log line for each decision, end of an order, fill and payment of a session; what a restart hears again is not told twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.core.engine.bus import Bus
from keel.core.model.messages import Fill, FundingPayment, Halt, OrderDenied, OrderUpdate, Signal
from keel.core.model.money import to_text
from keel.core.strategy.portfolio_order import Order, PortfolioOrders
from keel.runners.live.memory.records import Adjusted
from keel.runners.live.reporting.event_log import log_events
from keel.runners.live.session.session import Session
from tests.builders import DAY, START, builtin
from tests.runners.live.conftest import plan_of, run_session, stored_sandbox
from tests.runners.live.test_real_time import moving, plan
from tests.runners.live.test_same_decisions import marked_store
from tests.virtual.sandbox import run_over


class Lines:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))


def test_a_session_and_its_restart_tell_each_event_once(journals: Path) -> None:
    log, ran = Lines(), None
    system, strategy = builtin("ema_cross", "warmup_bars=100", "timeframe=30m")
    span = START + 20 * DAY, START + 22 * DAY
    with marked_store() as store, stored_sandbox(store, system, *span) as sandbox:
        for bars in (300, None):
            plan = plan_of(system, strategy, store, sandbox.url, journals)
            ran = run_session(plan, max_bars=bars, watch=lambda bus, later: log_events(bus, log, later))
    told = {name: [fields for _, event, fields in log.lines if event == name] for _, name, _ in log.lines}
    fills, payments = ran.of(Fill), ran.of(FundingPayment)
    assert [row["fill_id"] for row in told["fill"]] == [fill.fill_id for fill in fills] and fills
    assert [row["fee"] for row in told["fill"]] == [to_text(fill.fee) for fill in fills]
    assert [row["paid"] for row in told["funding"]] == [to_text(payment.amount) for payment in payments] and payments
    ends = [row["client_order_id"] for row in told["order"] if row["status"] == "filled"]
    assert ends == [fill.client_order_id for fill in fills]
    assert len(told["signal"]) >= len(fills) and all(row["at"].endswith("Z") and row["code"] == "signal" for row in told["signal"])


def test_no_line_is_written_from_the_moment_in_which_an_instant_is_whole_until_its_orders_are_written(
    journals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, way = Lines(), list[str]()
    take, give_back = RightOfWay.take, RightOfWay.give_back

    def taken(right_of_way: RightOfWay, who: Hashable) -> None:
        way.append(f"take {who}")
        take(right_of_way, who)

    def given_back(right_of_way: RightOfWay, *those: Hashable) -> None:
        give_back(right_of_way, *those)
        if not right_of_way.is_taken:
            way.append("free")

    def line(event: str, **fields: Any) -> None:
        way.append(f"line {event}")

    monkeypatch.setattr(RightOfWay, "take", taken)
    monkeypatch.setattr(RightOfWay, "give_back", given_back)
    log.info = log.warning = line  # type: ignore[method-assign]  # lines among the rest
    with moving() as sandbox:
        session = Session(
            plan(sandbox, journals, symbols=("BTCUSDT", "ETHUSDT")), lambda notice: None, max_bars=6,
            watch=lambda bus, later: log_events(bus, log, later),
        )  # fmt: skip
        _, ending = run_over(sandbox.url, session.run())
    assert ending.failure is None
    is_free, orders, lines = True, 0, 0
    for event in way:
        orders += event.startswith("take ") and event != "take instant"
        lines += event == "line signal"
        is_free = (is_free and not event.startswith("take")) or event == "free"
        assert is_free or not event.startswith("line"), way
    assert orders >= 8 and lines >= 8


def test_what_should_be_seen_is_a_warning() -> None:
    log, bus = Lines(), Bus()
    log_events(bus, log)
    for message in (
        OrderDenied("BTCUSDT", START, "price_stale", 20_000.0, 15_000.0),
        Halt(START, "max_drawdown_percent"),
        OrderUpdate("c-1", "BTCUSDT", START, "rejected"),
        OrderUpdate("c-1", "BTCUSDT", START, "partially_filled"),
        OrderUpdate("c-1", "BTCUSDT", START, "accepted", reason=""),
        Signal("BTCUSDT", "LONG", ts=START),
        Adjusted(START, "adopted", "BTCUSDT", 5, 100),
        Adjusted(START, "transfer", cash_change=250_000_000),
    ):
        bus.deliver(message)
    assert [(level, event) for level, event, _ in log.lines] == [
        ("warning", "order denied"), ("warning", "halt"), ("warning", "order"), ("info", "order"), ("info", "signal"),
        ("info", "taken over"), ("info", "taken over"),
    ]  # fmt: skip
    assert (log.lines[5][2]["steps"], log.lines[6][2]["cash_change"]) == (5, "2.5")
    assert log.lines[0][2]["reason"] == "price_stale" and "reason" not in log.lines[3][2]


def test_each_target_of_a_portfolio_is_a_line() -> None:
    log, bus = Lines(), Bus()
    log_events(bus, log)
    bus.deliver(PortfolioOrders(START, "pair", (Order("BTC-USDT", "future", "LONG", 1000.0), Order("ETHUSDT", "future", "SHORT"))))
    assert log.lines == [
        ("info", "target", {"code": "target", "at": "2024-01-01T00:00:00Z", "symbol": "BTC-USDT", "side": "LONG", "value": 1000.0}),
        ("info", "target", {"code": "target", "at": "2024-01-01T00:00:00Z", "symbol": "ETHUSDT", "side": "SHORT"}),
    ]
