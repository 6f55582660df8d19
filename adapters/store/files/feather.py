"""Feather (Arrow IPC) files: what freqtrade keeps its history in."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from keel.core.errors import DataError

INSTALL = "pip install pyarrow"


def read_feather(name: str, path: Path) -> Any:
    """The Arrow table of a Feather file. Raises DataError when it is damaged, or pyarrow is not there."""
    if find_spec("pyarrow") is None:
        raise DataError(f"{name}: reading Feather files needs the package pyarrow, which is not installed here: {INSTALL}")
    import pyarrow as pa
    from pyarrow import ipc

    try:
        with pa.memory_map(str(path)) as source:
            return ipc.open_file(source).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{name}: truncated or not a Feather file: fetch or write it again; nothing was imported") from error
