"""The panic path from a supervisor: a warm process of runners/safety.py that waits for a word, else a cold one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from adapters.bybit.endpoints import Environment, endpoints
from adapters.bybit.secrets import load_credentials
from core.errors import KeelError
from runners.signal_mask import nothing_blocked

BY = "the supervisor"
MOST_TRIES = 5
"""Warm processes that are started one after the other; then the cold way is left."""


class Flattener:
    """One account's panic path. ``warm`` keeps a process ready; ``run`` flattens and waits for its end. say: told each line of it."""

    def __init__(self, environment: Environment, url: str | None, key_file: Path | None, say: Callable[[str], None]) -> None:
        self._environment, self._url, self._key_file, self._say = environment, url, key_file, say
        self._standby: subprocess.Popen[bytes] | None = None
        self._tries = 0

    def warm(self) -> None:
        """Have a process ready, where there is none. One that cannot be had is said; the cold way is left."""
        if self._standby is not None and self._standby.poll() is None:
            return
        if self._tries >= MOST_TRIES:
            return
        self._tries += 1
        try:
            where = endpoints(self._environment, *([] if self._url is None else [self._url]))
            keys = load_credentials(where, file=self._key_file)
        except KeelError as error:
            self._tries = MOST_TRIES
            self._say(f"the panic path is not kept warm: {error}")
            return
        process = self._started("--standby", stdin=subprocess.PIPE)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode({"key": keys.key.reveal(), "secret": keys.secret.reveal()}) + b"\n")
            process.stdin.flush()
        self._standby = process

    def run(self, goes_on: Callable[[], bool]) -> bool:
        """Flatten; whether the account was seen to be flat. goes_on: asked while it works; a no breaks it off, which tells what is left."""
        process, self._standby = self._standby, None
        if process is not None and process.poll() is None and process.stdin is not None:
            try:
                process.stdin.write(b"P")
                process.stdin.flush()
            except BrokenPipeError:
                process = None
        else:
            process = None
        if process is None:
            more = [] if self._key_file is None else ["--key-file", str(self._key_file)]
            process = self._started("--yes", *more, stdin=subprocess.DEVNULL)
        return self._wait(process, goes_on) == 0

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

    def _started(self, *words: str, stdin: int) -> subprocess.Popen[bytes]:
        url = [] if self._url is None else ["--sandbox", self._url]
        command = [sys.executable, "-P", "-m", "runners.safety", "--env", self._environment.value, *url, "--by", BY, *words]
        with nothing_blocked():
            process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        threading.Thread(target=self._pass_on, args=(process,), daemon=True).start()
        return process

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if text := line.decode("utf-8", "replace").strip():
                self._say(f"panic: {text}")

    def _wait(self, process: subprocess.Popen[bytes], goes_on: Callable[[], bool]) -> int:
        while True:
            try:
                return process.wait(0.1)
            except subprocess.TimeoutExpired:
                if not goes_on():
                    process.terminate()
