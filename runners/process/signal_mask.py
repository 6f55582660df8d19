"""Signals that this thread blocks, and programs that it starts: what is blocked here is not to be blocked there."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def nothing_blocked() -> Iterator[None]:
    """While a program is started: it inherits the mask of the thread that starts it, and would never hear a SIGTERM."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
