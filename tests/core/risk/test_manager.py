"""RiskManager asked by hand: the documents' snippet, plain pictures of an account, and the same answers as the actor gets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from core.config import RiskConfig, SizingConfig
from core.errors import ConfigError
from core.messages import Halt, OrderIntent, Signal
from core.risk.manager import RiskManager
from core.risk.snapshot_view import as_view
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
    manager.gate.closed_by = "panic"
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
