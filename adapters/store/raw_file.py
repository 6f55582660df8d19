"""A CSV or Parquet file as a table ``raw`` with columns c0, c1, ... in a guarded connection: its own names never reach SQL.

CSV is read as text, every cell, and made into numbers afterwards, so that a cell which is none can be named with its line.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np

from adapters.store.connection import guarded
from adapters.store.words import printable, shortened
from core.errors import DataError
from core.file_names import name_problem, shown

_SUFFIXES = (".parquet", ".pq", ".csv", ".csv.gz")
_TIME_TYPES = ("TIMESTAMP", "DATE")


class RawFile:
    """An open file: its headers, and its columns as arrays."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str, headers: list[str], types: list[str], is_text: bool) -> None:
        self._connection = connection
        self.name, self.headers, self.types, self.is_text = name, headers, types, is_text
        self.rows = self.rows_in_file = int(connection.execute("SELECT count(*) FROM raw").fetchall()[0][0])
        self._kept: np.ndarray | None = None

    def where(self, row: int) -> str:
        """What people call row ``row`` (from 0) of what ``select`` has left: its line in a CSV, its row elsewhere."""
        place = row if self._kept is None else int(self._kept[row])
        return f"line {place + 2}" if self.is_text else f"row {place + 1}"

    def distinct(self, place: int) -> set[str]:
        """The different values of a column, as text."""
        column = _column(place)
        found = self._connection.execute(f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM raw WHERE {column} IS NOT NULL").fetchall()  # noqa: S608
        return {str(row[0]).strip() for row in found}

    def texts(self, place: int) -> np.ndarray:
        """A column as text (objects); empty cells are ''."""
        return self._array(f"SELECT coalesce(CAST({_column(place)} AS VARCHAR), '') AS x FROM raw")  # noqa: S608

    def numbers(self, place: int, *, empty: float | None = None) -> np.ndarray:
        """A column as float64, ``empty`` where a cell is empty. Raises DataError that names the first cell which is not a number."""
        return self._cast(place, "DOUBLE", "a number", empty=empty)

    def numbers_or_nan(self, place: int) -> np.ndarray:
        """A column as float64, nan where a cell is none or no number."""
        values = self._array(f"SELECT TRY_CAST({self._source(place)} AS DOUBLE) AS x FROM raw")  # noqa: S608
        return np.ma.filled(values, np.nan) if isinstance(values, np.ma.MaskedArray) else values

    def has_cells(self, place: int) -> bool:
        """Whether any cell of a column is not empty (nan is empty, as others write a cell that is none so)."""
        column = f"lower(trim(CAST({_column(place)} AS VARCHAR)))"
        return bool(self._connection.execute(f"SELECT count(*) FROM raw WHERE {column} NOT IN ('', 'nan')").fetchall()[0][0])  # noqa: S608

    def is_moment(self, place: int) -> bool:
        """Whether a column holds times as such, or text that is not numbers."""
        if self.types[place].startswith(_TIME_TYPES):
            return True
        return self.types[place] == "VARCHAR" and not self._all(place, "DOUBLE")

    def is_integer(self, place: int) -> bool:
        """Whether every cell of a column is written as an integer and is one of 64 bits: 1585180699.9 is none."""
        if self.types[place] != "VARCHAR":
            return self.types[place].endswith("INT") or self.types[place] in ("INTEGER", "UINTEGER")
        sql = f"SELECT count(*) FROM raw WHERE NOT regexp_full_match({self._source(place)}, '[+-]?[0-9]+')"  # noqa: S608
        return not self._connection.execute(sql).fetchall()[0][0] and self._all(place, "BIGINT")

    def integers(self, place: int) -> np.ndarray:
        """A column as int64. Raises DataError that names the first cell which is not an integer."""
        return self._cast(place, "BIGINT", "an integer")

    def moments(self, place: int) -> np.ndarray:
        """A column of timestamps or ISO text as int64 us UTC (text without a zone is UTC)."""
        kind = "TIMESTAMP" if self.types[place] in ("DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S") else "TIMESTAMPTZ"
        return self._cast(place, kind, "a time (such as 2025-01-31T08:00:00Z, or a number of s, ms, us or ns)", wrap="epoch_us")

    def select(self, place: int, values: set[str]) -> None:
        """Keep only the rows whose column has one of these texts."""
        marks = ", ".join("?" for _ in values)
        self._connection.execute(f"DELETE FROM raw WHERE trim(CAST({_column(place)} AS VARCHAR)) NOT IN ({marks})", sorted(values))  # noqa: S608
        self._kept = self._array("SELECT rowid AS x FROM raw")
        self.rows = len(self._kept)

    def _cast(self, place: int, kind: str, what: str, wrap: str = "", empty: float | None = None) -> np.ndarray:
        source = self._source(place)
        if empty is not None:
            source = f"coalesce(nullif(trim(CAST({_column(place)} AS VARCHAR)), ''), '{empty!r}')"
        values = self._array(f"SELECT {wrap}(TRY_CAST({source} AS {kind})) AS x FROM raw")  # noqa: S608
        if not isinstance(values, np.ma.MaskedArray):
            return values
        row = int(np.argmax(np.ma.getmaskarray(values)))
        cell = self._connection.execute(f"SELECT {_column(place)} FROM raw LIMIT 1 OFFSET ?", [row]).fetchall()[0][0]  # noqa: S608
        shown = "empty" if cell is None or cell == "" else shortened(repr(cell))
        raise DataError(f"{self.name}, {self.where(row)}: {self.headers[place]} is {shown}, not {what}. Nothing was imported")

    def _source(self, place: int) -> str:
        return f"trim({_column(place)})" if self.types[place] == "VARCHAR" else _column(place)

    def _all(self, place: int, kind: str) -> bool:
        column = _column(place)
        sql = f"SELECT count({column}) = count(TRY_CAST({column} AS {kind})) AND count({column}) > 0 FROM raw"  # noqa: S608
        return bool(self._connection.execute(sql).fetchall()[0][0])

    def _array(self, sql: str) -> np.ndarray:
        values: np.ndarray = self._connection.sql(sql).fetchnumpy()["x"]
        if isinstance(values, np.ma.MaskedArray) and not np.ma.getmaskarray(values).any():
            return np.asarray(values.data)
        return values


@contextmanager
def open_raw(path: Path) -> Iterator[RawFile]:
    """A file to import. Raises DataError when it is missing, empty, truncated, or of another format."""
    problem = name_problem(str(path))
    if problem:
        raise DataError(f"{shown(str(path))}: there is no such file: the name {problem}")
    if path.is_dir():
        raise DataError(f"{path} is a folder: {_files_inside(path)}")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    name = path.name.lower()
    if not name.endswith(_SUFFIXES):
        raise DataError(f"{path}: only .csv, .csv.gz and .parquet files can be imported")
    is_text = name.endswith((".csv", ".csv.gz"))
    with guarded(path) as connection:
        headers = _load_csv(connection, path) if is_text else _load_parquet(connection, path)
        described = connection.execute("SELECT data_type FROM duckdb_columns() WHERE table_name = 'raw' ORDER BY column_index").fetchall()
        raw = RawFile(connection, str(path), headers, [str(row[0]) for row in described], is_text)
        if not raw.rows:
            raise DataError(f"{path}: the file has no rows")
        yield raw


def _load_csv(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    line = _first_line(path)
    delimiter = max(",;\t|", key=line.count)
    try:
        headers = [printable(header.strip()) for header in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error as error:
        raise DataError(f"{path}, line 1: these are no column names: {error}") from error
    if all(_is_number(header) for header in headers):
        raise DataError(f"{path}: the first line has no column names: add a line such as ts,open,high,low,close,volume")
    columns = ", ".join(f"'{_column(place)}': 'VARCHAR'" for place in range(len(headers)))
    sql = (
        "CREATE TABLE raw AS SELECT * FROM read_csv(?, auto_detect = false, header = true, delim = ?, quote = '\"', escape = '\"', "  # noqa: S608
        f"columns = {{{columns}}})"
    )
    connection.execute(sql, [str(path.absolute()), delimiter]).fetchall()
    return headers


def _load_parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> list[str]:
    target = str(path.absolute())
    try:
        headers = [
            printable(str(row[0]).strip()) for row in connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [target]).fetchall()
        ]
        names = ", ".join(_column(place) for place in range(len(headers)))
        connection.execute(f"CREATE TABLE raw AS SELECT * FROM read_parquet(?) AS t({names})", [target]).fetchall()  # noqa: S608
    except duckdb.Error as error:
        if isinstance(error, duckdb.InvalidInputException) or type(error) is duckdb.Error:  # what its reader raises for the content
            raise DataError(f"{path}: truncated or not a Parquet file: fetch or write it again; nothing was imported") from error
        raise
    return headers


def _files_inside(folder: Path) -> str:
    """How to import what a folder holds, by the first files found in it or up to two folders below."""
    for suffix in _SUFFIXES:
        for depth in ("*", "*/*", "*/*/*"):
            if next(folder.glob(depth + suffix), None) is not None:
                return f"give its files, keel data import {folder}/{depth}{suffix}"
    return "it holds no .csv, .csv.gz or .parquet files to import"


def _first_line(path: Path) -> str:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline=None) as file:
            return file.readline().rstrip("\n")
    except EOFError as error:
        raise DataError(f"{path}: the file is truncated: fetch or write it again; nothing was imported") from error
    except zlib.error as error:
        raise DataError(f"{path}: the file is damaged: fetch or write it again; nothing was imported") from error
    except (UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the file is not text in UTF-8 ({error})") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _column(place: int) -> str:
    return f"c{int(place)}"
