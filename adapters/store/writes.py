"""Writing rows: idempotent, all or nothing, and without an index.

New rows are compared with the stored rows of the same span by one hash join, far cheaper than keeping a primary key over every row.
Rows that are there already stay untouched, rows with other values are replaced (or refused), the rest is appended.
"""

from __future__ import annotations

from keel.adapters.store.connection import Database
from keel.adapters.store.importing.checks import Columns
from keel.adapters.store.records import WriteReport
from keel.adapters.store.schema import SeriesKey
from keel.adapters.store.series import series_id
from keel.core.errors import DataError
from keel.core.model.time_range import to_iso


def write(db: Database, key: SeriesKey, columns: Columns, source: str, *, overwrite: bool) -> WriteReport:
    """Put checked, ordered columns into a series, inside the caller's transaction. DataError for other values, unless ``overwrite``."""
    table, rows = key.table, len(columns["ts"])
    ident, origin = _series(db, key), _source(db, source)
    touched = [ident, int(columns["ts"][0]), int(columns["ts"][-1])]
    with db.incoming({name: columns[name] for name in table.names}):
        there, different = (int(count) for count in db.rows(table.compare, touched)[0])
        if different and not overwrite:
            _refuse(db, key, touched, different)
        if different:
            db.run(table.delete_different, touched)
        if not there:
            db.run(table.insert_all, [ident, origin])
        elif there < rows or different:
            db.run(table.insert, [ident, origin, *touched])
    return WriteReport(inserted=rows - there, replaced=different, unchanged=there - different)


def _refuse(db: Database, key: SeriesKey, touched: list[int], different: int) -> None:
    names = key.table.names[1:]
    row = db.rows(key.table.first_difference, touched)[0]
    ts, old, new = int(row[0]), row[1 : 1 + len(names)], row[1 + len(names) :]
    name, stored, given = next((name, a, b) for name, a, b in zip(names, old, new, strict=True) if a != b)
    sources = ", ".join(str(found[0]) for found in db.rows(key.table.source_counts, [touched[0], ts, ts + 1]))
    raise DataError(
        f"{key}: the store has other values for {different} of these rows; the first is {to_iso(ts)}, {name} {stored} in the store "
        f"(from {sources}), {given} here. Nothing was changed; allow overwriting (--overwrite) to put the new values in their place"
    )


def _series(db: Database, key: SeriesKey) -> int:
    found = series_id(db, key)
    if found is not None:
        return found
    ident = int(db.rows("SELECT coalesce(max(id), 0) + 1 FROM series")[0][0])
    db.run("INSERT INTO series VALUES (?, ?, ?, ?, ?, ?)", [ident, *key.values])
    return ident


def _source(db: Database, source: str) -> int:
    found = db.rows("SELECT id FROM sources WHERE name = ?", [source])
    if found:
        return int(found[0][0])
    ident = int(db.rows("SELECT coalesce(max(id), 0) + 1 FROM sources")[0][0])
    db.run("INSERT INTO sources VALUES (?, ?)", [ident, source])
    return ident
