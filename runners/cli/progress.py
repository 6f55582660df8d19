"""One line on the terminal that says what is going on, for what takes longer than a second."""

from __future__ import annotations

import time
from typing import TextIO

PATIENCE_S = 1.0
"""Before that, nothing is drawn: most commands are done by then."""

_WIDTH = 24
_REDRAW_S = 0.1


class ProgressLine:
    """Called with (label, done, of how many); draws over itself, and is gone when closed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._drawn_at = 0.0

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._began < PATIENCE_S or (now - self._drawn_at < _REDRAW_S and done < total):
            return
        share = min(1.0, done / total) if total else 0.0
        bar = "━" * round(share * _WIDTH)
        self._stream.write(f"\r\x1b[K{label} {bar:╌<{_WIDTH}} {100 * share:3.0f} %")
        self._stream.flush()
        self._drawn_at = now

    def close(self) -> None:
        """Take the line away; a later call draws a new one."""
        if self._drawn_at:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn_at = 0.0
