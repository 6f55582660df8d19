"""Repair: the whole prefix of a damaged journal, copied to another folder. The original stays as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from keel.adapters.journal.disk import Disk
from keel.adapters.journal.errors import DamagedJournal
from keel.adapters.journal.layout import NO_DIGEST, Head, Mark, Scan, head_bytes, read_head, segment_name, segment_paths
from keel.adapters.journal.lock import FolderLock
from keel.adapters.journal.reading import content_of, refuse_break
from keel.adapters.journal.snapshots import Snapshot, read_snapshot, snapshot_paths
from keel.core.errors import ConfigError, DataError


class RepairReport(msgspec.Struct, frozen=True):
    """What was kept and what was not. ``left_bytes``: of all segments, from the damage on; it is in the original still."""

    records: int
    damage: str
    left_bytes: int
    session: int
    """The copy's last session number; at least the original's, so that no client order id is used again."""

    def text(self) -> str:
        """For people, in sentences."""
        return (
            f"{self.records} records were kept, {self.left_bytes} bytes were not: {self.damage}. "
            "What those held must be read from the exchange"
        )


def repair(folder: Path, out: Path) -> RepairReport:
    """Write every record before the first damage to the new folder ``out``, and the snapshots that stand on them.

    Raises ConfigError when ``out`` exists or nothing is damaged, SafetyError while the journal is open, DataError when no record can be
    kept or the disk refuses; ``out`` is there whole or not at all.
    """
    folder, out = Path(folder), Path(out)
    if out.exists():
        raise ConfigError(f"{out} exists: a repair is written to a new folder")
    if not segment_paths(folder):
        raise DataError(f"there is no journal in {folder}")
    part = out.with_name(f".{out.name}.part")
    with FolderLock(folder, "repair"):
        try:
            part.mkdir(parents=True)
            report = _copy(folder, part)
            part.rename(out)
        except OSError as error:
            raise DataError(f"the repair of {folder} could not be written to {out}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return report


def _copy(folder: Path, part: Path) -> RepairReport:
    paths, disk = segment_paths(folder), Disk()
    end, kept_bytes = Mark(0, 0, NO_DIGEST), 0
    head: Head | None = None
    damage: DamagedJournal | None = None
    for path in paths:
        content = content_of(path)
        try:
            head, scan = _prefix(path, content, end, is_first=path is paths[0])
        except DamagedJournal as error:
            damage = error
            break
        end, kept_bytes = scan.mark, kept_bytes + scan.mark.offset
        os.close(disk.place(part / path.name, content[: end.offset]))
        if scan.trouble is not None:
            damage = DamagedJournal(path, end.offset, scan.trouble)
            break
    if damage is None:
        raise ConfigError(f"the journal {folder} is whole: there is nothing to repair")
    if head is None:
        raise DataError(f"{damage}; nothing before it can be kept")
    session = _session(paths)
    # An empty segment carries the session number on, past sessions whose records are lost.
    os.close(disk.place(part / segment_name(end.seq + 1), head_bytes(session, end.seq + 1, head.ts, end.digest, head.table)))
    _copy_snapshots(folder, part, end.seq, disk)
    total = sum(path.stat().st_size for path in paths)
    return RepairReport(end.seq, f"{damage.path}, byte {damage.offset}: {damage.reason}", total - kept_bytes, session)


def _prefix(path: Path, content: bytes, before: Mark, is_first: bool) -> tuple[Head, Scan]:
    """A segment's head and its walked records. Raises DamagedJournal when it does not continue what is before it."""
    head = read_head(path, content)
    if not is_first:
        refuse_break(path, head, before)
    scan = Scan(content, head.start)
    scan.finish()
    return head, scan


def _session(paths: list[Path]) -> int:
    """The newest session: each has at least one head, so an unreadable head stands for at most one more."""
    known, unreadable = 0, 0
    for path in paths:
        try:
            known = max(known, read_head(path, content_of(path)).session)
        except DamagedJournal:
            unreadable += 1
    return known + unreadable


def _copy_snapshots(folder: Path, part: Path, last_seq: int, disk: Disk) -> None:
    for path in snapshot_paths(folder):
        found = read_snapshot(path)
        if isinstance(found, Snapshot) and found.seq <= last_seq:
            os.close(disk.place(part / path.name, path.read_bytes()))
