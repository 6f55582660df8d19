"""What is wrong is said before anything is sent: clear words, the right kind of error, and no order at the exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import ConfigError, KeelError, SafetyError, VenueError
from keel.core.system.config import SystemConfig, for_epoch
from keel.runners.live.startup.lock import AccountLock
from keel.sim.sandbox.settings import AccountSettings
from keel.strategies.base import BaseStrategy
from tests.builders import builtin
from tests.runners.live.conftest import plan_of, run_session
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, lockstep, made_bars, running


def small(*overrides: str) -> tuple[SystemConfig, type[BaseStrategy]]:
    return builtin("ema_cross", "timeframe=1m", "execution_timeframe=1m", "warmup_bars=20", "params.fast=2", "params.slow=5", *overrides)


def sandbox_of(**account: Any) -> Any:
    settings, feed = lockstep(made_bars(60, first=40), accounts=(AccountSettings(**({"key": KEY, "secret": SECRET} | account)),))
    return running(settings, feed)


def refused(kind: type[KeelError], words: str, journals: Path, sandbox: Sandbox, *overrides: str, **plan: Any) -> None:
    system, strategy = small(*overrides)
    with pytest.raises(kind, match=words):
        run_session(plan_of(system, strategy, None, sandbox.url, journals, **plan))
    assert sandbox.truth()["orders"] == []


def test_a_wrong_key(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYBIT_SANDBOX_KEY", "somebody")
    monkeypatch.setenv("BYBIT_SANDBOX_SECRET", "secret")
    with sandbox_of() as sandbox:
        refused(SafetyError, "refuses the key", journals, sandbox)


def test_a_wrong_secret(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYBIT_SANDBOX_KEY", KEY)
    monkeypatch.setenv("BYBIT_SANDBOX_SECRET", "not it")
    with sandbox_of() as sandbox:
        refused(SafetyError, "refuses the key", journals, sandbox)


def test_a_key_that_may_only_read(journals: Path) -> None:
    with sandbox_of(read_only=True) as sandbox:
        refused(SafetyError, "may not trade", journals, sandbox)


def test_hedge_mode(journals: Path) -> None:
    with sandbox_of(hedge=True) as sandbox:
        refused(SafetyError, "hedge mode", journals, sandbox)


def test_leverage_that_the_exchange_refuses(journals: Path) -> None:
    with sandbox_of() as sandbox:
        refused(SafetyError, "leverage 500 was not set", journals, sandbox, "risk.leverage=500")


def test_an_unknown_symbol(journals: Path) -> None:
    with sandbox_of() as sandbox:
        refused(ConfigError, "knows no linear symbol", journals, sandbox, "symbols=[NOPEUSDT]")


def test_warm_up_that_nobody_has(journals: Path) -> None:
    with sandbox_of() as sandbox:
        refused(KeelError, "warm-up bars are needed", journals, sandbox, "warmup_bars=300")


def test_no_sandbox_there(journals: Path) -> None:
    system, strategy = small()
    with pytest.raises(VenueError, match="keel sandbox"):
        run_session(plan_of(system, strategy, None, "http://127.0.0.1:9", journals))


def test_a_sandbox_elsewhere(journals: Path) -> None:
    system, strategy = small()
    with pytest.raises(ConfigError, match="an address of this machine"):
        run_session(plan_of(system, strategy, None, "https://api.bybit.com", journals))


def test_the_demo_account_without_a_key(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEY", "SECRET"):
        monkeypatch.delenv(f"BYBIT_DEMO_{name}", raising=False)
        monkeypatch.setenv(f"BYBIT_LIVE_{name}", "a live key is no demo key")
    system, strategy = small()
    with pytest.raises(ConfigError, match="BYBIT_DEMO_KEY"):
        run_session(plan_of(system, strategy, None, "", journals, environment=Environment.DEMO, sandbox_url=None))


def test_a_second_instance_on_the_same_account(journals: Path) -> None:
    with sandbox_of() as sandbox:
        about = sandbox.get("/admin/about")
        uid = sandbox.truth()["uid"]
        account = f"sandbox {sandbox.url.removeprefix('http://')} {about['instance']} {uid}"
        with AccountLock(account, "the first"):
            refused(SafetyError, "is traded already, by process .*the first", journals, sandbox)


def demo_like(**account: Any) -> Any:
    settings, feed = lockstep(
        made_bars(60, first=40), profile="demo", accounts=(AccountSettings(**({"key": KEY, "secret": SECRET} | account)),)
    )
    return running(settings, feed)


def test_isolated_margin_on_an_account_that_refuses_it_and_the_choice(journals: Path) -> None:
    with demo_like(margin_mode="cross") as sandbox:
        refused(SafetyError, r"demo: \{margin_mode: cross\}", journals, sandbox)
        system, strategy = small("demo.margin_mode=cross")
        ran = run_session(plan_of(for_epoch(system, "demo"), strategy, None, sandbox.url, journals))
        assert ran.ending.failure is None and ran.ending.differences == []
