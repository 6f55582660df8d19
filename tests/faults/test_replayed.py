"""Whatever goes wrong on the way: the journal holds what the session heard of it, and a replay decides the same on it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runners.live.records import Decided
from runners.live.start import Live
from runners.session_journal import session_journal
from runners.session_replay import replay_session
from tests.faults.conftest import Stage, http, ws
from tests.sim.sandbox.raw import Raw

CREATE = "/v5/order/create"
FAULTS: dict[str, Any] = {
    "executions are lost on the stream": ws("drop", "execution", times=3),
    "orders are lost on the stream": ws("drop", "order", times=3),
    "candles are lost on the stream": ws("drop", "kline", times=4),
    "the answer to an order is lost": http("drop", CREATE, nth=1),
    "an order is refused": http({"kind": "error", "ret_code": 110007}, CREATE, "before_apply", times=2),
}


@pytest.mark.parametrize("fault", [next(iter(FAULTS)), *(pytest.param(name, marks=pytest.mark.long) for name in list(FAULTS)[1:])])
def test_a_session_with_faults_is_replayed_to_the_last_decision(fault: str, stage: Stage) -> None:
    async def beat(number: int, live: Live) -> None:
        if number == 3:
            await asyncio.to_thread(stage.sandbox.faults, FAULTS[fault])
        if number == 12:
            order = {"category": "linear", "symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "0.001"}
            await asyncio.to_thread(Raw(stage.sandbox).post, CREATE, order)  # and somebody trades by hand

    played = stage.play(bars=40, beat=beat)
    assert played.ending.failure is None
    found = replay_session(session_journal(played.live.journal.folder), played.live.plan.loaded)
    assert found.difference is None and found.notes == []
    assert found.compared.total() == len(played.of(Decided)) > 1
