"""A run's equity curve in its folder: equity.csv for people and programs, equity.parquet with the same rows for what reads it again.

Columns: ``time`` (UTC; ISO text in the CSV), ``ts`` (ms), then those of ``BacktestResult.equity_curve``. ``liquidation_distance_pct`` is
empty where there is no position; every other number is finite. The Parquet file is read ten times as fast, and has a third of the bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from keel.adapters.whole_file import whole_file
from keel.core.errors import DataError, InvariantError
from keel.core.model.frame import Frame
from keel.core.model.time_range import to_iso

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CSV: Final = "equity.csv"
PARQUET: Final = "equity.parquet"
CURVE_FILES: Final = (CSV, PARQUET)
DISTANCE: Final = "liquidation_distance_pct"


def write_curve(folder: Path, curve: Frame) -> None:
    """Write both files; DuckDB formats, on every processor: for a year of 1m bars 0.5 s of processor time for the CSV, 0.1 s for the other.

    The large files of a run, and ones that can be made again: they are renamed into place, not forced to the disk.
    Raises InvariantError for a number that is not finite, DataError when the disk refuses: what was begun is not there then.
    """
    import duckdb

    check_curve(curve)
    with duckdb.connect() as connection:
        connection.register("curve", curve.to_dict())
        for name, copy in ((CSV, _CSV), (PARQUET, _PARQUET)):
            _copy(connection, copy.replace("columns", _WITH_DISTANCE if DISTANCE in curve else "*"), folder / name)


def read_equity(folder: Path) -> Frame:
    """The curve, bit by bit as it was written (what is empty is nan): of equity.parquet, in a run of before of equity.csv.

    Raises DataError when it is missing or damaged.
    """
    import duckdb

    path = folder / PARQUET
    if not path.exists():
        path = folder / CSV
    try:
        with duckdb.connect() as connection:
            columns = connection.execute(_READ[path.name], {"path": str(path)}).fetchnumpy()
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    numbers = {name: np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan) for name, column in columns.items() if name != "ts"}
    return Frame(np.ma.filled(columns["ts"], 0), numbers, kind="equity")


def same_curve(a: Path, b: Path) -> bool | None:
    """Whether the curves in two runs' folders are the same; None where neither has one."""
    if not (a / CSV).exists() and not (b / CSV).exists():
        return None
    return _same_bytes(a / PARQUET, b / PARQUET) or _same_bytes(a / CSV, b / CSV)


def check_curve(curve: Frame) -> None:
    """Raises InvariantError for a number that must be finite and is not."""
    for name in curve.columns:
        if name == DISTANCE:
            continue
        finite = np.isfinite(curve[name])
        if not finite.all():
            row = int(np.argmin(finite))
            raise InvariantError(
                f"equity column {name} is {curve[name][row]} at {to_iso(int(curve.ts[row]))}: only finite numbers are written"
            )


_WITH_DISTANCE = "* REPLACE (CASE WHEN isfinite(liquidation_distance_pct) THEN liquidation_distance_pct END AS liquidation_distance_pct)"
_CSV = """
COPY (SELECT replace(make_timestamp(ts * 1000)::VARCHAR, ' ', 'T') || 'Z' AS time, columns FROM curve)
TO $path (FORMAT csv, HEADER true)
"""
_PARQUET = "COPY (SELECT make_timestamptz(ts * 1000) AS time, columns FROM curve) TO $path (FORMAT parquet)"
_READ = {
    CSV: """
SELECT CAST(ts AS BIGINT) AS ts, CAST(COLUMNS(* EXCLUDE (time, ts)) AS DOUBLE)
FROM read_csv($path, delim = ',', header = true, all_varchar = true)
""",
    PARQUET: "SELECT ts, COLUMNS(* EXCLUDE (time, ts)) FROM read_parquet($path)",
}


def _copy(connection: DuckDBPyConnection, copy: str, path: Path) -> None:
    import duckdb

    with whole_file(path, durable=False) as part:
        try:
            connection.execute(copy, {"path": str(part)})
        except duckdb.Error as error:
            raise DataError(f"{path} could not be written: {error}") from error


def _same_bytes(a: Path, b: Path) -> bool:
    return a.exists() and b.exists() and a.stat().st_size == b.stat().st_size and a.read_bytes() == b.read_bytes()
