"""A position without the stop that it was to have is closed, or held as the system says: within five seconds, and told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from keel.core.model.messages import Fill, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import Distance, ExitsConfig
from keel.runners.live.memory.records import CauseEnded, ClosePosition
from keel.runners.live.session.live import Live
from keel.strategies.base import BaseStrategy
from tests.faults.conftest import BARS, Played, Stage, http
from tests.sim.sandbox.raw import Raw

STOP = "/v5/position/trading-stop"
REFUSED = {"kind": "error", "ret_code": 10001, "ret_msg": "TrailingStop is not valid"}
TRAILING: dict[str, Any] = {"exits": ExitsConfig(trailing=Distance(percent=20))}
STOPPED: dict[str, Any] = {"exits": ExitsConfig(stop_loss=Distance(percent=20))}


class Hold(BaseStrategy):
    """Goes in once it is flat, and stays."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return Signal(snapshot.symbol, "LONG") if snapshot.position.qty == 0 else None


async def until(condition: Any, patience_s: float = 60.0) -> float:
    """Wait; how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(patience_s):
        while not condition():
            await asyncio.sleep(0.05)
    return loop.time() - began


def held(live: Live) -> int:
    return live.venue.tracker.books.held("BTCUSDT", 0)


def test_one_refusal_is_tried_again(stage: Stage) -> None:
    """From the fourth bar on: the second time it is taken, and nothing else happens."""
    played = stage.play(http(REFUSED, STOP, "before_apply", nth=1), plan=stage.plan(**TRAILING)).check()
    assert "unprotected" not in played.codes()


def ended(played: Played) -> list[Any]:
    return [each for each in played.of(CauseEnded) if each.cause == "unprotected"]


def test_a_refused_stop_closes_the_position_and_then_it_trades_again(stage: Stage) -> None:
    async def beat(number: int, live: Live) -> None:
        if number in (8, 12):
            await until(lambda: not live.gate.frozen)

    played = stage.play(http(REFUSED, STOP, "before_apply"), at=0, until=10, beat=beat, plan=stage.plan(**TRAILING)).check()
    assert played.of(ClosePosition) and "unprotected" in played.codes()
    assert {fill.reason for fill in played.of(Fill)} >= {"unprotected"}
    closings = [fill.ts for fill in played.of(Fill) if fill.reason == "unprotected"]
    assert len(closings) == len(played.of(ClosePosition)) == len(ended(played))
    assert [fill for fill in played.of(Fill) if fill.ts > max(closings) and fill.reason == "signal"], "it trades again"


def test_it_is_done_within_five_seconds(stage: Stage) -> None:
    took: list[float] = []

    async def beat(number: int, live: Live) -> None:
        if number == 6 and not took:  # the bar before has filled the entry, and its stop is refused
            took.append(await until(lambda: live.gate.has("unprotected", "BTCUSDT")))

    stage.play(http(REFUSED, STOP, "before_apply"), at=0, until=10, bars=12, beat=beat, plan=stage.plan(**TRAILING)).check()
    assert took[0] < 5.0


def test_hold_keeps_it_adds_nothing_and_ends_with_a_stop_by_hand(stage: Stage) -> None:
    seen: list[Any] = []

    async def beat(number: int, live: Live) -> None:
        if number == 12:
            seen.append((held(live) != 0, live.gate.has("unprotected", "BTCUSDT"), live.gate.state.name))
            await asyncio.to_thread(stage.sandbox.faults)
            body = {"category": "linear", "symbol": "BTCUSDT", "trailingStop": "5000", "tpslMode": "Full", "positionIdx": 0}
            answer = await asyncio.to_thread(Raw(stage.sandbox).post, STOP, body)
            assert answer[2]["retCode"] == 0, answer
        elif number == 13:
            await until(lambda: not live.gate.has("unprotected", "BTCUSDT"))

    played = stage.play(
        http(REFUSED, STOP, "before_apply"), at=0, until=BARS - 1, beat=beat, plan=stage.plan(Hold, on_unprotected="hold", **TRAILING)
    )
    assert seen == [(True, True, "REDUCING")]
    assert played.of(ClosePosition) == [] and len(played.of(Fill)) == 1 and len(ended(played)) == 1


def test_a_stop_that_somebody_cancels_leaves_the_position_unprotected(stage: Stage) -> None:
    async def beat(number: int, live: Live) -> None:
        if number == 8:
            (row,) = [row for row in stage.sandbox.truth()["orders"] if row["orderStatus"] == "Untriggered"]
            body = {"category": "linear", "symbol": "BTCUSDT", "orderId": row["orderId"]}
            answer = await asyncio.to_thread(Raw(stage.sandbox).post, "/v5/order/cancel", body)
            assert answer[2]["retCode"] == 0, answer
        elif number == 9:
            took = await until(lambda: live.gate.has("unprotected", "BTCUSDT"))
            assert took < 5.0

    played = stage.play(beat=beat, plan=stage.plan(Hold, **STOPPED))
    assert [fill.reason for fill in played.of(Fill)][:2] == ["signal", "unprotected"]


@pytest.mark.parametrize("exits", [TRAILING, STOPPED], ids=["trailing", "stop"])
def test_nothing_is_done_about_positions_that_have_theirs(exits: dict[str, Any], stage: Stage) -> None:
    played = stage.play(plan=stage.plan(**exits), pace_s=0.3).check()
    assert not {"unprotected"} & played.codes()


BOTH: dict[str, Any] = {"exits": ExitsConfig(stop_loss=Distance(percent=20), take_profit=Distance(percent=20))}


def stop_order(stage: Stage) -> dict[str, str]:
    """What a person asks for who cancels it, elsewhere."""
    (row,) = [row for row in stage.sandbox.truth()["orders"] if row["orderStatus"] == "Untriggered" and row["stopOrderType"] == "StopLoss"]
    return {"category": "linear", "symbol": "BTCUSDT", "orderId": row["orderId"]}


def test_a_take_profit_is_no_stop(stage: Stage) -> None:
    """The stop is cancelled by hand and the take-profit rests: the position is unprotected all the same."""

    async def beat(number: int, live: Live) -> None:
        if number == 8:
            answer = await asyncio.to_thread(Raw(stage.sandbox).post, "/v5/order/cancel", stop_order(stage))
            assert answer[2]["retCode"] == 0, answer
        elif number == 9:
            await until(lambda: live.gate.has("unprotected", "BTCUSDT"))

    played = stage.play(beat=beat, plan=stage.plan(Hold, **BOTH))
    assert [fill.reason for fill in played.of(Fill)][:2] == ["signal", "unprotected"]


def test_a_stop_that_is_cancelled_while_no_session_runs(stage: Stage) -> None:
    """The next start hears of it in its first reading, and the position is closed."""

    async def beat(number: int, live: Live) -> None:
        if number == 2:
            await until(lambda: live.gate.has("unprotected", "BTCUSDT"))

    plan = stage.plan(Hold, **BOTH)
    stage.play(bars=8, plan=plan)
    answer = Raw(stage.sandbox).post("/v5/order/cancel", stop_order(stage))
    assert answer[2]["retCode"] == 0, answer
    stage.sandbox.step()
    again = stage.play(bars=8, beat=beat, plan=plan)
    assert [fill.reason for fill in again.of(Fill)][:2] == ["signal", "unprotected"], again.story()
