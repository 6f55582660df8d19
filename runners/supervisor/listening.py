"""The supervisor's end of the socket: takes what connects, reads whole lines, and blocks nobody."""

from __future__ import annotations

import socket
from contextlib import suppress

from runners.supervisor.heartbeat import LONGEST, Beat, decode


class Listener:
    """Reads beats of whoever is connected; the trader connects anew by itself when a line is lost."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._lines: dict[socket.socket, bytearray] = {}

    def beats(self) -> list[Beat]:
        """What has come by now, in order."""
        self._accept()
        found: list[Beat] = []
        for line in list(self._lines):
            found += self._read(line)
        return found

    def close(self) -> None:
        """Hear nobody any more."""
        for line in self._lines:
            line.close()
        self._lines.clear()
        self._listening.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):
            while True:
                line, _ = self._listening.accept()
                line.setblocking(False)
                self._lines[line] = bytearray()

    def _read(self, line: socket.socket) -> list[Beat]:
        held = self._lines[line]
        is_open = True
        try:
            while True:
                piece = line.recv(LONGEST)
                if not piece:
                    is_open = False
                    break
                held += piece
        except BlockingIOError:
            pass
        except OSError:
            is_open = False
        *whole, rest = bytes(held).split(b"\n")
        self._lines[line] = bytearray(rest)
        if not is_open or len(rest) > LONGEST:
            del self._lines[line]
            line.close()
        return [beat for each in whole if (beat := decode(each)) is not None]
