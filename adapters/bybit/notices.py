"""What a person should know: what went wrong outside, and what the adapter did about it. The runner logs, alerts and shows notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

Severity = Literal["info", "warning", "error"]


class Notice(msgspec.Struct, frozen=True):
    """``code`` is a stable word; ``freezes``: it is a cause of core/risk/gate/causes.py as well, and stands for this symbol (None: for all)
    until it ends; ``key``: which order or execution it is about, where several may stand."""

    ts: int
    code: str
    text: str
    symbol: str | None = None
    severity: Severity = "warning"
    freezes: bool = False
    key: str = ""


Notify = Callable[[Notice], None]
