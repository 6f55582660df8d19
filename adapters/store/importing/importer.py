"""Import of a file of history: what it is, its rows checked, then one transaction. A file that breaks a rule changes nothing.

What is mended, and told in the report: times in s, us or ns become ms; rows out of order are sorted; equal rows are kept once; rows that
cannot be final yet are dropped. Every row of the file is one of: stored, a double, unfinished, empty (where these are left out), of another
symbol.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from keel.adapters.store.columns.bar_kind import kind_and_volume
from keel.adapters.store.columns.empty_cells import leave_out_empty
from keel.adapters.store.columns.names import category_of, family, name_columns
from keel.adapters.store.columns.row_values import price_and_points
from keel.adapters.store.columns.shapes import name_by_shape
from keel.adapters.store.columns.times import read_times, timeframe_of_spacing
from keel.adapters.store.connection import Database
from keel.adapters.store.files.loading import open_raw
from keel.adapters.store.files.table import RawFile, Reading
from keel.adapters.store.files.text_layout import is_numbered
from keel.adapters.store.importing.checks import Columns, Ordered, prepare
from keel.adapters.store.importing.identity import Options, pick_category, pick_kind, pick_symbol, pick_timeframe, who_said
from keel.adapters.store.importing.likeness import same_as_stored
from keel.adapters.store.importing.names import Hints, path_hints
from keel.adapters.store.importing.unfinished import in_words, is_unfinished
from keel.adapters.store.instruments.inference import infer_instrument
from keel.adapters.store.instruments.instruments import has_instrument
from keel.adapters.store.records import ImportReport, WriteReport
from keel.adapters.store.schema import SeriesKey
from keel.adapters.store.writes import write
from keel.core.errors import DataError


@dataclass(slots=True)
class _Found:
    """A file's series, its columns in file order, the unit of its times, who said the timeframe, and what was assumed."""

    key: SeriesKey
    columns: Columns
    unit: str
    timeframe_from: str
    rows_in_file: int
    empty: int
    left_out: int
    is_local: bool
    notes: list[str] = field(default_factory=list)


def import_file(
    db: Database,
    path: Path,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    kind: str | None = None,
    category: str | None = None,
    reading: Reading | None = None,
    env: str = "live",
    allow_overwrite: bool = False,
    keep_unfinished: bool = False,
    now_ms: int | None = None,
) -> ImportReport:
    """Put a file's rows into the store. now_ms: the time by which rows are finished; None: the system's clock. Raises DataError, the
    store untouched."""
    flags = (("--overwrite",) if allow_overwrite else ()) + (("--keep-unfinished",) if keep_unfinished else ())
    options = Options(symbol, timeframe, kind, category, flags)
    reading = reading or Reading()
    with open_raw(path, reading) as raw:
        found = _read(raw, path, options, reading, env)
        ordered = prepare(
            found.key, found.columns, name=str(path), where=raw.where, timeframe_from=found.timeframe_from, is_local=found.is_local
        )
    found.notes += _mended(ordered, found.unit)
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    columns, unfinished = _finished(found, ordered.columns, str(path), now, keep=keep_unfinished)
    found.notes += same_as_stored(db, found.key, columns)
    found.notes += _doubts_about_instrument(db, found.key, columns)
    with db.transaction():
        written = write(db, found.key, columns, source_of(path), overwrite=allow_overwrite)
    return _report(path, found, columns, ordered, unfinished, written)


def source_of(path: Path) -> str:
    """What rows of a file are said to come from: its name and its folder's, as many files of many folders are called BTCUSDT.parquet."""
    return f"import:{'/'.join(path.absolute().parts[1:][-2:])}"


def _finished(found: _Found, columns: Columns, name: str, now_ms: int, *, keep: bool) -> tuple[Columns, int]:
    """The columns without rows that are not final yet, and how many were dropped; both told. Raises DataError when none is left."""
    late = is_unfinished(found.key, columns["ts"], now_ms)
    if not late.any():
        return columns, 0
    what = in_words(found.key, columns["ts"][late], now_ms)
    if keep:
        found.notes.append(f"{what} kept as they stand (--keep-unfinished)")
        return columns, 0
    if late.all():
        raise DataError(f"{name}: there is nothing but {what}: import it later, or as it stands (--keep-unfinished); nothing was imported")
    found.notes.append(f"{what} dropped; --keep-unfinished keeps them")
    return {column: values[~late] for column, values in columns.items()}, int(late.sum())


def _read(raw: RawFile, path: Path, options: Options, reading: Reading, env: str) -> _Found:
    """What the file is, and its columns; rows of other symbols or timeframes than the chosen ones are left out."""
    hints, notes = path_hints(path, raw.names), list(raw.notes)
    places, group = _columns_of(raw, hints, notes)
    symbol, category = pick_symbol(raw, places, options, hints, notes)
    category = pick_category(raw, places, options, hints, category or category_of(raw.headers), notes)
    stated = pick_timeframe(raw, places, options, hints, notes) if group == "bars" else None
    kind = pick_kind(raw, group, places, options, hints, notes)
    empty = leave_out_empty(raw, places, (group, kind, symbol), reading, notes)
    times = read_times(raw, places, reading, notes)
    ts = times.ts
    columns = {"ts": ts, **price_and_points(raw, group, places, ts, notes)}
    if group == "bars":
        kind, columns["volume"] = kind_and_volume(raw, symbol, kind, columns, notes, in_column="kind" in places)
    timeframe, said_by = "", ""
    if group == "bars":
        timeframe, said_by = stated or "", who_said("timeframe", raw, places, options, hints)
        if stated is None:
            timeframe = _timeframe_of(raw, ts, hints, notes)
    key = SeriesKey(env, category, symbol, kind or group, timeframe)
    return _Found(key, columns, times.unit, said_by, raw.rows_in_file, empty, raw.left_out, times.is_local, notes)


def _columns_of(raw: RawFile, hints: Hints, notes: list[str]) -> tuple[dict[str, int], str]:
    """Where the columns are, and whether they are bars, funding, open_interest or trades."""
    is_funding = hints.freqtrade == "funding_rate"
    if is_numbered(raw.headers) or (raw.headers[0] == "" and is_numbered(raw.headers[1:])):
        name_by_shape(raw, notes, is_funding=is_funding)
    places = name_columns(raw.name, raw.headers)
    if is_funding and "open" in places and "funding_rate" not in places:
        notes.append("the rates were taken from the column open, where freqtrade keeps them")
        places = {"ts": places["ts"], "funding_rate": places["open"]} if "ts" in places else places
    return places, family(raw.name, places, raw.headers, raw.first_rows(), with_times=raw.way_out)


def _timeframe_of(raw: RawFile, ts: np.ndarray, hints: Hints, notes: list[str]) -> str:
    """The timeframe where only a bare number in the name, or the distances of the times, can say it."""
    found = timeframe_of_spacing(ts)
    if len(hints.number) == 1 and found in (None, *hints.number):
        return next(iter(hints.number))
    if found is None:
        raise DataError(f"{raw.name}: neither columns, path nor the distances of the times say which timeframe this is: use --timeframe")
    notes.append(f"timeframe {found} was read from the distances of the times")
    return found


def _doubts_about_instrument(db: Database, key: SeriesKey, columns: Columns) -> list[str]:
    """What is doubtful about the tick and step that these bars show, where the store does not know the instrument itself."""
    if key.kind != "last" or has_instrument(db, key.symbol, key.category):
        return []
    prices = np.concatenate([columns[name] for name in ("open", "high", "low", "close")])
    try:
        doubts = infer_instrument(key.symbol, "spot" if key.category == "spot" else "linear", prices, columns["volume"]).doubts
    except DataError as error:  # the bars are kept all the same: an instrument can be imported
        return [str(error)]
    return [f"{said}; import the exchange's answers (keel data import-instruments FILE)" for said in doubts]


def _mended(ordered: Ordered, unit: str) -> list[str]:
    notes = []
    if unit in ("s", "us", "ns"):
        notes.append(f"times in {unit} were converted to ms")
    if not ordered.was_sorted:
        notes.append("rows were out of order and have been sorted")
    if ordered.duplicates:
        notes.append(f"{ordered.duplicates} rows that stood there twice were kept once")
    return notes


def _report(path: Path, found: _Found, columns: Columns, ordered: Ordered, unfinished: int, written: WriteReport) -> ImportReport:
    ts, key = columns["ts"], found.key
    return ImportReport(
        path=str(path),
        symbol=key.symbol,
        category=key.category,
        kind=key.kind,
        timeframe=key.timeframe,
        env=key.env,
        rows=len(ts),
        inserted=written.inserted,
        replaced=written.replaced,
        unchanged=written.unchanged,
        duplicates=ordered.duplicates,
        sorted_rows=not ordered.was_sorted,
        time_unit=found.unit,
        first=int(ts[0]),
        last=int(ts[-1]),
        notes=found.notes,
        rows_in_file=found.rows_in_file,
        unfinished=unfinished,
        empty=found.empty,
        left_out=found.left_out,
    )
