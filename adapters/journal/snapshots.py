"""Snapshots of state: ``<seq>.snapshot`` holds what all records up to seq amount to, so that recovery need not read those.

Bytes: magic 8 | version 2 | zero 6 | state length 8 | seq 8 | the record's check 8 | state | BLAKE2b-128 of all before.
A snapshot can always be remade from the journal: one that is damaged is passed over for the one before, and reported.
"""

from __future__ import annotations

import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from keel.adapters.journal.disk import Disk

_MAGIC = b"KEELSNAP"
_VERSION = 1
_HEAD = struct.Struct("<8sH6xQQ8s")
_CHECK_BYTES = 16
_SUFFIX = ".snapshot"
KEPT = 3
"""How many snapshots a folder keeps: the newest and what stands behind it if that is damaged."""


class Snapshot(NamedTuple):
    """State after record ``seq``, whose check is ``digest``."""

    seq: int
    digest: bytes
    state: bytes


def write_snapshot(folder: Path, snapshot: Snapshot, disk: Disk) -> None:
    """Write one whole and durably, then drop the oldest beyond ``KEPT``. Raises OSError; nothing of it is left then."""
    content = _HEAD.pack(_MAGIC, _VERSION, len(snapshot.state), snapshot.seq, snapshot.digest) + snapshot.state
    os.close(disk.place(snapshot_path(folder, snapshot.seq), content + _check(content)))
    for path in snapshot_paths(folder)[KEPT:]:
        path.unlink()


def newest_snapshot(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The newest snapshot that is whole, and what is wrong with newer ones."""
    refused: list[str] = []
    for path in snapshot_paths(folder):
        found = read_snapshot(path)
        if isinstance(found, Snapshot):
            return found, refused
        refused.append(f"{path}: {found}")
    return None, refused


def read_snapshot(path: Path) -> Snapshot | str:
    """A snapshot, or why it cannot be used."""
    content = path.read_bytes()
    if len(content) < _HEAD.size + _CHECK_BYTES or not content.startswith(_MAGIC):
        return "not a snapshot"
    body, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
    if check != _check(body):
        return "does not match its checksum"
    _, version, length, seq, digest = _HEAD.unpack_from(body)
    if version != _VERSION or length != len(body) - _HEAD.size or path != snapshot_path(path.parent, seq):
        return f"format version {version}, {length} bytes of state, record {seq}: not what its name and this program say"
    return Snapshot(seq, digest, body[_HEAD.size :])


def snapshot_path(folder: Path, seq: int) -> Path:
    """Where the snapshot after a record is kept."""
    return folder / f"{seq:012d}{_SUFFIX}"


def snapshot_paths(folder: Path) -> list[Path]:
    """The snapshots of a journal, newest first."""
    return sorted((path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit()), reverse=True)


def _check(content: bytes) -> bytes:
    return blake2b(content, digest_size=_CHECK_BYTES).digest()
