"""Where a running session is reached: a local socket (mode 0600) in the state folder, and beside it a card that says whose it is.

A path of a socket may have 108 bytes only, however deep the folder lies: it is then reached by way of the open folder.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from keel.core.errors import SafetyError
from keel.runners.process.state_folder import state_folder

_MAX_PATH_BYTES = 107
_OPEN_FOLDERS = Path("/proc/self/fd")


class Card(msgspec.Struct, frozen=True):
    """Whose session it is. started: ISO time; kind: live where it was armed, whichever exchange it is at; url: of the exchange; arm_token:
    the file that its arming came from, "" where it came from none."""

    system: str
    environment: str
    account: str
    process: int
    started: str
    kind: Literal["demo", "live", ""] = ""
    url: str = ""
    arm_token: str = ""


def socket_path(account: str) -> Path:
    """The socket of the session on this account."""
    return state_folder("sessions") / f"{hashlib.sha256(account.encode()).hexdigest()[:16]}.sock"


def put_card(path: Path, card: Card) -> None:
    """Lay the card beside a socket."""
    place = path.with_suffix(".json")
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(card))


def take_away(path: Path) -> None:
    """Remove a socket and its card; what is gone already is gone."""
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def sessions() -> list[tuple[Card, Path]]:
    """Every session that has laid a card; one whose process has died without taking it away is tidied up."""
    found = []
    for place in sorted(state_folder("sessions").glob("*.json")):
        path = place.with_suffix(".sock")
        try:
            card = msgspec.json.decode(place.read_bytes(), type=Card)
        except (OSError, msgspec.MsgspecError):
            continue  # it is being written
        if _answers(path):
            found.append((card, path))
        else:
            take_away(path)
    return found


def bound(path: Path) -> socket.socket:
    """A socket that is bound there, mode 0600; what a dead session left is removed (the account's lock is ours). Raises SafetyError where
    the path is too long for this system."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(path) as name:
            made.bind(name)
        path.chmod(0o600)
    except BaseException:
        made.close()
        raise
    return made


def connected(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the session there. Raises OSError when nobody listens."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(timeout_s)
    try:
        with _short(path) as name:
            made.connect(name)
    except BaseException:
        made.close()
        raise
    return made


def _answers(path: Path) -> bool:
    try:
        connected(path, 1.0).close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:
        return True  # it is there, and too busy to take a connection
    return True


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of the path that fits into a socket's address."""
    if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
        yield str(path)
        return
    if not _OPEN_FOLDERS.is_dir():
        raise SafetyError(f"{path} is too long for a socket on this system: set KEEL_STATE to a shorter folder")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_OPEN_FOLDERS}/{folder}/{path.name}"
    finally:
        os.close(folder)
