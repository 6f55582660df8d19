"""Words of the store's messages: cells and lists that may be of any length are shown in part."""

from __future__ import annotations

from collections.abc import Callable

Where = Callable[[int], str]
"""What to call row i (counted from 0): "line 17" of a CSV, "row 16" elsewhere."""


def printable(text: str) -> str:
    """A text with a mark in place of what cannot be shown: control characters, NUL, line ends."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def shortened(text: str, most: int = 60) -> str:
    """What a message shows of a cell or a list of names that may be of any length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
