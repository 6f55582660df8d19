"""The content of a file: as it lies there, or out of a .gz or .zip, unpacked into a temporary folder with a bound.

An archive must hold one file of data. Nothing of its names reaches the disk: what is unpacked gets a name of ours.
"""

from __future__ import annotations

import gzip
import lzma
import shlex
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from keel.adapters.store.files.formats import GZIP, PACKED, TAKEN, ZIP, agreed_format, format_by_content, is_data_name
from keel.adapters.store.words import printable, shortened
from keel.core.errors import DataError

_FREE = 64 << 20
"""Bytes that anything may unpack to."""
_FACTOR = 200
"""Beyond that, so many times the packed size: tables of prices shrink to a third or a twentieth, bombs to a thousandth."""
_CHUNK = 1 << 20
_NOISE = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")
_MANY = 20_000


@dataclass(frozen=True, slots=True)
class Content:
    """Where the content of a file lies, its format, and the names that say what it is, nearest first."""

    path: Path
    format: str
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@contextmanager
def content_of(path: Path) -> Iterator[Content]:
    """The content of a file that exists. Raises DataError for archives that are damaged, nested, too large, or hold another number of
    files than one."""
    shown = str(path)
    kind = agreed_format(shown, path.name, path)
    if kind not in (GZIP, ZIP):
        yield Content(path, kind, (path.name,))
        return
    with TemporaryDirectory(prefix="keel-import-") as folder:
        target = Path(folder) / "content"
        names: tuple[str, ...]
        notes: tuple[str, ...]
        if kind == GZIP:
            inner = _without_end(path.name, ".gz")
            names, notes = (inner,), ()
            _unpack_gzip(path, target)
        else:
            inner, notes = _unpack_zip(path, target)
            names = (PurePosixPath(inner).name, _without_end(path.name, ".zip"))
        if not target.stat().st_size:
            raise DataError(f"{shown}: the file inside is empty")
        if format_by_content(target) in (GZIP, ZIP, "tar"):
            raise _nested(path, inner)
        yield Content(target, agreed_format(shown, inner, target), names, notes)


def _unpack_gzip(path: Path, target: Path) -> None:
    limit = _limit(path.stat().st_size)
    try:
        with gzip.open(path) as source:
            _copy(source, target, limit, path)
    except EOFError as error:
        raise DataError(f"{path}: the file is truncated: fetch or write it again; nothing was imported") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the file is damaged: fetch or write it again; nothing was imported") from error


def _unpack_zip(path: Path, target: Path) -> tuple[str, tuple[str, ...]]:
    """Unpack the one file of data; gives its name, and what to say of the others."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_noise(entry.filename)]
            entry, notes = _the_one(path, entries)
            limit = _limit(entry.compress_size)
            if entry.file_size > limit:
                raise _too_large(path, limit)
            with archive.open(entry) as source:
                _copy(source, target, limit, path)
    except NotImplementedError as error:  # first: it is a RuntimeError, too
        raise DataError(f"{path}: the archive is packed in a way that is not known here: unpack it, and import the file inside") from error
    except RuntimeError as error:
        raise DataError(f"{path}: the archive is encrypted: unpack it, and import the file inside") from error
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: the archive is truncated or damaged: fetch or write it again; nothing was imported") from error
    return entry.filename, notes


def _the_one(path: Path, entries: list[zipfile.ZipInfo]) -> tuple[zipfile.ZipInfo, tuple[str, ...]]:
    if len(entries) > _MANY:
        raise DataError(f"{path}: the archive holds {len(entries):,} files: unpack it, and give the folder")
    for entry in entries:
        if _climbs(entry.filename):
            raise DataError(
                f"{path}: the archive holds {_name(entry.filename)}, a path that leads out of it: it was made to do harm, or badly; "
                "nothing was unpacked or imported"
            )
    data = [entry for entry in entries if is_data_name(entry.filename)]
    if not data:
        inside = f"; it holds {_name(', '.join(entry.filename for entry in entries))}" if entries else ""
        raise DataError(f"{path}: there is nothing in the archive to import (only {TAKEN}){inside}")
    nested = [entry for entry in data if PurePosixPath(entry.filename.lower()).suffix in PACKED]
    if nested:
        raise _nested(path, nested[0].filename)
    if len(data) > 1:
        names = shortened(", ".join(printable(entry.filename) for entry in data), 200)
        raise DataError(f"{path}: the archive holds {len(data):,} files ({names}), and one is expected: {_unpack_first(path)}")
    others = len(entries) - 1
    notes = (f"{others} other file{'s' if others > 1 else ''} in the archive {'were' if others > 1 else 'was'} not read",) if others else ()
    return data[0], notes


def _is_noise(name: str) -> bool:
    return name.startswith(_NOISE[0]) or PurePosixPath(name).name in _NOISE


def _climbs(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]


def _copy(source: IO[bytes] | gzip.GzipFile, target: Path, limit: int, path: Path) -> None:
    """Write what comes out of an archive, up to the limit. Raises DataError beyond it, or where the disk is full."""
    done = 0
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            done += len(chunk)
            if done > limit:
                raise _too_large(path, limit)
            try:
                file.write(chunk)
            except OSError as error:
                raise DataError(f"{path}: there is no room to unpack it in {target.parent.parent} ({error.strerror})") from error


def _limit(packed: int) -> int:
    return max(_FREE, _FACTOR * packed)


def _too_large(path: Path, limit: int) -> DataError:
    return DataError(
        f"{path}: it unpacks to more than {limit >> 20:,} MiB, over {_FACTOR} times its size, as no table of prices does: "
        "if you trust it, unpack it, and import the file inside; nothing was imported"
    )


def _nested(path: Path, inner: str) -> DataError:
    first = "" if path.name.lower().endswith(".zip") else "unpack it, and give the file inside"
    return DataError(f"{path}: the archive holds another archive ({_name(inner)}): {first or _unpack_first(path)}")


def _unpack_first(path: Path) -> str:
    name = _without_end(path.name, ".zip")
    archive, folder = (shlex.quote(str(each)) for each in (path, path.with_name(name if name != path.name else f"{name}_unpacked")))
    return f"unpack it (python3 -m zipfile -e {archive} {folder}) and give the folder (keel data import {folder})"


def _without_end(name: str, end: str) -> str:
    return name[: -len(end)] if name.lower().endswith(end) and len(name) > len(end) else name


def _name(text: str) -> str:
    return shortened(printable(text), 80)
