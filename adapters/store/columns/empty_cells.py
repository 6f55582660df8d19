"""Rows that a writer left empty, as Kaggle's for minutes without a trade: refused, or left out and counted (--drop-empty)."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.columns.volume import find_volume
from keel.adapters.store.files.table import RawFile, Reading
from keel.core.errors import DataError

_OF = {
    "bars": ("ts", "clock", "open", "high", "low", "close"),
    "funding": ("ts", "clock", "funding_rate"),
    "open_interest": ("ts", "clock", "open_interest"),
    "trades": ("ts", "clock", "price", "qty", "side", "buyer_is_maker"),
}
"""What a row needs of the columns that are there; bars of the last price a volume besides."""


def leave_out_empty(raw: RawFile, places: dict[str, int], what: tuple[str, str | None, str], reading: Reading, notes: list[str]) -> int:
    """Take out the rows in which a cell that is needed is empty (or nan); gives how many. Raises DataError where there are some, and
    nobody said --drop-empty, or no row is left.

    what: group, kind and symbol. Bars of the last price need a volume, others none.
    """
    group, kind, symbol = what
    needed = [places[column] for column in _OF[group] if column in places]
    if group == "bars" and kind in (None, "last"):
        needed += _volume(raw, symbol)
    empty = raw.empty_rows(needed)
    count = int(empty.sum())
    if not count:
        return 0
    row = int(np.argmax(empty))
    if not reading.drop_empty:
        cells = raw.cells(row)
        title, cell = next((raw.headers[place], cells[place]) for place in needed if cells[place].lower() in ("", "nan", "null", "none"))
        others = f"; {count:,} rows have such cells" if count > 1 else ""
        raise DataError(
            f"{raw.name}, {raw.where(row)}: {title} is {cell or 'empty'}, not a number{others}. --drop-empty leaves such rows out and "
            f"counts them. Nothing was imported ({raw.first_rows()})"
        )
    if count == raw.rows:
        raise DataError(f"{raw.name}: every row has an empty cell, and with --drop-empty none is left; nothing was imported")
    notes.append(f"{count:,} rows with empty cells were left out (--drop-empty), the first is {raw.where(row)}")
    raw.keep(~empty)
    return count


def _volume(raw: RawFile, symbol: str) -> list[int]:
    """The column of base volume, where it has any cell: one without is no volume at all."""
    base = find_volume(raw.name, raw.headers, symbol).base
    return [base] if base is not None and raw.has_cells(base) else []
