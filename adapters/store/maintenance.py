"""Series that go, or get another name: whole, and each command in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from keel.adapters.store.connection import Database
from keel.adapters.store.schema import SeriesKey
from keel.adapters.store.series import series_id, short_time, span
from keel.core.errors import ConfigError, DataError


def delete_series(db: Database, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    """Delete series with all their rows; gives the rows of each. ConfigError for one that is not there: then nothing goes."""
    idents = {key: _ident(db, key) for key in keys}
    deleted: dict[SeriesKey, int] = {}
    with db.transaction():
        for key, ident in idents.items():
            deleted[key] = int(db.rows(key.table.count, [ident])[0][0])
            db.run(key.table.delete, [ident])
            db.run("DELETE FROM series WHERE id = ?", [ident])
    return deleted


def rename_series(db: Database, moves: dict[SeriesKey, SeriesKey]) -> None:
    """Give series other symbols or categories. Raises DataError where a series of the new name has rows already; then nothing changes."""
    for old, new in moves.items():
        _ident(db, old)
        there = span(db, new)
        if old.kind != new.kind or old.timeframe != new.timeframe:
            raise ConfigError(f"{old} cannot become {new}: only symbol and category may change")
        if there is not None:
            options = f"--kind {new.kind}{f' --timeframe {new.timeframe}' if new.timeframe else ''} --category {new.category}"
            raise DataError(
                f"the store has {new} already ({short_time(there[0])} to {short_time(there[1])}), and {old} would fall upon it: delete one "
                f"of the two first (keel data delete {new.symbol} {options} --yes); nothing was changed"
            )
    with db.transaction():
        for old, new in moves.items():
            ghost = series_id(db, new)
            if ghost is not None:
                db.run("DELETE FROM series WHERE id = ?", [ghost])
            db.run("UPDATE series SET category = ?, symbol = ? WHERE id = ?", [new.category, new.symbol, _ident(db, old)])


def _ident(db: Database, key: SeriesKey) -> int:
    found = series_id(db, key)
    if found is None:
        raise ConfigError(f"the store has no series {key}: keel data list shows what there is")
    return found
