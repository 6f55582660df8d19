"""A session over stored bars that play by themselves ends with them; whether its prices were invented, it says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from keel.core.model.time_range import TimeRange
from keel.runners.live.reporting.outcome import ending_lines, session_result
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.sandbox_end import LOOK_MS, SandboxEnd
from keel.runners.sandbox.assembly import stored_bars
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.settings import SandboxSettings
from tests.builders import DAY, HOUR, START, plain_system, sample_store
from tests.runners.live.conftest import Ran, plan_of, run_session
from tests.runners.live.test_real_time import moving, plan, run, scripted
from tests.virtual.sandbox import running_virtually

FROM = START + 20 * DAY


def over_stored_bars(hours: int, journals: Path, *, begins_late: bool = False, **settings: object) -> Ran:
    system = plain_system(timeframe="5m", execution_timeframe="5m", warmup_bars=10)
    with sample_store(("BTCUSDT",), days=25) as store:
        bars = stored_bars(store, ("BTCUSDT",), TimeRange(FROM, FROM + hours * HOUR), system.execution, timeframe="5m")
        values = {"tick_ms": 20, "limit_factor": 1_000.0} | settings
        with running_virtually(SandboxSettings(**values), BarFeed(bars)) as sandbox:
            if begins_late:
                sandbox.world.run(asyncio.sleep(60))
                assert sandbox.get("/admin/about")["has_ended"]
            return run_session(plan_of(system, scripted("turns"), store, sandbox.url, journals, grace_ms=200))


def test_a_session_ends_with_the_bars(journals: Path) -> None:
    ran = over_stored_bars(2, journals, factor=3_000.0)
    assert ran.ending.reason == "the sandbox's history has ended" and ran.ending.failure is None and ran.ending.agrees
    assert ran.live.books.engine.closes[-1] == FROM + 2 * HOUR
    assert session_result(ran.live, ran.ending, wall_s=1.0).trust["synthetic"] is True


def test_one_that_comes_when_all_is_over_ends_too(journals: Path) -> None:
    ran = over_stored_bars(2, journals, pace="max", begins_late=True)
    assert ran.ending.reason == "the sandbox's history has ended" and not ran.live.tape.fills


def test_a_walk_never_ends_and_is_invented_at_any_speed(journals: Path) -> None:
    with moving() as sandbox:

        async def script(live: Live, stop: Stop) -> None:
            now = 0
            end = SandboxEnd(live, now_ms=lambda: now)
            for _ in range(5):
                now += LOOK_MS
                assert not await end.has_come()

        ran = run(plan(sandbox, journals), None, script)
    assert session_result(ran.live, ran.ending, wall_s=1.0).trust["synthetic"] is True


def test_an_end_without_an_exchange_says_that_nothing_was_compared(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.runners.live.session.ending.STOP_PATIENCE_S", 2.0)
    with moving() as sandbox:

        async def script(live: Live, stop: Stop) -> None:
            async with asyncio.timeout(10):
                while not live.books.actors.executor.open_orders():
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(
                sandbox.post, "/admin/faults", {"rules": [{"match": {"side": "http"}, "when": "before_apply", "action": "drop"}]}
            )

        ran = run(plan(sandbox, journals, "rest"), None, script)
    assert not ran.ending.is_compared and not ran.ending.agrees and ran.ending.statement is None
    assert ran.ending.unanswered and not ran.ending.cancelled
    lines = ending_lines(ran.live, ran.ending)
    assert any("NOT COMPARED" in line for line in lines) and not any("difference 0" in line for line in lines)
    assert any(line.startswith("NOT KNOWN to be cancelled") for line in lines)
