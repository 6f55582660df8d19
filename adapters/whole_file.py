"""Files that are there whole or not at all: written under another name in the same folder, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from keel.core.errors import DataError


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path to write to; when the block ends it becomes ``path``, when the block raises it is removed and ``path`` stays as it was.

    durable: the bytes are on the disk before the name is (an fsync), so that not even a power cut leaves a short file.
    Raises DataError when the disk refuses, with the reason.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if durable:
            _sync(part)
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path} could not be written: {error.strerror or error}; nothing of it was kept") from error
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file whole."""
    with whole_file(path) as part:
        part.write_bytes(content)


def append_line(path: Path, line: bytes, *, durable: bool = True) -> None:
    """Append one line (without its line end) in one write, so that lines of several processes never mix; the folder is made.

    Where an earlier writer died inside its line, the new one starts on a fresh line. Raises DataError when the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            content = (b"" if _ends_with_newline(descriptor) else b"\n") + line + b"\n"
            written = os.write(descriptor, content)
            if written != len(content):
                raise DataError(f"{path}: only {written} of {len(content)} bytes of a line could be written: is the disk full?")
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(f"{path} could not be written: {error.strerror or error}") from error


def json_text(value: object) -> bytes:
    """Plain data as JSON for people: two spaces of indent, a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _ends_with_newline(descriptor: int) -> bool:
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if not size:
        return True
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
