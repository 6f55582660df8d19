"""The kernel, compiled by a process of its own, so that a sweep's first points need not wait for it.

A first compile takes some 20 s. Until it is done the actors run the points: what they give is what the kernel gives (``keel parity``).
A sweep that is done before it leaves the process to finish, so that the next one has the kernel; Ctrl-C ends both.
"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from keel.runners.research.sweep.workers.child import last_words, start_child
from keel.sim.kernel import is_loaded, load

LONGEST_S: Final = 300
"""After so long a process that compiles is ended, whatever it does."""


def is_ready(folder: str) -> bool:
    """Whether the kernel can be had at once: this process has it, or it was compiled into the folder by a Python of this version before.

    Without a folder there is nothing that another process could leave it in: it is compiled here, whenever that is asked for.
    """
    if not folder or is_loaded():
        return True
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return any(Path(folder).rglob(f"*.{version}.*.nbc"))  # the code itself, which numba writes last


class Compiling:
    """A process that compiles the kernel into a folder. Of several for one folder one compiles, and the others wait for it.

    is_unfinished: as far as ``is_running`` has looked.  failure: why it could not, in words.
    """

    def __init__(self, folder: str) -> None:
        with suppress(OSError):  # the process cannot work there, and its last words say why
            Path(folder).mkdir(parents=True, exist_ok=True)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (close closes it)
        self._process = start_child(__spec__.name, folder, errors=self._errors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.is_unfinished = True
        self.failure = ""

    @property
    def is_running(self) -> bool:
        """Whether it is still at work. Once it is not, the rest is known."""
        if self.is_unfinished and self._process.poll() is not None:
            self.is_unfinished = False
            self.failure = last_words(self._process, self._errors) if self._process.returncode else ""
        return self.is_unfinished

    def close(self) -> None:
        """Look no longer. It is not ended: it finishes by itself, within ``LONGEST_S``."""
        self._errors.close()


def main(folder: str) -> None:
    """Compile the kernel into a folder that is there: one whose home is removed meanwhile is not made again."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the sweep runs ends this process at once, without a word
    signal.alarm(LONGEST_S)
    with (Path(folder) / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        load(folder)


if __name__ == "__main__":
    main(sys.argv[1])
