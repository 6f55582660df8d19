"""kill -9 in the middle of a portfolio's rebalance, then a restart: nothing is lost or doubled, and the targets are reached."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from keel.core.risk.position_manager import PositionManager
from keel.core.strategy.portfolio_order import Order
from keel.core.system.config import ExecutionConfig, RiskConfig, SystemConfig
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.strategies.base import BaseStrategy, PortfolioStrategy
from tests.builders import DAY, HOUR, START, made_ready, plain_system
from tests.faults import victim
from tests.faults.checker import check
from tests.faults.test_killed import AGAIN, FORKS, key_of
from tests.runners.live.conftest import stored_sandbox
from tests.runners.live.test_same_decisions import marked_store
from tests.sim.sandbox.conftest import Sandbox, running

PAIR = ("BTCUSDT", "ETHUSDT")
FROM, TO = START + 20 * DAY, START + 20 * DAY + 3 * HOUR
LAST = {"BTCUSDT": ("LONG", 2500.0), "ETHUSDT": ("SHORT", 1800.0)}
LOSING = ("durable, not sent",)
"""Whether such an order left nobody can know: it is proven absent, and not sent again; the next step orders what is missing."""


class Restless(PortfolioStrategy):
    """Other targets at every step of the first two hours, then the last ones at each step. It remembers how many steps it took."""

    def __init__(self) -> None:
        self.steps = 0

    def on_start(self, params: Mapping[str, Any]) -> None:
        self.position_manager = PositionManager(30.0, 1.0)

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Order]:
        self.steps += 1
        if self.steps > 8:
            return [Order(name, "future", side, value) for name, (side, value) in LAST.items()]  # type: ignore[arg-type]
        first, second = PAIR if self.steps % 2 else PAIR[::-1]
        plans: list[list[Order]] = [
            [Order(first, "future", "LONG", 2000.0), Order(second, "future", "SHORT", 1000.0)],
            [Order(first, "future", "LONG"), Order(second, "future", "LONG")],
            [Order(first, "future", "SHORT", 1500.0), Order(second, "future", "CLOSE")],
        ]
        return plans[self.steps % 3]


def system() -> SystemConfig:
    return plain_system(
        *PAIR, timeframe="15m", execution_timeframe="5m", warmup_bars=None, risk=RiskConfig(leverage=3.0), execution=ExecutionConfig()
    )  # fmt: skip


def main(*arguments: Any) -> None:
    """What the victim's process runs."""

    def named(name: str, overrides: Sequence[str]) -> tuple[SystemConfig, type[BaseStrategy]]:
        return system(), Restless

    victim.system_named = named
    victim.main(*arguments)


def session(sandbox: Sandbox, journals: Path, point: str, count: int) -> tuple[int | None, str]:
    """Run it to its end, whichever: (exit code, what it said)."""
    said = journals / "said"
    process = FORKS.Process(target=main, args=(str(said), sandbox.url, str(journals), point, count, "", ()))
    process.start()
    process.join(240)
    return process.exitcode, said.read_text()


@pytest.fixture(scope="module")
def expected() -> BacktestParts:
    with marked_store(symbols=PAIR) as store:
        parts = wire_backtest(made_ready(store, system(), FROM, TO, Restless()), "bt")
        replay(parts.feed, parts.engine, parts.venue)
    assert len(parts.venue.fills) > 12
    return parts


@pytest.mark.long
@pytest.mark.parametrize(
    ("point", "count", "again"),
    [
        ("order written, not durable", 4, []),
        ("durable, not sent", 3, []),
        ("sent, not acknowledged", 3, ["recovery, executions read"]),
        ("fill heard, not written", 4, []),
        ("fill written, not booked", 3, AGAIN),
        ("instant closing", 12, []),
    ],
)
def test_killed_in_a_rebalance(point: str, count: int, again: list[str], expected: BacktestParts, tmp_path: Path) -> None:
    with marked_store(symbols=PAIR) as store, stored_sandbox(store, system(), FROM, TO, served=running) as sandbox:
        for where, number in [(point, count), *((other, 1) for other in again)]:
            code, said = session(sandbox, tmp_path, where, number)
            assert code == -signal.SIGKILL, said
        code, said = session(sandbox, tmp_path, "never", 1)
        assert code == 0, said
        truth = sandbox.truth()
    (folder,) = [path.parent for path in tmp_path.glob("*/*/lock")]
    assert check(truth, folder, settled=False) == []
    held = {row["symbol"]: float(row["size"]) * (1 if row["side"] == "Buy" else -1) for row in truth["positions"] if float(row["size"])}
    wanted = {line.instrument.symbol: line.qty for line in expected.portfolio.lines.values()}
    assert held == pytest.approx(wanted) if point in LOSING else held == wanted
    if point not in LOSING:
        assert truth["wallet_units"]["USDT"] == expected.portfolio.cash
        assert [key_of(fill) for fill in truth["fills"]] == [key_of(fill) for fill in expected.venue.fills]
