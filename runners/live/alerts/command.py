"""A program of the user's own as a target: no shell, a group of its own, an environment without the keys of accounts, an end in time.

It may hang, flood its stderr, leave others running: nothing of that reaches the session. What it says is read slowly and kept to its end
only, and its exit code alone says whether it took the alert, whoever still holds its stderr.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from keel.runners.live.alerts.config import CommandConfig
from keel.runners.live.alerts.message import Message
from keel.runners.live.alerts.outcome import Outcome
from keel.runners.live.alerts.scrub import Scrub, is_own_key
from keel.runners.process.child_environment import child_environment
from keel.runners.process.signal_mask import nothing_blocked

_TURN_S: Final = 0.05
_PIECE: Final = 1 << 16
"""Bytes that are read in a turn at most: a program that writes more waits."""
_KEPT: Final = 300
_REAP_S: Final = 2.0


class CommandSender:
    """Runs the program once for each alert. folder: where."""

    def __init__(self, name: str, target: CommandConfig, environ: Mapping[str, str], scrub: Scrub, folder: Path) -> None:
        self.name, self.severity, self.daily = name, target.severity, target.daily
        self._command, self._timeout_s, self._scrub, self._folder = list(target.command), target.timeout_s, scrub, folder
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._is_closed = False
        self._environ = {key: value for key, value in child_environment(environ).items() if not is_own_key(key)}

    def send(self, message: Message) -> Outcome:
        """Run it once, with the alert on stdin; an exit code other than 0 is a failure."""
        environ = {
            **self._environ, "KEEL_ALERT_CODE": message.code, "KEEL_ALERT_SEVERITY": message.severity, "KEEL_ALERT_TITLE": message.title,
            "KEEL_ALERT_TEXT": message.body.replace("\0", " "), "KEEL_ALERT_SYMBOL": message.symbol,
        }  # fmt: skip
        try:
            process = self._started(environ)
        except (OSError, ValueError) as error:
            return Outcome(False, self._scrub(f"{self._command[0]} cannot be started: {error}"))
        if process is None:
            return Outcome(False, "the end came first")
        try:
            code, told = _attend(process, message.plain + b"\n", time.monotonic() + self._timeout_s)
        finally:
            with self._lock:
                self._running = None
            _end_group(process)
        if code == 0:
            return Outcome(True)
        said = self._scrub(" ".join(told.decode("utf-8", "replace").split()))
        words = f": {said[-_KEPT:]}" if said else ""
        if code is None:
            return Outcome(False, f"{self._command[0]} did not end within {self._timeout_s:g} s, and was ended{words}")
        return Outcome(False, f"{self._command[0]} ended with {code}{words}")

    def close(self) -> None:
        """Nothing outlives the session that started it: what still runs is ended, with all of its group."""
        with self._lock:
            self._is_closed = True
            if self._running is not None:
                _kill_group(self._running)

    def _started(self, environ: dict[str, str]) -> subprocess.Popen[bytes] | None:
        """None: ``close`` came before. Raises OSError, ValueError."""
        with self._lock:
            if self._is_closed:
                return None
            with nothing_blocked():
                self._running = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=self._folder, env=environ,
                    start_new_session=True, bufsize=0,
                )  # fmt: skip
            return self._running


def _attend(process: subprocess.Popen[bytes], data: bytes, until_s: float) -> tuple[int | None, bytes]:
    """Feed its stdin and read its stderr until it has ended, or its time is over (code None); the end of what it said."""
    assert process.stdin is not None and process.stderr is not None  # pipes were asked for
    told = b""
    with selectors.DefaultSelector() as selector:
        for stream, events in ((process.stdin, selectors.EVENT_WRITE), (process.stderr, selectors.EVENT_READ)):
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, events)
        while (code := process.poll()) is None and (left := until_s - time.monotonic()) > 0:
            if not selector.get_map():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(left)
                continue
            for key, _ in selector.select(min(left, _TURN_S)):
                if key.fileobj is process.stderr:
                    piece = _read(process.stderr.fileno())
                    told = (told + piece)[-_PIECE:]
                    if not piece:
                        selector.unregister(process.stderr)
                    elif len(piece) == _PIECE:
                        time.sleep(_TURN_S)
                else:
                    data = _written(process.stdin.fileno(), data)
                    if not data:
                        selector.unregister(process.stdin)
                        process.stdin.close()
    return code, (told + _read(process.stderr.fileno()))[-_PIECE:]


def _read(descriptor: int) -> bytes:
    """What is there."""
    try:
        return os.read(descriptor, _PIECE)
    except BlockingIOError:
        return b""


def _written(descriptor: int, data: bytes) -> bytes:
    """What is left to write; nothing where it does not read."""
    try:
        return data[os.write(descriptor, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:  # it does not want it: its exit code says the rest
        return b""


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Whatever a program has left running is ended with it."""
    _kill_group(process)
    with suppress(subprocess.TimeoutExpired):  # one that not even this ends waits for a disk, or is somebody else's: nobody waits with it
        process.wait(_REAP_S)
    for stream in (process.stdin, process.stderr):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all of it has ended, or runs as somebody else
        os.killpg(process.pid, signal.SIGKILL)
