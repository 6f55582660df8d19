"""The demo runner: a system on a demo account, or on a sandbox of this machine, as its DEMO epoch.

A sandbox is a rehearsal: its runs are kept under ``<system>-sandbox``, and do not count as the strategy's life.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from adapters.bybit.endpoints import Environment
from adapters.bybit.notices import Notice
from adapters.logging import get_logger
from adapters.store import HistoricalDataStore
from core.config import for_epoch
from core.errors import ConfigError, InvariantError, KeelError, VenueError
from core.result import BacktestResult
from runners.epoch import EpochResult, StrategyEpoch, run_epoch
from runners.home import Home
from runners.live.event_log import log_events
from runners.live.outcome import ending_lines, session_result
from runners.live.plan import Plan
from runners.live.session import Ending, Session, Stop
from runners.live.start import Live
from runners.own_loop import run_to_end
from runners.registry import system_uid
from runners.system_run import write_run_report
from runners.systems import LoadedSystem, effective_system
from strategies.base import PortfolioStrategy

Beside = Callable[[Live, Stop], AsyncIterator[None]]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Where and how. sandbox_url: a sandbox instead of the demo account.  max_bars: stop after so many instants; None: never.

    fresh: begin a new journal (positions are taken over as they are).  report: write report.html.
    """

    sandbox_url: str | None = None
    key_file: Path | None = None
    max_bars: int | None = None
    fresh: bool = False
    report: bool = True
    grace_ms: int = 2_000


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What became of a session."""

    epoch: EpochResult
    result: BacktestResult
    ending: Ending
    account: str
    journal: Path
    report: Path | None
    lines: list[str]
    quote: str


def run_demo(loaded: LoadedSystem, home: Home, options: DemoOptions, *, beside: Beside | None = None) -> DemoRun:
    """Run until Ctrl-C, the sandbox's end, or a fault. Raises KeelErrors; what a fault left behind is in the artifacts all the same.

    beside: runs along with the session (the display).
    """
    if issubclass(loaded.strategy, PortfolioStrategy):
        raise ConfigError(f"{loaded.config.system} has a portfolio strategy ({loaded.config.strategy}): these run in backtests only so far")
    is_sandbox = options.sandbox_url is not None
    system = for_epoch(loaded.config, "demo")
    effective = effective_system(loaded)
    uid = system_uid(loaded.strategy_fingerprint, {"system": effective, "epoch": "demo"}, "")
    store = HistoricalDataStore(home.store, read_only=True) if home.store.exists() else None
    environment = Environment.SANDBOX if is_sandbox else Environment.DEMO
    plan = Plan(
        loaded, system, uid, environment, home.runs / "journals", store, options.sandbox_url, options.key_file, options.grace_ms,
        options.fresh, {"home": str(home.root)},
    )  # fmt: skip
    attempt = _Attempt(plan, options, beside)
    rules = None if is_sandbox else system.promotion.get("demo")
    try:
        done = run_epoch(
            StrategyEpoch.DEMO,
            ",".join(system.symbols),
            f"{system.system}-sandbox" if is_sandbox else system.system,
            attempt,
            timeframes=list(dict.fromkeys([system.timeframe, system.execution_timeframe or system.timeframe])),
            promotion_criteria=rules,
            next_epoch=StrategyEpoch.LIVE if rules else None,
            strategy_name=system.description,
            effective_config={"system": effective, "system_uid": uid, "environment": environment.value, "url": options.sandbox_url},
            home=home,
        )
    finally:
        if store is not None:
            store.close()
    if attempt.result is None or attempt.live is None or attempt.ending is None:
        error = attempt.error or VenueError(done.error or "the session failed without saying why")
        error.add_note(f"{done.run_id} is marked failed: {done.artifacts}")
        raise error
    report = write_run_report(attempt.result, done.artifacts, "demo session") if options.report else None
    made = DemoRun(
        done, attempt.result, attempt.ending, attempt.live.account, attempt.live.journal.folder, report,
        ending_lines(attempt.live, attempt.ending), next(iter(attempt.live.instruments.values())).quote,
    )  # fmt: skip
    if attempt.ending.failure is not None:
        failure = attempt.ending.failure
        told = failure if isinstance(failure, (KeelError, InvariantError)) else InvariantError(f"{type(failure).__name__}: {failure}")
        for line in (*made.lines, f"{done.run_id}: {done.artifacts}"):
            told.add_note(line)
        raise told from failure
    return made


class _Attempt:
    """What ``run_epoch`` calls: one session, from start to end."""

    def __init__(self, plan: Plan, options: DemoOptions, beside: Beside | None) -> None:
        self._plan, self._options, self._beside = plan, options, beside
        self._log = get_logger("keel.demo", system=plan.system.system)
        self.live: Live | None = None
        self.ending: Ending | None = None
        self.result: BacktestResult | None = None
        self.error: Exception | None = None

    def __call__(self, symbol: str) -> BacktestResult:
        began = time.monotonic()
        try:
            self.live, self.ending = run_to_end(self._run())
            self.result = session_result(self.live, self.ending, wall_s=time.monotonic() - began)
        except Exception as error:
            self.error = error
            raise
        return self.result

    async def _run(self) -> tuple[Live, Ending]:
        session = Session(self._plan, self._tell, max_bars=self._options.max_bars, watch=lambda bus: log_events(bus, self._log))
        async with _interruptible(session):
            try:
                return await session.run(self._beside)
            except asyncio.CancelledError:
                if session.stop.is_asked:  # before the session was up: there is nothing to end in order
                    raise KeyboardInterrupt from None
                raise

    def _tell(self, notice: Notice) -> None:
        write = {"info": self._log.info, "warning": self._log.warning, "error": self._log.error}[notice.severity]
        write(notice.text, **{name: value for name, value in _fields(notice).items() if value not in (None, False)})


def _fields(notice: Notice) -> dict[str, Any]:
    found = msgspec.structs.asdict(notice)
    return {name: found[name] for name in ("code", "symbol", "freezes")}


@asynccontextmanager
async def _interruptible(session: Session) -> AsyncIterator[None]:
    """Ctrl-C and SIGTERM ask the session to stop, and end a start that is still under way; a second one ends everything on the spot."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def ask(name: str) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        session.stop.ask(name)
        if session.live is None and task is not None:
            task.cancel()

    with suppress(NotImplementedError, RuntimeError):
        loop.add_signal_handler(signal.SIGINT, ask, "Ctrl-C")
        loop.add_signal_handler(signal.SIGTERM, ask, "SIGTERM")
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError, RuntimeError):
                loop.remove_signal_handler(number)
