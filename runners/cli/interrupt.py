"""Ctrl-C, whatever is under way: noticed once, so that an error that it caused somewhere deep is not taken for one of anybody's."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 130
"""The exit code of what Ctrl-C ended: 128 and the signal's number."""


class Interrupts:
    """While it is entered, Ctrl-C raises KeyboardInterrupt as ever, and ``came`` is True from then on.

    Libraries turn the exception into others (DuckDB), and workers that heard the same Ctrl-C are missed by who waits for them. Commands
    whose end in order is Ctrl-C (demo, sandbox) hear the signal themselves, and it does not come here.
    """

    def __init__(self) -> None:
        self.came = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if is_ours:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt
