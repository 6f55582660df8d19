"""Looking at a journal that is being written: whether its files are still the ones that are written to, and their bytes what was written.

A file that was deleted or replaced takes every write without an error, and none of it would be found by a restart.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from keel.adapters.journal.errors import DamagedJournal
from keel.adapters.journal.layout import Scan, read_head
from keel.adapters.journal.reading import content_of


class Known(NamedTuple):
    """A file as it was: which one, and at least how long."""

    device: int
    inode: int
    size: int


def known(path: Path) -> Known:
    """A file as it is. Raises OSError."""
    found = path.stat()
    return Known(found.st_dev, found.st_ino, found.st_size)


def trouble_with(path: Path, descriptor: int, least_bytes: int) -> str:
    """Why an open file is no longer the one under its name, with all that was written; "" when it is."""
    held = os.fstat(descriptor)
    return changed(path, Known(held.st_dev, held.st_ino, least_bytes))


def changed(path: Path, before: Known) -> str:
    """Why a file is no longer what it was; "" when it is."""
    try:
        now = path.stat()
    except OSError as error:
        return f"{path} is gone ({error.strerror or error})"
    if (now.st_dev, now.st_ino) != before[:2]:
        return f"{path} was replaced by another file"
    if now.st_size < before.size:
        return f"{path} has {now.st_size} bytes, and {before.size} were written"
    return ""


def verify_segment(path: Path, written_bytes: int | None = None) -> int:
    """Check every byte of a segment; of one that is being written its first ``written_bytes``. Returns how many records there are.

    Raises DamagedJournal, and DataError when it cannot be read. It needs no lock, and may run in any thread.
    """
    content = content_of(path)[:written_bytes]
    scan = Scan(content, read_head(path, content).start)
    count = scan.finish()
    if scan.trouble is not None:
        raise DamagedJournal(path, scan.mark.offset, scan.trouble)
    return count
