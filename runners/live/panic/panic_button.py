"""What a trader (and whoever watches it) does when panic is pressed: the latch, and one byte to a process that stands by, warm, to act.

The standby is ``keel.runners.live.panic.standby`` in a process of its own, warm; the key came by its pipe, never on a command line. It acts
on the byte P, ends in order on B, and when its pipe ends without a B (its trader was killed) it ends without doing anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from keel.adapters.bybit.transport.credentials import Credentials
from keel.adapters.bybit.transport.endpoints import Endpoints, Environment
from keel.runners import safety
from keel.runners.live.panic.command import panic_command
from keel.runners.live.panic.latch import latch_path
from keel.runners.process.child_environment import child_environment
from keel.runners.process.state_folder import state_folder

_BYE_S: Final = 2.0


class PanicButton:
    """One per account. ``press`` may be called from any thread, and as often as anybody likes; it does not wait. say: told what happens.
    key_file: where the credentials came from, for who has to press by hand."""

    def __init__(
        self,
        where: Endpoints,
        credentials: Credentials,
        *,
        owner: str,
        key_file: Path | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._where, self._credentials, self._owner, self._key_file, self._say = where, credentials, owner, key_file, say
        self.path = latch_path(where.environment, where.rest)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._acting: subprocess.Popen[bytes] | None = None
        self._halt: Callable[[str], None] | None = None
        self._unlatched = ""

    def halts(self, halt: Callable[[str], None]) -> None:
        """The trader of this process: told why nothing may leave any more where panic is pressed and the latch cannot be made."""
        self._halt = halt
        if self._unlatched:
            halt(self._unlatched)

    def stand_by(self) -> None:
        """Start the process that waits, and lay out a file that a full disk can still rename to the latch. Raises SafetyError for a state
        folder that others may write to; a process that cannot be started is told, and started when it is needed."""
        ready = state_folder("panic") / self.path.with_suffix(".ready").name
        try:
            ready.touch(mode=0o600)
            with self._lock:  # a press in this very moment has its own
                if self._process is None:
                    self._start()
        except OSError as error:
            self._say(f"panic has no process standing by ({error}): it will be slower")

    def press(self, by: str) -> None:
        """Latch, and let everything be cancelled and closed; one that is under way already goes on."""
        with self._lock:
            problem = safety.latch(self.path, self._where.environment.value, by)
            if problem:
                self._unlatched = f"panic by {by}, but no latch could be made ({problem}): look at the account before you start again"
                if self._halt is not None:
                    self._halt(self._unlatched)
            failed = self._act()
        self._report(f"PANIC by {by}: {'NOT LATCHED for other sessions: ' + problem if problem else 'nothing that adds leaves any more'}")
        if failed:
            self._report(failed)

    def _act(self) -> str:
        """Have the process act, where none does yet; why that could not be, or ""."""
        if self._is_acting():
            return ""
        failed = ""
        for _ in range(2):
            try:
                if self._process is None or self._process.poll() is not None:
                    self._start()
                self._send(b"P")
            except OSError as error:
                self._forget()
                command = panic_command(self._where.environment.value, self._where.rest, self._key_file)
                failed = f"the process that cancels and closes could not be started ({error}): in another terminal, {command}"
            else:
                self._acting = self._process
                return ""
        return failed

    def _report(self, text: str) -> None:
        """Once it acts: who cannot be told (a screen that is gone, a full disk) must not end the thread that hears the next press."""
        with suppress(OSError, ValueError):
            self._say(text)

    def finished(self) -> int | None:
        """The exit code of what was pressed (see runners.safety); None while it acts, or where nothing was pressed."""
        return None if self._acting is None else self._acting.poll()

    def close(self) -> None:
        """The trader ends in order: so does what stands by. What acts goes on until it is done."""
        with self._lock:
            process = self._process
            if process is None or process is self._acting:
                return
            try:
                self._write(process, b"B")
                process.wait(_BYE_S)
            except (OSError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
            self._forget()

    def _is_acting(self) -> bool:
        return self._acting is not None and self._acting.poll() is None

    def _start(self) -> None:
        words = [sys.executable, "-P", "-m", "keel.runners.live.panic.standby", "--env", self._where.environment.value, "--by", self._owner]
        if self._where.environment is Environment.SANDBOX:
            words += ["--sandbox", self._where.rest]
        variables = {name: value for name, value in child_environment().items() if not name.startswith("BYBIT_")}
        ours = str(Path(safety.__file__).parents[2])  # a checkout that is not installed is found by its folder
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, variables.get("PYTHONPATH"))))
        self._forget()
        self._process = subprocess.Popen(
            words, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=variables, start_new_session=True
        )
        keys = {"key": self._credentials.key.reveal(), "secret": self._credentials.secret.reveal()}
        self._send(json.dumps(keys).encode() + b"\n")

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _send(self, data: bytes) -> None:
        if self._process is not None:
            self._write(self._process, data)

    @staticmethod
    def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
        assert process.stdin is not None  # a pipe was asked for
        process.stdin.write(data)
