"""The connection to DuckDB: opening, transactions, arrays in and out, and its errors in words for people.

The store's own connection cannot touch any other file (``enable_external_access`` is off). Files that a person names are read and
written through ``guarded``: a connection in memory that may open exactly that one path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from keel.adapters.store.words import printable, shortened
from keel.core.errors import DataError
from keel.core.system.file_names import name_problem, shown

MEMORY = ":memory:"
FIRST_STEPS = "import history first (keel data import FILE), or invent a sample (keel data synth)"
"""What to do where there is no history at all."""
_CONFIG = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
_OUR_MISTAKES = (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException, duckdb.ConstraintException)
_LOCK = re.compile(r"held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")
_FULL = ("no space left", "file too large", "disk quota", "could not write", "failed to write", "out of disk")
_DAMAGED = ("corrupt", "checksum", "not a valid duckdb", "could not read enough bytes", "deserializ", "serialization")


class Database:
    """An open store file. Statements have values as parameters; arrays come out contiguous."""

    def __init__(self, path: str, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._made: list[Path] = []
        """What this opening makes: the file, and the folders that were not there; empty for a store that was."""
        problem = name_problem(path)
        if problem:
            raise DataError(f"there can be no store at {shown(path)}: the path {problem}")
        if read_only and path != MEMORY and not Path(path).exists():
            raise DataError(f"there is no store at {path}: {FIRST_STEPS}")
        if path != MEMORY and not read_only:
            self._made = _make_parents(Path(path))
        with translated(path):
            self._connection = duckdb.connect(path, read_only=read_only, config={**_CONFIG, "enable_external_access": False})

    def close(self) -> None:
        """Write what is pending and let the file go. Harmless when repeated."""
        self._made = []
        with translated(self.path):
            self._connection.close()

    def discard(self) -> None:
        """Let go of a file that this opening has made, and remove it with the folders made for it; what was there before stays.

        The file goes while it is still locked, so that no other process can have begun to write to it.
        """
        made = self._made
        with translated(self.path):
            if made:
                self._connection.execute("CHECKPOINT")
                made[0].unlink(missing_ok=True)
            self.close()
            for folder in made[1:]:
                if any(folder.iterdir()):
                    break
                folder.rmdir()

    @property
    def is_new(self) -> bool:
        """Whether there was no file before this opening."""
        return bool(self._made)

    def arrays(self, sql: str, parameters: Sequence[object] = ()) -> dict[str, np.ndarray]:
        """The columns of a query's result."""
        with translated(self.path):
            return dict(self._connection.sql(sql, params=list(parameters)).fetchnumpy())

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query's result."""
        with translated(self.path):
            return list(self._connection.execute(sql, list(parameters)).fetchall())

    def run(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """A statement that changes something."""
        if self.read_only:
            raise DataError(f"the store {self.path} was opened read-only and cannot be changed")
        with translated(self.path):
            self._connection.execute(sql, list(parameters)).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: what is raised inside undoes everything."""
        self.run("BEGIN")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):  # a database that failed while committing has already undone the transaction
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def incoming(self, columns: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Arrays as the view ``incoming``, for the statements inside."""
        with translated(self.path):
            self._connection.register("incoming", dict(columns))
        try:
            yield
        finally:
            with suppress(duckdb.Error):  # nothing is left to unregister in a database that has failed
                self._connection.unregister("incoming")


@contextmanager
def guarded(path: Path, shown: str | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in memory that may read or write ``path`` and no other file; errors name it, or what is ``shown`` in its place."""
    text = str(path.absolute())
    if re.search(r"[*?\[\]]", text):
        raise DataError(f"{shown or text}: a path with * ? [ or ] is read as a pattern; rename the file")
    with translated(shown or text):
        connection = duckdb.connect(MEMORY, config=dict(_CONFIG))
        try:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET allowed_paths = ['" + text.replace("'", "''") + "']")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield connection
        finally:
            connection.close()


@contextmanager
def translated(path: str) -> Iterator[None]:
    """DuckDB's errors as DataErrors that name the file and a way out. Mistakes in our own SQL pass as they are."""
    try:
        yield
    except _OUR_MISTAKES:
        raise
    except duckdb.Error as error:
        raise DataError(explain(path, str(error))) from error
    except OSError as error:
        raise DataError(explain(path, str(error))) from error


def explain(path: str, message: str) -> str:
    """One sentence for a person about what DuckDB said of a file."""
    lowered = message.lower()
    first_line = shortened(printable(message.strip().splitlines()[0]), 400) if message.strip() else "no reason given"
    lock = _LOCK.search(message)
    if lock or "could not set lock" in lowered:
        holder = f"{Path(lock['program']).name}, process {lock['pid']}" if lock else "another process"
        return f"the store {path} is in use by {holder}: wait until it ends and try again; the file is healthy, leave it where it is"
    if "different configuration" in lowered:
        return f"the store {path} is already open in this process in another mode: close it first"
    if any(word in lowered for word in _FULL):
        return f"{path}: the disk is full or the file may not grow ({first_line}); nothing of this step was kept: make room and try again"
    if any(word in lowered for word in _DAMAGED):
        return f"{path} is damaged or is not a store of ours ({first_line}): move it away and import the history anew"
    if "unexpected end of gzip" in lowered:
        return f"{path}: the file is truncated: fetch or write it again; nothing was imported"
    if "invalid state" in lowered:
        return (
            f"{path}: its lines end in several ways, or its quotes do not match: write it again with one end of line; nothing was imported"
        )
    if "csv error on line" in lowered:
        place = first_line.split("CSV Error on Line: ", 1)[-1]
        detail = [line for line in message.splitlines() if line.startswith("Expected Number")]
        return f"{path}, line {place}: {' '.join(detail) or 'the line cannot be read'}. Nothing was imported"
    return f"{path}: {first_line}"


def _make_parents(path: Path) -> list[Path]:
    """Make the folder of a store; gives what opening it makes: the file and the new folders, innermost first, none if the file exists."""
    if path.exists():
        return []
    new = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder of the store {path} cannot be made: {error.strerror}") from error
    return [path, *new]
