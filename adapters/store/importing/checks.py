"""The rules that rows keep before they enter the store. Each breach is one DataError that names the row, the value and a way out.

Rows out of order are put in order; a row that stands there twice, equal in everything, is kept once. Both are told, neither is
an error. The same time with different values is one: nobody but the user can know which is right.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keel.adapters.store.columns.zones import zone_that_doubles
from keel.adapters.store.schema import BAR_KINDS, SeriesKey
from keel.adapters.store.words import Where
from keel.core.errors import DataError
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import MINUTE_MS, TIMEFRAMES, floor_ts, tf_ms

Columns = dict[str, np.ndarray]
_MANY = 10
"""From so many rows on, their spacing says something about the timeframe."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """Columns with ascending identities, and what it took."""

    columns: Columns
    duplicates: int
    was_sorted: bool


def row_number(index: int) -> str:
    """The name of row ``index`` where there are no lines."""
    return f"row {index + 1}"


def prepare(
    key: SeriesKey, columns: Columns, *, name: str, where: Where = row_number, timeframe_from: str = "option", is_local: bool = False
) -> Ordered:
    """Columns of one series, checked and in order. ``name`` begins every message. Raises DataError.

    timeframe_from: who said the timeframe (option, column, path, or "" for the distances of the times), which decides the advice.
    is_local: the times said no zone and were taken as UTC.
    """
    _check_shapes(key, columns, name)
    _check_numbers(key, columns, name, where)
    if key.kind in BAR_KINDS:
        _check_bars(columns, name, where)
        _check_grid_of_time(key, columns["ts"], name, where, timeframe_from)
    elif key.kind == "trades":
        _check_trades(columns, name, where)
    elif key.kind == "funding":
        _refuse(np.abs(columns["funding_rate"]) >= 1, columns, "funding_rate", "a rate is a fraction per interval, below 1", name, where)
    elif key.kind == "open_interest":
        _refuse(columns["open_interest"] < 0, columns, "open_interest", "open interest is not negative", name, where)
    ordered = _in_order(key, columns, name, where, is_local=is_local)
    if key.kind in BAR_KINDS:
        _check_spacing(key, ordered.columns["ts"], name, timeframe_from)
    return ordered


def _check_shapes(key: SeriesKey, columns: Columns, name: str) -> None:
    missing = [column for column in key.table.names if column not in columns]
    if missing:
        raise DataError(f"{name}: the column {missing[0]} is missing; {key.kind} needs {', '.join(key.table.names)}")
    rows = len(columns["ts"])
    if not rows:
        raise DataError(f"{name}: there are no rows")
    if columns["ts"].dtype != np.int64:
        raise DataError(f"{name}: ts must be int64 milliseconds, not {columns['ts'].dtype}")
    for column in key.table.names:
        if columns[column].shape != (rows,):
            raise DataError(f"{name}: the column {column} has the shape {columns[column].shape}, ts has {rows} rows")


def _check_numbers(key: SeriesKey, columns: Columns, name: str, where: Where) -> None:
    for column, kind in key.table.columns:
        if kind == "DOUBLE":
            _refuse(~np.isfinite(columns[column]), columns, column, "a finite number is needed", name, where)


def _check_bars(columns: Columns, name: str, where: Where) -> None:
    for column in ("open", "high", "low", "close"):
        _refuse(columns[column] <= 0, columns, column, "a price is above zero", name, where)
    high, low = columns["high"], columns["low"]
    _refuse(high < low, columns, "high", "high is below low", name, where)
    for column in ("open", "close"):
        outside = (columns[column] > high) | (columns[column] < low)
        _refuse(outside, columns, column, f"{column} is outside [low, high]", name, where)
    _refuse(columns["volume"] < 0, columns, "volume", "volume is not negative", name, where)


def _check_trades(columns: Columns, name: str, where: Where) -> None:
    for column in ("price", "qty"):
        _refuse(columns[column] <= 0, columns, column, f"a {'price' if column == 'price' else 'quantity'} is above zero", name, where)
    _refuse(np.abs(columns["side"]) != 1, columns, "side", "a side is buy or sell", name, where)


def _check_grid_of_time(key: SeriesKey, ts: np.ndarray, name: str, where: Where, timeframe_from: str) -> None:
    """Each bar opens on a multiple of its timeframe."""
    duration = tf_ms(key.timeframe)
    past = (ts - floor_ts(0, key.timeframe)) % duration
    if not past.any():
        return
    row = int(np.argmax(past != 0))
    shown = f"{name}, {where(row)}: the time {to_iso(int(ts[row]))}"
    if (past == past[0]).all() and duration - 1000 <= past[0]:
        raise DataError(
            f"{shown} is where a {key.timeframe} bar closes, and so are all others: keel keeps opening times; subtract "
            f"{int(past[0]):,} ms from each time, or take the column of opening times. Nothing was imported"
        )
    raise DataError(f"{shown} is not where a {key.timeframe} bar opens: {_OTHER_TIMEFRAME[timeframe_from]}; or correct the times")


_OTHER_TIMEFRAME = {
    "option": "give another --timeframe",
    "column": "correct the file's own column of timeframes",
    "path": "if the path is wrong about the timeframe, give the file a name and a folder that do not say one, and use --timeframe",
    "": "the timeframe was read from the distances of the times, --timeframe says it",
}
"""How another timeframe is told, by who said the one that does not fit."""


def _check_spacing(key: SeriesKey, ts: np.ndarray, name: str, timeframe_from: str) -> None:
    """Bars of a timeframe that always lie wider apart are bars of another one."""
    if len(ts) < _MANY:
        return
    closest = int(np.diff(ts).min())
    if closest > tf_ms(key.timeframe):
        found = next((timeframe for timeframe, length in TIMEFRAMES.items() if length == closest), f"{closest / MINUTE_MS:g} minutes")
        raise DataError(f"{name}: said to be {key.timeframe} bars, but no two are closer than {found}: {_OTHER_TIMEFRAME[timeframe_from]}")


def _refuse(bad: np.ndarray, columns: Columns, column: str, rule: str, name: str, where: Where) -> None:
    if not bad.any():
        return
    row = int(np.argmax(bad))
    shown = f"{column} is {columns[column][row]:g}"
    if rule.startswith("high is below"):
        shown += f", low is {columns['low'][row]:g}"
    elif "outside" in rule:
        shown += f", low {columns['low'][row]:g}, high {columns['high'][row]:g}"
    count = int(bad.sum())
    more = f" ({count} such rows)" if count > 1 else ""
    raise DataError(
        f"{name}, {where(row)} ({to_iso(int(columns['ts'][row]))}): {shown}; {rule}{more}. Correct or remove it; nothing was imported"
    )


def _in_order(key: SeriesKey, columns: Columns, name: str, where: Where, *, is_local: bool) -> Ordered:
    columns = {column: columns[column] for column in key.table.names}
    ts = columns["ts"]
    if len(ts) < 2 or bool((ts[1:] > ts[:-1]).all()):
        return Ordered(columns, 0, True)
    was_sorted = bool((ts[1:] >= ts[:-1]).all())
    keys = [columns[column] for column in reversed(key.table.identity)]
    order = np.lexsort(keys) if key.kind == "trades" else np.argsort(ts, kind="stable")
    ordered = {column: values[order] for column, values in columns.items()}
    same = np.ones(len(ts) - 1, dtype=bool)
    for column in key.table.identity:
        same &= ordered[column][1:] == ordered[column][:-1]
    if not same.any():
        return Ordered(_as_written(key, columns, np.arange(len(ts)), was_sorted), 0, was_sorted)
    _refuse_contradiction(key, ordered, same, order, name, where, is_local=is_local)
    keep = np.concatenate(([True], ~same))
    return Ordered(_as_written(key, columns, np.sort(order[keep]), was_sorted), int(same.sum()), was_sorted)


def is_newest_first(ts: np.ndarray) -> bool:
    """Whether times only fall, and do so somewhere."""
    return len(ts) > 1 and bool((ts[1:] <= ts[:-1]).all()) and bool(ts[-1] < ts[0])


def _as_written(key: SeriesKey, columns: Columns, rows: np.ndarray, was_sorted: bool) -> Columns:
    """The rows by time; rows of one time (trades) in the order of the file, which is that of the exchange, or, where the newest stand
    first, the other way round."""
    if not was_sorted:
        if is_newest_first(columns["ts"]):
            rows = rows[::-1]
        rows = rows[np.argsort(columns["ts"][rows], kind="stable")]
    return {column: values[rows] for column, values in columns.items()}


def _refuse_contradiction(
    key: SeriesKey, ordered: Columns, same: np.ndarray, order: np.ndarray, name: str, where: Where, *, is_local: bool
) -> None:
    for column in key.table.names:
        differs = same & (ordered[column][1:] != ordered[column][:-1])
        if differs.any():
            row = int(np.argmax(differs))
            first, second = (where(int(order[index])) for index in (row, row + 1))
            values = f"{column} {ordered[column][row]} and {ordered[column][row + 1]}"
            zone = zone_that_doubles(ordered["ts"][1:][same]) if is_local and key.kind != "trades" else None
            mend = "remove the wrong one"
            if zone is not None:
                mend = (
                    "the times say no zone, and where clocks go back in autumn this hour comes twice: if they are of such a place, say "
                    f"which (such as --timezone {zone}), else {mend}"
                )
            raise DataError(
                f"{name}: {first} and {second} have the same time {to_iso(int(ordered['ts'][row]))} but different values "
                f"({values}): {mend}; nothing was imported"
            )
