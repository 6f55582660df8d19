"""Clocks. Core holds none of its own: it is given one. The replay clock is moved by whoever replays history."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time in milliseconds since the Unix epoch, UTC."""

    now_ms: int


class ReplayClock:
    """A clock that stands still until it is set; it never goes back."""

    __slots__ = ("now_ms",)

    def __init__(self, now_ms: int = 0) -> None:
        self.now_ms = now_ms
