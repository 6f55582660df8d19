"""Funding times, rates and marks of a window: from the stored series, from a constant rate, or none.

Intervals come from the series itself (they change). A hole that is longer than its neighbours, or than any interval that an exchange has,
is an error that names it; so are two settlements within an hour, which would be paid twice. A stamp inside a
hole of the execution bars keeps its time; the exchange charges it at the next bar's beginning, at the mark that was known at the stamp.
"""

from __future__ import annotations

import numpy as np

from keel.adapters.replay.history import Floats, FundingColumns, Ints, PriceColumns
from keel.adapters.replay.marks import Kind, rows_at
from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.instruments.funding_intervals import INTERVALS_MS, LATE_MS, is_interval
from keel.core.errors import DataError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Instrument
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import DAY_MS, MINUTE_MS, tf_ms
from keel.core.system.config import ConstantFunding, ExecutionConfig

_WAY_OUT = "import it with `keel data import FILE --kind funding`, or set execution.funding to none or {constant: RATE}"
_MARK: Kind = "mark"
_AROUND_MS = 3 * DAY_MS
"""Read before and after the window, so that the intervals at its ends have neighbours."""
_LONGER = 1.25
"""An interval of more than this times another is the longer one: exchanges stamp some milliseconds late."""
_CHANGE_INTERVALS = 3
"""So many longer intervals on end are a change of the interval; fewer are a hole."""


def funding_columns(
    store: HistoricalDataStore,
    instrument: Instrument,
    execution: Frame,
    mark: PriceColumns | None,
    window: TimeRange,
    config: ExecutionConfig,
    *,
    env: str,
) -> FundingColumns | None:
    """Funding stamps of the window (see FundingColumns) with the mark at each; None for spot and for ``funding: none``.

    The mark at a stamp is the open of the mark bar that begins there, else the derived one. Raises DataError for missing rates.
    """
    if instrument.category == "spot" or config.funding == "none":
        return None
    if isinstance(config.funding, ConstantFunding):
        interval = instrument.funding_interval_min * MINUTE_MS
        first = -(-window.start_ms // interval) * interval
        stamps = np.arange(first - interval, window.end_ms + 1, interval, dtype=np.int64)
        rates, source = np.full(len(stamps), config.funding.constant), "constant"
    else:
        stamps, rates = _stored(store, instrument.symbol, window, env)
        source = "history"
    marks = marks_at(stamps, execution, mark)
    if mark is not None and len(stamps):
        _take_bars_that_begin(marks, stamps, store, execution, mark, env)
    return FundingColumns(stamps, rates, marks, source)


def _stored(store: HistoricalDataStore, symbol: str, window: TimeRange, env: str) -> tuple[Ints, Floats]:
    around = store.find(symbol, "", window.start_ms - _AROUND_MS, window.end_ms + _AROUND_MS, env=env, kind="funding")
    if around is None:
        raise DataError(f"{symbol}: the store has no funding rates near {window}; {_WAY_OUT}")
    refuse_holes(symbol, around.ts, window)
    first, last = np.searchsorted(around.ts, (window.start_ms, window.end_ms + 1))
    known = slice(max(0, int(first) - 1), int(last))
    return around.ts[known], around["funding_rate"][known]


def refuse_holes(symbol: str, stamps: Ints, window: TimeRange) -> None:
    """Raise DataError, naming the first, where stamps are missing in the window. stamps: those in it and around it."""
    if len(stamps) < 2:
        raise DataError(f"{symbol}: only {len(stamps)} funding rate near {window}; {_WAY_OUT}")
    spacing = np.diff(stamps)
    _refuse_doubles(symbol, stamps, window)
    rows = np.union1d(_too_long(spacing), np.flatnonzero(~is_interval(spacing))).astype(np.int64)
    holes = [(int(stamps[row]), int(stamps[row + 1])) for row in rows]
    first, last = (min(int(each), INTERVALS_MS[-1]) for each in spacing[[0, -1]])
    if int(stamps[0]) - first > window.start_ms + MINUTE_MS:
        holes.insert(0, (window.start_ms, int(stamps[0])))
    if int(stamps[-1]) + last < window.end_ms - MINUTE_MS:
        holes.append((int(stamps[-1]), window.end_ms))
    inside = [(start, end) for start, end in holes if start < window.end_ms and end > window.start_ms]
    if inside:
        more = f", the first of {len(inside)} holes" if len(inside) > 1 else ""
        start, end = (to_iso(moment) for moment in inside[0])
        raise DataError(
            f"{symbol}: funding rates are missing between {start} and {end}{more} (exchanges settle every 1, 2, 4 or 8 hours); {_WAY_OUT}"
        )


def _refuse_doubles(symbol: str, stamps: Ints, window: TimeRange) -> None:
    """Raise DataError for two settlements in the window less than an hour apart."""
    close = np.flatnonzero((np.diff(stamps) < INTERVALS_MS[0] - LATE_MS) & (stamps[1:] > window.start_ms) & (stamps[:-1] < window.end_ms))
    if len(close):
        one, other = (to_iso(int(stamps[close[0] + step])) for step in (0, 1))
        raise DataError(
            f"{symbol}: the settlements of {one} and {other} are less than an hour apart, which no exchange has: one of them stands there"
            f" twice ({len(close)} such pairs); {_WAY_OUT}"
        )


def _too_long(spacing: Ints) -> list[int]:
    """Rows of intervals that belong to a short run of ones longer than those on either side of it."""
    changes = (spacing[1:] > _LONGER * spacing[:-1]) | (spacing[:-1] > _LONGER * spacing[1:])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    if len(starts) == 1:
        return []
    lengths = np.diff(np.concatenate([starts, [len(spacing)]]))
    level = spacing[starts].astype(np.float64)
    before, beyond = np.concatenate([[0.0], level[:-1]]), np.concatenate([level[1:], [0.0]])
    holes = (level > _LONGER * np.maximum(before, beyond)) & (lengths < _CHANGE_INTERVALS)
    return [int(start) + step for start, length in zip(starts[holes], lengths[holes], strict=True) for step in range(int(length))]


def marks_at(stamps: Ints, execution: Frame, mark: PriceColumns | None) -> Floats:
    """What is known of the mark at each stamp: the open of the bar in which it lies; in a hole the valuation at the last close."""
    row = np.maximum(np.searchsorted(execution.ts, stamps, side="right") - 1, 0)
    inside = stamps < execution.ts[row] + tf_ms(execution.timeframe)
    opens, closes = (execution["open"], execution["close"]) if mark is None else (mark.open, mark.valuation)
    values: Floats = np.where(inside, opens[row], closes[row])
    return values


def _take_bars_that_begin(marks: Floats, stamps: Ints, store: HistoricalDataStore, execution: Frame, mark: PriceColumns, env: str) -> None:
    """Put in the opens of stored mark bars that begin at a stamp, the finest last."""
    whole = stamps - stamps % MINUTE_MS
    paid = whole[(whole >= execution.ts[0]) & (whole <= execution.ts[-1])]
    if mark.exact == len(execution) and len(rows_at(execution.ts, paid)[0]) == len(paid):
        return
    span = (int(whole[0]), int(whole[-1]) + 1)
    for timeframe in reversed(store.timeframes(execution.symbol, kind=_MARK, env=env)):
        bars = store.find(execution.symbol, timeframe, *span, env=env, kind=_MARK)
        if bars is not None:
            rows, there = rows_at(bars.ts, whole)
            marks[there] = bars["open"][rows]
