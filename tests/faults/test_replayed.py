"""Whatever goes wrong on the way: the journal holds what the session heard of it, and a replay decides the same on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from keel.runners.home import Home
from keel.runners.live.memory.records import Decided
from keel.runners.live.session.live import Live
from keel.runners.live.session_journal import session_journal
from keel.runners.research.compare_live.whole import compare_live
from keel.runners.research.session_replay import replay_session
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


def test_what_another_client_closed_and_opened_is_extra_and_what_was_not_traded_after_it_is_missed(stage: Stage, tmp_path: Path) -> None:
    """By hand in the account of a session that trades: no part of the difference is the worth of a position."""
    held: list[int] = []

    async def by_hand(side: str, qty: str) -> None:
        order = {"category": "linear", "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": qty}
        await asyncio.to_thread(Raw(stage.sandbox).post, CREATE, order)

    async def beat(number: int, live: Live) -> None:
        line = live.books.portfolio.lines["BTCUSDT"]
        steps = line.book.steps
        if number >= 12 and steps and not held:
            held.append(steps)
            await by_hand("Sell" if steps > 0 else "Buy", str(abs(line.instrument.qty_grid.value(steps))))
        elif number == 30:
            await by_hand("Buy", "0.005")

    played = stage.play(bars=40, beat=beat)
    assert played.ending.failure is None and held
    journal = session_journal(played.live.journal.folder)
    assert replay_session(journal, played.live.plan.loaded).difference is None
    found = compare_live(journal, played.live.plan.loaded, Home(tmp_path))
    assert sum(found.parts.values()) == found.difference
    by_others = [row for row in found.rows if "extra" in row.parts]
    assert by_others[0].live is not None and by_others[0].live.exit_reason == "external" and by_others[-1].backtest is None
    assert any(set(row.parts) == {"missed"} for row in found.rows)
    notional = max(trip.entry.paid for row in found.rows for trip in (row.live, row.backtest) if trip is not None)
    assert all(abs(amount) < notional // 10 for row in found.rows for amount in row.parts.values())
