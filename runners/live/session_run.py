"""One session as an epoch's run, whichever account it trades: start, trade, end in order, keep what became of it.

``demo`` and ``live_account`` say what is theirs: the account, the rules before the start, the epoch.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.credentials import load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.logging import Logger, get_logger
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, InvariantError, KeelError
from keel.core.results.result import BacktestResult
from keel.core.system.config import for_epoch
from keel.core.system.suggestions import did_you_mean
from keel.runners.backtest.system_run import timeframes_of, write_run_report
from keel.runners.epoch import EpochResult, StrategyEpoch, StrategyEpochTracker
from keel.runners.home import Home
from keel.runners.lifecycle.epoch_run import EpochRun
from keel.runners.lifecycle.registry import system_uid
from keel.runners.live.alerts.of_session import SessionAlerts, session_alerts
from keel.runners.live.market.bar_synchronizer import GRACE_MS
from keel.runners.live.panic.panic_button import PanicButton
from keel.runners.live.panic.panic_key import panic_key
from keel.runners.live.reporting.event_log import log_events
from keel.runners.live.reporting.outcome import ending_lines, session_result
from keel.runners.live.session.ending import Ending, Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from keel.runners.live.startup.plan import Plan
from keel.runners.live.supervisor.bar_count import bars_before
from keel.runners.live.supervisor.sending import Heartbeats, heartbeats
from keel.runners.process.attentive import attentive, collect_quietly
from keel.runners.process.own_loop import run_to_end
from keel.runners.process.private_files import private_files
from keel.runners.systems import LoadedSystem, effective_system, function_fingerprints

_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}
INTERRUPTED = 130
Beside = Callable[[Live, Stop], AsyncIterator[None]]


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Where and how. sandbox_url: a sandbox instead of the account at the exchange.  max_bars: stop after so many instants; None: never.

    fresh: begin a new journal (positions are taken over as they are).  without: symbols of the system that are not traded.
    why_without: why, by symbol, where nobody asked for it.  report: write report.html.
    """

    sandbox_url: str | None = None
    key_file: Path | None = None
    max_bars: int | None = None
    fresh: bool = False
    report: bool = True
    grace_ms: int = GRACE_MS
    without: tuple[str, ...] = ()
    why_without: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SessionRun:
    """What became of a session."""

    epoch: EpochResult
    result: BacktestResult
    ending: Ending
    account: str
    journal: Path
    report: Path | None
    lines: list[str]
    quote: str


@dataclass(frozen=True, slots=True)
class Course:
    """What a kind of session brings of its own. strategy_id: under which its runs are kept.  rules: what its result must show before the
    next epoch; None: nothing is judged.  kind: as the report names it.  recorded: more for config.json."""

    epoch: StrategyEpoch
    strategy_id: str
    kind: str
    rules: list[str] | None = None
    next_epoch: StrategyEpoch | None = None
    recorded: Mapping[str, Any] = field(default_factory=dict)


def plan_session(loaded: LoadedSystem, home: Home, options: SessionOptions, epoch: StrategyEpoch, environment: Environment) -> Plan:
    """What is to be run, and where, of a system without the symbols that are left out."""
    system = for_epoch(loaded.config, epoch.value)
    uid = system_uid(loaded.strategy_fingerprint, {"system": effective_system(loaded), "epoch": epoch.value}, "")
    store = HistoricalDataStore(home.store, read_only=True) if home.store.exists() else None
    return Plan(
        loaded, system, uid, environment, home.runs / "journals", store, options.sandbox_url, options.key_file, options.grace_ms,
        options.fresh, {"home": str(home.root)}, options.without, options.why_without,
    )  # fmt: skip


def run_course(plan: Plan, home: Home, options: SessionOptions, course: Course, *, beside: Beside | None = None) -> SessionRun:
    """Run a plan until Ctrl-C, the sandbox's end, or a fault, as an epoch's run. Raises KeelErrors; what a fault left behind is in the
    artifacts all the same.

    beside: runs along with the session (the display).
    """
    system = plan.system
    attempt = _Attempt(plan, options, beside, course)
    about = f"{plan.environment.value} {system.system}"
    recorded = {
        "system": effective_system(plan.loaded), "system_uid": plan.uid, "environment": plan.environment.value, "url": options.sandbox_url,
        "strategy_fingerprint": plan.loaded.strategy_fingerprint, "function_fingerprints": function_fingerprints(plan.loaded.config),
        **course.recorded,
    }  # fmt: skip
    try:
        with private_files(), attentive(), session_alerts(home, about, attempt.show, attempt.say) as attempt.alerts, attempt.heartbeats():
            try:
                run = EpochRun(
                    StrategyEpochTracker(course.strategy_id, system.description, home=home), course.epoch, ",".join(system.symbols),
                    timeframes_of(system), course.rules, course.next_epoch if course.rules else None, effective_config=recorded,
                    begins_late=True,
                )  # fmt: skip
                with run:
                    result = attempt.trade(run.begin)
                    done = run.complete(result)
                return _made(attempt, result, done, options)
            except BaseException as error:
                attempt.tell_end(error)
                raise
    finally:
        if plan.store is not None:
            plan.store.close()


def without_symbols(loaded: LoadedSystem, symbols: tuple[str, ...]) -> LoadedSystem:
    """The system without some of its symbols. Raises ConfigError for one that it has not, and where none is left."""
    known = loaded.config.symbols
    for symbol in symbols:
        if symbol not in known:
            raise ConfigError(f"--without {symbol}: {loaded.config.system} has no such symbol: {did_you_mean(symbol, known)}")
    left = [symbol for symbol in known if symbol not in symbols]
    if not left:
        raise ConfigError(f"--without {', '.join(symbols)}: no symbol of {loaded.config.system} is left to trade")
    return loaded.with_overrides([f"symbols=[{', '.join(left)}]"]) if symbols else loaded


def _made(attempt: _Attempt, result: BacktestResult, done: EpochResult, options: SessionOptions) -> SessionRun:
    """What was kept, with its report. Raises what ended the session, where it was a fault."""
    live, ending = attempt.live, attempt.ending
    assert live is not None and ending is not None  # there is a result
    report = write_run_report(result, done.artifacts, attempt.course.kind) if options.report else None
    if ending.failure is not None:
        failure = ending.failure
        told = failure if isinstance(failure, (KeelError, InvariantError)) else InvariantError(f"{type(failure).__name__}: {failure}")
        told.add_note(f"{done.run_id}: {done.artifacts}")
        raise told from failure
    lines, quote = ending_lines(live, ending), next(iter(live.instruments.values())).quote
    attempt.log_end(lines)
    return SessionRun(done, result, ending, live.account, live.journal.folder, report, lines, quote)


class _Attempt:
    """One session, from start to end, with its log, its alerts and its heartbeats."""

    def __init__(self, plan: Plan, options: SessionOptions, beside: Beside | None, course: Course) -> None:
        self._plan, self._options, self._beside, self.course = plan, options, beside, course
        self._log = _RunLog(get_logger(f"keel.{course.epoch.value}", environment=plan.environment.value.upper(), system=plan.system.system))
        self._session: Session | None = None
        self.alerts = SessionAlerts(None)
        self._beats = Heartbeats(None, self.notify, stops_alone=False)

    @property
    def live(self) -> Live | None:
        """What traded; None where the start was refused."""
        return None if self._session is None else self._session.live

    @property
    def ending(self) -> Ending | None:
        """How trading ended; None while it has not."""
        return None if self._session is None else self._session.ending

    @contextmanager
    def heartbeats(self) -> Iterator[None]:
        """For the length of a run: heartbeats, where a supervisor waits for them."""
        stops_alone = self._plan.system.supervision.on_supervisor_gone == "stop"
        with heartbeats(self.notify, stops_alone=stops_alone) as self._beats:
            yield

    def tell_end(self, error: BaseException) -> None:
        """Whatever broke after a session had begun to trade: its error, and the log, say how trading ended and what stays."""
        is_interrupt = isinstance(error, KeyboardInterrupt)
        code = INTERRUPTED if is_interrupt else error.exit_code if isinstance(error, KeelError) else 1
        self._beats.ended(f"{type(error).__name__}: {error}", code, in_order=is_interrupt)
        if self.live is None:
            self._log.error("not started", code="refused", reason=f"{type(error).__name__}: {error}")
            self.alerts.tell("failed", f"not started: {type(error).__name__}: {error}", is_error=True)
            return
        lines = ["trading has stopped; what rests at the exchange was not looked at"]
        if self.ending is not None:
            lines = ending_lines(self.live, self.ending)
        for line in lines:
            error.add_note(line)
        self.log_end([f"{type(error).__name__}: {error}", *lines], is_failed=True)

    def log_end(self, lines: list[str], *, is_failed: bool = False) -> None:
        """The log's last line of a session."""
        if not is_failed and self.ending is not None:
            self._beats.ended(self.ending.reason, self.ending.exit_code, in_order=True)
        (self._log.error if is_failed else self._log.info)("stopped", code="stopped", said=lines)
        self.alerts.tell("failed" if is_failed else "stopped", "\n".join(lines), is_error=is_failed)

    def show(self, notice: Notice) -> None:
        """What became of an alert: on the screen and in the log."""
        if self._session is not None:
            self._session.notices.append(notice)
        self._write(notice)

    def say(self, text: str) -> None:
        """For the log."""
        self._log.warning(text, code="alert_failed")

    def trade(self, begin: Callable[..., str]) -> BacktestResult:
        """Trade until the end. begin: called when the start is through, returns the run's id."""
        began = time.monotonic()
        live, ending = run_to_end(self._run(begin))
        return session_result(live, ending, wall_s=time.monotonic() - began)

    async def _run(self, begin: Callable[..., str]) -> tuple[Live, Ending]:
        session = self._session = Session(
            self._plan, self._on_notice, max_bars=self._options.max_bars, watch=lambda bus, later: log_events(bus, self._log, later),
            rest=collect_quietly,
        )  # fmt: skip
        self._beats.follow(session)
        where = endpoints(self._plan.environment, self._plan.sandbox_url)
        try:
            credentials = load_credentials(where, file=self._plan.key_file)
        except KeelError as error:
            if (arming := self._plan.arming) is None:
                raise
            arming.look_here()  # a key is one of the things that may be missing
            raise arming.refused(error) from error
        owner = f"the session of {self._plan.system.system}"
        button = PanicButton(where, credentials, owner=owner, key_file=self._plan.key_file, say=self._notify_panic)
        async with interruptible(session, self._alarm, button.press):
            try:
                return await session.run(self._begun(begin, button))
            finally:
                button.close()

    def _notify_panic(self, text: str) -> None:
        """From any thread: past the loop, which may hang, and past the screen."""
        if text.startswith("PANIC"):
            self.alerts.tell("panic", text, is_error=True)

        def write() -> None:
            with suppress(OSError):
                os.write(2, f"{text}\n".encode(errors="replace"))

        def keep() -> None:
            self._log.error(text, code="panic")

        for each in (write, keep):  # a terminal that is held (Ctrl-S), a pipe that nobody reads, a log that hangs: they delay nothing
            threading.Thread(target=each, daemon=True).start()

    def _begun(self, begin: Callable[..., str], button: PanicButton) -> Beside:
        """The run begins when the start is through: one that was refused was no run."""

        async def beside(live: Live, stop: Stop) -> AsyncIterator[None]:
            journal = live.journal  # a process that is killed says no more where it is
            self._log.bind(run_id=begin(journal=str(journal.folder), session=journal.session))
            if self._options.max_bars is not None and self._session is not None:
                self._session.bars.start_at(bars_before(journal.folder, len(live.books.engine.closes)))
            button.halts(live.connection.latch.press)
            if live.connection.pace.judges_loop:  # else a panic is a rehearsal, and may take its time
                button.stand_by()
            async with self.alerts.beside(live), self._beats.beside(live):
                if self._beside is None:
                    yield
                    return
                with panic_key(button.press, self._notify_panic):
                    async with asynccontextmanager(self._beside)(live, stop):
                        yield

        return beside

    def notify(self, notice: Notice) -> None:
        """Something that is seen beside the session, from any thread: for the screen, the log and the alerts."""
        self.show(notice)
        self.alerts.notify(notice)

    def _on_notice(self, notice: Notice) -> None:
        self._write(notice)
        self.alerts.notify(notice)

    def _alarm(self, text: str) -> None:
        """The watchdog's thread: the loop hangs."""
        self.alerts.tell("loop_stalled", text, is_error=True)
        self._log.error(text, code="loop_stalled")

    def _write(self, notice: Notice) -> None:
        write = {"info": self._log.info, "warning": self._log.warning, "error": self._log.error}[notice.severity]
        write(notice.text, **{name: value for name, value in _fields(notice).items() if value not in (None, False)})


class _RunLog:
    """A logger whose lines, whoever writes them, carry the run's id once the run has begun."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def bind(self, **fields: Any) -> None:
        """From now on every line carries these, too."""
        self._log = self._log.bind(**fields)

    def info(self, event: str, **fields: Any) -> None:
        """As of a Logger."""
        self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """As of a Logger."""
        self._log.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """As of a Logger."""
        self._log.error(event, **fields)


def _fields(notice: Notice) -> dict[str, Any]:
    found = msgspec.structs.asdict(notice)
    return {name: found[name] for name in ("code", "symbol", "freezes")}


@asynccontextmanager
async def interruptible(session: Session, alarm: Callable[[str], None], panic: Callable[[str], None] | None = None) -> AsyncIterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP (a terminal that was closed; nohup ignores it) ask the session to stop, and end a start that is still
    under way with KeyboardInterrupt; a second one ends everything on the spot. panic: what SIGUSR1 presses."""
    task = asyncio.current_task()
    heard = {
        number: name for number, name in _SIGNALS.items() if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }

    def ask(name: str) -> None:
        session.stop.ask(name)
        if session.live is None and task is not None:
            task.cancel()

    hears = threading.current_thread() is threading.main_thread()  # only there signals are heard
    with session.watchdog.watching(heard, ask, alarm, panic) if hears else nullcontext():
        try:
            yield
        except asyncio.CancelledError:
            if session.stop.is_asked:  # before the session was up: there is nothing to end in order
                raise KeyboardInterrupt from None
            raise
