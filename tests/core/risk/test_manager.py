"""RiskManager asked by hand: the documents' snippet, plain pictures of an account, and the same answers as the actor gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from keel.core.engine.clock import ReplayClock
from keel.core.errors import ConfigError
from keel.core.model.messages import Bar, Halt, OrderIntent, Resume, Signal, SubmitOrder
from keel.core.risk.gate.causes import TradingState
from keel.core.risk.gate.gate import Gate
from keel.core.risk.manager import RiskManager
from keel.core.risk.snapshot_view import as_view
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig
from keel.sim.exchange.exchange import SimulatedExchange
from tests.core.risk.account import DAY, Account, Desk, instrument


def test_the_snippet() -> None:
    """Default limits, a plain snapshot: 1000 is 10 % of 10,000, so nothing changes."""
    risk_manager = RiskManager()
    signal = Signal(symbol="BTCUSDT", direction="LONG", size_usd=1000, strategy="momentum-v1")
    check = risk_manager.check_signal(signal, {"equity": 10_000.0})
    assert check.allowed and check.adjusted_size is None
    assert (check.adjusted_size or signal.size_usd) == 1000


CHECKS: list[tuple[str, dict[str, Any], float, Any, tuple[bool, float | None, str]]] = [
    ("unchanged", {}, 900.0, {"equity": 10_000}, (True, None, "")),
    ("the sizer caps", {}, 5000.0, {"equity": 10_000}, (True, 1000.0, "")),
    ("left to the sizer", {}, 0.0, {"equity": 10_000}, (True, 1000.0, "")),
    ("a limit caps", {"max_position_usd": 300.0}, 900.0, {"equity": 10_000}, (True, 300.0, "max_position_usd")),
    ("a limit caps the sizer's", {"max_position_usd": 300.0}, 0.0, {"equity": 10_000}, (True, 300.0, "max_position_usd")),
    ("an object", {}, 0.0, SimpleNamespace(equity=500.0), (True, 50.0, "")),
    ("a balance", {}, 0.0, {"balance": 500.0}, (True, 50.0, "")),
    ("positions count", {"max_gross_usd": 1200.0}, 0.0,
     {"equity": 10_000, "positions": {"ETHUSDT": {"quantity": 4, "side": "SHORT", "mark_price": 200.0}}}, (True, 400.0, "max_gross_usd")),
    ("too many positions", {"max_open_positions": 1}, 0.0,
     {"equity": 10_000, "positions": {"ETHUSDT": 1.0}, "prices": {"ETHUSDT": 10.0}}, (False, None, "max_open_positions")),
    ("nothing", {}, 1.0, {"equity": 0.0}, (False, None, "leverage")),
]  # fmt: skip


@pytest.mark.parametrize(("risk", "wish", "picture", "wanted"), [case[1:] for case in CHECKS], ids=[case[0] for case in CHECKS])
def test_check_signal(risk: dict[str, Any], wish: float, picture: Any, wanted: tuple[bool, float | None, str]) -> None:
    decision = RiskManager(RiskConfig(**risk)).check_signal(Signal("BTCUSDT", "LONG", wish), picture)
    assert (decision.allowed, decision.adjusted_size, decision.reason) == wanted


def test_flat_is_allowed_and_has_no_size() -> None:
    manager = RiskManager(RiskConfig(max_position_usd=1.0))
    flat = Signal("BTCUSDT", "FLAT")
    assert manager.check_signal(flat, {"equity": -1.0}).allowed
    sizing = manager.size_position(flat, {"equity": -1.0})
    assert (sizing.allowed, sizing.quantity) == (True, 0.0)


def test_size_position_needs_a_price() -> None:
    manager = RiskManager()
    assert manager.size_position(Signal("BTCUSDT", "LONG"), {"equity": 10_000}).reason == "no_price"
    sizing = manager.size_position(Signal("BTCUSDT", "LONG"), {"equity": 10_000, "prices": {"BTCUSDT": 400.0}})
    assert (sizing.quantity, sizing.size_usd) == (2.5, 1000.0)
    assert (
        RiskManager(sizing=SizingConfig(model="fixed_qty", qty=1.0)).check_signal(Signal("B", "LONG"), {"equity": 1}).reason == "no_price"
    )


def test_a_picture_without_an_equity_is_an_error() -> None:
    for picture in ({}, {"equity": "much"}, {"equity": float("nan")}):
        with pytest.raises(ConfigError, match="equity"):
            as_view(picture, {})
    with pytest.raises(ConfigError, match="ETHUSDT"):
        as_view({"equity": 1.0, "positions": {"ETHUSDT": 1.0}}, {}).gross_notional()


@pytest.mark.parametrize("direction", ["LONG", "SHORT", "FLAT"])
@pytest.mark.parametrize("policy", ["rules", "none"])
def test_policy_check_stands_alone(policy: Any, direction: Any) -> None:
    """The document's flow: policy.check first, then size_position."""
    manager = RiskManager(RiskConfig(policy=policy))
    signal = Signal("BTCUSDT", direction, 100.0, ts=DAY)
    assert manager.policy.check(signal, Account()).allowed
    manager.gate.close("halt", "panic")
    assert manager.policy.check(signal, Account()).allowed == (direction == "FLAT")


def test_the_actor_gives_what_the_manager_says() -> None:
    """One pipeline: the same quantity by hand and through the actor."""
    account = Account(777.0)
    risk: dict[str, Any] = {"max_position_usd": 61.7, "margin_reserve_percent": 0.0}
    sizing: dict[str, Any] = {"model": "percent_equity", "percent": 9.0}
    desk = Desk(account, risk=risk, sizing=sizing)
    signal = Signal("BTCUSDT", "LONG", ts=DAY)
    desk.actor.on_signal(signal)
    (intent,) = desk.out
    by_hand = RiskManager(RiskConfig(**risk), SizingConfig(**sizing), instruments={"BTCUSDT": instrument()}).size_position(signal, account)
    assert isinstance(intent, OrderIntent)
    assert intent.qty == by_hand.quantity == 0.617
    desk.actor.on_halt(Halt(DAY, "panic"))
    assert not desk.actor.manager.check_signal(signal, account).allowed


# --- alone: daily loss and drawdown from the snapshots that are shown ----------------------------------------------------------------

HOURS = 3_600_000


def alone(**limits: Any) -> RiskManager:
    return RiskManager(RiskConfig(**limits))


def answers(manager: RiskManager, *shown: tuple[int, float], direction: Any = "LONG") -> list[str]:
    """The reason for each (hour, equity) that is shown with a signal; "" is a yes."""
    signal = Signal("BTCUSDT", direction, 100.0)
    return [manager.check_signal(signal, {"equity": equity, "ts": DAY + hour * HOURS}).reason for hour, equity in shown]


def test_a_daily_loss_holds_until_the_next_day() -> None:
    """5 % of the 10,000 that the day began with: at 9,500 it is reached, and a recovery does not undo it."""
    told = answers(alone(daily_loss_percent=5.0), (0, 10_000.0), (1, 9_501.0), (2, 9_500.0), (3, 9_900.0), (24, 9_900.0), (25, 9_405.0))
    assert told == ["", "", "daily_loss_percent", "daily_loss_percent", "", "daily_loss_percent"]


def test_a_limit_that_broke_is_a_cause_of_the_gate_for_as_long_as_it_holds() -> None:
    manager = alone(daily_loss_percent=5.0, max_drawdown_percent=20.0)
    stands: list[list[str]] = []
    for hour, equity in ((0, 10_000.0), (1, 9_500.0), (24, 9_500.0), (25, 8_000.0), (48, 9_900.0)):
        manager.observe({"equity": equity, "ts": DAY + hour * HOURS})
        stands.append([entry.cause for entry in manager.gate.entries()])
    assert stands == [[], ["daily_loss_percent"], [], ["max_drawdown_percent"], ["max_drawdown_percent"]]
    assert manager.gate.entries("max_drawdown_percent")[0].text == "risk.max_drawdown_percent is reached: 20 % lost, at most 20 %"


def test_what_risk_forbids_stands_in_the_gate_that_it_is_given_and_goes_through_its_memory() -> None:
    gate = Gate(["BTCUSDT"])
    desk = Desk(Account(), gate=gate)
    desk.actor.on_halt(Halt(DAY, "panic"))
    assert [(entry.cause, entry.text) for entry in gate.entries()] == [("halt", "panic")]
    again = Gate(["BTCUSDT"])
    other = Desk(Account(), gate=again)
    other.actor.restore(desk.actor.state())
    assert again.against("BTCUSDT") and again.state is TradingState.REDUCING
    other.actor.on_resume(Resume(DAY, "panic"))
    assert not again.entries() and again.state is TradingState.ACTIVE


def test_a_drawdown_holds_for_good() -> None:
    """10 % below the highest that was shown: 11,000 less 1,100."""
    told = answers(alone(max_drawdown_percent=10.0), (0, 10_000.0), (1, 11_000.0), (2, 9_900.0), (300, 12_000.0))
    assert told == ["", "", "max_drawdown_percent", "max_drawdown_percent"]


def test_leaving_is_always_allowed_and_is_seen_too() -> None:
    manager = alone(daily_loss_percent=5.0)
    assert answers(manager, (0, 10_000.0), (1, 9_000.0), direction="FLAT") == ["", ""]
    assert answers(manager, (2, 9_900.0)) == ["daily_loss_percent"]


def test_the_decision_tells_value_and_limit() -> None:
    manager = alone(daily_loss_percent=5.0)
    answers(manager, (0, 10_000.0))
    decision = manager.check_signal(Signal("BTCUSDT", "LONG"), {"equity": 9_400.0, "ts": DAY + HOURS})
    assert (decision.allowed, decision.value, decision.limit) == (False, pytest.approx(6.0), 5.0)


def test_a_snapshot_may_be_shown_without_a_signal() -> None:
    manager = alone(daily_loss_percent=5.0)
    assert [manager.observe({"equity": equity, "ts": "2025-01-01T08:00"}) for equity in (10_000.0, 9_000.0, 8_000.0)] == [
        None,
        "daily_loss_percent",
        None,
    ]
    assert not manager.check_signal(Signal("BTCUSDT", "LONG", 100.0), {"equity": 9_900.0, "ts": "2025-01-01T09:00"}).allowed
    assert manager.check_signal(Signal("BTCUSDT", "LONG", 100.0), {"equity": 9_900.0, "ts": "2025-01-02"}).allowed
    assert alone().observe({"equity": 1.0}) is None


@pytest.mark.parametrize("of", ["signal", "clock"])
def test_where_the_snapshot_says_no_time_the_signals_or_the_clocks_counts(of: str) -> None:
    clock = ReplayClock(DAY)
    manager = RiskManager(RiskConfig(daily_loss_percent=5.0), clock=clock)
    told = []
    for hour, equity in ((0, 10_000.0), (1, 9_400.0), (24, 9_400.0)):
        ts = DAY + hour * HOURS
        clock.now_ms = ts if of == "clock" else 0
        told.append(manager.check_signal(Signal("BTCUSDT", "LONG", 100.0, ts=ts if of == "signal" else 0), {"equity": equity}).allowed)
    assert told == [True, False, True]


def test_the_policy_alone_applies_them_too() -> None:
    """The documents' flow: ``risk_policy.check(signal, exchange.state)``, then ``risk_manager.size_position(signal, exchange.state)``."""
    manager = alone(daily_loss_percent=5.0)
    exchange = SimulatedExchange("BTCUSDT", 10_000.0, ExecutionConfig.frictionless())
    signal, verdicts = Signal("BTCUSDT", "LONG"), []
    exchange.submit_order(SubmitOrder("a", "BTCUSDT", "BUY", "market", 50.0, 0))
    for hour, price in enumerate((100.0, 91.0, 89.0, 95.0)):
        ts = DAY + hour * HOURS
        exchange.process_bar(Bar("BTCUSDT", "1h", ts, ts + HOURS, price, price, price, price, 1e6))
        verdicts.append(manager.policy.check(signal, exchange.state).reason)
    assert verdicts == ["", "", "daily_loss_percent", "daily_loss_percent"]  # 50 x 10 = 500 are lost at 90
    sizing = manager.size_position(signal, exchange.state)
    assert (sizing.allowed, sizing.size_usd) == (True, pytest.approx(975.0))  # 10 % of 9,750


def test_both_sides_of_a_hedge_are_one_exposure() -> None:
    rows = [{"symbol": "B", "qty": 3.0, "entry_price": 10.0, "mark_price": 12.0}, {"symbol": "B", "qty": -1.0, "entry_price": 11.0}]
    view = as_view({"equity": 1.0, "positions": rows}, {})
    assert (view.position_qty("B"), view.entry_price("B"), view.gross_notional()) == (2.0, 10.0, 24.0)
    with pytest.raises(ConfigError, match="no symbol"):
        as_view({"equity": 1.0, "positions": [{"qty": 1.0}]}, {})
    with pytest.raises(ConfigError, match="not a time"):
        as_view({"equity": 1.0, "ts": "noon"}, {})


def test_an_actors_own_account_is_not_observed_twice() -> None:
    """The actor looks at the limits at each bar's end, and acts on a breach: a question in between must not swallow it."""
    account = Account(10_000.0)
    desk = Desk(account, risk={"daily_loss_percent": 5.0})
    desk.actor.on_instant(DAY)
    account.equity = 9_000.0
    desk.actor.manager.check_signal(Signal("BTCUSDT", "LONG", ts=DAY), account)
    desk.actor.on_instant(DAY + HOURS)
    assert any(isinstance(message, Halt) for message in desk.said())
