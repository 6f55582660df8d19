"""Looking at a journal without opening it: nothing is locked, cut or changed, and every byte is checked, from the first record on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from keel.adapters.journal.errors import DamagedJournal
from keel.adapters.journal.layout import segment_paths
from keel.adapters.journal.lock import holder_of
from keel.adapters.journal.reading import Segment, segments
from keel.adapters.journal.recovery import refuse_missing
from keel.adapters.journal.snapshots import Snapshot, read_snapshot, snapshot_paths
from keel.core.errors import DataError


class Inspection(msgspec.Struct, kw_only=True):
    """What a journal holds, up to its first damage. ts in ms of the writer's clock, 0 without a record."""

    segments: int
    bytes: int
    records: int = 0
    sessions: int = 0
    first_ts: int = 0
    last_ts: int = 0
    torn_bytes: int = 0
    """A write that was cut short: the next session cuts it off."""
    torn_at: str = ""
    snapshots: int = 0
    snapshots_refused: list[str] = []
    """Each can be passed over: the records are there."""
    damaged_file: str = ""
    damaged_offset: int = 0
    damage: str = ""
    """Why the journal is refused; empty when it is whole."""
    held_by: str = ""


def inspect(folder: Path) -> Inspection:
    """Walk the whole journal. Raises DataError where there is none, or one of a newer format."""
    folder = Path(folder)
    paths = segment_paths(folder)
    if not paths:
        raise DataError(f"there is no journal in {folder}")
    found = Inspection(segments=len(paths), bytes=sum(path.stat().st_size for path in paths), held_by=holder_of(folder))
    try:
        refuse_missing(folder, paths, 0)
        _walk(segments(paths), found)
    except DamagedJournal as error:
        found.damaged_file, found.damaged_offset, found.damage = str(error.path), error.offset, error.reason
    for path in snapshot_paths(folder):
        snapshot = read_snapshot(path)
        if isinstance(snapshot, Snapshot):
            found.snapshots += 1
        else:
            found.snapshots_refused.append(f"{path.name}: {snapshot}")
    return found


def _walk(parts: Iterator[Segment], found: Inspection) -> None:
    for segment in parts:
        scan = segment.scan
        found.sessions = segment.head.session
        for _, _, ts, _, _ in scan:
            found.records += 1
            found.first_ts, found.last_ts = found.first_ts or ts, ts
        if segment.is_last and scan.is_torn:
            found.torn_bytes = len(scan.content) - scan.mark.offset
            found.torn_at = f"{segment.path}, byte {scan.mark.offset}"
