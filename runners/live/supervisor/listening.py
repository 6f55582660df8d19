"""The supervisor's end of the socket: takes what connects, hears the trader alone, reads whole lines, and blocks nobody.

Whoever may open the socket may write a heartbeat to it, and one that is believed hides that the trader hangs. So a line is the trader's
only where the system says that the trader's process is at its other end; on a system that does not say it, where a beat has the trader's
number and the id of its run. What else comes is left out and counted (``Ignored``).
"""

from __future__ import annotations

import math
import os
import socket
import struct
import sys
from collections import Counter
from typing import Final

from keel.runners.live.supervisor.address import TraderCard
from keel.runners.live.supervisor.heartbeat import LONGEST, Beat, decode

TOLD_EVERY_S: Final = 60.0
_READS: Final = 8
"""Reads of one line in a turn: who writes faster than that waits."""
_CREDENTIALS: Final = "3i"
"""Of SO_PEERCRED on Linux: process, user, group."""
_KINDS: Final = 3


class Ignored:
    """What came and was no heartbeat of the trader: counted, told at once, then once a minute at most. Time is given."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._not_before_s = -math.inf
        self.total = 0

    def add(self, what: str) -> None:
        """One more."""
        self._counts[what] += 1
        self.total += 1

    def told(self, now_s: float) -> str | None:
        """What has come since it was told last, in words; None: nothing, or not yet."""
        if not self._counts or now_s < self._not_before_s:
            return None
        named = self._counts.most_common(_KINDS)
        rest = sum(self._counts.values()) - sum(count for _, count in named)
        words = [*(f"{what}: {count}" for what, count in named), *([f"others: {rest}"] if rest else []), f"in all: {self.total}"]
        self._counts.clear()
        self._not_before_s = now_s + TOLD_EVERY_S
        return "; ".join(words)


class _Line:
    """One connection. peer: the process at its other end, None where the system does not say it."""

    def __init__(self, made: socket.socket, peer: int | None) -> None:
        self.socket, self.peer, self.held = made, peer, bytearray()


class Listener:
    """Reads the beats of the trader; it connects anew by itself when a line is lost."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._lines: list[_Line] = []
        self.ignored = Ignored()

    def beats(self, trader: TraderCard | None) -> list[Beat]:
        """What has come by now of this trader, in order. None: no trader runs, and no message is read."""
        self._accept()
        found: list[Beat] = []
        for line in list(self._lines):
            if line.peer is not None and (trader is None or line.peer != trader.process):
                self.ignored.add(f"connections of process {line.peer}, which is not the trader")
                self._drop(line)
                continue
            found += [beat for beat in self._read(line) if self._is_of(trader, beat, line)]
        return found

    def close(self) -> None:
        """Hear nobody any more."""
        for line in list(self._lines):
            self._drop(line)
        self._listening.close()

    def _is_of(self, trader: TraderCard | None, beat: Beat, line: _Line) -> bool:
        if trader is not None and (line.peer is not None or (beat.process, beat.run) == (trader.process, trader.run)):
            return True
        self.ignored.add(f"heartbeats of process {beat.process}, which is not the trader")
        return False

    def _accept(self) -> None:
        try:
            while True:
                made, _ = self._listening.accept()
                made.setblocking(False)
                self._lines.append(_Line(made, peer_process(made)))
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:  # no descriptor left: what waits is taken when there is one
            self.ignored.add(f"connections that could not be taken ({os.strerror(error.errno or 0)})")

    def _read(self, line: _Line) -> list[Beat]:
        is_open = self._receive(line)
        *whole, rest = bytes(line.held).split(b"\n")
        line.held = bytearray(rest)
        if not is_open or len(rest) > LONGEST:
            if rest:
                self.ignored.add("lines that were cut off" if not is_open else "lines without an end")
            self._drop(line)
        beats = [decode(each) for each in whole]
        for _ in range(beats.count(None)):
            self.ignored.add("lines that are no heartbeat")
        return [beat for beat in beats if beat is not None]

    def _receive(self, line: _Line) -> bool:
        """Whether it is still open."""
        for _ in range(_READS):
            try:
                piece = line.socket.recv(LONGEST)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not piece:
                return False
            line.held += piece
        return True

    def _drop(self, line: _Line) -> None:
        self._lines.remove(line)
        line.socket.close()


def peer_process(line: socket.socket) -> int | None:
    """Which process connected, as the system tells it (0: one that cannot be seen from here); None where it does not tell."""
    if sys.platform != "linux":
        return None
    told = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
    process: int = struct.unpack(_CREDENTIALS, told)[0]
    return process
