"""A journal that other processes replay: with other orders of hashes, and by another Python where one with the dependencies is here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[3]
NEWEST = PROJECT / ".venv-newest" / "bin" / "python"
"""``.ci/run`` makes it where a newer Python is installed."""


def replayed_elsewhere(folder: Path, home: Path, seed: str, python: str | Path = sys.executable) -> Any:
    """What ``keel replay`` answers in a process of its own; it must end well."""
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [str(python), "-m", "keel.runners.cli.main", "replay", str(folder), "--home", str(home), "--json"],
        capture_output=True, text=True, env=environment, cwd=home, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
