"""A session that never began is a failed run with its reason, and no more: no figures, no trades, no step in the strategy's life."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError, DataError, KeelError, SafetyError, VenueError
from runners.demo import DemoOptions, run_demo
from runners.epoch import StrategyEpochTracker
from runners.home import Home
from runners.live.lock import AccountLock
from runners.registry import list_runs
from runners.systems import load_system
from sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, lockstep, made_bars, running

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
def test_a_start_that_is_refused_is_a_failed_run_with_its_reason(
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
    (run,) = list_runs(home)
    assert run.status == "failed" and words in (run.error or "") and run.metrics == {}
    assert f"{run.run_id} is marked failed" in "".join(caught.value.__notes__)
    files = {path.name for path in run.folder.iterdir()}
    assert not files & {"trades.csv", "equity.csv", "fills.csv", "report.html", "result.json"}, files
    assert not run.passed and StrategyEpochTracker("ema_cross-sandbox", home=home).state.reached == "demo"  # where it was begun, not beyond
