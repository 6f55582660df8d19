"""Frames out of the store: its own rows, or bars built out of finer ones; and the error that says what there is instead."""

from __future__ import annotations

from adapters.store.connection import Database
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
    """The error for an empty answer: it names symbols, series and spans that the store has."""
    spans = {other: found for other in all_series(db).values() if other.env == key.env and (found := span(db, other))}
    same = [other for other in spans if (other.symbol, other.category) == (key.symbol, key.category)]
    head = f"the store {db.path} has no {key} rows {describe_span(start, end)}"
    if not spans:
        return DataError(f"{head}: it is empty (env {key.env}): import history first (keel data import FILE)")
    if not same:
        symbols = sorted({f"{other.symbol} ({other.category})" for other in spans})
        return DataError(f"{head}: it has {', '.join(symbols)}")
    return DataError(f"{head}: of {key.symbol} it has {'; '.join(_describe(other, *spans[other]) for other in same)}")


def _describe(key: SeriesKey, first: int, last: int) -> str:
    return f"{key.kind} {key.timeframe}".strip() + f" ({to_iso(first)} to {to_iso(last)})"
