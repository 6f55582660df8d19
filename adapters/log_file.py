"""A log file that does not grow without bound, that its owner alone may read, and that stops nobody when it cannot be written.

At ``MOST_BYTES`` the file becomes ``<name>.1``, what was that ``.2``, and so on up to ``KEPT``; the oldest goes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from keel.core.errors import ConfigError

MOST_BYTES: Final = 10 << 20
KEPT: Final = 5


class LogFile:
    """Appends lines, each in one write, so that those of several processes never mix. Raises ConfigError when it cannot be opened."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES, kept: int = KEPT) -> None:
        self._path, self._most_bytes, self._kept = path, most_bytes, kept
        self.lost = 0
        """Lines that the disk did not take since the last one that it took."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = self._open()
        except OSError as error:
            raise ConfigError(f"the log file {path} cannot be opened: {error.strerror}") from error

    def write(self, line: bytes) -> None:
        """Append a line, its end included. One that is not taken is counted, and told on stderr and in the file when that is over."""
        try:
            if os.fstat(self._descriptor).st_size + len(line) > self._most_bytes:
                self._turn()
            if self.lost:
                line = b'{"event":"log lines were lost: the disk did not take them","level":"error","lines":%d}\n' % self.lost + line
            if os.write(self._descriptor, line) != len(line):
                raise OSError("only a part of a line was taken: is the disk full?")
            self.lost = 0
        except OSError as error:
            self.lost += 1
            if self.lost == 1:
                self._report(f"the log file {self._path} takes no lines: {error.strerror or error}; it is tried again at each line\n")

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.fchmod(descriptor, 0o600)  # one that an earlier version made for all to read
        return descriptor

    def _turn(self) -> None:
        """Begin anew; where another process has done so already, go on in its file."""
        held = os.fstat(self._descriptor)
        if self._path.exists() and os.path.samestat(held, self._path.stat()):
            for number in range(self._kept, 0, -1):
                older = self._path if number == 1 else self._numbered(number - 1)
                if older.exists():
                    older.replace(self._numbered(number))
        fresh = self._open()
        os.close(self._descriptor)
        self._descriptor = fresh

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _report(self, text: str) -> None:
        try:
            sys.stderr.write(text)
        except (OSError, ValueError):  # nobody reads that either
            return
