"""Whether a file that holds a secret is its user's alone, and what to do where it is not."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path


def not_own(status: os.stat_result, path: Path) -> str | None:
    """What keeps a file from being a plain one of this user's alone (mode 0600), with the command that mends it, as the rest of a sentence
    that names the file; None: nothing does."""
    if not stat.S_ISREG(status.st_mode):
        return "must be a plain file"
    if status.st_uid != os.getuid():
        return f"belongs to another user (uid {status.st_uid}, and you are {os.getuid()}): run {_chown(path)}"
    if stat.S_IMODE(status.st_mode) & 0o177:
        return f"can be read by others than you: run chmod 600 {shlex.quote(str(path))}"
    return None


def cannot_open(error: OSError, path: Path) -> str:
    """Why a file could not be opened, for people: one of another user's, mode 0600, says no more than that."""
    told = f"cannot be opened: {error.strerror}"
    if not isinstance(error, PermissionError):
        return told
    try:
        owner = path.stat().st_uid
    except OSError:
        return told
    return told if owner == os.getuid() else f"{told}; it belongs to another user (uid {owner}): run {_chown(path)}"


def _chown(path: Path) -> str:
    name, sudo = shlex.quote(str(path)), "" if os.getuid() == 0 else "sudo "
    return f"{sudo}chown {os.getuid()} {name} && {sudo}chmod 600 {name}"
