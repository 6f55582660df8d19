"""The disk reserve: room on the disk that is kept for a session's last words, and the words. Its file is called ``ballast``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from keel.adapters.journal.errors import JournalError
from keel.adapters.whole_file import append_line

_CHUNK = 1 << 20


class LastWords(msgspec.Struct, frozen=True):
    """What a session could still say after its journal had failed."""

    session: int
    seq: int
    ts: int
    text: str


def fill_disk_reserve(folder: Path, size_bytes: int) -> None:
    """Make the file that reserves room, in blocks that are really taken. Raises JournalError when there is no room for it."""
    path = _reserve_path(folder)
    if path.exists() and path.stat().st_size == size_bytes:
        return
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            for start in range(0, size_bytes, _CHUNK):
                file.write(bytes(min(_CHUNK, size_bytes - start)))
    except OSError as error:
        path.unlink(missing_ok=True)
        reason = error.strerror or error
        raise JournalError(f"{path}: no room for {size_bytes} bytes of disk reserve: {reason}; make room before trading") from error


def write_last_words(folder: Path, words: LastWords) -> None:
    """Give up the reserve and write a line. Raises DataError when not even that is possible."""
    _reserve_path(folder).unlink(missing_ok=True)
    append_line(_words_path(folder), msgspec.json.encode(words))


def last_words_of(folder: Path, session: int) -> tuple[str, ...]:
    """What a session said. Lines that are no last words (torn by the full disk) are given as they are."""
    path = _words_path(folder)
    lines = path.read_bytes().splitlines() if path.exists() else []
    said = [_decoded(line) for line in lines]
    return tuple(words if isinstance(words, str) else words.text for words in said if isinstance(words, str) or words.session == session)


def _decoded(line: bytes) -> LastWords | str:
    try:
        return msgspec.json.decode(line, type=LastWords)
    except msgspec.DecodeError:
        return line.decode("utf-8", "replace")


def _reserve_path(folder: Path) -> Path:
    return folder / "ballast"


def _words_path(folder: Path) -> Path:
    return folder / "last_words.jsonl"
