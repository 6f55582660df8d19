"""What a service tells systemd: ready, alive, stopping. Nothing where no systemd asks (NOTIFY_SOCKET is not set)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(words: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send a state, such as ``READY=1``; whether somebody took it."""
    place = environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as line:
            line.setblocking(False)  # a systemd that does not read holds nobody
            line.sendto(words.encode(), "\0" + place[1:] if place[0] == "@" else place)
    except OSError:
        return False
    return True


def is_asked(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a systemd waits for news."""
    return bool(environ.get("NOTIFY_SOCKET"))


def watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often to say ``WATCHDOG=1``: half of what the unit's WatchdogSec asks for; None: not at all, or not of this process."""
    asked, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not asked.isascii() or not asked.isdigit() or int(asked) == 0 or process not in ("", str(os.getpid())):
        return None
    return int(asked) / 2_000_000
