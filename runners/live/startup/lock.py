"""One session per account and machine: an advisory lock that ends with its process, whichever way that ends.

It lies in this user's state folder, outside of any home folder and whatever TMPDIR says, so that two homes cannot trade one account at
once. Where the system has names of sockets without files (Linux), the account is claimed there, too: no other user's session gets it, and
no tidy-up takes it away. Sessions on other machines are seen by what they do at the exchange (``another_writer``).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import sys
from pathlib import Path
from types import TracebackType

from keel.core.errors import SafetyError
from keel.runners.process.state_folder import state_folder


class AccountLock:
    """Held from its making until ``release``. ``account`` names environment, host and account; it is hashed into the file's name.

    Raises SafetyError, which names the holder, when another process has it.
    """

    def __init__(self, account: str, purpose: str, folder: Path | None = None) -> None:
        self._account, self._purpose = account, purpose
        name = hashlib.sha256(account.encode()).hexdigest()[:24]
        self.path = (state_folder("locks") if folder is None else folder) / f"{name}.lock"
        self._descriptor = self._take()
        self._claim: socket.socket | None = None
        try:
            self._claim = self._claim_machine(name)
        except SafetyError:
            self.release()
            raise

    def look(self) -> str:
        """Whether the lock's file is still ours: "" when it is, or was tidied away and could be made anew; else who has it now."""
        try:
            found, held = self.path.stat(), os.fstat(self._descriptor)
            if (found.st_ino, found.st_dev) == (held.st_ino, held.st_dev):
                return ""
        except FileNotFoundError:
            pass
        try:
            anew = self._take()
        except SafetyError as error:
            return str(error)
        except OSError as error:
            return f"the lock's file {self.path} is gone and cannot be made anew: {error.strerror}"
        os.close(self._descriptor)
        self._descriptor = anew
        return ""

    def release(self) -> None:
        """Let the account go. Harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    def _take(self) -> int:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 512, 0).decode("utf-8", "replace").strip() or "an unnamed process"
            os.close(descriptor)
            raise self._taken(holder) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} ({self._purpose})".encode(), 0)
        return descriptor

    def _claim_machine(self, name: str) -> socket.socket | None:
        if not sys.platform.startswith("linux"):
            return None
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0keel-account-{name}")
        except OSError as error:
            claim.close()
            raise self._taken("another process on this machine (of another user, or with another KEEL_STATE)") from error
        return claim

    def _taken(self, holder: str) -> SafetyError:
        return SafetyError(
            f"the account {self._account} is traded already, by {holder}: stop that first; two programs on one account undo each other"
        )

    def __enter__(self) -> AccountLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
