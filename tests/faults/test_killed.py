"""kill -9 at every bad moment, then a restart: nothing is lost, nothing is done twice, and the decisions are those of the backtest."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pytest

from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from tests.builders import DAY, HOUR, START, made_ready
from tests.faults.checker import check
from tests.faults.victim import main, system_named
from tests.runners.live.conftest import stored_sandbox
from tests.runners.live.test_same_decisions import marked_store
from tests.sim.sandbox.conftest import Sandbox, running

pytestmark = pytest.mark.real_sockets

FAST = ("timeframe=5m", "params.fast=2", "params.slow=5", "warmup_bars=50", "exits={stop_loss: {percent: 0.4}}")
SYSTEMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "flips": ("ema_cross", FAST),
    "exits": ("rsi_reversion", ("timeframe=5m", "warmup_bars=50", "params.oversold=45", "params.overbought=55")),
    "rests": ("turns", ()),
}
FROM, TO = START + 20 * DAY, START + 20 * DAY + 6 * HOUR
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.victim"])


def victim(sandbox: Sandbox, journals: Path, point: str, count: int, system: str) -> tuple[int | None, str]:
    """Run it to its end, whichever: (exit code, what it said)."""
    name, overrides = SYSTEMS[system]
    said = journals / "said"
    process = FORKS.Process(target=main, args=(str(said), sandbox.url, str(journals), point, count, name, overrides))
    process.start()
    process.join(240)
    return process.exitcode, said.read_text()


def killed(sandbox: Sandbox, journals: Path, point: str, count: int, system: str) -> None:
    code, said = victim(sandbox, journals, point, count, system)
    assert code == -signal.SIGKILL, said


def expected(system: str) -> BacktestParts:
    name, overrides = SYSTEMS[system]
    config, strategy = system_named(name, overrides)
    with marked_store() as store:
        parts = wire_backtest(made_ready(store, config, FROM, TO, strategy()), "bt")
        replay(parts.feed, parts.engine, parts.venue)
    return parts


def key_of(fill: Any) -> tuple[Any, ...]:
    get = fill.get if isinstance(fill, dict) else lambda name: getattr(fill, name)
    return tuple(get(name) for name in ("ts", "side", "qty", "price", "fee", "realized_pnl", "reason"))


POINTS = [
    ("order made, not written", 3, "flips"),
    ("order written, not durable", 3, "flips"),
    ("durable, not sent", 4, "flips"),
    ("sent, not acknowledged", 4, "flips"),
    ("exit durable, not sent", 2, "exits"),
    ("exit sent, not acknowledged", 2, "exits"),
    ("fill heard, not written", 3, "flips"),
    ("fill written, not booked", 4, "flips"),
    ("market moved, nobody heard", 20, "flips"),
    ("instant closing", 25, "flips"),
    ("snapshot, not renamed", 2, "flips"),
    ("snapshot, new segment missing", 2, "flips"),
    ("cancel durable, not sent", 2, "rests"),
    ("cancel sent, not acknowledged", 2, "rests"),
]
LOSING = ("durable, not sent", "cancel durable, not sent", "cancel sent, not acknowledged")
"""After these an entry is missing that the backtest has: whether it left nobody can know, so it is looked for, proven absent, and as an
entry not sent again; or it waited for a cancel and had not been written down, so that it never left."""
QUICK = [("sent, not acknowledged", 4, "flips")]
AGAIN = ["recovery, executions read", "recovery, positions read"]


@pytest.mark.parametrize(("point", "count", "system"), QUICK)
def test_killed(point: str, count: int, system: str, tmp_path: Path) -> None:
    run_and_check(point, count, system, [], tmp_path)


@pytest.mark.long
def test_killed_twice(tmp_path: Path) -> None:
    run_and_check("fill heard, not written", 3, "flips", ["recovery, executions read"], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("point", "count", "system"), [each for each in POINTS if each not in QUICK])
def test_killed_elsewhere(point: str, count: int, system: str, tmp_path: Path) -> None:
    run_and_check(point, count, system, [], tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("point", "count", "system"), POINTS)
def test_killed_and_killed_while_recovering(point: str, count: int, system: str, tmp_path: Path) -> None:
    run_and_check(point, count, system, AGAIN, tmp_path)


def run_and_check(point: str, count: int, system: str, again: list[str], journals: Path) -> None:
    parts = expected(system)
    assert len(parts.venue.fills) > 6
    config, _ = system_named(*SYSTEMS[system])
    with marked_store() as store, stored_sandbox(store, config, FROM, TO, served=running) as sandbox:
        killed(sandbox, journals, point, count, system)
        for other in again:
            killed(sandbox, journals, other, 1, system)
        code, said = victim(sandbox, journals, "never", 1, system)
        assert code == 0, said
        truth = sandbox.truth()
    (folder,) = [path.parent for path in journals.glob("*/*/lock")]
    assert check(truth, folder, settled=False) == []
    if point in LOSING:
        return
    assert truth["wallet_units"]["USDT"] == parts.portfolio.cash
    assert [key_of(fill) for fill in truth["fills"]] == [key_of(fill) for fill in parts.venue.fills]
