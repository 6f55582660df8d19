"""The panic key of a session's terminal: a capital P, twice within three seconds. It is read in a thread, so that it works while the event
loop hangs; Ctrl-C keeps its meaning."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from keel.adapters.machine import monotonic_s

KEY: Final = b"P"
WITHIN_S: Final = 3.0
_TICK_S: Final = 0.2


@contextmanager
def panic_key(press: Callable[[str], None], say: Callable[[str], None], descriptor: int | None = None) -> Iterator[None]:
    """Listen while the block runs, where the terminal is ours to read (descriptor: stdin's): not in the background, not without one."""
    place = _stdin() if descriptor is None else descriptor
    if place is None or not _is_ours(place):
        yield
        return
    before = termios.tcgetattr(place)
    over = threading.Event()
    thread = threading.Thread(target=_listen, args=(place, press, say, over), name="keel-panic-key", daemon=True)
    tty.setcbreak(place, termios.TCSANOW)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(2 * _TICK_S)
        termios.tcsetattr(place, termios.TCSANOW, before)


def _stdin() -> int | None:
    try:
        return sys.stdin.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _is_ours(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


def _listen(descriptor: int, press: Callable[[str], None], say: Callable[[str], None], over: threading.Event) -> None:
    asked = 0.0
    while not over.is_set():
        if not select.select([descriptor], [], [], _TICK_S)[0]:
            continue
        try:
            keys = os.read(descriptor, 64)
        except OSError:
            return
        if not keys:
            return  # the terminal is gone
        for key in (keys[at : at + 1] for at in range(len(keys))):
            now = monotonic_s()
            if key != KEY:
                asked = 0.0
            elif asked and now - asked <= WITHIN_S:
                asked = 0.0
                press("the key P in the terminal")
            else:
                asked = now
                say(f"panic? P once more within {WITHIN_S:g} s cancels every order and closes every position of the account")
