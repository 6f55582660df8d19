"""What the store answers with, besides frames: plain records that a table or JSON can show."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "info"]


class Gap(msgspec.Struct, frozen=True):
    """Bars that are missing in [start, end) (ms UTC), ``missing`` of them."""

    start: int
    end: int
    missing: int


class FillReport(msgspec.Struct, frozen=True):
    """What ``fill_gaps`` did: bars built, from which timeframe (bars each), and the gaps that are left."""

    filled: int
    built_from: dict[str, int]
    remaining: list[Gap]


class WriteReport(msgspec.Struct, frozen=True):
    """What a write did to its rows: new ones, ones with other values put in place of stored ones, ones already there."""

    inserted: int
    replaced: int
    unchanged: int


class ImportReport(msgspec.Struct, frozen=True):
    """What an import found in a file and did with it. ``notes`` say what was decided from weak evidence, and what was mended.

    rows_in_file = rows (of the series from now on) + duplicates + unfinished (not final yet: dropped) + empty (left out by an option) +
    left_out (of other symbols).
    """

    path: str
    symbol: str
    category: str
    kind: str
    timeframe: str
    env: str
    rows: int
    inserted: int
    replaced: int
    unchanged: int
    duplicates: int
    sorted_rows: bool
    time_unit: str
    first: int
    last: int
    notes: list[str]
    rows_in_file: int = 0
    unfinished: int = 0
    empty: int = 0
    left_out: int = 0


class Coverage(msgspec.Struct, frozen=True):
    """One series of the store: rows, first and last ts (ms UTC), number of gaps, rows by source."""

    symbol: str
    category: str
    kind: str
    timeframe: str
    env: str
    rows: int
    first: int
    last: int
    gaps: int
    sources: dict[str, int]


class Finding(msgspec.Struct, frozen=True):
    """One thing that a check found in one series: how many rows, and the first of them."""

    check: str
    symbol: str
    category: str
    kind: str
    timeframe: str
    env: str
    ts: int
    detail: str
    severity: Severity
    count: int = 1


class Disagreement(msgspec.Struct, frozen=True):
    """The first bar in which a stored series differs from the same bar built out of a finer series; ``count``: how many do."""

    ts: int
    column: str
    stored: float
    built: float
    count: int = 1
