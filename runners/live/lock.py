"""One session per account and machine: an advisory lock that ends with its process, whichever way that ends.

It lies outside of any home folder, so that two homes cannot trade one account at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from types import TracebackType

from core.errors import SafetyError


class AccountLock:
    """Held from its making until ``release``. ``account`` names environment, host and account; it is hashed into the file's name.

    Raises SafetyError, which names the holder, when another process has it.
    """

    def __init__(self, account: str, purpose: str, folder: Path | None = None) -> None:
        folder = _own_folder() if folder is None else folder
        name = hashlib.sha256(account.encode()).hexdigest()[:24]
        self._descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 512, 0).decode("utf-8", "replace").strip() or "an unnamed process"
            self.release()
            raise SafetyError(
                f"the account {account} is traded already, by {holder}: stop that first; two programs on one account undo each other"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()} ({purpose})".encode(), 0)

    def release(self) -> None:
        """Let the account go. Harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> AccountLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _own_folder() -> Path:
    """A folder of this user's alone, on this machine."""
    folder = Path(tempfile.gettempdir()) / f"keel-locks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise SafetyError(f"{folder} must be a folder of yours alone (mode 0700): remove it, then start again")
    return folder
