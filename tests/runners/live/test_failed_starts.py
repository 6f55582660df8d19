"""A start that is refused is no run: an error with its reason and its way out, a line in the log, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from keel.core.errors import ConfigError, DataError, KeelError, SafetyError, VenueError
from keel.runners.epoch import StrategyEpochTracker
from keel.runners.home import Home
from keel.runners.lifecycle.registry import list_runs
from keel.runners.live.demo import DemoOptions, run_demo
from keel.runners.live.startup.lock import AccountLock
from keel.runners.systems import load_system
from keel.sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, lockstep, made_bars, running

pytestmark = pytest.mark.real_sockets

TEXTS = ["timeframe=1m", "execution_timeframe=1m", "warmup_bars=20", "params.fast=2", "params.slow=5"]


@contextmanager
def locked(sandbox: Sandbox) -> Iterator[None]:
    about, uid = sandbox.get("/admin/about"), sandbox.truth()["uid"]
    with AccountLock(f"sandbox {sandbox.url.removeprefix('http://')} {about['instance']} {uid}", "the first"):
        yield


REFUSALS: list[tuple[str, type[KeelError], str, dict[str, Any], list[str]]] = [
    ("wrong secret", SafetyError, "refuses the key", {"secret": "another"}, []),
    ("may only read", SafetyError, "may not trade", {"read_only": True}, []),
    ("hedge mode", SafetyError, "hedge mode", {"hedge": True}, []),
    ("leverage", SafetyError, "leverage 500 was not set", {}, ["risk.leverage=500"]),
    ("unknown symbol", ConfigError, "knows no linear symbol", {}, ["symbols=[NOPEUSDT]"]),
    ("no warm-up", DataError, "warm-up bars are needed", {}, ["warmup_bars=300"]),
    ("open interest", DataError, "the store has none", {}, ["features={crowd: {fn: SMA, timeperiod: 2, input: open_interest}}"]),
    ("locked", SafetyError, "is traded already", {}, []),
    ("nobody there", VenueError, "there is no sandbox", {}, []),
]


@pytest.mark.parametrize(("case", "kind", "words", "account", "texts"), REFUSALS, ids=[row[0] for row in REFUSALS])
def test_a_start_that_is_refused_is_no_run(
    case: str, kind: type[KeelError], words: str, account: dict[str, Any], texts: list[str], tmp_path: Path
) -> None:
    home = Home(tmp_path)
    settings, feed = lockstep(made_bars(60, first=40), accounts=(AccountSettings(**({"key": KEY, "secret": SECRET} | account)),))
    with ExitStack() as stack:
        sandbox = stack.enter_context(running(settings, feed))
        if case == "locked":
            stack.enter_context(locked(sandbox))
        url = "http://127.0.0.1:9" if case == "nobody there" else sandbox.url
        with pytest.raises(kind, match=words) as caught:
            run_demo(load_system("ema_cross", home, [*TEXTS, *texts]), home, DemoOptions(sandbox_url=url))
        assert sandbox.truth(KEY)["orders"] == []
    assert list_runs(home) == [] and not (tmp_path / "runs" / "demo").exists()
    assert "marked failed" not in "".join(getattr(caught.value, "__notes__", ()))
    assert StrategyEpochTracker("ema_cross-sandbox", home=home).state.reached is None


NONSENSE: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("/v5/user/query-api", "permissions", [{"op": "replace", "path": "/result/permissions", "value": 7}]),
    ("/v5/user/query-api", "userID", [{"op": "replace", "path": "/result/userID", "value": {"a": 1}}]),
    ("/v5/market/instruments-info", "list", [{"op": "replace", "path": "/result/list", "value": "none"}]),
    ("/v5/market/instruments-info", "tickSize", [{"op": "replace", "path": "/result/list/0/priceFilter/tickSize", "value": "x"}]),
    ("/v5/account/info", "marginMode", [{"op": "remove", "path": "/result/marginMode"}]),
    ("/v5/position/list", "leverage", [{"op": "replace", "path": "/result/list/0/leverage", "value": "ten"}]),
    ("/v5/account/wallet-balance", "walletBalance", [{"op": "replace", "path": "/result/list/0/coin/0/walletBalance", "value": "much"}]),
]


@pytest.mark.parametrize(("path", "field", "patch"), NONSENSE, ids=[f"{path} {field}" for path, field, _ in NONSENSE])
def test_a_first_answer_that_cannot_be_read_is_the_exchanges_and_names_its_field(
    path: str, field: str, patch: list[dict[str, Any]], tmp_path: Path
) -> None:
    home = Home(tmp_path)
    settings, feed = lockstep(made_bars(60, first=40))
    with running(settings, feed) as sandbox:
        sandbox.faults({"match": {"side": "http", "path": path}, "action": {"kind": "mutate", "patch": patch}})
        with pytest.raises(KeelError) as caught:
            run_demo(load_system("ema_cross", home, TEXTS), home, DemoOptions(sandbox_url=sandbox.url))
    assert caught.value.exit_code == 5, repr(caught.value)
    assert field in str(caught.value) and list_runs(home) == []
