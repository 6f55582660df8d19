"""What touches the outside. Only here is a real clock (``machine``): core's ``TimeRange`` is handed it, for a window whose user does not
say "now"."""

from keel.adapters.machine import wall_ms
from keel.core.model.time_range import TimeRange

TimeRange.clock = staticmethod(wall_ms)
