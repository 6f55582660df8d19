"""Panic in any moment of a session, of its own latch or of a stranger's: nothing that adds is received any more."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.panic_instants import adds
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.machine import wall_ms
from keel.core.errors import SafetyError
from keel.runners import safety
from keel.runners.live.arming.token import panicked_since
from keel.runners.live.panic.latch import LatchWatch, is_latched, latch_path
from keel.runners.live.panic.panic_heard import PanicHeard
from keel.runners.live.panic.rearm import rearm
from keel.runners.live.session.live import Live
from tests.faults.virtual import Stage, playing
from tests.sim.sandbox.raw import Raw
from tests.virtual.network import LATENCY_S

REASON = "the account was looked at and is flat"


def added_after(stage: Stage, ms: float) -> list[dict[str, Any]]:
    """Requests that add, as they were received after this time."""
    return [row for row in stage.sandbox.get("/admin/wire")["requests"] if row["received"] > ms and adds(row)]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEL_STATE", str(tmp_path / "state"))


def pressed_at(moment: int) -> tuple[int, int]:
    """Play a session in which the latch falls at a random moment; how many creates came before and after it."""
    chance = random.Random(moment)
    bar, wait_s = chance.randrange(2, 18), 10 ** chance.uniform(-4.0, -0.5)
    latched: list[int] = []

    with playing(world_seed=moment) as stage:

        async def press(live: Live) -> None:
            await asyncio.sleep(wait_s)
            assert safety.latch(latch_path(live.connection.where.environment, live.connection.where.rest), "sandbox", "a test") == ""
            latched.append(wall_ms())

        tasks: list[asyncio.Task[None]] = []

        async def beat(number: int, live: Live) -> None:
            if number == bar:
                tasks.append(asyncio.create_task(press(live)))

        played = stage.play(beat=beat, pace_s=0.3, patience_s=0.0)
        assert latched and played.ending.failure is None, played.ending
        latch_path(played.live.connection.where.environment, played.live.connection.where.rest).unlink()
        late = added_after(stage, latched[0] + 1_000 * LATENCY_S[1])
        assert late == [], (moment, bar, wait_s, latched, late)
        assert played.live.connection.latch.why()
        return len(added_after(stage, 0)), len(added_after(stage, latched[0]))


def test_nothing_that_adds_leaves_after_the_latch() -> None:
    assert all(pressed_at(moment)[0] for moment in range(4))


@pytest.mark.long
def test_nothing_that_adds_leaves_after_the_latch_in_sixty_moments() -> None:
    before = [pressed_at(moment)[0] for moment in range(100, 160)]
    assert len(set(before)) > 5  # they were not all the same moment


def panic_name() -> str:
    """Of an order of a panic that begins now, elsewhere."""
    return f"panic-{time.time_ns() // 1_000:x}abc-1"


def close_from_elsewhere(stage: Stage, name: str) -> Any:
    """What another machine's panic does to a position; the answer, or None where there was none."""
    for row in stage.sandbox.truth()["positions"]:
        if float(row["size"]):
            order = {"category": "linear", "symbol": row["symbol"], "side": "Sell" if row["side"] == "Buy" else "Buy", "qty": row["size"]}
            return Raw(stage.sandbox).post("/v5/order/create", {**order, "orderType": "Market", "reduceOnly": True, "orderLinkId": name})
    return None


def latch_here(stage: Stage) -> Path:
    return latch_path(Environment.SANDBOX, stage.sandbox.url)


def test_a_panic_from_elsewhere_latches_here_once() -> None:
    """Another machine's latch is not seen here; what it closes is. Then nothing that adds leaves, no arming of before holds, and no session
    starts, until a person re-arms: from then on that panic is over, though the journal and the exchange's lists go on telling of it."""
    closed: list[int] = []
    with playing() as stage:

        async def beat(number: int, live: Live) -> None:
            if not closed and number > 4 and await asyncio.to_thread(close_from_elsewhere, stage, panic_name()):
                await asyncio.sleep(1.0)
                closed.append(wall_ms())

        began_ms = time.time_ns() // 1_000_000
        played = stage.play(beat=beat, pace_s=0.3, patience_s=0.0)
        assert closed and added_after(stage, closed[0]) == [] and added_after(stage, 0)
        assert played.ending.failure is None and "execution_panic" in played.codes()
        assert "on another machine" in played.live.connection.latch.why() and "keel session rearm" in played.live.connection.latch.why()
        assert is_latched(latch_here(stage)) and panicked_since(latch_here(stage), began_ms)
        with pytest.raises(SafetyError, match="panic latch"):
            stage.play(bars=2)
        rearm(latch_here(stage), REASON)
        again = stage.play(bars=4, patience_s=0.0)
        assert again.ending.state == "ACTIVE" and not is_latched(latch_here(stage)) and not again.live.connection.latch.why()


@pytest.mark.parametrize("rearmed", [False, True])
def test_a_panic_while_no_session_ran_latches_the_next_start_unless_somebody_rearmed_since(rearmed: bool) -> None:
    with playing() as stage:
        held: list[int] = []

        async def beat(number: int, live: Live) -> None:
            if any(float(row["size"]) for row in stage.sandbox.truth()["positions"]):
                held.append(number)
                live.connection.latch.press("the test ends this session while a position is held")

        stage.play(beat=beat, bars=8, patience_s=0.0)
        assert held and close_from_elsewhere(stage, panic_name())[2]["retCode"] == 0
        if rearmed:
            assert safety.latch(latch_here(stage), "sandbox", "a test") == ""
            rearm(latch_here(stage), REASON)
        again = stage.play(bars=4, patience_s=0.0)
        assert "execution_panic" in again.codes()
        assert is_latched(latch_here(stage)) is not rearmed
        assert again.ending.state == ("ACTIVE" if rearmed else "HALTED")


def test_a_panic_that_goes_on_after_a_rearming_latches_anew() -> None:
    """What had begun before it, and is only read now, does not; and a dry run lays nothing."""
    plan = SimpleNamespace(environment=Environment.DEMO, sandbox_url=None, dry=None)
    path = latch_path(Environment.DEMO, "")
    name = panic_name()

    def live(market_ms: int) -> Any:
        latch = LatchWatch(path)
        return SimpleNamespace(connection=SimpleNamespace(latch=latch, market_ms=market_ms))

    def heard(ts: int, began_ms: int | None, key: str = name, **more: Any) -> bool:
        panic = PanicHeard(SimpleNamespace(**{**vars(plan), **more}))  # type: ignore[arg-type]  # what it reads of a plan
        if began_ms is not None:
            panic.begin(live(began_ms))
        panic.hear(Notice(ts, "execution_panic", "BTCUSDT", key=key))
        panic.hear(Notice(ts, "execution_external", "BTCUSDT", key=key))
        found = is_latched(path)
        path.unlink(missing_ok=True)
        panic.hear(Notice(ts, "execution_panic", "BTCUSDT", key=key))  # once in a session, whoever takes it away
        assert not found or not is_latched(path)
        path.unlink(missing_ok=True)
        return found

    assert heard(50, None) and heard(50, 100) and heard(150, 100)
    assert not heard(50, None, dry=object())
    assert safety.latch(path, "demo", "a test") == ""
    rearm(path, REASON)
    assert not heard(50, None) and not heard(50, 100) and not heard(50, 100, "panic-1-1")
    assert heard(150, 100), "it closes what the session has opened since"
    assert heard(50, None, panic_name()), "another panic, after the re-arming"


def test_where_no_latch_can_be_laid_the_session_halts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "latch", lambda path, env, by: "No space left on device")
    plan: Any = SimpleNamespace(environment=Environment.DEMO, sandbox_url=None, dry=None)
    path = latch_path(Environment.DEMO, "")
    for is_early in (True, False):
        panic, watch = PanicHeard(plan), LatchWatch(path)
        live: Any = SimpleNamespace(connection=SimpleNamespace(latch=watch, market_ms=100))
        steps = [lambda: panic.hear(Notice(150, "execution_panic", "BTCUSDT", key=panic_name())), lambda: panic.begin(live)]  # noqa: B023
        for step in steps if is_early else reversed(steps):
            step()
        assert "No space left on device" in watch.why() and "pressed elsewhere" in watch.why()
