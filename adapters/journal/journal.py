"""The writer's side. One thread appends (the event loop's); syncs may run in another.

``append`` hands a record to the buffer, ``append_durable`` returns when it is on the medium, ``wait_durable`` waits for that without
blocking the event loop: all who wait meanwhile share one sync. Records become durable in their order: an order's intent never without
what was heard before it. No clock but the one that is passed in: the same messages at the same times give the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from keel.adapters.journal.codec import Codec, SessionStarted, known_types
from keel.adapters.journal.disk import Disk
from keel.adapters.journal.disk_reserve import LastWords, fill_disk_reserve, last_words_of, write_last_words
from keel.adapters.journal.errors import JournalError
from keel.adapters.journal.layout import DIGEST_BYTES, RECORD_BODY, RECORD_MARK, Mark, head_bytes, segment_name, segment_paths
from keel.adapters.journal.lock import FolderLock
from keel.adapters.journal.reading import Record, paths_from, records, segments
from keel.adapters.journal.recovery import Recovered, RecoveryReport, recover, refuse_missing
from keel.adapters.journal.snapshots import Snapshot, write_snapshot
from keel.adapters.journal.watching import changed, known, verify_segment
from keel.adapters.journal.writer import SegmentWriter
from keel.core.engine.clock import Clock
from keel.core.errors import InvariantError
from keel.core.model.messages import Message

SEGMENT_BYTES = 64 << 20
BUFFER_BYTES = 64 << 10
DISK_RESERVE_BYTES = 64 << 20


class Journal:
    """An open journal, of which there is one per folder. Made by ``open``."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        types: Sequence[type[Message]],
        sizes: tuple[int, int],
        disk: Disk,
        lock: FolderLock,
        found: Recovered,
    ) -> None:
        self.folder = folder
        self.session = found.report.last_session + 1
        """Greater by one each time the journal is opened, and on disk before ``open`` returns: the part of client order ids that keeps
        them from ever being used twice."""
        self.recovery: RecoveryReport = found.report
        self.state = found.state
        """The newest snapshot's bytes, None without one; the records after it come from ``recovered``."""
        self._codec = Codec(known_types(types))
        self._clock = clock
        self._segment_bytes, self._buffer_bytes = sizes
        self._disk = disk
        self._lock = lock
        self._seq, self._digest = found.end.seq, found.end.digest
        self._buffer = bytearray()
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix="journal-sync")
        self._group: asyncio.Task[None] | None = None
        self._older = {path: known(path) for path in segment_paths(folder)}
        self._verified = 0
        self._writer = self._new_segment()
        self._older.pop(self._writer.path, None)  # one without a record was followed by this one of its name

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        clock: Clock,
        session: Mapping[str, Any],
        types: Sequence[type[Message]] = (),
        segment_bytes: int = SEGMENT_BYTES,
        buffer_bytes: int = BUFFER_BYTES,
        disk_reserve_bytes: int = DISK_RESERVE_BYTES,
        disk: Disk | None = None,
    ) -> Journal:
        """Lock the folder (made if need be), recover, begin a new session.

        clock: its now_ms is the ts of every record.  session: what is recorded of it (plain JSON data, no secrets), in SessionStarted.
        types: message types besides core's.  segment_bytes: a segment that has grown beyond is followed by a new one.
        Raises SafetyError when another process has it open, DamagedJournal with the offset when its middle is damaged (nothing is
        changed then), DataError for a newer format, JournalError when the disk has no room for the new session and its disk reserve.
        """
        folder, disk = Path(folder), disk or Disk()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)  # one that an earlier version made for all to read
            lock = FolderLock(folder, ", ".join(f"{key} {value}" for key, value in session.items()))
        except OSError as error:
            raise JournalError(f"the journal folder {folder} cannot be used: {error.strerror or error}") from error
        try:
            found = recover(folder, disk)
            words = last_words_of(folder, found.report.last_session)
            found = found._replace(report=msgspec.structs.replace(found.report, last_words=words))
            fill_disk_reserve(folder, disk_reserve_bytes)
            journal = cls(folder, clock, types, (segment_bytes, buffer_bytes), disk, lock, found)
        except OSError as error:
            lock.release()
            raise JournalError(f"the journal {folder} cannot be used: {error.strerror or error}") from error
        except BaseException:
            lock.release()
            raise
        try:
            journal.append_durable(SessionStarted(journal.session, clock.now_ms, dict(session)))
        except BaseException:
            journal._release()
            raise
        return journal

    @property
    def seq(self) -> int:
        """The number of the newest record, durable or not; the first is 1."""
        return self._seq

    @property
    def durable_seq(self) -> int:
        """The number of the newest record that is on the medium."""
        return self._writer.durable.seq

    @property
    def digest(self) -> str:
        """The newest record's check in hex: equal for two journals with equal records, from the first on."""
        return self._digest.hex()

    @property
    def failed(self) -> str | None:
        """Why the journal takes nothing more; None while it does."""
        return self._writer.broken

    @property
    def rewrites(self) -> int:
        """Syncs of the current segment that failed and were made good: worth an alert."""
        return self._writer.rewrites

    @property
    def written(self) -> tuple[Path, int]:
        """The segment that is written to, and how many bytes of it the system has."""
        return self._writer.path, self._writer.written.offset

    def append(self, message: Message) -> int:
        """Buffer a record; returns its number. Raises JournalError once the disk has refused, InvariantError for an unknown type."""
        writer = self._writer
        if writer.broken is not None:
            writer.refuse_if_broken()
        kind, payload = self._codec.encode(message)
        seq = self._seq + 1
        body = RECORD_BODY.pack(RECORD_MARK, kind, len(payload), seq, self._clock.now_ms, self._digest) + payload
        self._digest = digest = blake2b(body, digest_size=DIGEST_BYTES).digest()
        self._seq = seq
        self._buffer += digest
        self._buffer += body
        if len(self._buffer) >= self._buffer_bytes:
            self.flush()
        return seq

    def append_durable(self, message: Message) -> int:
        """Append, and return its number when it and all before it are on the medium. Raises JournalError: then what the message
        announces must not be done."""
        seq = self.append(message)
        self.sync()
        return seq

    def flush(self) -> None:
        """Hand the buffer to the system, in one write: from then on it survives the process, but not the machine."""
        if self._buffer:
            writer = self._writer
            end = Mark(writer.written.offset + len(self._buffer), self._seq, self._digest)
            writer.write(self._buffer, end)
            self._buffer.clear()
            if end.offset >= self._segment_bytes:
                self._roll()

    def sync(self) -> None:
        """Return when everything appended is on the medium. Raises JournalError."""
        self.flush()
        self._writer.sync()

    async def wait_durable(self, seq: int | None = None) -> int:
        """Wait until record ``seq`` (None: the newest) is on the medium, without blocking the loop; returns ``durable_seq``.

        All who wait while a sync runs share the next one. Raises JournalError to each of them when it fails.
        """
        wanted = self._seq if seq is None else seq
        if wanted > self._seq:
            raise InvariantError(f"record {wanted} was never appended; the newest is {self._seq}")
        while self.durable_seq < wanted:
            self._writer.refuse_if_broken()
            await asyncio.shield(self.begin_sync())
        return self.durable_seq

    def begin_sync(self) -> asyncio.Task[None]:
        """Let the loop put everything that is appended until its next round on the medium, beside what else is to be done; harmless while
        that is under way. Whoever needs it waits (``wait_durable``)."""
        if self._group is None:
            self._group = asyncio.get_running_loop().create_task(self._sync_off_the_loop())
            self._group.add_done_callback(_retrieve)
        return self._group

    def write_snapshot(self, state: bytes) -> int:
        """Keep the state that all records so far amount to; returns the number of the last of them. Recovery begins there.

        Raises JournalError when the disk refuses; the journal itself goes on then, without the snapshot.
        """
        self.sync()
        try:
            write_snapshot(self.folder, Snapshot(self._seq, self._digest, state), self._disk)
        except OSError as error:
            raise JournalError(f"no snapshot of record {self._seq} could be written in {self.folder}: {error.strerror or error}") from error
        self._roll()
        return self._seq

    def recovered(self, *, whole: bool = False) -> Iterator[Record]:
        """The records that were found after the snapshot, without this session's; whole: from the first on, whose checks are looked at
        on the way. Raises DamagedJournal then, where what the snapshot stands for is damaged or gone."""
        report = self.recovery
        since = 1 if whole else report.snapshot_seq + 1
        paths = paths_from(segment_paths(self.folder), since)
        refuse_missing(self.folder, paths, since - 1)
        found = segments(paths, is_checked=since > report.snapshot_seq)
        return islice(records(found, self._codec, since), report.last_seq - since + 1)

    def check(self) -> None:
        """See that the files of this journal are still the ones under their names. Raises JournalError when one was deleted, replaced or
        cut short; from then on it takes nothing more."""
        self._writer.check()
        for path, before in self._older.items():
            if trouble := changed(path, before):
                raise self._writer.refuse_changed(trouble)
        if trouble := self._lock.trouble:
            raise self._writer.refuse_changed(trouble)

    def refuse(self, reason: str) -> JournalError:
        """Take nothing more, for a reason that was found beside the writing; returns the error to be raised."""
        return self._writer.refuse(reason)

    def next_verification(self) -> Callable[[], int]:
        """What reads a segment again, every byte of it, in whatever thread; each call gives the next one, the one being written last."""
        paths = [*self._older, self._writer.path]
        path = paths[self._verified % len(paths)]
        self._verified += 1
        written = self._writer.written.offset if path == self._writer.path else None
        return partial(verify_segment, path, written)

    def last_words(self, text: str) -> None:
        """Say why, after the journal has failed: gives up the disk reserve and writes a line that the next ``open`` reports.

        Raises DataError when not even that can be written.
        """
        write_last_words(self.folder, LastWords(self.session, self._seq, self._clock.now_ms, text))

    def close(self) -> None:
        """Sync, and let the folder go. Raises JournalError, after that, when the end could not be made durable. Harmless when repeated."""
        try:
            if self._lock.is_held and self._writer.broken is None:
                self.sync()
        finally:
            self._release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def _sync_off_the_loop(self) -> None:
        try:
            self.flush()
            if self.durable_seq == self._seq:
                return
            await asyncio.get_running_loop().run_in_executor(self._syncer, self._writer.sync)
        finally:
            self._group = None

    def _roll(self) -> None:
        """Go on in a new segment; the old one is durable before the new one is there."""
        self._writer.sync()
        if self._writer.written.offset > self._writer.start.offset:
            old = self._writer
            try:
                self._writer = self._new_segment()
            except JournalError as error:
                old.broken = str(error)
                raise
            self._older[old.path] = known(old.path)
            old.close()

    def _new_segment(self) -> SegmentWriter:
        head = head_bytes(self.session, self._seq + 1, self._clock.now_ms, self._digest, self._codec.table)
        return SegmentWriter(self.folder / segment_name(self._seq + 1), head, Mark(len(head), self._seq, self._digest), self._disk)

    def _release(self) -> None:
        self._syncer.shutdown()
        self._writer.close()
        self._lock.release()


def _retrieve(task: asyncio.Task[None]) -> None:
    """Take a failed sync's error even when everybody who waited for it has gone: the journal keeps the reason."""
    if not task.cancelled():
        task.exception()
