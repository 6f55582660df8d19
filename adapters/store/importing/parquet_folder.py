"""A folder of Parquet files as a store in memory: every ``.parquet`` file in it, by the importer's own rules.

The usual layout is ``<symbol>/<kind>_<timeframe>.parquet``; any other that says symbol, timeframe and kind in columns or names will do.
A folder named BTC-USDT (or BTC-USDT-PERP) is that of BTCUSDT.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from keel.adapters.store.connection import Database
from keel.adapters.store.importing.importer import import_file
from keel.core.errors import DataError
from keel.core.system.file_names import name_problem, shown

_DASHED = re.compile(r"^([A-Z0-9]+)-([A-Z0-9]+)(-PERP)?$")


def load_folder(db: Database, folder: Path, now_ms: int | None = None) -> int:
    """Import all files of a folder and its folders, in the order of their names; gives their number. Raises DataError.

    Rows that are dropped because they are not final at ``now_ms`` (None: now) are told as a UserWarning.
    """
    problem = name_problem(str(folder))
    if problem:
        raise DataError(f"{shown(str(folder))}: there is no such folder: the name {problem}")
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    files = sorted(path for path in folder.rglob("*.parquet") if path.is_file())
    if not files:
        raise DataError(f"{folder}: there are no .parquet files in this folder")
    for path in files:
        report = import_file(db, path, symbol=_symbol_of(path.parent.name), now_ms=now_ms)
        for note in (note for note in report.notes if report.unfinished and "unfinished" in note):
            warnings.warn(f"{path}: {note}", UserWarning, stacklevel=3)
    return len(files)


def _symbol_of(folder: str) -> str | None:
    """The symbol of a folder's name that is written with a dash; None leaves it to the importer."""
    match = _DASHED.match(folder)
    return match[1] + match[2] if match else None
