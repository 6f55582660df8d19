"""A file, opened: its content, perhaps out of an archive, as the table ``raw`` of a guarded connection, by the loader of its format."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from keel.adapters.store.connection import explain, guarded
from keel.adapters.store.files.archives import Content, content_of
from keel.adapters.store.files.feather import read_feather
from keel.adapters.store.files.formats import FEATHER, JSON, PARQUET
from keel.adapters.store.files.json_rows import IN_PANDAS, read_json
from keel.adapters.store.files.lines import Lines
from keel.adapters.store.files.table import RawFile, Reading, column_name
from keel.adapters.store.files.text_layout import read_layout
from keel.adapters.store.words import printable
from keel.core.errors import DataError
from keel.core.system.file_names import name_problem, shown

_RECORD = re.compile(r"(?P<what>CSV Error on Line: )(?P<number>\d+)")


@contextmanager
def open_raw(path: Path, reading: Reading | None = None) -> Iterator[RawFile]:
    """A file to import. Raises DataError when it is missing, empty, truncated, or of another format."""
    reading = reading or Reading()
    _check_path(path)
    with content_of(path) as content, _readable(str(path), content) as place, guarded(place, str(path)) as connection:
        raw = _LOADERS.get(content.format, _load_text)(connection, str(path), place, reading)
        raw.reading, raw.decimal, raw.names = reading, reading.decimal, content.names
        raw.notes = [*content.notes, *raw.notes]
        if not raw.rows:
            raise DataError(f"{path}: the file has no rows")
        yield raw


def _check_path(path: Path) -> None:
    problem = name_problem(str(path))
    if problem:
        raise DataError(f"{shown(str(path))}: there is no such file: the name {problem}")
    if path.is_dir():
        raise DataError(f"{path} is a folder: keel data import {shlex.quote(str(path))} imports the files in it")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")


@contextmanager
def _readable(name: str, content: Content) -> Iterator[Path]:
    """Where the content lies in a form that DuckDB reads: text in UTF-16 is written again in UTF-8."""
    if content.format in (PARQUET, FEATHER):
        yield content.path
        return
    with content.path.open("rb") as file:
        mark = file.read(2)
    if mark not in (b"\xff\xfe", b"\xfe\xff"):
        yield content.path
        return
    with TemporaryDirectory(prefix="keel-import-") as folder:
        target = Path(folder) / "content"
        try:
            with content.path.open("rt", encoding="utf-16", newline="") as source, target.open("wt", encoding="utf-8", newline="") as file:
                while text := source.read(1 << 20):
                    file.write(text)
        except UnicodeError as error:
            raise DataError(f"{name}: the file is not text in UTF-8 or UTF-16 ({error}): save it as CSV in UTF-8") from error
        yield target


def _load_text(connection: duckdb.DuckDBPyConnection, name: str, path: Path, reading: Reading) -> RawFile:
    layout = read_layout(name, path, reading.skip_lines)
    columns = ", ".join(f"'{column_name(place)}': 'VARCHAR'" for place in range(len(layout.headers)))
    sql = (
        "CREATE TABLE raw AS SELECT * FROM read_csv(?, auto_detect = false, header = false, skip = ?, delim = ?, quote = '\"', escape = '\"', "  # noqa: S608, E501
        f"columns = {{{columns}}})"
    )
    lines = Lines(path, layout.delimiter, layout.skip)
    try:
        connection.execute(sql, [str(path.absolute()), layout.skip, layout.delimiter]).fetchall()
    except duckdb.Error as error:
        raise _with_its_line(error, name, lines) from error
    raw = RawFile(connection, name, layout.headers, lines.of_row)
    raw.notes, raw.head = layout.notes, layout.head
    if layout.symbol is not None:
        raw.said["symbol"], raw.quote_volume = layout.symbol, True
    if raw.rows and [_with_line_feeds(cell) for cell in raw.sample(1)[0]] != [cell.strip() for cell in layout.first_row]:
        raise DataError(f"{name}: the ends of its lines are of several kinds, or its quotes do not match: write it again")
    return raw


def _with_its_line(error: duckdb.Error, name: str, lines: Lines) -> duckdb.Error | DataError:
    """An error that names a line of the file by its number among the records, which quoted cells over several lines fall short of."""
    found = _RECORD.search(str(error))
    if found is None:
        return error
    said = str(error).replace(found[0], f"{found['what']}{lines.of_record(int(found['number']) - lines.skip - 1)}", 1)
    return DataError(explain(name, said))


def _with_line_feeds(cell: str) -> str:
    return cell.replace("\r\n", "\n").replace("\r", "\n")


def _load_json(connection: duckdb.DuckDBPyConnection, name: str, path: Path, reading: Reading) -> RawFile:
    _refuse_skipping(name, reading)
    read = read_json(name, path)
    _create(connection, {column_name(place): column for place, column in enumerate(read.columns)})
    raw = RawFile(connection, name, read.headers, None if read.lines is None else read.lines.__getitem__)
    raw.way_out = IN_PANDAS
    raw.said = {key: read.said[key] for key in ("symbol", "category", "timeframe") if key in read.said}
    return raw


def _load_feather(connection: duckdb.DuckDBPyConnection, name: str, path: Path, reading: Reading) -> RawFile:
    _refuse_skipping(name, reading)
    table = read_feather(name, path)
    headers = [printable(str(header).strip()) for header in table.column_names]
    _create(connection, table.rename_columns([column_name(place) for place in range(len(headers))]))
    return RawFile(connection, name, headers)


def _create(connection: duckdb.DuckDBPyConnection, columns: object) -> None:
    connection.register("given", columns)
    connection.execute("CREATE TABLE raw AS SELECT * FROM given").fetchall()
    connection.unregister("given")


def _load_parquet(connection: duckdb.DuckDBPyConnection, name: str, path: Path, reading: Reading) -> RawFile:
    _refuse_skipping(name, reading)
    target = str(path.absolute())
    try:
        headers = [
            printable(str(row[0]).strip()) for row in connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [target]).fetchall()
        ]
        names = ", ".join(column_name(place) for place in range(len(headers)))
        connection.execute(f"CREATE TABLE raw AS SELECT * FROM read_parquet(?) AS t({names})", [target]).fetchall()  # noqa: S608
    except duckdb.Error as error:
        if isinstance(error, duckdb.InvalidInputException) or type(error) is duckdb.Error:  # what its reader raises for the content
            raise DataError(f"{name}: truncated or not a Parquet file: fetch or write it again; nothing was imported") from error
        raise
    return RawFile(connection, name, headers)


def _refuse_skipping(name: str, reading: Reading) -> None:
    if reading.skip_lines:
        raise DataError(f"{name}: --skip-lines {reading.skip_lines} was given, and this file has no lines: leave it out")


_LOADERS = {JSON: _load_json, FEATHER: _load_feather, PARQUET: _load_parquet}
