"""Where what belongs to this user's machine is kept, whatever the home folder or TMPDIR: locks of accounts and the sockets of sessions;
and what this user is called."""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import stat
from pathlib import Path

from keel.core.errors import SafetyError
from keel.runners.user_path import user_path


def state_folder(name: str) -> Path:
    """A folder of this user's alone (mode 0700) under KEEL_STATE, else XDG_STATE_HOME/keel, else ~/.local/state/keel; it is made where it
    is missing. Raises SafetyError for one that others may write to, or that cannot be made."""
    folder = state_root() / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SafetyError(f"{folder} cannot be made ({error.strerror}): set KEEL_STATE to a folder that you may write to") from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise SafetyError(f"{folder} must be a folder of yours alone: set KEEL_STATE to one that is, or make way for it")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SafetyError(f"{folder} must be a folder of yours alone: chmod 700 {folder}")
    return folder


def user_name() -> str:
    """Whose hand, as the system knows it; ``uid NUMBER`` where nobody has given that number a name (as in many containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def state_root() -> Path:
    """The folder that holds them; it is not made here."""
    if own := os.environ.get("KEEL_STATE"):
        return user_path(own).absolute()
    given = os.environ.get("XDG_STATE_HOME")
    return (user_path(given).absolute() if given else Path.home() / ".local" / "state") / "keel"


def state_variable() -> str:
    """What stands before a command that is pasted into another terminal, so that it finds the same folder: ``KEEL_STATE=... ``, or "" where
    a fresh login of this user finds it anyhow."""
    try:
        usual = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local" / "state" / "keel"
    except KeyError:
        usual = None
    return "" if state_root() == usual else f"KEEL_STATE={shlex.quote(str(state_root()))} "
