"""What a target is to those who send, and what becomes of an attempt."""

from __future__ import annotations

from typing import Protocol

import msgspec

from keel.adapters.bybit.notices import Severity
from keel.runners.live.alerts.message import Message


class Outcome(msgspec.Struct, frozen=True):
    """Of one attempt. why: what went wrong, "" where nothing did; retry_after_s: what the server asked for, where it can be seen."""

    is_sent: bool
    why: str = ""
    retry_after_s: float | None = None


class Sender(Protocol):
    """One target, ready to send. Blocks: call it from a thread of its own."""

    name: str
    severity: Severity
    daily: bool

    def send(self, message: Message) -> Outcome:
        """One attempt."""
        ...

    def close(self) -> None:
        """End what an attempt may still be at, from another thread; nothing is sent after it."""
        ...
