"""Whether bars that are imported as one kind are those of another that the store has: a file of last prices under the name of a mark."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.connection import Database
from keel.adapters.store.importing.checks import Columns
from keel.adapters.store.schema import BAR_KINDS, SeriesKey
from keel.adapters.store.series import read

_ENOUGH = 10
"""Bars in common from which on equal prices are no chance."""


def same_as_stored(db: Database, key: SeriesKey, columns: Columns) -> list[str]:
    """A note for each other kind whose stored bars of the timeframe are the same, all of them; none where they differ."""
    if key.kind not in BAR_KINDS:
        return []
    first, last = int(columns["ts"][0]), int(columns["ts"][-1]) + 1
    notes = []
    for kind in ("last", "mark", "index"):
        if kind == key.kind or "last" not in (kind, key.kind):
            continue
        stored = read(db, SeriesKey(key.env, key.category, key.symbol, kind, key.timeframe), first, last)
        if stored is None:
            continue
        _, ours, theirs = np.intersect1d(columns["ts"], stored["ts"], return_indices=True)
        if len(ours) >= _ENOUGH and all(
            np.array_equal(columns[name][ours], stored[name][theirs]) for name in ("open", "high", "low", "close")
        ):
            notes.append(f"all {len(ours):,} bars are equal to those of the {kind} price in the store: are these really {key.kind} bars?")
    return notes
