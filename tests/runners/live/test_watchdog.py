"""A loop that does not come round: told at 100 ms, halted at 2 s, and never in the way of an end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keel.core.risk.gate.causes import TradingState
from keel.runners.live.checks import watchdog as watchdog_module
from keel.runners.live.checks.watchdog import Watchdog
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.sim.sandbox.market.feeds import FUNDING_MS
from tests.builders import MINUTE
from tests.runners.live.test_real_time import moving, plan, run, until
from tests.sim.sandbox.conftest import Sandbox, running, walk_feed, walking, wall_ms
from tests.virtual.loop import VirtualLoop

PROJECT = Path(__file__).resolve().parents[3]
HANGS = """
import time
from keel.core.model.messages import Signal
from keel.strategies.base import BaseStrategy


class Hangs(BaseStrategy):
    features = {}
    defaults = {"how": "python"}
    bars = 0

    def generate_signal(self, snapshot, params):
        self.bars += 1
        if self.bars == 1:
            return Signal(snapshot.symbol, "LONG", stop_loss=snapshot.bar_ltf.close * 0.5)
        if snapshot.position.qty == 0:
            return None
        print("HANGS", flush=True)
        if params["how"] == "python":
            while True:
                try:
                    time.sleep(0.01)
                except Exception:
                    pass
        while True:
            try:
                time.sleep(0.01)
            except BaseException:
                pass
"""
SYSTEM = """
system: hangs
strategy: hangs.py:Hangs
symbols: [BTCUSDT]
timeframe: 1m
warmup_bars: 5
sizing: {model: fixed_usd, usd: 1000}
"""


def blocks(seconds: float) -> None:
    """What a call that does not return does to a loop in virtual time."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.jump(seconds)


def test_late_is_told_and_two_seconds_halt_until_all_is_well(journals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keel.runners.live.checks.watchdog.RECOVERED_S", 0.3)
    seen: list[Any] = []
    with moving() as sandbox:

        async def act(live: Live, stop: Stop) -> None:
            await until(lambda: live.gate.state is TradingState.ACTIVE)
            await asyncio.sleep(0.1)
            blocks(0.3)  # this is what is tested
            await until(lambda: [notice for notice in live.notices if notice.code == "loop_late"])
            assert not live.gate.has("loop_stalled")
            blocks(2.1)
            live.gate.look()  # as before an order that was decided meanwhile
            seen.append((live.gate.state.name, live.gate.why))
            await until(lambda: live.gate.state is TradingState.ACTIVE)

        ran = run(plan(sandbox, journals, "rest"), None, act)
    assert seen[0][0] == "HALTED" and "loop_stalled: the event loop did not return for 2." in seen[0][1]
    texts = [notice.text for notice in ran.notices if notice.code == "loop_late"]
    late_ms = [int(text.split()[4]) for text in texts]
    assert late_ms[0] >= 200 and max(late_ms) >= 2_000
    assert ran.ending.failure is None


@pytest.fixture
def market() -> Iterator[Sandbox]:
    """It begins after a funding time, so that the next one is four minutes away: what is settled while a session hangs it books when it
    begins again."""
    after_funding = (wall_ms() // FUNDING_MS + 1) * FUNDING_MS + 10 * MINUTE
    with running(walking(factor=120.0, limit_factor=120.0), walk_feed(start_ms=after_funding)) as sandbox:
        yield sandbox


@pytest.mark.real_sockets
@pytest.mark.parametrize(("how", "number"), [("python", signal.SIGTERM), pytest.param("c", signal.SIGINT, marks=pytest.mark.long)])
def test_a_strategy_that_hangs_does_not_keep_a_session_from_ending(
    how: str, number: signal.Signals, market: Sandbox, tmp_path: Path
) -> None:
    """In Python it is broken off, and the end is in order; what catches even that ends with the process, and says what was not done."""
    (tmp_path / "hangs.py").write_text(HANGS)
    (tmp_path / "hangs.yaml").write_text(SYSTEM)
    command = [
        *(sys.executable, "-m", "keel.runners.cli.main", "--home", str(tmp_path), "demo", str(tmp_path / "hangs.yaml")),
        *("--sandbox", market.url, "--no-report", "--set", f"params.how={how}"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if "HANGS" in line:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM), err
    resting = [row for row in market.truth()["orders"] if row["orderStatus"] == "Untriggered"]
    assert [row["stopOrderType"] for row in resting] == ["StopLoss"]  # it stays at the exchange
    assert "the event loop has not returned for 2 s" in err and "hangs.py, line" in err
    assert "positions stay: BTCUSDT" in err and "-1-1-sl" in err, err + out
    if how == "python":
        assert "it hung, and was broken off so that the session could end" in err and "difference 0" in err
    else:
        assert "not done: entries were not cancelled" in err


def test_a_signal_and_its_twin_are_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """kill to a process group, timeout(1): the trader has it by itself, and from its supervisor."""
    ended: list[str] = []
    monkeypatch.setattr(watchdog_module, "_end_at_once", lambda: ended.append("at once"))
    now = [100.0]
    monkeypatch.setattr(watchdog_module, "MACHINE", SimpleNamespace(monotonic_s=lambda: now[0]))

    async def work() -> None:
        asked: list[str] = []
        before = signal.getsignal(signal.SIGTERM)
        with Watchdog().watching({signal.SIGTERM: "SIGTERM"}, asked.append, lambda text: None):
            for at, expected in ((100.0, 0), (100.3, 0), (100.6, 1)):
                now[0] = at
                signal.raise_signal(signal.SIGTERM)
                await asyncio.sleep(0)
                assert (len(asked), len(ended)) == (1 + expected, expected)
            now[0] = 100.4
        signal.raise_signal(signal.SIGTERM)  # what is written at the end is not struck down by it
        signal.signal(signal.SIGTERM, before)

    asyncio.run(work())
