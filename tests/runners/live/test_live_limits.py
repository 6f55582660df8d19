"""The hard limits of a live session: each denies the order beyond it, and an ordinary session does not look at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.core.errors import FieldError
from keel.core.risk.controls.limits import ControlLimits
from keel.core.system.config import Distance, ExitsConfig, LiveConfig, RiskConfig, SystemConfig
from keel.runners.live.arming.limits import limit_lines, limits_missing, no_stop
from keel.runners.live.live_account import run_live
from keel.runners.live.startup.banner import banner_text
from tests.core.risk.test_controls import Room
from tests.runners.live.live_account import account_at_sandbox, armed_system, home_of, options, promoted, token_for

SYSTEM = SystemConfig(
    system="mine", strategy="ema_cross", symbols=["BTCUSDT"], timeframe="1m",
    risk=RiskConfig(leverage=10.0, max_position_usd=100_000.0, max_gross_usd=100_000.0),
)  # fmt: skip


def room(*, live: bool = True, **limits: Any) -> Room:
    """Flat at 10,000, mark 100."""
    system = msgspec.structs.replace(SYSTEM, live=LiveConfig(**limits))
    made = Room()
    made.controls.limits = ControlLimits.of(system, live=live)
    return made


@pytest.mark.parametrize(
    ("limits", "within", "beyond", "code"),
    [
        ({"max_order_usd": 500.0}, {"qty": 5.0}, {"qty": 5.01}, "max_order_usd"),
        ({"max_net_usd": 700.0}, {"qty": 7.0}, {"qty": 7.01}, "max_net_usd"),
        ({"max_leverage": 1.5}, {"qty": 150.0}, {"qty": 150.01}, "max_leverage"),
        ({}, {"order_type": "limit", "price": 104.9}, {"order_type": "limit", "price": 105.1}, "price_collar_percent"),
        (
            {"price_collar_percent": 1.0},
            {"order_type": "limit", "price": 100.9},
            {"order_type": "limit", "price": 101.1},
            "price_collar_percent",
        ),
    ],
)
def test_each_limit_denies_what_is_beyond_it(limits: dict[str, Any], within: dict[str, Any], beyond: dict[str, Any], code: str) -> None:
    assert room(**limits).code(**within) == ""
    assert room(**limits).code(**beyond) == code
    assert room(live=False, **limits).code(**beyond) == ""


def test_open_orders() -> None:
    full = room(max_open_orders=3)
    for _ in range(3):
        assert full.code(order_type="limit", price=90.0) == ""
        full.rest(price=90.0)
    assert full.code(order_type="limit", price=90.0) == "max_open_orders"


def test_orders_within_a_minute() -> None:
    quick = room(max_orders_per_minute=4)
    for number in range(4):
        quick.controls.counts.note_sent(quick.order(ts=1_000_000 + number, qty=1.0 + number))
    assert quick.code(ts=1_000_010, qty=9.0) == "max_orders_per_minute" and quick.code(ts=1_060_003, qty=9.0) == ""


def test_what_reduces_passes_where_value_is_limited() -> None:
    held = room(max_order_usd=100.0, max_net_usd=100.0, max_leverage=0.5)
    held.account.held = 100.0
    assert held.code(side="SELL", qty=50.0, reduce_only=True) == ""


def test_the_stricter_one_holds() -> None:
    limits = ControlLimits.of(msgspec.structs.replace(SYSTEM, live=LiveConfig(max_order_usd=10**9, max_net_usd=10**9)), live=True)
    assert limits.max_order_usd == pytest.approx(220_000.0) and limits.max_net_usd == pytest.approx(110_000.0)


@pytest.mark.parametrize(("key", "most"), [("max_open_orders", 200), ("max_orders_per_minute", 120), ("price_collar_percent", 10.0)])
def test_no_number_that_may_be_written_is_capped(key: str, most: float) -> None:
    assert getattr(room(**{key: most}).controls.limits, key) == most
    with pytest.raises(FieldError, match=key):
        LiveConfig(**{key: most + 1})


@pytest.mark.parametrize(
    ("live", "shown"),
    [
        ({}, "live.max_open_orders 50"),
        ({"max_open_orders": 120}, "live.max_open_orders 120 (denied above 50)"),
        ({"max_orders_per_minute": 100}, "live.max_orders_per_minute 100 (denied above 60)"),
        ({"max_leverage": 20.0}, "live.max_leverage 20 (denied above 10.5)"),
        ({"max_leverage": 3.0}, "live.max_leverage 3"),
        ({"max_net_usd": 90_000.0, "max_gross_usd": 700.0}, "live.max_net_usd 90000 (denied above 700)"),
        ({"max_order_usd": 150_000.0, "max_position_usd": 700.0}, "live.max_order_usd 150000 (denied above 1400)"),
        ({"price_collar_percent": 10.0}, "live.price_collar_percent 10"),
    ],
)
def test_the_number_that_counts_is_shown_before_arming(live: dict[str, Any], shown: str) -> None:
    """One symbol, leverage 10."""
    assert shown in limit_lines(msgspec.structs.replace(SYSTEM, live=LiveConfig(**live)))


@pytest.mark.parametrize(
    ("exits", "without_stop", "is_missing", "is_shown"),
    [
        (None, False, True, True),
        (None, True, False, True),
        (ExitsConfig(trailing=Distance(percent=1.0)), False, True, True),
        (ExitsConfig(stop_loss=Distance(percent=1.0)), False, False, False),
    ],
)
def test_a_system_without_a_stop_must_say_so_and_is_shown(
    exits: ExitsConfig | None, without_stop: bool, is_missing: bool, is_shown: bool
) -> None:
    system = msgspec.structs.replace(SYSTEM, mode="live", exits=exits, live=LiveConfig(without_stop=without_stop))
    assert ("stop" in {each.code for each in limits_missing(system)}) is is_missing
    assert no_stop(system).startswith("NO STOP: ") is is_shown
    assert all("NO STOP" in banner_text(where, is_live=True, has_no_stop=True) for where in ("live", "sandbox"))


def test_a_session_denies_by_them_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system sizes 1,000 an order; 500 is allowed."""
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))
    with account_at_sandbox() as sandbox:
        home = home_of(tmp_path)
        promoted(home)
        token = token_for(home, sandbox, tmp_path / "token", "live.max_order_usd=500")
        made = run_live(armed_system(home, "live.max_order_usd=500"), home, options(sandbox, token))
        assert sandbox.truth()["orders"] == [] and made.result.trust["controls"]["max_order_usd"] >= 2
