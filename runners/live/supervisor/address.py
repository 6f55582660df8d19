"""Where a supervisor and its trader meet: a socket, a lock and a card in this user's state folder, named after what is traded and where.

The same command line finds the same place, so that a supervisor that is started anew finds the trader of the one before it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from keel.adapters.own_file import cannot_open
from keel.core.errors import SafetyError
from keel.runners.live.session_address import bound
from keel.runners.process.state_folder import state_folder


class TraderCard(msgspec.Struct, frozen=True):
    """Which process trades. began: when it was started, as the system tells it; run: an id that all traders of one supervisor share.

    process 0: one is being started, and its number is not known yet.
    """

    process: int
    began: str
    run: str
    restarts: int = 0


class Place:
    """Of one supervised session. home: the home folder; kind: demo or live; url: of a sandbox."""

    def __init__(self, system: str, kind: str, home: Path, url: str | None) -> None:
        self.about = f"{kind} {system}" + (f" on {url}" if url else "")
        name = hashlib.sha256("\0".join([system, kind, str(home), url or ""]).encode()).hexdigest()[:16]
        self.socket_path = state_folder("supervisors") / f"{name}.sock"
        self._card, self._lock_path = self.socket_path.with_suffix(".json"), self.socket_path.with_suffix(".lock")
        self._lock = -1

    def take(self) -> socket.socket:
        """Be the only supervisor of it; returns the listening socket. Raises SafetyError where there is one, or its lock or its socket
        cannot be had."""
        try:
            self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise SafetyError(f"the lock {self._lock_path} {cannot_open(error, self._lock_path)}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 64, 0).decode("utf-8", "replace").strip()
            self._let_go()
            raise SafetyError(f"{self.about} is supervised already, by process {holder or 'unknown'}: stop that one first") from None
        with suppress(OSError):  # a full disk: the lock holds without the number in it
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        try:
            made = bound(self.socket_path)
        except OSError as error:
            self._let_go()
            told = f"the socket {self.socket_path} cannot be made ({error.strerror}), and without it no session can be watched"
            raise SafetyError(f"{told}: make room there, or set KEEL_STATE to another folder") from error
        made.listen(4)
        made.setblocking(False)
        return made

    def put_card(self, card: TraderCard) -> None:
        """Say which process trades: whole or not at all."""
        part = self._card.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(card))
        part.replace(self._card)

    def read_card(self) -> TraderCard | None:
        """The trader of a supervisor before; None where there was none. Raises OSError, ValueError for a card that cannot be read."""
        try:
            return msgspec.json.decode(self._card.read_bytes(), type=TraderCard)
        except FileNotFoundError:
            return None
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"{self._card} is damaged: {error}") from None

    def leave(self) -> None:
        """Nobody trades and nobody supervises any more."""
        for path in (self.socket_path, self._card):
            with suppress(OSError):
                path.unlink()
        self._let_go()

    def _let_go(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
