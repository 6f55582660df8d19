"""The kernel, compiled by a process of its own, so that a sweep's first points need not wait for it.

A first compile takes some 20 s. Until it is done the actors run the points: what they give is what the kernel gives (``keel parity``).
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from keel.runners.sweep.child import last_words, start_child
from keel.sim.kernel import is_loaded, load


def is_ready(folder: str) -> bool:
    """Whether the kernel can be had at once: this process has it, or it was compiled into the folder by a Python of this version before.

    Without a folder there is nothing that another process could leave it in: it is compiled here, whenever that is asked for.
    """
    if not folder or is_loaded():
        return True
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return any(Path(folder).rglob(f"*.{version}.nbi"))


class Compiling:
    """A process that compiles the kernel into a folder.

    is_unfinished: as far as ``is_running`` has looked; it stays so where it was ended before.  failure: why it could not, in words.
    """

    def __init__(self, folder: str) -> None:
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
        """End it, whether it is done or not."""
        if self.is_running:
            self._process.kill()
            self._process.wait()
        self._errors.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer, which ends this process
    load(sys.argv[1])
