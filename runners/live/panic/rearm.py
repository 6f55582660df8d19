"""Taking the panic latch away: a person's act, with a reason, and the latch is kept as evidence of what happened."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from keel.core.errors import ConfigError, SafetyError
from keel.runners.live.panic.latch import is_latched
from keel.runners.process.state_folder import user_name

MIN_REASON = 10
_REASON = ".reason.json"


def rearm(path: Path, reason: str) -> Path:
    """Rename the latch to ``<name>.latch.<time>`` and lay the reason beside it (``.reason.json``); returns where the latch is kept.

    Raises ConfigError where none stands or the reason is no sentence; SafetyError where it cannot be kept: the latch then stays.
    """
    reason = " ".join(reason.split())
    if not is_latched(path):
        raise ConfigError(f"no panic latch stands at {path}: there is nothing to re-arm")
    if len(reason) < MIN_REASON or not reason.isprintable():
        raise ConfigError(f"a reason of at least {MIN_REASON} characters is needed: it is kept beside the latch")
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept, number = path.with_name(f"{path.name}.{stamp}"), 1
    while kept.with_name(f"{kept.name}{_REASON}").exists() or is_latched(kept):
        number += 1
        kept = path.with_name(f"{path.name}.{stamp}-{number}")
    try:
        _write(kept.with_name(f"{kept.name}{_REASON}"), reason, stamp)
        path.rename(kept)
        _sync_folder(path.parent)
    except OSError as error:
        raise SafetyError(f"the panic latch {path} stays: it cannot be kept as evidence ({error.strerror})") from error
    return kept


def rearmed_ms(path: Path) -> int:
    """When this environment was re-armed last, in ms of this machine's clock; 0 where it never was, or that cannot be read."""
    try:
        reasons = [entry for entry in os.scandir(path.parent) if entry.name.startswith(f"{path.name}.") and entry.name.endswith(_REASON)]
        return max((entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 for entry in reasons), default=0)
    except OSError:
        return 0


def _write(place: Path, reason: str, stamp: str) -> None:
    told = {"rearmed": stamp, "reason": reason, "by": user_name(), "uid": os.getuid(), "host": socket.gethostname()}
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(json.dumps(told).encode())
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
