"""The panic path from a supervisor: a warm process that waits for a word (runners/live/panic/standby.py), else runners/safety.py."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from keel.adapters.bybit.transport.credentials import load_credentials
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.core.errors import KeelError
from keel.runners import safety
from keel.runners.live.panic.command import panic_command
from keel.runners.process.child_environment import child_environment
from keel.runners.process.signal_mask import nothing_blocked

BY = "the supervisor"
_TOLD = (safety.FLAT, safety.LEFT)
"""Exit codes of a panic that has come to its end and said what is left."""
_REFUSED = (safety.WRONG, safety.UNSAFE)
"""Of one that has no key, or none that may be used: another one would not have it either."""
WARM_S, COLD_S = 10.0, 60.0
"""A panic path begins by saying that the latch stands: one that says nothing for so long is stopped or stuck, and a new one is started."""
BREAK_S = 10.0
"""One that is broken off says what is left, within so long."""
MOST_TRIES = 5
"""Warm processes that are started one after the other; then the cold way is left."""


class Flattener:
    """One account's panic path. ``warm`` keeps a process ready; ``run`` flattens and waits for its end. say: told each line of it."""

    def __init__(self, environment: Environment, url: str | None, key_file: Path | None, say: Callable[[str], None]) -> None:
        self._environment, self._url, self._key_file, self._say = environment, url, key_file, say
        self._standby: subprocess.Popen[bytes] | None = None
        self._tries = 0
        self._is_broken_off = False
        self._has_spoken, self._is_heard = threading.Event(), True
        """Of the panic path that was started last. is_heard: a thread reads what it says."""

    def warm(self) -> None:
        """Have a process ready, where there is none. One that cannot be had is said; the cold way is left."""
        if self._standby is not None and self._standby.poll() is None:
            return
        if self._tries >= MOST_TRIES:
            return
        self._tries += 1
        try:
            where = endpoints(self._environment, self._url)
            keys = load_credentials(where, file=self._key_file)
        except KeelError as error:
            self._tries = MOST_TRIES
            self._say(f"the panic path is not kept warm: {error}")
            return
        try:
            process = self._started(stdin=subprocess.PIPE, module="keel.runners.live.panic.standby")
        except OSError as error:  # no memory, no process left: tried again
            self._say(f"the panic path is not kept warm: {error}")
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode({"key": keys.key.reveal(), "secret": keys.secret.reveal()}) + b"\n")
            process.stdin.flush()
        self._standby = process

    def run(self, goes_on: Callable[[], bool], began: Callable[[], None] = lambda: None) -> bool:
        """Flatten; whether the account was seen to be flat.

        goes_on: asked while it works; False breaks it off, with a report of what is left. began: called once, when a panic path has been
        told to act, or could not be started at first: what is told of it comes after, so that a supervisor that dies while it tells it has
        pressed.
        """
        process, self._standby, self._is_broken_off = self._standby, None, False
        is_pressed = process is not None and self._press(process)
        if is_pressed and process is not None:
            began()
            code = self._wait(process, goes_on, WARM_S)
            self._forget(process)
            if code in _TOLD or self._is_broken_off:
                return code == safety.FLAT
            self._say(f"the warm panic path ended with {code}: a new one is started")
        more = [] if self._key_file is None else ["--key-file", str(self._key_file)]
        for attempt in range(MOST_TRIES):
            failure = None
            try:
                process = self._started("--yes", *more, stdin=subprocess.DEVNULL)
            except OSError as error:
                failure = error
            if not attempt and not is_pressed:
                began()
            if failure is not None or process is None:
                self._say(f"the panic path cannot be started ({failure}): again in a second")
                time.sleep(1.0)
            else:
                code = self._wait(process, goes_on, COLD_S)
                if code in (*_TOLD, *_REFUSED) or self._is_broken_off:
                    return code == safety.FLAT
                self._say(f"the panic path ended with {code}: a new one is started")
            if not goes_on():
                break
        command = panic_command(self._environment.value, self._url, self._key_file)
        self._say(f"the panic path has not come to its end: in another terminal, {command}")
        return False

    def _press(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the warm process has taken the word."""
        if process.poll() is not None or process.stdin is None:
            return False
        if self._is_heard:
            self._has_spoken.clear()
        try:
            process.stdin.write(b"P")
            process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    @staticmethod
    def _forget(process: subprocess.Popen[bytes]) -> None:
        with suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()

    def close(self) -> None:
        """Let the warm process end."""
        process, self._standby = self._standby, None
        if process is None or process.stdin is None:
            return
        with suppress(BrokenPipeError):
            process.stdin.write(b"B")
            process.stdin.close()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _started(self, *words: str, stdin: int, module: str = "keel.runners.safety") -> subprocess.Popen[bytes]:
        url = [] if self._url is None else ["--sandbox", self._url]
        command = [sys.executable, "-P", "-m", module, "--env", self._environment.value, *url, "--by", BY, *words]
        with nothing_blocked():
            process = subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, env=child_environment()
            )
        assert process.stdout is not None
        self._has_spoken, self._is_heard = threading.Event(), True  # one that is killed does not speak for the next
        try:
            threading.Thread(target=self._pass_on, args=(process.stdout, self._has_spoken), daemon=True).start()
        except RuntimeError as error:  # no thread left: it acts all the same, and its report is in the state folder
            self._has_spoken.set()
            self._is_heard = False
            process.stdout.close()  # a pipe that nobody empties would hold it up
            self._say(f"what the panic path says is not heard: {error}")
        return process

    def _pass_on(self, said: IO[bytes], has_spoken: threading.Event) -> None:
        with said as lines:
            for line in lines:
                has_spoken.set()
                if text := line.decode("utf-8", "replace").strip():
                    self._say(f"panic: {text}")

    def _wait(self, process: subprocess.Popen[bytes], goes_on: Callable[[], bool], first_word_s: float) -> int:
        """Its exit code. One that says nothing at all for so long is killed, and so is one that does not break off when it is asked."""
        speaks_by = time.monotonic() + first_word_s
        ends_by = math.inf
        while True:
            try:
                return process.wait(0.1)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if not goes_on():
                    self._is_broken_off, ends_by = True, min(ends_by, now + BREAK_S)
                    process.terminate()
                if now >= ends_by or (now >= speaks_by and not self._has_spoken.is_set()):
                    process.kill()
