"""Where the artifacts of a run are: ``backtests/<UTC timestamp>/<run_id>/``, for demo and live under ``runs/<epoch>/``."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from keel.core.errors import DataError
from keel.core.model.time_range import to_datetime
from keel.runners.home import Home
from keel.runners.lifecycle.stages import GATED, StrategyEpoch

ROOM_WANTED = "make room on that disk, or give another home (--home DIR), and run it again"
"""The way out of a full disk."""


def new_run_id() -> str:
    """``run-`` and 12 hex digits, drawn at random: it names a folder and log lines, and decides nothing."""
    return f"run-{secrets.token_hex(6)}"


def make_run_folder(home: Home, epoch: StrategyEpoch, run_id: str, now: int) -> Path:
    """Make the empty folder of a new run. Raises DataError when it cannot be made."""
    parent = home.runs / epoch.value if epoch in GATED else home.backtests
    folder = parent / f"{to_datetime(now):%Y%m%d_%H%M%S}" / run_id
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"the run's folder {folder} cannot be made: {error.strerror}") from error
    return folder


def remove_run_folder(folder: Path) -> None:
    """Take away the folder of a run that could not be begun, with the folder of its time where no other run is in it."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def run_folders(home: Home, prefix: str = "run-") -> Iterator[Path]:
    """The folders of all runs whose id begins so, in no particular order."""
    for parent in (home.backtests, *(home.runs / epoch.value for epoch in GATED)):
        yield from (folder for folder in parent.glob("*/run-*") if folder.name.startswith(prefix) and folder.is_dir())


def process_mark() -> dict[str, str | int]:
    """Who runs it: recorded in config.json, so that a list of runs can tell what is under way from what died."""
    return {"pid": os.getpid(), "host": platform.node()}


def is_alive(mark: Mapping[str, object]) -> bool:
    """Whether the process that wrote this mark is still there; False for another machine's, and where the system cannot tell."""
    pid = mark.get("pid")
    if os.name != "posix" or not isinstance(pid, int) or mark.get("host") != platform.node():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def code_versions() -> dict[str, str]:
    """The versions that a result depends on."""
    names = ("keel-trader", "numpy", "TA-Lib", "duckdb", "msgspec")
    return {"python": platform.python_version(), **{name: _installed(name) for name in names}}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
