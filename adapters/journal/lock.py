"""One writer per folder: an advisory lock that ends with its process, whichever way that ends."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from keel.adapters.journal.watching import trouble_with
from keel.core.errors import SafetyError

_HOLDER_BYTES = 512


class FolderLock:
    """Held from its making until ``release``. Raises SafetyError, which names the holder, when the folder is taken."""

    def __init__(self, folder: Path, purpose: str) -> None:
        path = self._path = folder / "lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, _HOLDER_BYTES, 0).decode("utf-8", "replace").strip() or "an unnamed process"
            self.release()
            raise SafetyError(
                f"the journal {folder} is open already, by {holder}: stop that first; two writers would destroy it"
            ) from error
        ours = f"process {os.getpid()} on {socket.gethostname()} ({purpose})".encode()
        os.pwrite(self._descriptor, ours[:_HOLDER_BYTES].ljust(_HOLDER_BYTES), 0)

    def release(self) -> None:
        """Let the folder go. Harmless when repeated."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def trouble(self) -> str:
        """Why another process could take the folder all the same: the lock is on a file, and its name leads elsewhere; "" when none can."""
        return trouble_with(self._path, self._descriptor, 0)

    @property
    def is_held(self) -> bool:
        """Whether it was not released yet."""
        return self._descriptor >= 0

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def holder_of(folder: Path) -> str:
    """Who has the journal open, "" when nobody has. Nothing is taken or written."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.pread(descriptor, _HOLDER_BYTES, 0).decode("utf-8", "replace").strip() or "an unnamed process"
    finally:
        os.close(descriptor)
    return ""
