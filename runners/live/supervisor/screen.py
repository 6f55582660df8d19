"""What a supervisor writes on its terminal, from a thread of its own: a terminal that is held (Ctrl-S), or a pipe that nobody reads, holds
up neither the watch nor the panic path."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from typing import Final

_MOST: Final = 1_000
_END_S: Final = 1.0


class Screen:
    """Lines in their order, to a descriptor (a buffer has a lock, for which an interpreter that ends would wait). Where more wait than it
    keeps, the newest are lost here: the log has all of them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST)
        self._thread = threading.Thread(target=self._run, name="keel-supervisor-screen", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Never waits."""
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def close(self) -> None:
        """What waits is given a second."""
        with suppress(queue.Full):
            self._lines.put_nowait(None)
        self._thread.join(_END_S)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            rest = line.encode(errors="replace")
            with suppress(OSError):  # nobody reads: the log has it
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
