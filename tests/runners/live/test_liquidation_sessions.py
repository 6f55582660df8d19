"""A position that the exchange takes over in mid-session: booked and said, nothing of it rests, and the session goes on or is restarted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.core.model.messages import Fill, Liquidation, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import Distance, ExitsConfig, RiskConfig, SizingConfig, SystemConfig, for_epoch
from keel.runners.live.reporting.outcome import session_result
from keel.strategies.base import BaseStrategy
from tests.builders import plain_system
from tests.faults.checker import check
from tests.runners.live.conftest import Ran, plan_of, run_session
from tests.sim.sandbox.conftest import flat_bars, lockstep
from tests.virtual.sandbox import VirtualSandbox, running_virtually

CALM = 30_000.0
FALL = [CALM] * 45 + [29_700.0, 29_450.0, 29_200.0] + [29_250.0] * 20
"""A fall of 2.7 % within three minutes; the first 40 bars are history."""


class Holds(BaseStrategy):
    """In once it is flat; what has been taken over it buys again."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return Signal(snapshot.symbol, "LONG") if snapshot.position.qty == 0 else None


def system_of(mode: str, usd: float) -> SystemConfig:
    exits = ExitsConfig(stop_loss=Distance(percent=20), take_profit=Distance(percent=20))
    risk = RiskConfig(leverage=50.0)
    made = plain_system(timeframe="1m", warmup_bars=5, sizing=SizingConfig(model="fixed_usd", usd=usd), exits=exits, risk=risk)
    if mode == "isolated":
        return made
    return for_epoch(msgspec.structs.replace(made, demo=type(made.demo)(margin_mode="cross")), "demo")


def check_ran(ran: Ran, sandbox: VirtualSandbox) -> None:
    truth = sandbox.truth()
    assert truth["problems"] == [] and len(truth["liquidations"]) == 1
    (taken,) = [fill for fill in ran.of(Fill) if isinstance(fill, Fill) and fill.kind == "bust"]
    assert ran.of(Liquidation), "the record of what was lost"
    assert ran.ending.failure is None and ran.ending.differences == [], ran.ending
    assert check(truth, ran.live.journal.folder, settled=False) == []
    portfolio = ran.live.books.portfolio
    assert portfolio.cash == truth["wallet_units"]["USDT"]
    assert ran.live.statement.last is not None and ran.live.statement.last.difference == 0
    assert [notice.severity for notice in ran.notices if notice.code == "execution_liquidation"] == ["error"]
    result = session_result(ran.live, ran.ending, wall_s=1.0)
    assert len(result.liquidations) == 1 and result.metrics["net_profit"] < 0
    rest = [row for row in truth["orders"] if row["orderStatus"] in ("New", "Untriggered", "PartiallyFilled")]
    held = [row for row in truth["positions"] if float(row["size"])]
    assert len(rest) == 2 * len(held), "a stop and a take-profit for what is held again, none of what was taken"
    assert taken.side == "SELL"


@pytest.mark.parametrize(("mode", "usd"), [("isolated", 20_000.0), ("cross", 4_000_000.0)])
@pytest.mark.parametrize("again", [False, True], ids=["in one session", "while none runs"])
def test_a_position_is_taken_over(mode: str, usd: float, *, again: bool, journals: Path) -> None:
    options = {"profile": "demo"} if mode == "cross" else {}
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_virtually(*lockstep(flat_bars(*FALL, first=40), **options)))
        plan = plan_of(system_of(mode, usd), Holds, None, sandbox.url, journals)
        if again:
            first = run_session(plan, max_bars=4)
            assert first.ending.positions and first.ending.differences == []
            for _ in range(6):
                sandbox.step()
            assert sandbox.truth()["liquidations"]
        ran = run_session(plan, max_bars=None if again else 20)
        assert sandbox.truth()["margin_mode"] == mode
        check_ran(ran, sandbox)
