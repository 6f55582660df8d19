"""Output that a terminal's encoding cannot hold falls back to plain characters, what stderr cannot take to stdout; never to an error."""

from __future__ import annotations

import codecs
import json
import sys
from contextlib import suppress
from typing import Any

import click

_NAME = "keel-plain"
_PLAIN = {
    "–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "≥": ">=", "≤": "<=", "≈": "~", "→": "->", "←": "<-", "±": "+/-", "·": ".",
    "━": "=", "╌": "-", "│": "|", "─": "-", "✓": "ok", "✗": "x", "“": '"', "”": '"', "‘": "'", "’": "'", "°": " deg", "\xa0": " ",
}  # fmt: skip


def print_text(text: str) -> None:
    """For people, on stderr; on stdout where that takes nothing (a full disk). Raises nothing: the exit code says what became of it all."""
    for is_error in (True, False):
        with suppress(OSError, ValueError):
            click.echo(text, err=is_error)
            return


def fall_back() -> None:
    """From now on stdout and stderr write what their encoding lacks as plain characters, or as the character's number."""
    codecs.register_error(_NAME, _replaced)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=_NAME)


def json_line(text: str) -> str:
    """JSON as stdout can hold it: with escapes where its encoding is not of all characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return json.dumps(json.loads(text))
    return text


def plain_json(value: Any) -> str:
    """JSON of plain data in which there are texts that are no characters: half a pair, out of a file name that is no text."""
    return json.dumps(value)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in lacking), error.end
