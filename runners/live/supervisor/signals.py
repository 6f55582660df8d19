"""Signals of the supervisor, one after the other, each with whether the trader has had it already.

A Ctrl-C on a terminal goes to the whole process group: the trader gets it by itself, and must not get it twice (a second one ends it on the
spot). A signal that somebody sent to the supervisor alone is passed on. The system says which it was (si_code); where it does not, what a
terminal sends is taken to have come from there.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from types import FrameType
from typing import Final, NamedTuple

ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PANIC: Final = signal.SIGUSR1
_FROM_KERNEL: Final = 0x80
_HAS_INFO: Final = hasattr(signal, "sigtimedwait")


class Heard(NamedTuple):
    """number: the signal; is_shared: it went to the trader, too."""

    number: int
    is_shared: bool


class Signals:
    """Hears from its making on. A SIGHUP that is ignored (nohup) stays so."""

    def __init__(self) -> None:
        ends = [number for number in ENDS if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]
        self._numbers = {*ends, PANIC, signal.SIGCHLD}
        self._waiting: deque[int] = deque()
        self._before = {number: signal.signal(number, self._keep) for number in self._numbers}
        if _HAS_INFO:
            signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)

    def wait(self, timeout_s: float) -> Heard | None:
        """The next one; None when none has come for so long. The end of a child wakes, and is none."""
        if _HAS_INFO and not self._waiting:
            found = signal.sigtimedwait(self._numbers, timeout_s)
            if found is not None and found.si_signo != signal.SIGCHLD:
                return Heard(found.si_signo, found.si_code == _FROM_KERNEL)
        elif not self._waiting:
            time.sleep(timeout_s)
        if not self._waiting:
            return None
        number = self._waiting.popleft()
        return Heard(number, number in (signal.SIGINT, signal.SIGHUP) and os.isatty(0))

    def close(self) -> None:
        """As before: what still waits strikes now."""
        if _HAS_INFO:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._numbers)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        """For the moment in which a program is started and nothing is blocked, and for systems that tell nothing of a signal."""
        if number != signal.SIGCHLD:
            self._waiting.append(number)
