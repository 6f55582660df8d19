"""A portfolio of twelve symbols, asked every minute, over a sandbox with the exchange's own budgets: in time, within them, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from keel.adapters.bybit.transport.rate_budget import LIMITS
from keel.adapters.journal import read
from keel.adapters.machine import wall_ms
from keel.core.engine.instant import InstantClosed
from keel.core.model.messages import Fill
from keel.core.strategy.portfolio_order import Order
from keel.core.system.config import RiskConfig, SystemConfig
from keel.runners.live.memory.records import TYPES
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.sim.sandbox.settings import SandboxSettings
from keel.strategies.base import PortfolioStrategy
from tests.builders import plain_system
from tests.runners.live.conftest import Ran, plan_of
from tests.sim.sandbox.conftest import walk_feed
from tests.virtual.sandbox import VirtualSandbox, run_over, running_virtually

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", *(f"{letter * 3}USDT" for letter in "ABCDEFGH"))
STOPPED = "CCCUSDT"

pytestmark = pytest.mark.long


class Balances(PortfolioStrategy):
    """Other targets of all symbols each minute, in turn long and short. Notes how late it is asked. Remembers its steps."""

    late_ms: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.steps = 0

    def on_start(self, params: Mapping[str, Any]) -> None:
        self.late_ms.clear()

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Order]:
        self.steps += 1
        self.late_ms.append(wall_ms() - round(oms_client.current_time.timestamp() * 1000))
        sides = ["LONG" if (number + self.steps // 5) % 2 else "SHORT" for number in range(len(SYMBOLS))]
        return [Order(name, "future", side, 300.0 + 25.0 * (self.steps % 3)) for name, side in zip(SYMBOLS, sides, strict=True)]  # type: ignore[arg-type]


def system() -> SystemConfig:
    return plain_system(*SYMBOLS, timeframe="1m", execution_timeframe="1m", warmup_bars=None, risk=RiskConfig(leverage=3.0))


def play(sandbox: VirtualSandbox, journals: Path, bars: int, beside: Any = None) -> Ran:
    notices: list[Any] = []
    session = Session(plan_of(system(), Balances, None, sandbox.url, journals), notices.append, max_bars=bars)
    live, ending = run_over(sandbox.url, session.run(beside))
    return Ran(live, ending, notices, [record.message for record in read(live.journal.folder, types=TYPES)])


def moving() -> Any:
    settings = SandboxSettings(factor=1.0, tick_ms=1000)
    return running_virtually(settings, lambda now_ms: walk_feed(SYMBOLS, bars=1600, start_ms=now_ms, spot=False))


def most_within(times: Sequence[int], window_ms: int) -> int:
    """The most that ever fell into one window."""
    first = most = 0
    for last, time in enumerate(times):
        while times[first] <= time - window_ms:
            first += 1
        most = max(most, last - first + 1)
    return most


def over_budget(sandbox: VirtualSandbox) -> dict[str, int]:
    """Endpoints whose budget was exceeded at some time, as the exchange counts; "": that of the address."""
    requests = sandbox.get("/admin/wire")["requests"]
    assert len(requests) > 100
    paths = {row["path"] for row in requests} & set(LIMITS)
    most = {path: most_within([row["received"] for row in requests if row["path"] == path], 1_000) for path in paths}
    most[""] = most_within([row["received"] for row in requests], 5_000)
    return {path: count for path, count in most.items() if count > LIMITS.get(path, 600)}


def test_in_time_and_within_the_budgets(journals: Path) -> None:
    with moving() as sandbox:
        ran = play(sandbox, journals, 12)
        truth = sandbox.truth()
        assert over_budget(sandbox) == {}
    assert ran.ending.failure is None and ran.ending.differences == [], ran.ending
    assert {fill.symbol for fill in ran.of(Fill)} == set(SYMBOLS)  # type: ignore[attr-defined]
    assert truth["problems"] == []
    decided = [each.ts for each in ran.of(InstantClosed) if each.decides]  # type: ignore[attr-defined]
    assert [after - before for before, after in pairwise(decided)] == [60_000] * (len(decided) - 1)
    assert len(Balances.late_ms) == len(decided) >= 11 and max(Balances.late_ms) < 3_000, Balances.late_ms


def test_a_symbol_that_stops_in_mid_session_is_named_once(journals: Path) -> None:
    patch = [{"op": "replace", "path": "/result/list/0/status", "value": "Closed"}]
    rules = [
        {"match": {"side": "http", "path": "/v5/market/instruments-info", "symbol": STOPPED}, "action": {"kind": "mutate", "patch": patch}},
        {
            "match": {"side": "http", "path": "/v5/order/create", "symbol": STOPPED},
            "action": {"kind": "error", "ret_code": 110074, "ret_msg": "This contract is not live"},
            "when": "before_apply",
        },
    ]
    seen: list[Any] = []

    async def stops(live: Live, stop: Any) -> Any:
        async def act() -> None:
            await asyncio.sleep(200)
            await asyncio.to_thread(sandbox.faults, *rules)
            await asyncio.sleep(130)
            seen.append([(entry.cause, entry.symbol) for entry in live.gate.entries()])

        task = asyncio.create_task(act())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with moving() as sandbox:
        ran = play(sandbox, journals, 9, stops)
    assert ("not_trading", STOPPED) in seen[0], seen
    (notice,) = [notice for notice in ran.notices if notice.code == "not_trading"]
    assert notice.symbol == STOPPED and "is Closed" in notice.text and "a position of" in notice.text, notice.text
    others = {fill.symbol for fill in ran.of(Fill) if fill.ts > notice.ts}  # type: ignore[attr-defined]
    assert others >= set(SYMBOLS) - {STOPPED}, "the others go on"
    assert ran.ending.failure is None
