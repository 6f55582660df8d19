"""Writes one segment. Writing hands bytes to the system, in the caller's thread; syncing puts them on the medium, in any thread.

When the medium refuses, the segment is broken for good, but for one case. After a failed sync the system may have marked the lost
pages clean, so that the same call on the same descriptor would succeed and mean nothing. The file is then reopened, what is not known
to be safe is read back, checked against the chain, written anew and synced once; only if all of that holds does the segment live on.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from keel.adapters.journal.disk import Disk
from keel.adapters.journal.errors import JournalError
from keel.adapters.journal.layout import Mark, Scan
from keel.adapters.journal.watching import trouble_with


class SegmentWriter:
    """An open segment. ``written``: the end of what the system has; ``durable``: the end of what the medium has."""

    def __init__(self, path: Path, head: bytes, start: Mark, disk: Disk) -> None:
        """Creates the file with its head, durably. Raises JournalError."""
        self.path = path
        self.start = start
        self.written = self.durable = start
        self.broken: str | None = None
        self.rewrites = 0
        """How often a failed sync was survived: more than none is a disk to be replaced."""
        self._disk = disk
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()  # taken before the write lock, never after it
        try:
            self._descriptor = disk.place(path, head)
        except OSError as error:
            raise JournalError(f"{path} could not be created: {error.strerror or error}: nothing can be journalled") from error

    def write(self, content: bytes | bytearray, end: Mark) -> None:
        """Append whole records, the last of which ends at ``end``. Raises JournalError, with a part of them there as a torn tail."""
        with self._write_lock:
            self.refuse_if_broken()
            try:
                self._disk.write_all(self._descriptor, content, self.written.offset)
            except OSError as error:
                raise self._break(f"{len(content)} bytes could not be written: {error.strerror or error}") from error
            self.written = end

    def sync(self) -> None:
        """Return when everything that was written before the call is durable. Raises JournalError."""
        with self._sync_lock:
            end = self.written
            if end.offset == self.durable.offset:
                return
            self.refuse_if_broken()
            try:
                self._disk.sync(self._descriptor)
            except OSError as error:
                self._rewrite(error)
            else:
                self.durable = end

    def close(self) -> None:
        """Close the file, after a sync that is under way. Whoever wants its end durable calls ``sync`` before."""
        with self._sync_lock, self._write_lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
                self.broken = self.broken or f"the journal's segment {self.path} is closed"

    def check(self) -> None:
        """Raises JournalError when the file under its name is not the one that is written to, or is shorter than what was written."""
        self.refuse_if_broken()
        trouble = trouble_with(self.path, self._descriptor, self.written.offset)
        if trouble:
            raise self.refuse_changed(trouble)

    def refuse(self, reason: str) -> JournalError:
        """Take nothing more, for a reason that somebody else has found; returns the error to be raised."""
        return self._break(reason)

    def refuse_changed(self, trouble: str) -> JournalError:
        """Take nothing more, for somebody else has changed the files; what is safe then nobody knows."""
        self.broken = (
            f"{self.path}: somebody else has changed the journal: {trouble}. It takes nothing more and no order may leave: see who"
            " deletes or replaces files there, then start again: what the journal lacks is read from the exchange"
        )
        return JournalError(self.broken)

    def refuse_if_broken(self) -> None:
        """Raises JournalError when an earlier write or sync failed."""
        if self.broken is not None:
            raise JournalError(self.broken)

    def _rewrite(self, cause: OSError) -> None:
        with self._write_lock:
            safe, end = self.durable, self.written
            try:
                os.close(self._descriptor)
                self._descriptor = -1
                self._descriptor = os.open(self.path, os.O_RDWR)
                content = self._read_back(safe.offset, end.offset)
                scan = Scan(content, Mark(0, safe.seq, safe.digest))
                scan.finish()
                if scan.mark[1:] != end[1:]:
                    raise OSError(f"what was written reads back differently: {scan.trouble or 'it ends too early'}")
                self._disk.write_all(self._descriptor, content, safe.offset)
                self._disk.sync(self._descriptor)
            except OSError as error:
                reason = f"a sync failed ({cause.strerror or cause}) and could not be made good: {error.strerror or error}"
                raise self._break(reason) from error
            self.durable = end
            self.rewrites += 1

    def _read_back(self, start: int, end: int) -> bytes:
        parts: list[bytes] = []
        while start < end and (part := os.pread(self._descriptor, end - start, start)):
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _break(self, reason: str) -> JournalError:
        self.broken = (
            f"{self.path}: {reason}; records up to {self.durable.seq} are safe, later ones may not be. "
            "The journal takes nothing more and no order may leave: make room or replace the disk, then start again"
        )
        return JournalError(self.broken)
