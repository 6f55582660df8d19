"""A sandbox account that a live session may be armed on, a system that may be, and what came to the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.core.model.time_range import to_iso
from keel.core.system.promotion import RuleVerdict
from keel.runners.home import Home
from keel.runners.lifecycle import promotion
from keel.runners.lifecycle.promotion_record import Judged, PromotionRecord, identity, sealed, session_data, write_record
from keel.runners.live.arming import terminal
from keel.runners.live.arming.token import make_token, put_token, terms_of
from keel.runners.live.live_account import LiveOptions
from keel.runners.systems import LoadedSystem, load_system
from keel.sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, made_bars, stepping, wall_ms

SYSTEM = """
system: armed
strategy: ema_cross
symbols: [BTCUSDT]
timeframe: 1m
params: {fast: 2, slow: 4}
warmup_bars: 50
mode: live
sizing: {model: fixed_usd, usd: 1000}
risk:
  leverage: 2
  max_position_usd: 2000
  max_gross_usd: 2000
  daily_loss_percent: 5
  max_drawdown_percent: 20
live:
  max_order_usd: 2500
  max_net_usd: 2000
  max_leverage: 2
  without_stop: true
promotion:
  live: ["days >= 14"]
"""
FIRST = 60


@contextmanager
def account_at_sandbox(**changes: Any) -> Iterator[Sandbox]:
    """A lock-step market with one account, as the system wants it; changes: of the account's settings."""
    settings = {"key": KEY, "secret": SECRET, "usdt": 10_000.0, "leverage": 2.0}
    with stepping(made_bars(200, first=FIRST, deviation=0.004), accounts=(AccountSettings(**(settings | changes)),)) as sandbox:
        yield sandbox


def home_of(folder: Path, text: str = SYSTEM) -> Home:
    """A home with the system in it."""
    home = Home(folder / "home")
    home.systems.mkdir(parents=True)
    (home.systems / "armed.yaml").write_text(text)
    return home


def armed_system(home: Home, *overrides: str) -> LoadedSystem:
    return load_system("armed", home, list(overrides))


def promoted(home: Home, loaded: LoadedSystem | None = None) -> PromotionRecord:
    """A record to live, as a rehearsal of 15 days would have made it."""
    loaded = armed_system(home) if loaded is None else loaded
    folder = home.runs / "demo" / "made" / "run-000000000000"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("trades.jsonl", "equity.csv", "results.json"):
        (folder / name).write_text("{}\n")
    code, configuration = identity(loaded)
    record = sealed(
        PromotionRecord(
            system="armed", to="live", place="sandbox", made=to_iso(wall_ms()), made_ms=wall_ms(), by="a test", how="promote", code=code,
            configuration=configuration, data=session_data(folder),
            judged=Judged("run-000000000000", folder.relative_to(home.root).as_posix(), "demo"),
            rules=[RuleVerdict("days >= 14", 15.0, 14.0, True)],
        )
    )  # fmt: skip
    write_record(home, record)
    assert promotion.standing(loaded, "live", home, place="sandbox").holds
    return record


def token_for(home: Home, sandbox: Sandbox, path: Path, *overrides: str, uid: int | None = None, life_ms: int = 3_600_000) -> Path:
    """A token as a person makes it at a terminal."""
    where = endpoints(Environment.SANDBOX, sandbox.url)
    terms = terms_of(armed_system(home, *overrides), "sandbox", where.rest)
    account = uid_of(sandbox) if uid is None else uid
    put_token(make_token(terms, account, wall_ms(), life_ms), path)
    return path


def uid_of(sandbox: Sandbox) -> int:
    found = sandbox.server.engine.accounts[KEY].uid
    assert isinstance(found, int)
    return found


def options(sandbox: Sandbox, token: Path | None = None, **changes: Any) -> LiveOptions:
    given: dict[str, Any] = {"sandbox_url": sandbox.url, "arm_token": token, "report": False, "max_bars": 40}
    return LiveOptions(**(given | changes))


def private_posts(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Every signed request that is no read, whatever became of it."""
    found = sandbox.get("/admin/wire")
    assert not found["forgotten"]
    return [request for request in found["requests"] if request["method"] != "GET" and request["path"].startswith("/v5/")]


def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "has_terminal", lambda: False)
