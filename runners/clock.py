"""The system's clock, for what people start: runs are stamped with it, never decided by it."""

from __future__ import annotations

import time


def system_now() -> int:
    """The time now in milliseconds since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000
