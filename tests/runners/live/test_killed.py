"""kill -9 at every bad moment, then a restart: nothing is lost, nothing is done twice, and the decisions are those of the backtest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.journal import read
from core.messages import Fill, FundingPayment, Message, SubmitOrder
from runners.live.records import TYPES
from runners.replay import replay
from runners.wiring import wire_backtest
from tests.builders import DAY, HOUR, START, builtin, made_ready
from tests.runners.live.conftest import stored_sandbox
from tests.runners.live.test_same_decisions import marked_store
from tests.sim.sandbox.conftest import Sandbox

FAST = ("timeframe=5m", "params.fast=2", "params.slow=5", "warmup_bars=50", "exits={stop_loss: {percent: 0.4}}")
FROM, TO = START + 20 * DAY, START + 20 * DAY + 6 * HOUR
PROJECT = Path(__file__).resolve().parents[3]


def victim(sandbox: Sandbox, journals: Path, point: str, count: int) -> subprocess.CompletedProcess[str]:
    """Run it to its end, whichever."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("victim.py")),
        sandbox.url,
        str(journals),
        point,
        str(count),
        "ema_cross",
        *FAST,
    ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=PROJECT, check=False)


def journal_of(journals: Path) -> list[Message]:
    (folder,) = [path.parent for path in journals.glob("*/*/lock")]
    return [record.message for record in read(folder, types=TYPES)]


def check_truth(truth: Any, journal: list[Message]) -> None:
    """Read from the sandbox's truth and the journal alone: I-1 to I-6 and I-8 of the reliability bar."""
    moving = [row for row in truth["executions"] if row["execType"] != "Funding"]
    fills = [message for message in journal if isinstance(message, Fill)]
    assert sorted(row["execId"] for row in moving) == sorted(fill.fill_id for fill in fills)  # none lost, none twice
    payments = [message for message in journal if isinstance(message, FundingPayment)]
    assert len(payments) == sum(row["execType"] == "Funding" for row in truth["executions"])
    held = sum((1 if row["side"] == "Buy" else -1) * float(row["execQty"]) for row in moving)
    stated = sum((1 if row["side"] == "Buy" else -1) * float(row["size"]) for row in truth["positions"] if float(row["size"]))
    assert round(held, 9) == round(stated, 9)
    opening = 10_000 * 10**8
    assert opening + sum(f.realized_pnl - f.fee for f in fills) - sum(p.amount for p in payments) == truth["wallet_units"]["USDT"]
    named = [row["orderLinkId"] for row in truth["orders"] if row["orderLinkId"]]
    assert len(named) == len(set(named))  # at most one live order per intent
    written = {message.client_order_id for message in journal if isinstance(message, SubmitOrder)}
    assert set(named) <= written  # every order's intent was on disk
    assert all(float(row["cumExecQty"]) <= float(row["qty"]) for row in truth["orders"])
    assert truth["problems"] == []


def expected() -> Any:
    system, strategy = builtin("ema_cross", *FAST)
    with marked_store() as store:
        parts = wire_backtest(made_ready(store, system, FROM, TO, strategy()), "bt")
        replay(parts.feed, parts.cycle)
    return parts


def key_of(fill: Any) -> tuple[Any, ...]:
    get = fill.get if isinstance(fill, dict) else lambda name: getattr(fill, name)
    return tuple(get(name) for name in ("ts", "side", "qty", "price", "fee", "realized_pnl", "reason"))


POINTS = [
    ("order made, not written", 3),
    ("order written, not durable", 3),
    ("durable, not sent", 4),
    ("sent, not acknowledged", 4),
    ("fill heard, not written", 3),
    ("fill written, not booked", 4),
    ("market moved, nobody heard", 20),
    ("instant closing", 25),
]


@pytest.mark.long
@pytest.mark.parametrize(("point", "count"), POINTS)
@pytest.mark.parametrize("again", ["never", "recovery, executions read", "recovery, positions read"])
def test_killed_and_restarted(point: str, count: int, again: str, journals: Path) -> None:
    run_and_check(point, count, again, journals)


@pytest.mark.parametrize(("point", "count"), [("sent, not acknowledged", 4)])
def test_killed_once(point: str, count: int, journals: Path) -> None:
    run_and_check(point, count, "never", journals)


def run_and_check(point: str, count: int, again: str, journals: Path) -> None:
    parts = expected()
    assert len(parts.venue.fills) > 6
    system, _ = builtin("ema_cross", *FAST)
    with marked_store() as store, stored_sandbox(store, system, FROM, TO) as sandbox:
        dead = victim(sandbox, journals, point, count)
        assert dead.returncode == -signal.SIGKILL, dead.stdout + dead.stderr
        if again != "never":
            twice = victim(sandbox, journals, again, 1)
            assert twice.returncode == -signal.SIGKILL, twice.stdout + twice.stderr
        done = victim(sandbox, journals, "never", 1)
        assert done.returncode == 0, done.stdout + done.stderr
        truth = sandbox.truth()
    check_truth(truth, journal_of(journals))
    if point == "durable, not sent":
        return  # whether it was sent nobody can know: it is looked for, proven absent, and not sent again; the market may have gone on
    assert truth["wallet_units"]["USDT"] == parts.portfolio.cash
    assert [key_of(fill) for fill in truth["fills"]] == [key_of(fill) for fill in parts.venue.fills]
