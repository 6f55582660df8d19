"""How long this process has been running, start-up included."""

from __future__ import annotations

import os
import time
from pathlib import Path

_IMPORTED = time.perf_counter()
_START_TICKS = 19
"""Place of the start time among the fields of /proc/self/stat that follow the command's name."""


def process_age_s() -> float:
    """Seconds since the process began; where the system does not tell (it does on Linux, to 10 ms), since this module was imported."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[_START_TICKS]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError, ValueError, IndexError):
        return time.perf_counter() - _IMPORTED
