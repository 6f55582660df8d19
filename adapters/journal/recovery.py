"""What is found when a journal is opened: the newest whole snapshot, the records after it, and the end, torn or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from keel.adapters.journal.disk import Disk
from keel.adapters.journal.errors import DamagedJournal
from keel.adapters.journal.layout import DIGEST_BYTES, NO_DIGEST, RECORD_SIZE, Mark, segment_paths
from keel.adapters.journal.reading import Segment, paths_from, segments
from keel.adapters.journal.snapshots import Snapshot, newest_snapshot, snapshot_path


class RecoveryReport(msgspec.Struct, frozen=True):
    """What opening a journal found. ``records``: how many come after the snapshot; ``last_seq``: the newest that is whole.

    ``cut_bytes``, ``cut_records``: the torn tail that was cut off at ``cut_at`` (file and byte) because of ``cut_reason``. A crash
    tears the one record that was being written; what a torn tail of several held cannot be counted, so cut_records is at least that.
    """

    snapshot_seq: int = 0
    records: int = 0
    last_seq: int = 0
    last_session: int = 0
    cut_bytes: int = 0
    cut_records: int = 0
    cut_at: str = ""
    cut_reason: str = ""
    snapshots_refused: tuple[str, ...] = ()
    last_words: tuple[str, ...] = ()
    """What the last session could still say when the disk refused its records."""

    def text(self) -> str:
        """For people, in sentences."""
        after = f" after the snapshot of record {self.snapshot_seq}" if self.snapshot_seq else ""
        lines = [f"journal: {self.records} records{after}; the last is {self.last_seq}"]
        if self.cut_bytes:
            lines.append(
                f"a torn tail of {self.cut_bytes} bytes ({self.cut_records} record) was cut off at {self.cut_at}: {self.cut_reason}"
            )
        lines += [f"a snapshot was passed over: {refused}" for refused in self.snapshots_refused]
        lines += [f"last words of session {self.last_session}: {words}" for words in self.last_words]
        return "\n".join(lines)


class Recovered(NamedTuple):
    """Where a writer may go on: after ``end`` (its offset is of no more use), having loaded ``state``."""

    end: Mark
    state: bytes | None
    report: RecoveryReport


def recover(folder: Path, disk: Disk) -> Recovered:
    """Check everything from the newest whole snapshot on, and cut off a torn tail, durably. Raises DamagedJournal, changing nothing.

    The caller holds the folder's lock.
    """
    snapshot, refused = newest_snapshot(folder)
    since = 0 if snapshot is None else snapshot.seq
    paths = paths_from(segment_paths(folder), since + 1)
    refuse_missing(folder, paths, since)
    end, last = Mark(0, 0, NO_DIGEST), None
    for segment in segments(paths):
        _walk(folder, segment, snapshot)
        end, last = segment.scan.mark, segment
    if end.seq < since:
        raise DamagedJournal(snapshot_path(folder, since), 0, f"there is a snapshot of record {since}, but the journal ends with {end.seq}")
    for leftover in folder.glob(".*.part"):
        leftover.unlink()
    report = RecoveryReport(snapshot_seq=since, records=end.seq - since, last_seq=end.seq, snapshots_refused=tuple(refused))
    if last is not None:
        report = msgspec.structs.replace(report, last_session=last.head.session, **_cut_tail(last, disk))
    return Recovered(end, None if snapshot is None else snapshot.state, report)


def _walk(folder: Path, segment: Segment, snapshot: Snapshot | None) -> None:
    """Walk a segment; where the snapshot's record ends, the two must agree."""
    scan, content = segment.scan, segment.scan.content
    if snapshot is None or scan.mark.seq > snapshot.seq:
        scan.finish()
        return
    digest = scan.mark.digest if scan.mark.seq == snapshot.seq else None
    for _, seq, _, start, _ in scan:
        if seq == snapshot.seq:
            digest = content[start - RECORD_SIZE : start - RECORD_SIZE + DIGEST_BYTES]
    if digest is not None and digest != snapshot.digest:
        raise DamagedJournal(snapshot_path(folder, snapshot.seq), 0, "the snapshot belongs to another journal")


def refuse_missing(folder: Path, paths: list[Path], since: int) -> None:
    """Raises DamagedJournal when the segments do not begin right after record ``since``, or before."""
    first = int(paths[0].stem) if paths else since + 2 if since else 1
    if first > since + 1:
        stands = "and no whole snapshot stands for them" if not since else f"after the snapshot of record {since}"
        raise DamagedJournal(paths[0] if paths else folder, 0, f"the records before {first} are missing, {stands}")


def _cut_tail(segment: Segment, disk: Disk) -> dict[str, Any]:
    path, scan = segment.path, segment.scan
    left = len(scan.content) - scan.mark.offset
    if left == 0:
        return {}
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.ftruncate(descriptor, scan.mark.offset)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)
    return {"cut_bytes": left, "cut_records": 1, "cut_at": f"{path}, byte {scan.mark.offset}", "cut_reason": scan.trouble}
