"""What the store has: rows, span, gaps and sources of every series; and the fingerprint of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from keel.adapters.store.connection import Database
from keel.adapters.store.gaps import gaps_of
from keel.adapters.store.records import Coverage
from keel.adapters.store.schema import TABLES, SeriesKey
from keel.adapters.store.series import EARLIEST, LATEST, all_series, read_times, series_id


def coverage(db: Database) -> list[Coverage]:
    """Every series that has rows, in the order env, category, symbol, kind, timeframe."""
    tables = {table.name: table for table in TABLES.values()}.values()
    summaries = {(table.name, int(row[0])): row[1:] for table in tables for row in db.rows(table.summary)}
    found = []
    for ident, key in all_series(db).items():
        if (key.table.name, ident) in summaries:
            found.append(_of_series(db, key, *(int(value) for value in summaries[key.table.name, ident])))
    return found


def _of_series(db: Database, key: SeriesKey, rows: int, first: int, last: int) -> Coverage:
    gaps = len(gaps_of(key.kind, key.timeframe, read_times(db, key)))
    origin = source_counts(db, key, EARLIEST, LATEST)
    return Coverage(key.symbol, key.category, key.kind, key.timeframe, key.env, rows, first, last, gaps, origin)


def source_counts(db: Database, key: SeriesKey, start: int, end: int) -> dict[str, int]:
    """Rows of a series in [start, end) by where they came from."""
    ident = series_id(db, key)
    rows = db.rows(key.table.source_counts, [ident, start, end]) if ident is not None else []
    return {str(name): int(count) for name, count in rows}


def fingerprint(columns: Mapping[str, np.ndarray]) -> str:
    """32 hex digits of the rows: names, types and values, in order. Hashed here and not by SQL, whose hash may change with its version."""
    digest = hashlib.blake2b(digest_size=16)
    for name, column in columns.items():
        digest.update(f"{name}:{len(column)}:{column.dtype.kind};".encode())
        if column.dtype == object:
            digest.update("\x00".join(map(str, column)).encode())
        else:
            digest.update(np.ascontiguousarray(column).view(np.uint8).data)
    return digest.hexdigest()
