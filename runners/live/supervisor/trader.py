"""The trader's process: started as a child with the terminal of the supervisor, or found running; asked to end, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from keel.runners.live.supervisor.address import TraderCard
from keel.runners.live.supervisor.heartbeat import RESTARTS_NAME, RUN_NAME, SOCKET_NAME
from keel.runners.process.child_environment import child_environment
from keel.runners.process.signal_mask import nothing_blocked

_START_TICKS = 19
"""Place of the start time among the fields of /proc/PID/stat that follow the command's name."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
"""Start times count from the machine's start: after another one the same number and time may be another process's."""


class Trader:
    """One process. ``process``: None for one that this supervisor has not started, whose exit code nobody can know."""

    def __init__(self, card: TraderCard, process: subprocess.Popen[bytes] | None) -> None:
        self.card, self._process = card, process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.card.process

    def is_alive(self) -> bool:
        """Whether it still runs (a stopped one does)."""
        if self._process is not None:
            return self._process.poll() is None
        return bool(self.card.began) and began(self.pid) == self.card.began

    def exit_code(self) -> int | None:
        """Of one that has ended: negative for a signal; None where nobody can know."""
        return None if self._process is None else self._process.poll()

    def send(self, number: int) -> None:
        """A signal; one that is gone gets none."""
        with suppress(ProcessLookupError):
            if self._process is not None:
                self._process.send_signal(number)
            elif self.is_alive():
                os.kill(self.pid, number)

    def kill(self) -> None:
        """At once, stopped or not."""
        self.send(signal.SIGKILL)


def start_trader(arguments: Sequence[str], socket_path: Path, run: str, restarts: int, environ: Mapping[str, str] = os.environ) -> Trader:
    """Start ``keel`` with these arguments as a supervised trader. It inherits terminal and process group: a Ctrl-C reaches it by itself."""
    given = child_environment(environ) | {SOCKET_NAME: str(socket_path), RUN_NAME: run, RESTARTS_NAME: str(restarts)}
    words = [sys.executable, "-P", "-m", "keel.runners.cli.main", *arguments]
    with nothing_blocked():
        process = subprocess.Popen(words, env=given)
    return Trader(TraderCard(process.pid, began(process.pid), run, restarts), process)


def began(pid: int) -> str:
    """When a process was started, as the system tells it, so that another one with the same number is not taken for it; "": it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else f"{fields[_START_TICKS]} {_boot()}".rstrip()
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    told = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, env=child_environment())
    return told.stdout.strip()


def process_of(run: str) -> int | None:
    """The trader of a run whose number nobody wrote down, by its environment: of several the one that was started first.

    None: there is none, or the system does not show it.
    """
    wanted = f"{RUN_NAME}={run}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):  # it has ended meanwhile, or is somebody else's
            if wanted in (folder / "environ").read_bytes().split(b"\0") and (told := began(int(folder.name))):
                found.append((int(told.partition(" ")[0]), int(folder.name)))
    return min(found)[1] if found else None


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()[:8]
    except (OSError, ValueError):
        return ""
