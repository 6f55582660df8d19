"""Coins that come into and go out of a spot account in mid-session, with digits that no comparison sees."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from keel.adapters.journal import read
from keel.core.model.messages import Fill, Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import RiskConfig, SizingConfig
from keel.runners.live.memory.records import TYPES, Adjusted
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.sim.sandbox.market.random_walk import walk_instrument
from keel.strategies.base import BaseStrategy
from tests.builders import plain_system
from tests.faults.conftest import _with
from tests.runners.live.conftest import Ran, plan_of
from tests.sim.sandbox.conftest import lockstep, made_bars
from tests.virtual.sandbox import VirtualSandbox, run_over, running_virtually

S = "BTCUSDT"


class Turns(BaseStrategy):
    """In for three bars, out for three."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return Signal(snapshot.symbol, "LONG" if snapshot.bar_ltf.ts_open // 60_000 % 6 < 3 else "FLAT")


def play(sandbox: VirtualSandbox, journals: Path, what: dict[int, tuple[str, str]], bars: int) -> Ran:
    """A session; before bar n so much of a coin comes or goes, and is looked for."""
    system = plain_system(
        category="spot", timeframe="1m", warmup_bars=5, risk=RiskConfig(leverage=1.0), sizing=SizingConfig(model="fixed_usd", usd=3333.0)
    )
    notices: list[Any] = []

    async def beat(number: int, live: Live) -> None:
        if number in what:
            coin, amount = what[number]
            await asyncio.to_thread(sandbox.post, "/admin/account", {"do": "transfer", "coin": coin, "amount": amount})
            await asyncio.sleep(1.0)
            for _ in range(2):
                await live.reconciler.check()
            assert live.gate.entries() == [], live.gate.entries()
            assert live.reconciler.last == []

    session = Session(plan_of(system, Turns, None, sandbox.url, journals), notices.append, max_bars=bars)
    live, ending = run_over(sandbox.url, session.run(_with(beat)))
    return Ran(live, ending, notices, [record.message for record in read(live.journal.folder, types=TYPES)])


def spot_bars() -> Any:
    return lockstep(made_bars(120, first=45, instrument=walk_instrument(S, "spot"), mark=None, index=None, funding=None))


def agree(ran: Ran, sandbox: VirtualSandbox) -> None:
    truth = sandbox.truth()
    line = ran.live.books.portfolio.lines[S]
    assert truth["problems"] == []
    assert ran.ending.failure is None and ran.ending.differences == []
    assert line.book.steps == pytest.approx(truth["wallet_units"]["BTC"] / 100, abs=3)
    assert ran.live.books.portfolio.cash == truth["wallet_units"]["USDT"]
    assert ran.live.statement.last is not None and ran.live.statement.last.difference == 0


def test_coins_come_and_go_while_it_holds_and_while_it_is_flat(journals: Path) -> None:
    what = {4: ("BTC", "0.01234567"), 7: ("BTC", "-0.00234567"), 11: ("BTC", "0.5"), 14: ("USDT", "1000.5"), 17: ("BTC", "-0.00000001")}
    with running_virtually(*spot_bars()) as sandbox:
        ran = play(sandbox, journals, what, 30)
        agree(ran, sandbox)
        again = play(sandbox, journals, {3: ("BTC", "0.07")}, 20)
        agree(again, sandbox)
    taken = [each for each in again.of(Adjusted) if isinstance(each, Adjusted)]
    assert [each.reason for each in taken if each.reason != "rounding"] == ["transfer"] * 6
    assert len(again.of(Fill)) > 8


@pytest.mark.parametrize("amount", ["0.02", "-0.01", "-0.0001"])
def test_coins_that_no_row_explains_are_adopted_to_the_last_digit(amount: str, journals: Path) -> None:
    """The log is not to be had until a person has adopted what the wallet says."""
    system = plain_system(
        category="spot", timeframe="1m", warmup_bars=5, risk=RiskConfig(leverage=1.0), sizing=SizingConfig(model="fixed_usd", usd=3333.0)
    )

    with running_virtually(*spot_bars()) as sandbox:

        async def beat(number: int, live: Live) -> None:
            if number == 12:  # a log that is there again, and a transfer that it explains; the one before is in the books already
                await asyncio.to_thread(sandbox.faults)
                await asyncio.to_thread(sandbox.post, "/admin/account", {"do": "transfer", "coin": "BTC", "amount": "0.3"})
                await asyncio.sleep(1.0)
                for _ in range(2):
                    await live.reconciler.check()
                assert live.gate.entries() == [] and live.reconciler.last == []
            if number != 7:
                return
            rule = {"match": {"side": "http", "path": "/v5/account/transaction-log"}, "action": {"kind": "error", "ret_code": 10001}}
            await asyncio.to_thread(sandbox.faults, rule)
            await asyncio.to_thread(sandbox.post, "/admin/account", {"do": "transfer", "coin": "BTC", "amount": amount})
            await asyncio.sleep(1.0)
            for _ in range(2):
                await live.reconciler.check()
            assert live.gate.has("position_differs", S)
            assert await live.reconciler.adopt(S) == ""
            live.gate.open("position_differs", S, by="a person")
            assert live.books.portfolio.lines[S].book.steps == round(sandbox.truth()["wallet_units"]["BTC"] / 100)
            for _ in range(2):
                await live.reconciler.check()
            assert live.gate.entries() == []

        session = Session(plan_of(system, Turns, None, sandbox.url, journals), lambda notice: None, max_bars=24)
        live, ending = run_over(sandbox.url, session.run(_with(beat)))
        assert ending.failure is None, repr(ending.failure)
        assert live.books.portfolio.lines[S].book.steps == pytest.approx(sandbox.truth()["wallet_units"]["BTC"] / 100, abs=3)
    assert ending.failure is None and ending.differences == []
