"""I-16: key and secret are nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.faults.checker.seen import Seen


def canaries(folder: Path, seen: Seen) -> Iterator[str]:
    """Every file below the folder, byte for byte, and every text that the harness gives."""
    for word in seen.words:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            if word.encode() in path.read_bytes():
                yield f"I-16: a secret is in {path.relative_to(folder)}"
        for name, text in seen.texts.items():
            if word in text:
                yield f"I-16: a secret is in {name}"
