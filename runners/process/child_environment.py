"""The environment of the programs that keel starts: without what is meant for keel's own process alone.

A program that found the variables of a supervised trader would take itself for the trader, and one that found systemd's would speak for the
service. Whatever is started beside a session (a panic path, a command of alerts.yaml, a worker) gets its environment from here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

SUPERVISOR_PREFIX: Final = "KEEL_SUPERVISOR"
_SYSTEMD: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


def child_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a program may know; a new one each time."""
    return {name: value for name, value in environ.items() if not name.startswith(SUPERVISOR_PREFIX) and name not in _SYSTEMD}
