"""A module of keel as a program of its own, for a sweep: with the interpreter and the search path of this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import keel
from keel.runners.process.child_environment import child_environment


def start_child(module: str, argument: str, *, errors: IO[bytes], stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    """Start ``python -m module argument``; what it writes to stderr goes to the file ``errors``."""
    root = str(Path(keel.__path__[0]).parent)
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", module, argument],
        stdin=stdin,
        stdout=stdout,
        stderr=errors,
        env={**child_environment(), "PYTHONPATH": paths},
    )


def last_words(process: subprocess.Popen[bytes], errors: IO[bytes]) -> str:
    """What a process that has ended died of: its signal or exit code, and the last line of its stderr."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    code = process.returncode
    return (f"signal {-code}" if code < 0 else f"exit code {code}") + (f", {lines[-1]}" if lines else "")
