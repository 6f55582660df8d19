"""Sessions over a sandbox, in virtual time with it where the sandbox is; nothing of ours knows that it is no exchange."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.journal import read
from keel.adapters.store import HistoricalDataStore
from keel.core.model.messages import Message
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.system.config import SystemConfig
from keel.runners.live.memory.records import TYPES
from keel.runners.live.session.ending import Ending
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.runners.live.startup.plan import Plan
from keel.runners.sandbox.assembly import stored_bars
from keel.runners.systems import LoadedSystem
from keel.sim.sandbox.engine import Feed
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.settings import AccountSettings, SandboxSettings
from keel.strategies.base import BaseStrategy
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox
from tests.virtual.sandbox import run_over, running_virtually


@dataclass
class Ran:
    """What became of a session."""

    live: Live
    ending: Ending
    notices: list[Notice]
    journal: list[Message] = field(default_factory=list)

    def of(self, *kinds: type[Message]) -> list[Message]:
        """The journal's messages of these kinds, in order."""
        return [message for message in self.journal if isinstance(message, kinds)]


def plan_of(
    system: SystemConfig, strategy: type[BaseStrategy], store: HistoricalDataStore | None, url: str, folder: Path, **changes: Any
) -> Plan:
    """A plan for a sandbox."""
    loaded = LoadedSystem(system, strategy, "test", "file")
    plan = Plan(loaded, system, "ab12cd34ef56", Environment.SANDBOX, folder, store, sandbox_url=url)
    return replace(plan, **changes)


def run_session(plan: Plan, **options: Any) -> Ran:
    """Run a session to its end. Raises what the start raises."""
    notices: list[Notice] = []
    session = Session(plan, notices.append, **options)
    live, ending = run_over(plan.sandbox_url, session.run())
    return Ran(live, ending, notices, [record.message for record in read(live.journal.folder, types=TYPES)])


@contextmanager
def stored_sandbox(
    store: HistoricalDataStore,
    system: SystemConfig,
    start: int,
    end: int,
    *,
    symbols: tuple[str, ...] | None = None,
    served: Callable[[SandboxSettings, Feed], AbstractContextManager[Sandbox]] = running_virtually,
    **changes: Any,
) -> Iterator[Sandbox]:
    """A lock-step sandbox over the very bars that a backtest of the system replays. served: in virtual time, or by ``running``, which other
    processes and threads reach, too."""
    timeframe = system.execution_timeframe or system.timeframe
    bars = stored_bars(store, symbols or tuple(system.symbols), TimeRange(start, end), system.execution, timeframe=timeframe)
    values: dict[str, Any] = {
        "pace": "lockstep", "limit_factor": 1000.0, "execution": system.execution,
        "accounts": (AccountSettings(key=KEY, secret=SECRET, usdt=system.initial_equity),),
    }  # fmt: skip
    assert bars.duration_ms == tf_ms(timeframe)
    with served(SandboxSettings(**(values | changes)), BarFeed(bars)) as sandbox:
        yield sandbox


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    """A folder for journals."""
    return tmp_path / "journals"


PREFIX = re.compile(r"^(bt|ab12cd34-[0-9a-f]+-[0-9]+)-")
"""What a client order id begins with in a backtest, and in a session."""


def plain_of(message: Message) -> dict[str, Any]:
    """A message as data, without what differs between two venues by nature: names of orders and executions, the reference price."""
    row = {"kind": type(message).__name__, **msgspec.structs.asdict(message)}
    for name in ("client_order_id", "parent_id"):
        if isinstance(row.get(name), str):
            row[name] = PREFIX.sub("", row[name])
    for name in ("fill_id", "reference"):
        row.pop(name, None)
    return row
