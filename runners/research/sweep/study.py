"""What a sweep has found, in a DuckDB file of its own: each finished point is on the disk before the next is asked for.

One process writes it. Points are known by their ids, so that what is there is never computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from keel.adapters.machine import wall_ms
from keel.adapters.store.connection import Database

FILE = "study.duckdb"
_COLUMNS = "id, number, setting, symbols, window_name, status, engine, seconds, reason, metrics, no_trades"
_CREATE = (
    "CREATE TABLE IF NOT EXISTS points (id VARCHAR PRIMARY KEY, number BIGINT NOT NULL, setting VARCHAR NOT NULL, symbols VARCHAR NOT NULL,"
    " window_name VARCHAR NOT NULL, status VARCHAR NOT NULL, engine VARCHAR NOT NULL, seconds DOUBLE NOT NULL, reason VARCHAR NOT NULL,"
    " metrics VARCHAR NOT NULL, finished_ms BIGINT NOT NULL)"
)
_ADD_NO_TRADES = "ALTER TABLE points ADD COLUMN IF NOT EXISTS no_trades VARCHAR DEFAULT ''"
"""Sweeps that were begun before this was kept have no such column."""

_PLACES = f"({', '.join('?' * 12)})"
_ROWS_AT_ONCE = 100


class Row(msgspec.Struct, frozen=True):
    """A finished point. status: done, failed (it raised, or its history is not there) or invalid (its setting is refused).

    no_trades: why no trade was closed, where none was.
    """

    id: str
    number: int
    setting: dict[str, Any]
    symbols: str
    window: str
    status: str
    engine: str
    seconds: float
    reason: str
    metrics: dict[str, float | int | None]
    no_trades: str = ""


class Study:
    """The points of a sweep's folder, open for writing."""

    def __init__(self, folder: Path) -> None:
        self._db = Database(str(folder / FILE), read_only=False)
        self._db.run(_CREATE)
        self._db.run(_ADD_NO_TRADES)

    def add(self, rows: Sequence[Row]) -> None:
        """Keep finished points, all of them or none."""
        now = wall_ms()
        with self._db.transaction():
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                some = rows[start : start + _ROWS_AT_ONCE]
                places = ", ".join([_PLACES] * len(some))
                values = [value for row in some for value in _values(row, now)]
                self._db.run(f"INSERT INTO points ({_COLUMNS}, finished_ms) VALUES {places}", values)  # noqa: S608 (places only)

    def rows(self) -> list[Row]:
        """All points, in the order in which they were numbered."""
        return [_row(*values) for values in self._db.rows(f"SELECT {_COLUMNS} FROM points ORDER BY number, id")]  # noqa: S608 (a fixed text)

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _values(row: Row, now: int) -> list[Any]:
    about = [row.id, row.number, _json(row.setting), row.symbols, row.window, row.status, row.engine, row.seconds, row.reason]
    return [*about, _json(row.metrics), row.no_trades, now]


def _row(uid: str, number: int, setting: str, *rest: Any) -> Row:
    symbols, window, status, engine, seconds, reason, metrics, no_trades = rest
    known = (symbols, window, status, engine, seconds, reason, msgspec.json.decode(metrics), no_trades or "")
    return Row(uid, number, msgspec.json.decode(setting), *known)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
