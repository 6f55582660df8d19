"""Import of a CSV or Parquet file: what it is, its rows checked, then one transaction. A file that breaks a rule changes nothing.

What is mended, and told in the report: times in s, us or ns become ms; rows out of order are sorted; equal rows are kept once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adapters.store.checks import Columns, Ordered, prepare
from adapters.store.connection import Database
from adapters.store.detection import (
    choose,
    family,
    name_columns,
    path_hints,
    read_timeframe,
    timeframe_of_spacing,
    to_milliseconds,
)
from adapters.store.raw_file import RawFile, open_raw
from adapters.store.records import ImportReport, WriteReport
from adapters.store.schema import BAR_KINDS, KINDS, TABLES, SeriesKey
from adapters.store.writes import write
from core.errors import DataError

_SIDES = {"buy": 1, "b": 1, "1": 1, "+1": 1, "bid": 1, "long": 1, "sell": -1, "s": -1, "-1": -1, "ask": -1, "short": -1}
_TRUTHS = {"true": -1, "t": -1, "1": -1, "false": 1, "f": 1, "0": 1}
"""Whether the buyer was the maker -> the taker's side."""


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
) -> ImportReport:
    """Put a file's rows into the store. Raises DataError, the store untouched."""
    options = {"symbol": symbol, "timeframe": timeframe, "kind": kind, "category": category}
    with open_raw(path) as raw:
        key, columns, unit, notes = _read(raw, path, options, env)
        ordered = prepare(key, columns, name=str(path), where=raw.where)
    notes += _mended(ordered, unit)
    with db.transaction():
        written = write(db, key, ordered.columns, source_of(path), overwrite=allow_overwrite)
    return _report(path, key, ordered, written, unit, notes)


def source_of(path: Path) -> str:
    """What rows of a file are said to come from: its name and its folder's, as many files of many folders are called BTCUSDT.parquet."""
    return f"import:{'/'.join(path.absolute().parts[1:][-2:])}"


def _read(raw: RawFile, path: Path, options: dict[str, str | None], env: str) -> tuple[SeriesKey, Columns, str, list[str]]:
    """The series, its columns in file order, the unit of time, and what was assumed."""
    places = name_columns(raw.name, raw.headers)
    group = family(raw.name, places, raw.headers)
    hints, notes = path_hints(path), list[str]()
    symbol = _pick(raw, "symbol", places, options, hints)
    if symbol is None:
        raise DataError(f"{raw.name}: neither columns nor path say which symbol this is: use --symbol")
    stated = _pick(raw, "timeframe", places, options, hints) if group == "bars" else None
    if group == "bars" and stated is not None:
        stated = read_timeframe(stated) or stated
    kind = _pick(raw, "kind", places, options, hints) if group == "bars" else options["kind"]
    category = _pick(raw, "category", places, options, hints)
    if category is None:
        category = "linear"
        notes.append("category linear was assumed (--category says otherwise)")
    ts, unit = _times(raw, places["ts"])
    columns = {"ts": ts, **_values(raw, group, places)}
    kind = _kind(raw, group, places, kind, columns, notes)
    return SeriesKey(env, category, symbol, kind, _timeframe(raw, group, stated, ts, notes)), columns, unit, notes


def _pick(raw: RawFile, what: str, places: dict[str, int], options: dict[str, str | None], hints: dict[str, set[str]]) -> str | None:
    """Option, column or path; rows of other symbols or timeframes are dropped when the option chooses among several."""
    option, in_columns = options[what], set[str]()
    if what in places:
        in_columns = raw.distinct(places[what])
    if what == "timeframe" and option is not None:
        option = read_timeframe(option) or option
        in_columns = {read_timeframe(text) or text for text in in_columns}
    chosen = choose(raw.name, what, option, in_columns, hints[what])
    if option is not None and len(in_columns) > 1:
        raw.select(places[what], {text for text in raw.distinct(places[what]) if text == option or read_timeframe(text) == option})
    return chosen


def _kind(raw: RawFile, group: str, places: dict[str, int], kind: str | None, columns: Columns, notes: list[str]) -> str:
    if group != "bars":
        if kind not in (None, group):
            raise DataError(f"{raw.name}: --kind {kind} was given, but the columns are those of {group}")
        return group
    if kind in KINDS and kind not in BAR_KINDS:
        raise DataError(f"{raw.name}: --kind {kind} was given, but the columns are those of bars (last, mark or index)")
    if kind is None and columns["volume"].any():
        notes.append("kind last was assumed, as there is volume (--kind says otherwise)")
        kind = "last"
    if kind is None:
        raise DataError(f"{raw.name}: bars without volume may be of the last, mark or index price: use --kind")
    if kind not in BAR_KINDS:
        raise DataError(
            f"{raw.name}: this says {kind} bars, which the store does not keep: use --kind if they are last, mark or index bars"
        )
    if kind == "last" and "volume" not in places:
        raise DataError(f"{raw.name}: the column volume is missing; there are {', '.join(raw.headers)}")
    return kind


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


def _times(raw: RawFile, place: int) -> tuple[np.ndarray, str]:
    if raw.is_moment(place):
        return raw.moments(place), "time"
    numbers = raw.integers(place) if raw.is_integer(place) else raw.numbers(place)
    return to_milliseconds(raw.name, numbers, raw.where)


def _values(raw: RawFile, group: str, places: dict[str, int]) -> Columns:
    if group == "bars":
        columns = {name: raw.numbers(places[name]) for name in ("open", "high", "low", "close")}
        columns["volume"] = raw.numbers(places["volume"]) if "volume" in places else np.zeros(raw.rows)
        return columns
    if group == "trades":
        return {"price": raw.numbers(places["price"]), "qty": raw.numbers(places["qty"]), **_sides(raw, places), **_ids(raw, places)}
    name = TABLES[group].columns[0][0]
    return {name: raw.numbers(places[name])}


def _sides(raw: RawFile, places: dict[str, int]) -> Columns:
    name, meaning = ("side", _SIDES) if "side" in places else ("buyer_is_maker", _TRUTHS)
    texts, inverse = np.unique(raw.texts(places[name]).astype(str), return_inverse=True)
    for text in texts:
        if text.strip().lower() not in meaning:
            row = int(np.argmax(texts[inverse] == text))
            raise DataError(f"{raw.name}, {raw.where(row)}: {raw.headers[places[name]]} is {str(text)!r}, which is no side (buy or sell)")
    codes = np.array([meaning[text.strip().lower()] for text in texts], dtype=np.int8)
    return {"side": codes[inverse]}


def _ids(raw: RawFile, places: dict[str, int]) -> Columns:
    """The exchange's ids, or the number of the trade within its millisecond, which makes a second import find the same trades."""
    if "trade_id" in places:
        return {"trade_id": raw.texts(places["trade_id"])}
    ts, _ = _times(raw, places["ts"])
    order = np.argsort(ts, kind="stable")
    ordered = ts[order]
    first = np.searchsorted(ordered, ordered, side="left")
    ordinal = np.empty(len(ts), dtype=np.int64)
    ordinal[order] = np.arange(len(ts)) - first
    return {"trade_id": ordinal.astype(str).astype(object)}


def _mended(ordered: Ordered, unit: str) -> list[str]:
    notes = []
    if unit in ("s", "us", "ns"):
        notes.append(f"times in {unit} were converted to ms")
    if not ordered.was_sorted:
        notes.append("rows were out of order and have been sorted")
    if ordered.duplicates:
        notes.append(f"{ordered.duplicates} rows that stood there twice were kept once")
    return notes


def _report(path: Path, key: SeriesKey, ordered: Ordered, written: WriteReport, unit: str, notes: list[str]) -> ImportReport:
    ts = ordered.columns["ts"]
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
        time_unit=unit,
        first=int(ts[0]),
        last=int(ts[-1]),
        notes=notes,
    )
