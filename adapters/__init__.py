"""What touches the outside. Only here is a real clock: core's ``TimeRange`` is handed it, for a window whose user does not say "now"."""

import time

from core.time_range import TimeRange


def present_ms() -> int:
    """The time now in milliseconds since the Unix epoch, UTC."""
    return time.time_ns() // 1_000_000


TimeRange.clock = staticmethod(present_ms)
