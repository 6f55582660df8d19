"""Frames out of the store: its own rows, or bars built out of finer ones; and the error that says what there is instead."""

from __future__ import annotations

from adapters.store.connection import FIRST_STEPS, Database
from adapters.store.schema import BAR_KINDS, SeriesKey
from adapters.store.series import EARLIEST, LATEST, all_series, describe_span, own_timeframes, read, span
from core.aggregate import aggregate
from core.errors import DataError
from core.frame import Frame
from core.time_range import to_iso
from core.timeframe import floor_ts, is_finer, tf_ms


def frame_of(db: Database, key: SeriesKey, start: int, end: int) -> Frame:
    """The rows of a series in [start, end); bars that the store lacks are built. Raises DataError when there is nothing."""
    frame = find_frame(db, key, start, end)
    if frame is None:
        raise nothing(db, key, start, end)
    return frame


def find_frame(db: Database, key: SeriesKey, start: int, end: int) -> Frame | None:
    """As ``frame_of``, and None when there is nothing."""
    frame = own_frame(db, key, start, end)
    if frame is None and key.kind in BAR_KINDS:
        frame = _built(db, key, start, end)
    return frame


def own_frame(db: Database, key: SeriesKey, start: int, end: int) -> Frame | None:
    """The store's own rows of a series in [start, end), None when there are none."""
    columns = read(db, key, start, end)
    if columns is None:
        return None
    ts = columns.pop("ts")
    columns.pop("trade_id", None)
    return Frame(ts, columns, symbol=key.symbol, timeframe=key.timeframe, kind=key.kind)


def finer_timeframes(db: Database, key: SeriesKey) -> list[str]:
    """The store's own timeframes out of which bars of the key can be built, shortest first."""
    return [timeframe for timeframe in own_timeframes(db, key) if is_finer(timeframe, key.timeframe)]


def with_timeframe(key: SeriesKey, timeframe: str) -> SeriesKey:
    """The same series in another timeframe."""
    return SeriesKey(key.env, key.category, key.symbol, key.kind, timeframe)


def _built(db: Database, key: SeriesKey, start: int, end: int) -> Frame | None:
    """Bars out of the coarsest finer series that has all of them, else out of the one that gives the most."""
    bounded = start > EARLIEST and end < LATEST
    if end < LATEST:  # a bar that opens before the end is wanted whole
        end = floor_ts(end - 1, key.timeframe) + tf_ms(key.timeframe)
    best: Frame | None = None
    for timeframe in reversed(finer_timeframes(db, key)):
        finer = own_frame(db, with_timeframe(key, timeframe), start, end)
        built = aggregate(finer, key.timeframe) if finer is not None else None
        if built is not None and len(built) > (len(best) if best is not None else 0):
            best = built
        if best is not None and bounded and len(best) == _expected_bars(start, end, key.timeframe):
            break
    return best


def _expected_bars(start: int, end: int, timeframe: str) -> int:
    """How many whole bars of a timeframe lie in [start, end)."""
    duration = tf_ms(timeframe)
    begin, stop = -(-(start - floor_ts(0, timeframe)) // duration), (end - floor_ts(0, timeframe)) // duration
    return max(0, stop - begin)


def nothing(db: Database, key: SeriesKey, start: int, end: int) -> DataError:
    """The error for an empty answer: it names what the store has instead, the nearest to what was wanted, and what to do."""
    there = [other for other in all_series(db).values() if other.env == key.env and span(db, other)]
    same = [other for other in there if (other.symbol, other.category) == (key.symbol, key.category)]
    head = f"there are no {key} rows {describe_span(start, end)}"
    if not there:
        return DataError(f"{head}: the store {db.path} is empty (env {key.env}): {FIRST_STEPS}")
    if not same:
        symbols = _some(sorted({f"{other.symbol} ({other.category})" for other in there}))
        return DataError(f"{head}: the store has {symbols}: import this one (keel data import FILE)")
    if all(other.kind != key.kind for other in same):
        kinds = ", ".join(sorted({other.kind for other in same}))
        return DataError(f"{head}: of {key.symbol} the store has {kinds}: import {key.kind} (keel data import FILE)")
    return DataError(f"{head}: {spans_in_words(db, key)}: choose what is there (keel data list), or import more (keel data import FILE)")


def spans_in_words(db: Database, key: SeriesKey) -> str:
    """The days from first to last row of the store's own series of the key's symbol and kind; timeframes of the same days together."""
    by_days: dict[str, list[str]] = {}
    for timeframe in own_timeframes(db, key) if key.kind in BAR_KINDS else [""]:
        found = span(db, with_timeframe(key, timeframe))
        if found is not None:
            first, last = (to_iso(ts)[:10] for ts in found)
            by_days.setdefault(f"{first} to {last}" if first != last else first, []).append(timeframe or key.kind)
    parts = [f"{', '.join(names)} {days}" for days, names in by_days.items()]
    of_kind = f"{key.kind} " if key.kind in ("mark", "index") else ""
    return f"the store has {of_kind}{_some(parts, 2, '; ')}" if parts else f"the store has no {key.kind} rows of {key.symbol}"


def _some(names: list[str], most: int = 4, between: str = ", ") -> str:
    """The first names, and how many more there are."""
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
