"""Frames out of the store: its own rows, and bars built out of finer ones where it has none; and the error that lists what is stored."""

from __future__ import annotations

import numpy as np

from keel.adapters.store.connection import FIRST_STEPS, Database
from keel.adapters.store.schema import BAR_KINDS, SeriesKey
from keel.adapters.store.series import EARLIEST, LATEST, all_series, describe_span, own_timeframes, read, span
from keel.core.errors import DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import Frame
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import floor_ts, is_finer, tf_ms


def frame_of(db: Database, key: SeriesKey, start: int, end: int) -> Frame:
    """The rows of a series in [start, end); bars that the store lacks are built. Raises DataError when there is nothing."""
    frame = find_frame(db, key, start, end)
    if frame is None:
        raise nothing(db, key, start, end)
    return frame


def find_frame(db: Database, key: SeriesKey, start: int, end: int) -> Frame | None:
    """As ``frame_of``, and None when there is nothing."""
    frame = own_frame(db, key, start, end)
    if key.kind not in BAR_KINDS:
        return frame
    return _built(db, key, start, end) if frame is None else _completed(db, key, frame, start, end)


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


def _completed(db: Database, key: SeriesKey, own: Frame, start: int, end: int) -> Frame:
    """The store's own bars, and those that it lacks of [start, end) out of finer series that have them whole, the coarsest first."""
    if start > EARLIEST and end < LATEST and len(own) == _expected_bars(start, end, key.timeframe):
        return own
    for timeframe in reversed(finer_timeframes(db, key)):
        missing = _missing(db, key, timeframe, own, start, end)
        if not len(missing):
            continue
        fine = own_frame(db, with_timeframe(key, timeframe), int(missing[0]), int(missing[-1]) + tf_ms(key.timeframe))
        if fine is not None:
            built = aggregate(fine, key.timeframe)
            own = merged(own, built, np.flatnonzero(np.isin(built.ts, missing)))
    return own


def _missing(db: Database, key: SeriesKey, finer: str, own: Frame, start: int, end: int) -> np.ndarray:
    """Opens of the bars that open in [start, end), that ``own`` lacks, and that lie within the span of a finer series."""
    span_of_fine, duration = span(db, with_timeframe(key, finer)), tf_ms(key.timeframe)
    if span_of_fine is None:
        return np.zeros(0, dtype=np.int64)
    first = floor_ts(max(start, span_of_fine[0]) + duration - 1, key.timeframe)
    wanted = np.arange(first, min(end, span_of_fine[1] + tf_ms(finer) - duration + 1), duration, dtype=np.int64)
    return wanted[~np.isin(wanted, own.ts)]


def merged(own: Frame, built: Frame, rows: np.ndarray) -> Frame:
    """One frame of the bars of ``own`` and of those rows of ``built``, by time."""
    if not len(rows):
        return own
    ts = np.concatenate([own.ts, built.ts[rows]])
    order = np.argsort(ts, kind="stable")
    columns = {name: np.concatenate([own[name], built[name][rows]])[order] for name in own}
    return Frame(ts[order], columns, symbol=own.symbol, timeframe=own.timeframe, kind=own.kind)


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
