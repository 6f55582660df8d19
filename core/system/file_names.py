"""Whether a text can name a file at all, before anybody asks the disk for it. A rule about text; nothing here looks at a disk."""

from __future__ import annotations

LONGEST_NAME = 255
"""Bytes that one part of a path may have, on every system that keel runs on."""
LONGEST_PATH = 4_000
LONGEST_ID = 100
"""Characters of a system's id: files and folders are named after it, with something before and behind."""


def name_problem(text: str) -> str:
    """Why no file can have this path, as the end of a sentence; "" where one may."""
    if not text:
        return "is empty"
    if "\x00" in text:
        return "holds a NUL character, which no file's name may"
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError:
        return "is not text in UTF-8"
    longest = max(len(part) for part in raw.split(b"/"))
    if longest > LONGEST_NAME:
        return f"has a name of {longest} bytes, and a file's has at most {LONGEST_NAME}"
    return f"has {len(raw)} bytes, and a path has at most {LONGEST_PATH}" if len(raw) > LONGEST_PATH else ""


def shown(text: str, most: int = 80) -> str:
    """A text in quotes for an error's sentence; of a long one its beginning, and how long it is."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}... ({len(text):,} characters)"
