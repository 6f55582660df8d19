"""Where what belongs to this user's machine is kept, whatever the home folder or TMPDIR: locks of accounts and the sockets of sessions."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from core.errors import SafetyError
from runners.user_path import user_path


def state_folder(name: str) -> Path:
    """A folder of this user's alone (mode 0700) under KEEL_STATE, else XDG_STATE_HOME/keel, else ~/.local/state/keel; it is made where it
    is missing. Raises SafetyError for one that others may write to, or that cannot be made."""
    folder = state_root() / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SafetyError(f"{folder} cannot be made ({error.strerror}): set KEEL_STATE to a folder that you may write to") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise SafetyError(f"{folder} must be a folder of yours alone: chmod 700 {folder}")
    return folder


def state_root() -> Path:
    """The folder that holds them; it is not made here."""
    if own := os.environ.get("KEEL_STATE"):
        return user_path(own).absolute()
    given = os.environ.get("XDG_STATE_HOME")
    return (user_path(given).absolute() if given else Path.home() / ".local" / "state") / "keel"
