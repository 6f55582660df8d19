"""What a person should know: what went wrong outside, and what the adapter did about it. The runner logs, alerts and shows notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Severity = Literal["info", "warning", "error"]


class Notice(msgspec.Struct, frozen=True):
    """``code`` is a stable word; ``freezes``: no order that adds exposure leaves for this symbol (None: for any) until it is released."""

    ts: int
    code: str
    text: str
    symbol: str | None = None
    severity: Severity = "warning"
    freezes: bool = False


Notify = Callable[[Notice], None]
