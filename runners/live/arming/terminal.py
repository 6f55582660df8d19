"""The question at a terminal: the account's number and a phrase, typed by a person who has read what is about to be armed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from keel.core.errors import SafetyError

PHRASES = {"live": "trade real money", "sandbox": "trade play money"}
_LONGEST = 256


def has_terminal() -> bool:
    """Whether a person can be asked here."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


async def ask_person(environment: str, uid: int, lines: Sequence[str]) -> None:
    """Show what is armed, and take the account's UID and the phrase. Raises SafetyError for anything else; each is asked once."""
    for line in lines:
        print(line, file=sys.stderr)
    typed = await _line("type the UID of the account that is to be traded: ")
    if typed != str(uid):
        raise SafetyError(f"{typed!r} is not the account that this key trades: nothing is armed, and nothing was sent")
    phrase = PHRASES[environment]
    if await _line(f"type {phrase!r} to arm: ") != phrase:
        raise SafetyError("that is not the phrase: nothing is armed, and nothing was sent")


async def _line(prompt: str) -> str:
    """One line, while the event loop goes on. Raises SafetyError where the terminal closes."""
    print(prompt, end="", file=sys.stderr, flush=True)
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    came: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        if not came.done():
            try:
                came.set_result(os.read(descriptor, _LONGEST))
            except OSError:
                came.set_result(b"")

    loop.add_reader(descriptor, read)
    try:
        content = await came
    finally:
        loop.remove_reader(descriptor)
    if not content:
        raise SafetyError("the terminal was closed: nothing is armed, and nothing was sent")
    return content.decode("utf-8", "replace").strip()
