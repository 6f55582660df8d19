"""A late fill is a fill: found after a younger one it is booked, and curve, tape and artifacts take it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.adapters.artifacts import write_result
from keel.core.model.messages import Fill, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.runners.live.reporting.outcome import ending_lines, session_result
from keel.runners.live.session.live import Live
from keel.strategies.base import BaseStrategy
from tests.faults.conftest import Stage, system_of, ws
from tests.runners.live.conftest import plan_of
from tests.sim.sandbox.raw import Raw


class InThenOut(BaseStrategy):
    """Buys at its eighth bar, sells at its eleventh."""

    bars = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self.bars += 1
        return {8: Signal(snapshot.symbol, "LONG"), 11: Signal(snapshot.symbol, "FLAT")}.get(self.bars)


@pytest.mark.parametrize("side", ["Buy", "Sell"])
def test_a_fill_that_is_found_after_younger_ones(side: str, stage: Stage, tmp_path: Path) -> None:
    """A stranger's execution is lost on the stream, and our own fills come after it. Where none of these states a PnL that shows it, only
    the list has it, later on; else what came after it waits, and all are booked in the order of their times."""
    base = stage.plan()

    async def beat(number: int, live: Live) -> None:
        if number == 3:
            await asyncio.to_thread(stage.sandbox.faults, ws("drop", "execution", times=1))
            order = {"category": "linear", "symbol": "BTCUSDT", "side": side, "orderType": "Market", "qty": "0.001"}
            await asyncio.to_thread(Raw(stage.sandbox).post, "/v5/order/create", order)
        for entry in live.venue.gate.entries():  # what a stranger does freezes; here the session trades on
            live.venue.gate.open(entry.cause, entry.symbol, None, by="test")

    system = system_of(exits=None)
    plan = plan_of(system, InThenOut, None, base.sandbox_url or "", base.journals)
    played = stage.play(bars=16, beat=beat, plan=plan, patience_s=0.0)
    times = [fill.ts for fill in played.of(Fill)]
    assert len(times) >= 2 and (times != sorted(times)) == (side == "Buy")
    assert played.ending.failure is None and played.ending.differences == [] and played.ending.agrees
    portfolio = played.live.books.portfolio
    assert portfolio.cash == played.truth["wallet_units"]["USDT"]
    trades = [row for row in played.truth["executions"] if row["execType"] == "Trade"]
    moved = [float(row["execQty"]) * (1 if row["side"] == "Buy" else -1) for row in trades]
    assert portfolio.position_qty("BTCUSDT") == pytest.approx(sum(moved)) and len(times) == len(moved)

    result = session_result(played.live, played.ending, wall_s=1.0)
    write_result(tmp_path, result)
    assert (tmp_path / "summary.json").exists() and (tmp_path / "equity.csv").exists()
    assert len(result.fills) == len(times)
    changes = [entry[0] for entry in played.live.tape.changes["BTCUSDT"]]
    assert changes == sorted(changes)
    gross = result.equity_curve["gross_notional"]
    closes = played.live.books.engine.closes
    held = {round(float(value / mark), 3) for value, mark in zip(gross[1:], _marks(played.live), strict=True)}
    assert len(closes) == len(gross) - 1 and 0.0 in held and np.isfinite(gross).all()
    for trade in result.trades:
        assert trade.exit_ts is not None and trade.exit_ts >= trade.entry_ts
    assert any("difference 0" in line for line in ending_lines(played.live, played.ending))


def _marks(live: Live) -> Any:
    return live.books.bars.frame("BTCUSDT", "1m", live.books.engine.closes[-1])["close"]
