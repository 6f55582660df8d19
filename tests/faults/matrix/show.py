"""One story played in virtual time while faults strike at their moments, and what came of it.

Every fault waits for its moment (a request that arrives, a trade, a candle that closes, a session that starts), strikes in that very step,
and ends some seconds later. A session that stops for it is started again, as a supervisor would. When all is over the session has thirty
seconds to understand everything; then it is asked to end, and the checker judges.
"""

from __future__ import annotations

import asyncio
import gc
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.core.errors import ConfigError, KeelError
from keel.core.risk.gate.causes import CAUSES, TradingState
from keel.runners.live.checks.release import release
from keel.runners.live.panic.latch import latch_path
from keel.runners.live.session.ending import Ending
from keel.runners.live.session.live import Live
from keel.runners.live.session.session import Session
from tests.faults.matrix import script
from tests.faults.matrix.exchange import WatchedExchange
from tests.virtual.sandbox import VirtualSandbox

LAST_MINUTE: Final = 14
"""A story goes on at least until this minute from its first."""
LATEST_MINUTE: Final = 20
"""Moments of several faults that have not come until then do not come."""
PATIENCE_S: Final = 30.0
"""After the last fault: until a session is READY, or halted with a reason."""
PERSON_S: Final = 90.0
"""After that: until what ends by itself has ended, before a person lifts what only a person can."""
ACTS_WITHIN_S: Final = 120.0
"""How long a fault waits for something to strike at, after its time."""
LONGEST_S: Final = 1_500.0
AGAIN_S: Final = 5.0
"""After a session has stopped for a fault: until it is started again."""
TICK_S: Final = 0.5


class Show(WatchedExchange):
    """Of one run. ``strikes``: moment and fault, see ``moments`` and ``faults``."""

    def __init__(
        self, sandbox: VirtualSandbox, journals: Path, seed: int, strategy: type[script.Script], patch: pytest.MonkeyPatch
    ) -> None:  # fmt: skip
        self.strategy, self.patch = strategy, patch
        super().__init__(sandbox)
        self.journals, self.seed = journals, seed
        self.rng = random.Random(f"faults {seed}")
        self.notices: list[Notice] = []
        self.how = ""
        """Which of its forms the latest fault took."""
        self.struck_ms: dict[int, tuple[int, str]] = {}
        """Number of a strike, in their order of asking -> (when, how)."""
        self.refused: list[str] = []
        """Starts that were refused, and sessions that stopped by themselves."""
        self.endings: list[Ending] = []
        self.session: Session | None = None
        self.live: Live | None = None
        """Of the latest session that was up."""
        self.lives: list[Live] = []
        self.problems: list[str] = []
        self.faults_over_ms: int | None = None
        self.ended_ms: int | None = None
        self.state = ""
        self.states: list[str] = []
        """What it was before a person helped."""
        self.before: dict[str, int] = {}
        self.after: dict[str, int] = {}
        """What was held by this process before and after the sessions."""
        self.truth: dict[str, Any] | None = None
        """Of the account when the last session ended."""
        self.may_restart = True
        self.may_end_otherwise = False
        """Whether a session need not be READY in the end: it has stopped, and nobody starts it again."""
        self._task: asyncio.Task[Any] | None = None
        self._killed: Path | None = None
        self._waiting, self._must_act, self.is_alone = 0, False, True
        self._ends: list[float] = []
        self._undo: list[Callable[[], None]] = []

    # --- faults ---

    def expects(self, count: int) -> None:
        """So many strikes are to come. One alone must; of several, one may keep another's moment from coming."""
        self._waiting, self.is_alone = count, count == 1

    def struck(self, number: int, lasts_s: float, begin: Callable[[], None], *, must_act: bool) -> None:
        """A fault strikes, and ends so many seconds from now, or when its rules have acted. Where all are over, none strikes any more."""
        if self.faults_over_ms is not None:
            return
        self._waiting -= 1
        self._must_act = self._must_act or must_act
        self._ends.append(self.now_s + lasts_s)
        self.how = ""
        at = self.sandbox.wall_ms()
        begin()
        self.struck_ms[number] = at, self.how

    def at_end(self, undo: Callable[[], None]) -> None:
        """When all faults end, this is done."""
        self._undo.append(undo)

    def _are_over(self) -> bool:
        """Whether all faults have struck, acted, and had their time."""
        if self.faults_over_ms is not None:
            return True
        if self._waiting and (self.is_alone or self.minute < LATEST_MINUTE):
            return False
        if self.now_s < max(self._ends, default=0.0):
            return False
        self.acted = sum(counted["applied"] for counted in self.server.faults.state())
        if self.is_alone and self._must_act and not self.acted and self.now_s < max(self._ends) + ACTS_WITHIN_S:
            return False
        for undo in self._undo:
            undo()
        reset = [{"action": {"kind": kind, "ms": 0}} for kind in ("clock", "lag_query")]
        self.server.put_faults(msgspec.json.encode({"rules": reset, "clear": True}))
        self.faults_over_ms = self.sandbox.wall_ms()
        return True

    acted = 0
    """How often rules acted."""

    # --- sessions ---

    def begin(self) -> None:
        """Start a session."""
        self.session = Session(script.plan(self.sandbox.url, self.journals, self.strategy), self.notices.append)
        for hear in list(self.watch.starts):
            hear()
        self._task = asyncio.create_task(self.session.run())

    def kill(self) -> None:
        """End the process here: what its journal has not handed to the system is gone."""
        if self._task is None or self._task.done() or self._killed is not None:
            return
        self._killed = self.journals.with_name("killed")
        if self.journals.exists():
            shutil.copytree(self.journals, self._killed)
        else:
            self._killed.mkdir()
        if self.live is not None:  # the dead send nothing, however many turns of the loop it takes to end their tasks
            self.live.connection.rest.stop = lambda: "the process is killed"
        self._task.cancel()

    def restart(self) -> None:
        """Ask the session to end in order; another follows."""
        if self.session is not None:
            self.session.stop.ask("a restart")

    async def _look_at_session(self) -> None:
        """One that has ended is followed by another."""
        task = self._task
        if self.session is not None and self.session.live is not None and self.session.live not in self.lives:
            self.live = self.session.live
            self.lives.append(self.live)
        if task is None or not task.done():
            return
        self._task = None
        if not self.may_restart and self.truth is None:
            self.truth = self.sandbox.truth(script.KEY)
        if self._killed is not None:
            await asyncio.gather(task, return_exceptions=True)
            shutil.rmtree(self.journals, ignore_errors=True)
            shutil.move(self._killed, self.journals)
            self._killed = None
        elif isinstance(error := task.exception(), KeelError):
            self.refused.append(f"{type(error).__name__}: {error}")
        elif error is not None:
            self.problems.append(f"the session raised {error!r}")
            self.may_restart = False
        else:
            ending = task.result()[1]
            self.endings.append(ending)
            if ending.failure is not None:
                self.refused.append(f"{type(ending.failure).__name__}: {ending.failure}")
        if self.may_restart:
            await asyncio.sleep(AGAIN_S)
            self.begin()

    # --- the story ---

    async def play(self) -> None:
        """To its end."""
        self.before = _held()
        self.begin()
        end = self.now_s + LONGEST_S
        while not self._are_over() or self.minute < LAST_MINUTE:
            await asyncio.sleep(TICK_S)
            await self._look_at_session()
            if self._task is None:
                break
            if self.now_s > end:
                self.problems.append("the faults did not come to their end" if not self._are_over() else "the market stands still")
                break
        if self._task is not None:
            await self._until_clear()
        await self._finish()

    async def _until_clear(self) -> None:
        """READY, or a reason, in time; then READY, with a person's help where only that helps."""
        begun = self.now_s
        while self.now_s < begun + PATIENCE_S + PERSON_S:
            await asyncio.sleep(TICK_S)
            await self._look_at_session()
            if self._task is None:
                return
            self.state = self._state()
            if self.state == "READY":
                return
            if self.now_s >= begun + PATIENCE_S:
                if self.state.startswith("ACTIVE"):
                    self.problems.append(f"I-18: {PATIENCE_S:g} s after the last fault: {self.state}")
                    return
                await self._help()

    async def _help(self) -> None:
        """A person lifts what only a person can: after a panic, the latch, and begins anew."""
        live = self.session.live if self.session is not None else None
        latch = latch_path(Environment.SANDBOX, self.sandbox.url)
        if latch.exists():
            self.states.append(self.state)
            latch.unlink()
            self.faults_over_ms = self.rearmed_ms = self.sandbox.wall_ms()  # from here on, nothing keeps a session from trading
            self.restart()
            return
        for cause in sorted({entry.cause for entry in live.gate.entries()} if live is not None else ()):
            if live is not None and CAUSES[cause].lifted_by == "person" and cause != "panic":
                try:
                    await release(live, cause, None, "a person")
                except (KeelError, ConfigError):
                    continue  # it persists; asked again later

    def _state(self) -> str:
        """READY when everything is understood, else why not."""
        live = self.session.live if self.session is not None else None
        if live is None:
            return "HALTED starting"
        truth = self.sandbox.truth(script.KEY)
        moved = {row["execId"] for row in truth["executions"] if row["execType"] != "Funding"}
        booked = {fill.fill_id for fill in live.tape.fills}
        lacks = []
        if moved != booked:
            lacks.append(f"executions not booked: {sorted(moved - booked)}")
        if len(live.tape.payments) != len(truth["funding"]):
            lacks.append("a funding payment is not booked")
        if live.venue.unknown or live.venue.in_flight:
            lacks.append(f"unknown {dict(live.venue.unknown)}, {live.venue.in_flight} in flight")
        if not lacks and live.gate.state is TradingState.ACTIVE and not live.gate.frozen and live.venue.is_ready:
            return "READY"
        return f"{live.gate.state.name} {live.gate.why} frozen {live.gate.frozen} {'; '.join(lacks)}".strip()

    async def _finish(self) -> None:
        self.ended_ms = self.sandbox.wall_ms()
        for mover in self.server._tasks[1:]:
            mover.cancel()  # the market stands still, so that what the exchange knows in the end is what a session could hear
        task, self.may_restart = self._task, False
        if task is not None and self.session is not None:
            self.session.stop.ask("the story is told")
            await asyncio.wait({task}, timeout=60.0)
            if not task.done():
                self.problems.append("the session does not end")
                task.cancel()
            await self._look_at_session()
        await asyncio.sleep(5.0)
        self.after = _held()


def _held() -> dict[str, int]:
    """Open files by what they are, and tasks by where they come from (but for those of the exchange): one that a run leaves open is not
    hidden by one of an earlier test's that was closed meanwhile."""
    gc.collect()
    found: dict[str, int] = {}
    files = Path("/proc/self/fd")
    for file in sorted(files.iterdir()) if files.is_dir() else ():
        try:
            name = f"file {file.readlink()}"
        except FileNotFoundError:  # that of this list
            continue
        found[name] = found.get(name, 0) + 1
    for task in asyncio.all_tasks():
        code = task.get_coro().cr_code  # type: ignore[union-attr]  # every task is made of a coroutine
        if not any(place in code.co_filename for place in ("sim/sandbox", "aiohttp/web")):
            found[f"task {code.co_qualname}"] = found.get(f"task {code.co_qualname}", 0) + 1
    return found
