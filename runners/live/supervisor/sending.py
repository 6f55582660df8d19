"""The trader's end: a thread that sends heartbeats, whatever the event loop does, and notices when the supervisor is gone.

Only the thread talks to the socket; the loop leaves what it knows (``Vitals``) in one place, whole each time. A supervisor that is started
anew listens at the same place, and is found within a second.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.machine import wall_ms
from keel.runners.live.session_address import connected
from keel.runners.live.supervisor.heartbeat import EVERY_S, RUN_NAME, SOCKET_NAME, Beat, Phase, Vitals, encode

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live
    from keel.runners.live.session.session import Session

GONE_S: Final = 1.0
"""Told only after so long without a supervisor: one that is started anew is there at once."""
STOP_AFTER_S: Final = 30.0
"""on_supervisor_gone: stop ends the session after so long without one."""
_SEND_S: Final = 0.5
_PAGE: Final = resource.getpagesize()


class Heartbeats:
    """Of one supervised session. path None: nobody supervises, and nothing is sent. run: the supervisor's id, as it gave it."""

    def __init__(self, path: Path | None, notify: Notify, *, stops_alone: bool, run: str = "") -> None:
        self._path, self._notify, self._stops_alone, self._of_run = path, notify, stops_alone, run
        self._session: Session | None = None
        self._vitals = Vitals()
        self._phase: Phase = "starting"
        self._end: tuple[str, int, bool] | None = None
        self._line: socket.socket | None = None
        self._alone_s: float | None = None
        self._is_told = False
        self._stop: Callable[[], object] | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keel-heartbeats", daemon=True)

    def begin(self) -> None:
        """Send from now on."""
        if self._path is not None:
            self._thread.start()

    def follow(self, session: Session) -> None:
        """The session whose event loop is watched."""
        self._session = session

    def ended(self, reason: str, code: int, *, in_order: bool) -> None:
        """How the session ended, with the exit code that follows: the last beat."""
        self._end = (reason, code, in_order)
        self._phase = "ended"

    def close(self) -> None:
        """Send the last beat, and end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    @asynccontextmanager
    async def beside(self, live: Live) -> AsyncIterator[None]:
        """While it trades: the loop says how it is."""
        if self._path is None:
            yield
            return
        loop = asyncio.get_running_loop()
        session = self._session
        if session is not None:
            self._stop = partial(loop.call_soon_threadsafe, session.stop.ask, "the supervisor is gone")
        self._vitals, self._phase = vitals_of(live), "trading"
        task = asyncio.create_task(self._look(live))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._stop = None

    async def _look(self, live: Live) -> None:
        while True:
            self._vitals = vitals_of(live)
            if self._session is not None and self._session.stop.is_asked:
                self._phase = "stopping"
            await asyncio.sleep(EVERY_S)

    # --- the thread ---

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._send()
        self._send()
        if self._line is not None:
            self._line.close()

    def _send(self) -> None:
        now = time.monotonic()
        if self._line is None and self._path is not None:
            with suppress(OSError):
                self._line = connected(self._path, _SEND_S)
        if self._line is not None:
            try:
                self._line.sendall(encode(self._beat()))
                self._found()
                return
            except OSError:  # gone, or it does not read any more: what was sent of the line is cut off with it
                self._line.close()
                self._line = None
        self._alone_s = self._alone_s or now
        self._missed(now - self._alone_s)

    def _found(self) -> None:
        self._alone_s = None
        if self._is_told:
            self._is_told = False
            self._report("supervisor_back", "the supervisor is there again", "info")

    def _missed(self, alone_s: float) -> None:
        if self._phase == "ended":
            return
        if alone_s >= GONE_S and not self._is_told:
            self._is_told = True
            then = f"the session ends in {STOP_AFTER_S:.0f} s" if self._stops_alone else "the session trades on"
            self._report(
                "supervisor_gone",
                f"the supervisor is gone; {then}; the stops that rest at the exchange stay, where the system sets a stop",
                "error",
            )
        if self._stops_alone and alone_s >= STOP_AFTER_S and self._stop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._stop()

    def _report(self, code: str, text: str, severity: Any) -> None:
        self._notify(Notice(wall_ms(), code, text, severity=severity))

    def _beat(self) -> Beat:
        late = 0.0 if self._session is None else self._session.watchdog.take_worst_s() * 1000
        reason, code, in_order = self._end or ("", None, False)
        return Beat(
            os.getpid(), self._phase, wall_ms(), time.monotonic_ns() // 1_000_000, late, rss_bytes(), self._vitals, reason, code, in_order,
            self._of_run,
        )  # fmt: skip


def vitals_of(live: Live) -> Vitals:
    """What the loop knows."""
    ages = [live.market.age_ms(symbol) for symbol in live.instruments]
    known = [age for age in ages if age is not None]
    lockstep = live.connection.pace.is_lockstep
    return Vitals(
        account=live.account,
        journal=str(live.journal.written[0]),
        state=live.gate.state.name,
        why=live.gate.why[:300],
        data_age_ms=max(known) if known and not lockstep else None,
        records=live.journal.seq,
        journal_bytes=live.journal.written[1],
        instants=len(live.books.engine.closes),
        is_lockstep=lockstep,
    )


def rss_bytes() -> int:
    """Memory that is really there."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


@contextmanager
def heartbeats(notify: Notify, *, stops_alone: bool, environ: Mapping[str, str] = os.environ) -> Iterator[Heartbeats]:
    """For the length of a session; nothing is sent where the environment names no supervisor."""
    place = environ.get(SOCKET_NAME)
    made = Heartbeats(Path(place) if place else None, notify, stops_alone=stops_alone, run=environ.get(RUN_NAME, ""))
    made.begin()
    try:
        yield made
    finally:
        made.close()
