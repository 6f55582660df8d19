"""Panic in any moment of a session, of its own latch or of a stranger's: nothing that adds is received any more."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from adapters.machine import wall_ms
from runners import safety
from runners.live.latch import latch_path
from runners.live.start import Live
from tests.faults.virtual import Stage, playing
from tests.sim.sandbox.raw import Raw
from tests.virtual.network import LATENCY_S

ADDS = ("/v5/order/create", "/v5/order/amend", "/v5/order/create-batch", "/v5/order/amend-batch")


def added_after(stage: Stage, ms: float) -> list[dict[str, Any]]:
    """Requests that add, as they were received after this time."""
    sent = [row for row in stage.sandbox.get("/admin/wire")["requests"] if row["received"] > ms and row["path"] in ADDS]
    return [row for row in sent if not json.loads(row["sent"]).get("reduceOnly") and "panic-" not in row["sent"]]


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


def test_a_panic_from_elsewhere_is_heard_by_the_exchange() -> None:
    """Another machine's latch is not seen here; what it closes is, and then nothing that adds leaves either."""
    closed: list[int] = []
    with playing() as stage:

        async def beat(number: int, live: Live) -> None:
            held = float(stage.sandbox.truth()["positions"][0]["size"]) if stage.sandbox.truth()["positions"] else 0.0
            if held and not closed and number > 4:
                side = "Sell" if stage.sandbox.truth()["positions"][0]["side"] == "Buy" else "Buy"
                order = {"category": "linear", "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": str(held)}
                await asyncio.to_thread(
                    Raw(stage.sandbox).post, "/v5/order/create", {**order, "reduceOnly": True, "orderLinkId": "panic-1-1"}
                )
                await asyncio.sleep(1.0)
                closed.append(wall_ms())

        played = stage.play(beat=beat, pace_s=0.3, patience_s=0.0)
        assert closed and added_after(stage, closed[0]) == [] and added_after(stage, 0)
        assert played.ending.failure is None and "execution_panic" in played.codes()
        assert "another machine, user or KEEL_STATE" in played.live.connection.latch.why()
