"""Sees, from outside of the event loop, whether it still goes round: a strategy that hangs must neither trade late nor keep a session from
ending.

The loop beats every 25 ms. More than 100 ms late is told; at 2 s nothing leaves any more, from the moment on at which the loop returns,
before the order that was decided meanwhile. When the session is asked to end (Ctrl-C, SIGTERM, SIGHUP) and the loop hangs, what hangs is
broken off where it stands, and the session ends in order; code that cannot be broken off (it does not return from C) ends the process.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.machine import MACHINE, present
from keel.core.risk.gate.gate import Gate

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live

BEAT_S: Final = 0.025
SAME_S: Final = 0.5
"""Two signals within so long are one request."""
LATE_S: Final = 0.1
HUNG_S: Final = 2.0
ON_TIME_S: Final = 0.5
RECOVERED_S: Final = 10.0
"""For so long the loop must have come back within ON_TIME_S before orders leave again."""
TELL_EVERY_S: Final = 10.0
GIVE_UP_S: Final = 5.0
"""How long after it was asked to end a process whose loop hangs is ended on the spot, where nothing could be broken off."""
HUNG_EXIT: Final = 1


class LoopHung(BaseException):
    """Raised where the event loop hangs, so that the session can end. Not an Exception: what hangs may catch those."""


class Watchdog:
    """Of one session. Its thread runs while ``watching``; without it (the session is not in the main thread) the loop still notices by
    itself, once it returns, that it was late. left: words on what stays at the exchange, for a process that is ended on the spot."""

    def __init__(self, left: Callable[[], str] = lambda: "nothing is known of what rests at the exchange") -> None:
        self._now_s = MACHINE.monotonic_s
        """The clock that the loop's timers go by, also where another thread asks: see ``beat``."""
        self._beat: float | None = None
        self._worst_s = 0.0
        self._stalled: float | None = None
        self._told = -TELL_EVERY_S
        self._thread_of_loop = threading.get_ident()
        self._asked: float | None = None
        self._is_heard, self._heard_s = False, 0.0
        self._kicks = 0
        """1: the thread has sent its own signal; 2: it has arrived."""
        self._alarm: Callable[[str], None] = lambda text: None
        self._left = left

    @property
    def late_s(self) -> float:
        """How long the loop has not come round; 0 where it need not."""
        beat = self._beat
        return 0.0 if beat is None else max(0.0, self._now_s() - beat - BEAT_S)

    def take_worst_s(self) -> float:
        """The longest that the loop did not come round, this moment included, since this was last asked."""
        worst, self._worst_s = self._worst_s, 0.0
        return max(worst, self.late_s)

    # --- in the loop ---

    async def beat(self, live: Live, notify: Notify) -> None:
        """Come round until cancelled; tell what was late, and open the gate again when it has been on time."""
        self._thread_of_loop = threading.get_ident()
        self._now_s = present().monotonic_s
        self._beat = self._now_s()
        judges = live.connection.pace.judges_loop
        try:
            while True:
                await asyncio.sleep(BEAT_S)
                late = self.late_s
                self._worst_s = max(self._worst_s, late)
                if judges:
                    self.look(live.gate)
                    self._notify_late(late, live, notify)
                    await self._recover(late, live)
                self._beat = self._now_s()
        finally:
            self._beat = None

    def look(self, gate: Gate) -> None:
        """Before an order is asked about: one that was decided while the loop hung does not leave."""
        if (late := self.late_s) >= HUNG_S:
            self._stalled = self._now_s()
            gate.close("loop_stalled", f"the event loop did not return for {late:.1f} s")

    def _notify_late(self, late: float, live: Live, notify: Notify) -> None:
        if late < LATE_S or (late < HUNG_S and self._now_s() - self._told < TELL_EVERY_S):
            return
        self._told = self._now_s()
        severity: Any = "error" if late >= HUNG_S else "warning"
        notify(Notice(live.venue.stamp_ms(), "loop_late", f"the event loop was {late * 1000:.0f} ms late", severity=severity))

    async def _recover(self, late: float, live: Live) -> None:
        if self._stalled is None:
            return
        now = self._now_s()
        if late >= ON_TIME_S:
            self._stalled = now
        if now - self._stalled < RECOVERED_S:
            return
        self._stalled = now
        self._beat = now
        await live.reconciler.check()
        if live.reconciler.was_read and not live.reconciler.last:
            self._stalled = None
            live.gate.open("loop_stalled")

    # --- signals, and the thread ---

    @contextmanager
    def watching(
        self,
        signals: Mapping[signal.Signals, str],
        ask: Callable[[str], None],
        alarm: Callable[[str], None],
        panic: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        """Hear these signals (number -> name) and run the thread. ask: called in the loop, once; alarm: told in words, from another thread,
        that the loop hangs. A second signal ends the process on the spot, but for a twin of the first: what ends a whole group of processes
        reaches the trader twice, by itself and through its supervisor. panic: called in the thread, whatever the loop does, each time
        that SIGUSR1 comes."""
        loop = asyncio.get_running_loop()
        self._alarm = alarm
        before = {number: signal.getsignal(number) for number in (*signals, *([signal.SIGUSR1] if panic else []))}
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        over = threading.Event()

        def heard(number: int, frame: FrameType | None) -> None:
            if self._take_kick():
                raise LoopHung(self._where(frame))
            if self._is_heard:
                if MACHINE.monotonic_s() - self._heard_s < SAME_S:
                    return
                _end_at_once()
            self._is_heard, self._heard_s = True, MACHINE.monotonic_s()
            self._asked = self._asked or self._now_s()
            loop.call_soon_threadsafe(ask, signals[signal.Signals(number)])

        def late(number: int, frame: FrameType | None) -> None:
            if MACHINE.monotonic_s() - self._heard_s >= SAME_S:
                signal.signal(number, before[signal.Signals(number)])
                signal.raise_signal(number)

        wakeup = signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, heard)
        if panic is not None:
            signal.signal(signal.SIGUSR1, lambda number, frame: None)  # the thread is woken by the signal itself
        thread = threading.Thread(target=self._watch, args=(near, over, frozenset(signals), panic), name="keel-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(1.0)
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():  # the twin of a signal that was heard must not strike down what is written now
                signal.signal(number, late if self._is_heard and number in signals else handler)
            near.close()
            far.close()

    def _watch(
        self, near: socket.socket, over: threading.Event, numbers: frozenset[signal.Signals], panic: Callable[[str], None] | None
    ) -> None:
        is_told = False
        while not over.is_set():
            has_come = bool(select.select([near], [], [], BEAT_S)[0])
            came = set(near.recv(256)) if has_come else set()
            if panic is not None and signal.SIGUSR1 in came:
                panic("SIGUSR1")
            if came & numbers and self._asked is None:
                self._asked = self._now_s()
            hangs = self.late_s >= HUNG_S
            if hangs and not is_told:
                self._cry(f"the event loop has not returned for {HUNG_S:g} s, at {self._where()}: no order leaves; Ctrl-C ends the session")
            is_told = hangs
            if hangs and self._asked is not None:
                self._break_off(self._asked)

    def _break_off(self, asked: float) -> None:
        """Raise in what hangs, and where that does nothing for some seconds, end the process."""
        if self._now_s() - asked >= GIVE_UP_S and self._kicks:
            _write(
                f"the session was asked to end and does not come back, at {self._where()}: it is ended on the spot\n"
                f"not done: entries were not cancelled, the books were not compared, no artifacts were written\n{self._left()}\n"
                "a restart reads the account, and goes on from the journal"
            )
            os._exit(HUNG_EXIT)
        if not self._kicks:
            self._kicks = 1
            signal.pthread_kill(self._thread_of_loop, signal.SIGTERM)

    def _take_kick(self) -> bool:
        if self._kicks == 1 and self.late_s >= HUNG_S:
            self._kicks = 2
            return True
        return False

    def _where(self, frame: FrameType | None = None) -> str:
        """The place where the loop's thread is."""
        frame = frame or sys._current_frames().get(self._thread_of_loop)
        stack = traceback.extract_stack(frame) if frame is not None else []
        if not stack:
            return "an unknown place"
        last = stack[-1]
        return f"{last.filename}, line {last.lineno}, in {last.name}"

    def _cry(self, text: str) -> None:
        _write(text)
        threading.Thread(target=self._alarm, args=(text,), daemon=True).start()  # a logger that hangs, too, does not hang us


def _end_at_once() -> NoReturn:
    """A second signal: it ends on the spot, as an interrupt does."""
    raise KeyboardInterrupt


def _write(text: str) -> None:
    """To stderr, past every buffer and lock."""
    os.write(2, f"{text}\n".encode(errors="replace"))
