"""A file's rows as a table ``raw`` with columns c0, c1, ... in a guarded connection: of what is in a file, or in an option, nothing is ever
part of SQL text; it is a parameter, or a value in a column.

Text is read as text, every cell, and made into numbers afterwards, so that a cell which is none can be named with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from keel.adapters.store.files.text_layout import first_rows
from keel.adapters.store.words import shortened
from keel.core.errors import ConfigError, DataError

TIME_TYPES = ("TIMESTAMP", "DATE")
_COMMA = (
    "CASE WHEN regexp_full_match({x}, '[+-]?[0-9]{{1,3}}([.][0-9]{{3}})+(,[0-9]*)?') THEN replace(replace({x}, '.', ''), ',', '.') "
    "WHEN contains({x}, '.') THEN NULL ELSE replace({x}, ',', '.') END"
)
"""A number with a decimal comma (and dots between thousands) as one with a decimal point."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a person says about a file's cells: a strptime format of its times, the zone of times that do not say theirs, the decimal mark,
    the lines before its table, and whether rows with empty cells are left out."""

    time_format: str | None = None
    timezone: str | None = None
    decimal: str = "."
    skip_lines: int = 0
    drop_empty: bool = False

    def __post_init__(self) -> None:
        if self.decimal not in (".", ","):
            raise ConfigError(f"the decimal mark {shortened(repr(self.decimal))} is none: use . or ,")
        if self.skip_lines < 0:
            raise ConfigError(f"{self.skip_lines} lines cannot be skipped: give 0 or more")


class RawFile:
    """An open file: its headers, and its columns as arrays."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, name: str, headers: list[str], line_of: Callable[[int], int] | None = None
    ) -> None:
        """line_of: the line in which a row (from 0) of the file stands; None where there are no lines."""
        self._connection = connection
        self.types = [str(row[1]) for row in connection.execute("DESCRIBE raw").fetchall()]
        self.name, self.headers, self.decimal = name, headers, "."
        self.reading = Reading()
        self.names: tuple[str, ...] = ()
        self.notes: list[str] = []
        self.said: dict[str, str] = {}
        self.head: list[str] = []
        self.quote_volume = False
        """Whether the writer is known to count volume in the quote currency."""
        self._line_of = line_of
        self.way_out = ""
        """How files of this format are written so that their columns have names, and the times are among them; "" for adding a line."""
        self.left_out = 0
        """Rows that ``select`` has taken out."""
        self.rows = self.rows_in_file = int(connection.execute("SELECT count(*) FROM raw").fetchall()[0][0])
        self._kept: np.ndarray | None = None

    def where(self, row: int) -> str:
        """What people call row ``row`` (from 0) of what ``select`` has left: its line in a text file, its row elsewhere."""
        place = row if self._kept is None else int(self._kept[row])
        return f"row {place + 1}" if self._line_of is None else f"line {self._line_of(place)}"

    def first_rows(self) -> str:
        """The first lines, or the first rows, for a message."""
        return first_rows(self.head or [",".join(cells) for cells in self.sample(2)])

    def sample(self, count: int) -> list[list[str]]:
        """The first rows as text; empty cells are ''."""
        listed = ", ".join(f"coalesce(CAST({column_name(place)} AS VARCHAR), '')" for place in range(len(self.headers)))
        return [
            [str(cell).strip() for cell in row]
            for row in self._connection.execute(f"SELECT {listed} FROM raw LIMIT {int(count)}").fetchall()  # noqa: S608  # our own names
        ]

    def cells(self, row: int) -> list[str]:
        """A row as text; empty cells are ''."""
        listed = ", ".join(f"coalesce(CAST({column_name(place)} AS VARCHAR), '')" for place in range(len(self.headers)))
        found = self._connection.execute(f"SELECT {listed} FROM raw LIMIT 1 OFFSET ?", [row]).fetchall()[0]  # noqa: S608
        return [str(cell).strip() for cell in found]

    def distinct(self, place: int) -> set[str]:
        """The different values of a column, as text."""
        column = column_name(place)
        found = self._connection.execute(f"SELECT DISTINCT CAST({column} AS VARCHAR) FROM raw WHERE {column} IS NOT NULL").fetchall()  # noqa: S608
        return {str(row[0]).strip() for row in found}

    def texts(self, place: int) -> np.ndarray:
        """A column as text (objects); empty cells are ''."""
        return self._array(f"SELECT coalesce(CAST({column_name(place)} AS VARCHAR), '') AS x FROM raw")  # noqa: S608

    def numbers(self, place: int, *, empty: float | None = None) -> np.ndarray:
        """A column as float64, ``empty`` where a cell is empty. Raises DataError that names the first cell which is not a number."""
        return self._cast(place, "DOUBLE", "a number", empty=empty)

    def numbers_or_nan(self, place: int) -> np.ndarray:
        """A column as float64, nan where a cell is none or no number."""
        values = self._array(f"SELECT TRY_CAST({self._source(place)} AS DOUBLE) AS x FROM raw")  # noqa: S608
        return np.ma.filled(values, np.nan) if isinstance(values, np.ma.MaskedArray) else values

    def has_cells(self, place: int) -> bool:
        """Whether any cell of a column is not empty (nan is empty, as others write a cell that is none so)."""
        return bool(self._connection.execute(f"SELECT 1 FROM raw WHERE NOT ({self._is_empty(place)}) LIMIT 1").fetchall())  # noqa: S608

    def is_moment(self, place: int) -> bool:
        """Whether a column holds times as such, or text that is not numbers."""
        if self.types[place].startswith(TIME_TYPES):
            return True
        return self.types[place] == "VARCHAR" and not self._all(place, "DOUBLE")

    def is_text(self, place: int) -> bool:
        """Whether a column's cells are text, numbers written as such or not."""
        return self.types[place] == "VARCHAR"

    def is_integer(self, place: int) -> bool:
        """Whether every cell of a column is written as an integer and is one of 64 bits: 1585180699.9 is none."""
        if self.types[place] != "VARCHAR":
            return self.types[place].endswith("INT") or self.types[place] in ("INTEGER", "UINTEGER")
        sql = f"SELECT count(*) FROM raw WHERE NOT regexp_full_match({self._source(place)}, '[+-]?[0-9]+')"  # noqa: S608
        return not self._connection.execute(sql).fetchall()[0][0] and self._all(place, "BIGINT")

    def integers(self, place: int) -> np.ndarray:
        """A column as int64. Raises DataError that names the first cell which is not an integer."""
        return self._cast(place, "BIGINT", "an integer")

    def is_in_utc(self, place: int) -> bool:
        """Whether a column holds moments, and not times of day of some clock."""
        return "WITH TIME ZONE" in self.types[place]

    def parts(self, place: int, pattern: str) -> set[str]:
        """What the first group of a regular expression finds in the cells of a column; "" where it finds nothing."""
        sql = f"SELECT DISTINCT regexp_extract(trim(CAST({column_name(place)} AS VARCHAR)), ?, 1) FROM raw"  # noqa: S608  # our own names
        return {str(part or "") for (part,) in self._connection.execute(sql, [pattern]).fetchall()}

    def moments(self, place: int) -> np.ndarray:
        """A column of timestamps or ISO text as int64 us UTC (text without a zone is UTC)."""
        kind = "TIMESTAMP" if self.types[place] in ("DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S") else "TIMESTAMPTZ"
        return self._cast(place, kind, "a time (such as 2025-01-31T08:00:00Z, or a number of s, ms, us or ns)", wrap="epoch_us")

    def is_iso(self, place: int) -> bool:
        """Whether all cells of a column are read as times as they stand."""
        return self.types[place].startswith(TIME_TYPES) or self._all(place, "TIMESTAMPTZ")

    def parsed(self, places: Sequence[int], time_format: str) -> np.ndarray | None:
        """Columns (joined by a blank) as us by a strptime format; None where a cell does not fit. DataError for what is no format."""
        values = self._parsed(places, time_format)
        return None if isinstance(values, np.ma.MaskedArray) else values

    def misfit(self, places: Sequence[int], time_format: str) -> tuple[int, str]:
        """The first row whose cells a format does not fit, and the cells."""
        row = int(np.argmax(np.ma.getmaskarray(self._parsed(places, time_format))))
        return row, str(self._connection.execute(f"SELECT {_joined(places)} FROM raw LIMIT 1 OFFSET ?", [row]).fetchall()[0][0])  # noqa: S608

    def _parsed(self, places: Sequence[int], time_format: str) -> np.ndarray:
        try:
            self._connection.execute("SELECT try_strptime('', ?)", [time_format]).fetchall()
        except duckdb.Error as error:
            raise DataError(
                f"{self.name}: --time-format {shortened(repr(time_format))} is no format of times: one is such as '%d/%m/%Y %H:%M'"
            ) from error
        return self._array(f"SELECT epoch_us(CAST(try_strptime({_joined(places)}, ?) AS TIMESTAMPTZ)) AS x FROM raw", [time_format])  # noqa: S608

    def empty_rows(self, places: Sequence[int]) -> np.ndarray:
        """Which rows have an empty cell (or nan) in one of the columns."""
        if not self._may_be_empty(places):
            return np.zeros(self.rows, dtype=bool)
        condition = " OR ".join(f"({self._is_empty(place)})" for place in places)
        return np.asarray(self._array(f"SELECT {condition} AS x FROM raw")).astype(bool)  # noqa: S608

    def _may_be_empty(self, places: Sequence[int]) -> bool:
        """Whether some cell does not begin with a digit: quick, and false for most files."""
        cells = [
            f"ascii({column_name(place)}) BETWEEN 48 AND 57" if self.is_text(place) else f"NOT {self._is_empty(place)}" for place in places
        ]
        sql = f"SELECT count(*) FILTER ({' AND '.join(cells)}) FROM raw"  # noqa: S608  # our own names
        return int(self._connection.execute(sql).fetchall()[0][0]) < self.rows

    def keep(self, rows: np.ndarray) -> None:
        """Keep only these rows (a mask)."""
        before = np.arange(self.rows) if self._kept is None else self._kept
        self._connection.register("kept", {"row": before[rows]})
        self._connection.execute("DELETE FROM raw WHERE rowid NOT IN (SELECT row FROM kept)")
        self._connection.unregister("kept")
        self._kept = before[rows]
        self.rows = len(self._kept)

    def select(self, place: int, values: set[str]) -> None:
        """Keep only the rows whose column has one of these texts."""
        marks = ", ".join("?" for _ in values)
        sql = f"SELECT trim(CAST({column_name(place)} AS VARCHAR)) IN ({marks}) AS x FROM raw"  # noqa: S608
        mine = np.ma.filled(np.ma.asarray(self._array(sql, sorted(values))), False).astype(bool)
        self.left_out += int((~mine).sum())
        self.keep(mine)

    def _cast(self, place: int, kind: str, what: str, wrap: str = "", empty: float | None = None) -> np.ndarray:
        source = self._source(place) if kind in ("DOUBLE", "BIGINT") else self._trimmed(place)
        if empty is not None:
            source = f"CASE WHEN {self._is_empty(place)} THEN '{empty!r}' ELSE CAST({source} AS VARCHAR) END"
        values = self._array(f"SELECT {wrap}(TRY_CAST({source} AS {kind})) AS x FROM raw")  # noqa: S608
        if not isinstance(values, np.ma.MaskedArray):
            return values
        row = int(np.argmax(np.ma.getmaskarray(values)))
        cell = self._connection.execute(f"SELECT {column_name(place)} FROM raw LIMIT 1 OFFSET ?", [row]).fetchall()[0][0]  # noqa: S608
        shown = "empty" if cell is None or cell == "" else shortened(repr(cell))
        raise DataError(
            f"{self.name}, {self.where(row)}: {self.headers[place]} is {shown}, not {what}{self._advice(cell)}. Nothing was imported"
        )

    def _advice(self, cell: object) -> str:
        if not isinstance(cell, str) or not any(mark.isdigit() for mark in cell):
            return ""
        plain = cell.strip().lstrip("+-").replace(".", "").replace(",", "")
        if self.decimal == "." and plain.isdigit() and cell.count(",") == 1 and cell.rfind(",") > cell.rfind("."):
            thousands = (
                "; if it stands between thousands, write numbers without" if re.fullmatch(r"[-+]?\d{1,3},\d{3}", cell.strip()) else ""
            )
            return f": if its comma is a decimal one, use --decimal ,{thousands} ({self.first_rows()})"
        if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+\.\d+", cell.strip()):
            return ": write numbers without commas between thousands"
        if self.decimal == "," and plain.isdigit() and "." in cell:
            return ": it has a decimal point: leave --decimal , out"
        return ""

    def _is_empty(self, place: int) -> str:
        """The condition that a cell is empty, nan, or what others write for it."""
        column = column_name(place)
        if self.types[place] in ("DOUBLE", "FLOAT"):
            return f"({column} IS NULL OR isnan({column}))"
        if self.types[place] != "VARCHAR":
            return f"({column} IS NULL)"
        return (
            f"({column} IS NULL OR (length({column}) < 9 AND lower(trim({column})) IN ('', 'nan', 'null', 'none')) OR trim({column}) = '')"
        )

    def odd_one(self, place: int) -> tuple[int, str] | None:
        """The first cell of a column of text that is no number, where more than half of them are numbers; None where they are not."""
        cell = f"TRY_CAST({self._trimmed(place)} AS DOUBLE)"
        count, numbers = self._connection.execute(f"SELECT count(*), count({cell}) FROM raw").fetchall()[0]  # noqa: S608
        if numbers == count or 2 * numbers <= count:
            return None
        row = int(np.argmax(self._array(f"SELECT {cell} IS NULL AS x FROM raw")))  # noqa: S608
        return row, self.cells(row)[place]

    def _trimmed(self, place: int) -> str:
        return f"trim({column_name(place)})" if self.types[place] == "VARCHAR" else column_name(place)

    def _source(self, place: int) -> str:
        text = self._trimmed(place)
        return f"({_COMMA.format(x=text)})" if self.decimal == "," and self.types[place] == "VARCHAR" else text

    def _all(self, place: int, kind: str) -> bool:
        column = self._source(place) if kind in ("DOUBLE", "BIGINT") else self._trimmed(place)
        sql = f"SELECT count({column}) = count(TRY_CAST({column} AS {kind})) AND count({column}) > 0 FROM raw"  # noqa: S608
        return bool(self._connection.execute(sql).fetchall()[0][0])

    def _array(self, sql: str, parameters: Sequence[object] = ()) -> np.ndarray:
        values: np.ndarray = self._connection.execute(sql, list(parameters)).fetchnumpy()["x"]
        if isinstance(values, np.ma.MaskedArray) and not np.ma.getmaskarray(values).any():
            return np.asarray(values.data)
        return values


def _joined(places: Sequence[int]) -> str:
    return " || ' ' || ".join(f"trim(coalesce(CAST({column_name(place)} AS VARCHAR), ''))" for place in places)


def column_name(place: int) -> str:
    """The name of a column in the table ``raw``."""
    return f"c{int(place)}"
