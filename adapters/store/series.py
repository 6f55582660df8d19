"""Series in the store: their ids, their spans, and reading rows into arrays."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.connection import Database
from keel.adapters.store.schema import SeriesKey
from keel.core.errors import ConfigError
from keel.core.model.time_range import Moment, TimeRange, to_iso, to_ms
from keel.core.model.timeframe import NEVER, TIMEFRAMES

EARLIEST, LATEST = -NEVER, NEVER
"""The bounds of a read without a start or an end."""

Bound = Moment | TimeRange | None
"""A start or end: a time, a TimeRange (as start, for both), or None for no bound."""


def series_id(db: Database, key: SeriesKey) -> int | None:
    """The id of a series, None when the store has never had it."""
    found = db.rows("SELECT id FROM series WHERE env = ? AND category = ? AND symbol = ? AND kind = ? AND timeframe = ?", key.values)
    return int(found[0][0]) if found else None


def all_series(db: Database) -> dict[int, SeriesKey]:
    """Every series that the store knows, by id."""
    rows = db.rows("SELECT id, env, category, symbol, kind, timeframe FROM series ORDER BY env, category, symbol, kind, timeframe")
    return {int(row[0]): SeriesKey(*row[1:]) for row in rows}


def own_timeframes(db: Database, key: SeriesKey) -> list[str]:
    """The timeframes in which the store itself has rows of this env, category, symbol and kind; shortest first."""
    rows = db.rows(
        "SELECT timeframe FROM series s WHERE env = ? AND category = ? AND symbol = ? AND kind = ? "
        "AND EXISTS (SELECT 1 FROM bars b WHERE b.series_id = s.id)",
        key.values[:4],
    )
    found = {str(row[0]) for row in rows}
    return [timeframe for timeframe in TIMEFRAMES if timeframe in found]


def span(db: Database, key: SeriesKey) -> tuple[int, int] | None:
    """First and last ts of a series, None when it has no rows."""
    ident = series_id(db, key)
    if ident is None:
        return None
    first, last = db.rows(key.table.span, [ident])[0]
    return None if first is None else (int(first), int(last))


def read(db: Database, key: SeriesKey, start: int = EARLIEST, end: int = LATEST) -> dict[str, np.ndarray] | None:
    """The rows of a series in [start, end), times ascending; None when there are none.

    Rows are stored in the order in which they were written, which is that of time unless older rows were written later;
    looking costs a fiftieth of sorting.
    """
    return _read(db, key, key.table.select, start, end)


def read_times(db: Database, key: SeriesKey, start: int = EARLIEST, end: int = LATEST) -> np.ndarray:
    """The times of a series in [start, end), ascending, int64."""
    found = _read(db, key, key.table.select_ts, start, end)
    return np.empty(0, dtype=np.int64) if found is None else found["ts"]


def _read(db: Database, key: SeriesKey, sql: str, start: int, end: int) -> dict[str, np.ndarray] | None:
    ident = series_id(db, key)
    if ident is None:
        return None
    columns = db.arrays(sql, [ident, start, end])
    ts = columns["ts"]
    if not len(ts):
        return None
    if len(ts) > 1 and not bool((ts[1:] >= ts[:-1]).all()):
        order = np.argsort(ts, kind="stable")
        columns = {name: column[order] for name, column in columns.items()}
    return columns


def bounds(start: Bound, end: Bound) -> tuple[int, int]:
    """[start, end) in ms from a TimeRange, or from two times of which either may be None."""
    if isinstance(start, TimeRange):
        return start.to_tuple_ms()
    if isinstance(end, TimeRange):
        raise ConfigError("a TimeRange is both start and end: give it as start alone")
    first = EARLIEST if start is None else to_ms(start)
    last = LATEST if end is None else to_ms(end)
    return (first, last) if first == EARLIEST or last == LATEST else TimeRange(first, last).to_tuple_ms()


def describe_span(start: int, end: int) -> str:
    """[start, end) in words."""
    if start == EARLIEST and end == LATEST:
        return "at any time"
    return f"from {'the beginning' if start == EARLIEST else short_time(start)} to {'the end' if end == LATEST else short_time(end)}"


def short_time(ts: int) -> str:
    """ms UTC without what is zero: 2025-01-01, 2025-01-01 08:00, 2025-01-01T08:00:05Z."""
    text = to_iso(ts)
    if not text.endswith(":00Z"):
        return text
    return text[:10] if text.endswith("T00:00:00Z") else text[:16].replace("T", " ")
