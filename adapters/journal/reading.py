"""Reading a journal, segment by segment, with every record checked. Needs no lock and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from keel.adapters.journal.codec import Codec, known_types
from keel.adapters.journal.errors import DamagedJournal
from keel.adapters.journal.layout import Head, Mark, Scan, read_head, segment_paths
from keel.core.errors import DataError
from keel.core.model.messages import Message


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record. ts: the writer's clock when it was appended, ms. message: a Message, or an UnknownMessage."""

    seq: int
    ts: int
    kind: str
    message: Any


class Segment(NamedTuple):
    """One file of the journal, read; ``scan`` walks its records."""

    path: Path
    head: Head
    scan: Scan
    is_last: bool


def read(folder: Path, from_seq: int = 0, *, types: Sequence[type[Message]] = ()) -> Iterator[Record]:
    """The records from ``from_seq`` on, oldest first; types: message types besides core's.

    Ends quietly before a torn tail: it may be what a writer is just writing. Raises DataError where there is no journal, and, on the
    way, DamagedJournal with the offset. Reading begins with the segment that holds ``from_seq``.
    """
    codec = Codec(known_types(types))
    paths = segment_paths(Path(folder))
    if not paths:
        raise DataError(f"there is no journal in {folder}")
    return records(segments(paths_from(paths, from_seq)), codec, from_seq)


def records(found: Iterable[Segment], codec: Codec, from_seq: int) -> Iterator[Record]:
    """The records of segments from a number on, decoded. Raises DataError for one that is whole and cannot be decoded."""
    for segment in found:
        path, head, scan, _ = segment
        view = memoryview(scan.content)
        names, decoders = [name for name, _ in head.table], codec.decoders(head.table)
        for kind, seq, ts, start, end in scan:
            if seq < from_seq:
                continue
            try:
                yield Record(seq, ts, names[kind], decoders[kind](view[start:end]))
            except (msgspec.DecodeError, IndexError) as error:
                raise DataError(f"{path}, byte {start}: record {seq} is whole, but this version cannot read it: {error}") from error


def paths_from(paths: list[Path], seq: int) -> list[Path]:
    """Those segments that hold record ``seq`` or later ones."""
    older = [path for path in paths if int(path.stem) <= seq]
    return paths[max(len(older) - 1, 0) :]


def segments(paths: list[Path], *, is_checked: bool = False) -> Iterator[Segment]:
    """Each segment; whoever takes one walks its scan to the end before the next. Raises DamagedJournal unless the chain is unbroken
    and every segment whole, but for a torn tail of the last."""
    before: Mark | None = None
    for path in paths:
        content = content_of(path)
        head = read_head(path, content)
        if before is not None:
            refuse_break(path, head, before)
        found = Segment(path, head, Scan(content, head.start, is_checked=is_checked), path is paths[-1])
        yield found
        _refuse_damage(found)
        before = found.scan.mark


def content_of(path: Path) -> bytes:
    """A segment's bytes. Raises DataError when the system refuses."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or error}") from error


def refuse_break(path: Path, head: Head, before: Mark) -> None:
    """Raises DamagedJournal when a segment does not continue the last record of the one before it."""
    if (head.first_seq - 1, head.previous) != before[1:]:
        raise DamagedJournal(path, 0, f"the segment does not continue record {before.seq}, the last one before it: records are missing")


def _refuse_damage(segment: Segment) -> None:
    """Raises DamagedJournal when a walked segment ended early for another reason than a torn tail."""
    scan = segment.scan
    if scan.trouble is None or (segment.is_last and scan.is_torn):
        return
    follows = "whole records follow" if segment.is_last else "another segment follows"
    raise DamagedJournal(segment.path, scan.mark.offset, f"{scan.trouble}; {follows}, so this is no write that was cut short")
