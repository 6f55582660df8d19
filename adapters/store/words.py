"""Words of the store's messages: cells and lists that may be of any length are shown in part."""

from __future__ import annotations


def shortened(text: str, most: int = 60) -> str:
    """What a message shows of a cell or a list of names that may be of any length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
