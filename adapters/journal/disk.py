"""What the journal asks of a disk, apart from the files' names: write here, and keep it. Tests pass one that fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class Disk:
    """The real one."""

    def write(self, descriptor: int, content: memoryview, offset: int) -> int:
        """Write at an offset; returns how many bytes were taken, which may be fewer. Raises OSError."""
        return os.pwrite(descriptor, content, offset)

    def sync(self, descriptor: int) -> None:
        """Return when everything written is on the medium. Raises OSError.

        fdatasync writes the file's length with its data, and skips only its times. macOS keeps an fsync in the drive's cache unless
        F_FULLFSYNC asks for more.
        """
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fdatasync(descriptor)

    def write_all(self, descriptor: int, content: bytes | bytearray, offset: int) -> None:
        """Write all of it, in one call where the system allows. Raises OSError with a part of it written."""
        rest = memoryview(content)
        while rest:
            taken = self.write(descriptor, rest, offset)
            if taken <= 0:
                raise OSError(f"the system took {taken} of {len(rest)} bytes")
            rest, offset = rest[taken:], offset + taken

    def place(self, path: Path, content: bytes) -> int:
        """Create or replace a file whole and durably; returns a descriptor that writes to it. Raises OSError, and leaves nothing then."""
        part = path.with_name(f".{path.name}.part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self.write_all(descriptor, content, 0)
            self.sync(descriptor)
            part.replace(path)
            self.sync_names(path.parent)
        except BaseException:
            os.close(descriptor)
            part.unlink(missing_ok=True)
            raise
        return descriptor

    def sync_names(self, folder: Path) -> None:
        """Return when the names in a folder are on the medium: a new file's bytes are safe only together with its name."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
