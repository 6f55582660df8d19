"""Import of a CSV or Parquet file: what it is, its rows checked, then one transaction. A file that breaks a rule changes nothing.

What is mended, and told in the report: times in s, us or ns become ms; rows out of order are sorted; equal rows are kept once; rows that
cannot be final yet are dropped. Every row of the file is one of: stored, a double, unfinished, of another symbol.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from adapters.store.checks import Columns, Ordered, prepare
from adapters.store.connection import Database
from adapters.store.detection import choose, family, name_columns, path_hints, read_timeframe, timeframe_of_spacing
from adapters.store.inference import infer_instrument
from adapters.store.instruments import has_instrument
from adapters.store.likeness import same_as_stored
from adapters.store.raw_file import RawFile, open_raw
from adapters.store.records import ImportReport, WriteReport
from adapters.store.row_values import price_and_points, read_times
from adapters.store.schema import BAR_KINDS, KINDS, SeriesKey
from adapters.store.unfinished import in_words, is_unfinished
from adapters.store.volume import VolumeColumns, find_volume, hold_against_prices, missing_volume, refuse_rival
from adapters.store.writes import write
from core.errors import DataError


@dataclass(slots=True)
class _Found:
    """A file's series, its columns in file order, the unit of its times, who said the timeframe, and what was assumed."""

    key: SeriesKey
    columns: Columns
    unit: str
    timeframe_from: str
    rows_in_file: int
    notes: list[str] = field(default_factory=list)


def import_file(
    db: Database,
    path: Path,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    kind: str | None = None,
    category: str | None = None,
    env: str = "live",
    allow_overwrite: bool = False,
    keep_unfinished: bool = False,
    now_ms: int | None = None,
) -> ImportReport:
    """Put a file's rows into the store. now_ms: the time by which rows are finished; None: the system's clock. Raises DataError, the
    store untouched."""
    options = {"symbol": symbol, "timeframe": timeframe, "kind": kind, "category": category}
    with open_raw(path) as raw:
        found = _read(raw, path, options, env)
        ordered = prepare(found.key, found.columns, name=str(path), where=raw.where, timeframe_from=found.timeframe_from)
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


def _read(raw: RawFile, path: Path, options: dict[str, str | None], env: str) -> _Found:
    """What the file is, and its columns; rows of other symbols or timeframes than the chosen ones are left out."""
    places = name_columns(raw.name, raw.headers)
    group = family(raw.name, places, raw.headers)
    hints, notes = path_hints(path), list[str]()
    symbol = _pick(raw, "symbol", places, options, hints, notes)
    if symbol is None:
        raise DataError(f"{raw.name}: neither columns nor path say which symbol this is: use --symbol")
    stated = _pick(raw, "timeframe", places, options, hints, notes) if group == "bars" else None
    if group == "bars" and stated is not None:
        stated = read_timeframe(stated) or stated
    kind = _pick(raw, "kind", places, options, hints, notes) if group == "bars" else options["kind"]
    category = _pick(raw, "category", places, options, hints, notes)
    if category is None:
        category = "linear"
        notes.append("category linear was assumed (--category says otherwise)")
    ts, unit = read_times(raw, places["ts"], notes)
    columns = {"ts": ts, **price_and_points(raw, group, places, notes)}
    if group == "bars":
        kind, columns["volume"] = _kind_and_volume(raw, symbol, kind, columns, notes, in_column="kind" in places)
    elif kind not in (None, group):
        raise DataError(f"{raw.name}: --kind {kind} was given, but the columns are those of {group}")
    key = SeriesKey(env, category, symbol, kind or group, _timeframe(raw, group, stated, ts, notes))
    return _Found(key, columns, unit, _who_said("timeframe", places, options, hints), raw.rows_in_file, notes)


def _who_said(what: str, places: dict[str, int], options: dict[str, str | None], hints: dict[str, set[str]]) -> str:
    """Where a value was taken from: "option", "column", "path" or "" (from the distances of the times)."""
    told = (("column", what in places), ("path", bool(hints[what])), ("option", options[what] is not None))
    return next((where for where, is_there in told if is_there), "")


def _pick(
    raw: RawFile, what: str, places: dict[str, int], options: dict[str, str | None], hints: dict[str, set[str]], notes: list[str]
) -> str | None:
    """Option, column or path; rows of other symbols or timeframes are left out, and told, when the option chooses among several."""
    option, in_columns = options[what], set[str]()
    if what in places:
        in_columns = raw.distinct(places[what])
    if what == "timeframe" and option is not None:
        option = read_timeframe(option) or option
        in_columns = {read_timeframe(text) or text for text in in_columns}
    chosen = choose(raw.name, what, option, in_columns, hints[what])
    if option is not None and len(in_columns) > 1:
        before = raw.rows
        raw.select(places[what], {text for text in raw.distinct(places[what]) if text == option or read_timeframe(text) == option})
        notes.append(f"{before - raw.rows:,} rows of another {what} were left out (--{what} {option})")
    return chosen


def _kind_and_volume(
    raw: RawFile, symbol: str, kind: str | None, columns: Columns, notes: list[str], *, in_column: bool
) -> tuple[str, np.ndarray]:
    """The kind of bars, and their volume in base units. in_column: the file's own column says the kind."""
    if kind in KINDS and kind not in BAR_KINDS:
        raise DataError(f"{raw.name}: --kind {kind} was given, but the columns are those of bars (last, mark or index)")
    found = find_volume(raw.name, raw.headers, symbol)
    volume = np.zeros(raw.rows) if found.base is None else raw.numbers_or_nan(found.base)
    if kind is None and (volume > 0).any():
        notes.append("kind last was assumed, as there is volume (--kind says otherwise)")
        kind = "last"
    if kind is None:
        raise DataError(f"{raw.name}: bars without volume may be of the last, mark or index price: use --kind")
    if kind not in BAR_KINDS:
        raise DataError(
            f"{raw.name}: this says {kind} bars, which the store does not keep: use --kind if they are last, mark or index bars"
        )
    if kind == "last":
        return kind, _base_volume(raw, symbol, found, columns, notes)
    if not in_column:
        _refuse_traded(raw, kind, found, volume)
    return kind, np.zeros(raw.rows) if found.base is None else np.nan_to_num(raw.numbers(found.base, empty=0.0), nan=0.0)


def _refuse_traded(raw: RawFile, kind: str, found: VolumeColumns, volume: np.ndarray) -> None:
    """Bars with a volume are of the last price, whatever an option or the path says; mark and index bars have none, or 0."""
    traded = np.flatnonzero(volume > 0)
    if found.base is None or not len(traded):
        return
    title, row = raw.headers[found.base], int(traded[0])
    raise DataError(
        f"{raw.name}, {raw.where(row)}: {title} is {volume[row]:g}, and only bars of the last price have a volume; these are said to be "
        f"{kind} bars. If they are of the last price, use --kind last, and a name and a folder that do not say {kind}; if they are "
        f"{kind} bars, remove the column {title}. Nothing was imported"
    )


def _base_volume(raw: RawFile, symbol: str, found: VolumeColumns, columns: Columns, notes: list[str]) -> np.ndarray:
    if found.base is None:
        raise missing_volume(raw.name, found, symbol, raw.headers)
    volume = raw.numbers(found.base)
    notes += found.notes
    price = (columns["low"] + columns["high"]) / 2
    for place in found.rivals:
        refuse_rival(raw.name, (raw.headers[found.base], raw.headers[place]), symbol, volume, raw.numbers_or_nan(place), price, raw.where)
    if found.quote is not None:
        titles = (raw.headers[found.base], raw.headers[found.quote])
        quote = raw.numbers_or_nan(found.quote)
        notes += hold_against_prices(raw.name, titles, volume, quote, price, raw.where)
    return volume


def _timeframe(raw: RawFile, group: str, stated: str | None, ts: np.ndarray, notes: list[str]) -> str:
    if group != "bars":
        return ""
    if stated is not None:
        return stated
    found = timeframe_of_spacing(ts)
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
        left_out=found.rows_in_file - len(ts) - ordered.duplicates - unfinished,
    )
