"""What touches the outside. Only here is a real clock (``machine``): core's ``TimeRange`` is handed it, for a window whose user does not
say "now"."""

from adapters.machine import wall_ms
from core.time_range import TimeRange


def present_ms() -> int:
    """The time now in milliseconds since the Unix epoch, UTC."""
    return wall_ms()


TimeRange.clock = staticmethod(present_ms)
