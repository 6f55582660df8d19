"""Export of one series to a Parquet or CSV file: written beside its place, then moved there in one step."""

from __future__ import annotations

from pathlib import Path

from keel.adapters.store.connection import guarded
from keel.adapters.store.importing.checks import Columns
from keel.adapters.store.schema import SeriesKey
from keel.adapters.whole_file import whole_file
from keel.core.errors import DataError
from keel.core.system.file_names import name_problem, shown

_FORMATS = (".parquet", ".csv")


def export_columns(path: Path, key: SeriesKey, columns: Columns) -> int:
    """Write symbol, category, kind, timeframe and the columns; gives the number of rows. Raises DataError, the old file untouched."""
    problem = name_problem(str(path))
    if problem:
        raise DataError(f"{shown(str(path))}: an export cannot be called so: the name {problem}")
    if path.suffix.lower() not in _FORMATS:
        raise DataError(f"{path}: an export ends in .parquet or .csv")
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist: make it first")
    with whole_file(path) as part, guarded(part) as connection:
        connection.register("columns", dict(columns))
        rows = connection.sql(
            "SELECT ? AS symbol, ? AS category, ? AS kind, ? AS timeframe, * FROM columns",
            params=[key.symbol, key.category, key.kind, key.timeframe],
        )
        if path.suffix.lower() == ".csv":
            rows.write_csv(str(part.absolute()), use_tmp_file=False)
        else:
            rows.write_parquet(str(part.absolute()), compression="zstd", use_tmp_file=False)
    return len(columns["ts"])
