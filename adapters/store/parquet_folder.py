"""A folder of Parquet files as a store in memory: every ``.parquet`` file in it, by the importer's own rules.

The usual layout is ``<symbol>/<kind>_<timeframe>.parquet``; any other that says symbol, timeframe and kind in columns or names will do.
"""

from __future__ import annotations

from pathlib import Path

from adapters.store.connection import Database
from adapters.store.importer import import_file
from core.errors import DataError


def load_folder(db: Database, folder: Path) -> int:
    """Import all files of a folder and its folders, in the order of their names; gives their number. Raises DataError."""
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    files = sorted(path for path in folder.rglob("*.parquet") if path.is_file())
    if not files:
        raise DataError(f"{folder}: there are no .parquet files in this folder")
    for path in files:
        import_file(db, path)
    return len(files)
