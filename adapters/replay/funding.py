"""Funding times, rates and marks of a window: from the stored series, from a constant rate, or none.

Intervals come from the series itself (they change). A hole that is longer than its neighbours is an error that names it.
"""

from __future__ import annotations

import numpy as np

from adapters.replay.history import FundingColumns, PriceColumns
from adapters.store import HistoricalDataStore
from core.config import ConstantFunding, ExecutionConfig
from core.errors import DataError
from core.frame import Frame
from core.instrument import Instrument
from core.time_range import TimeRange, to_iso
from core.timeframe import DAY_MS, MINUTE_MS, tf_ms

_WAY_OUT = "import it with `keel data import FILE --kind funding`, or set execution.funding to none or {constant: RATE}"


def funding_columns(
    store: HistoricalDataStore,
    instrument: Instrument,
    execution: Frame,
    mark: PriceColumns | None,
    mark_opens: Frame | None,
    window: TimeRange,
    config: ExecutionConfig,
    *,
    env: str,
) -> FundingColumns | None:
    """Funding stamps in [start, end) with the mark at each; None for spot and for ``funding: none``.

    mark_opens: the finest mark series; the mark at a stamp is the open of its bar that begins there, else the derived one.
    """
    if instrument.category == "spot" or config.funding == "none":
        return None
    if isinstance(config.funding, ConstantFunding):
        interval = instrument.funding_interval_min * MINUTE_MS
        first = -(-window.start_ms // interval) * interval
        stamps = np.arange(first, window.end_ms, interval, dtype=np.int64)
        rates, source = np.full(len(stamps), config.funding.constant), "constant"
    else:
        stamps, rates = _stored(store, instrument.symbol, window, env)
        source = "history"
    marks = _marks_at(stamps, execution, mark, mark_opens)
    return FundingColumns(_into_bars(stamps, execution), rates, marks, source)


def _stored(store: HistoricalDataStore, symbol: str, window: TimeRange, env: str) -> tuple[np.ndarray, np.ndarray]:
    around = store.find(symbol, "", window.start_ms - 3 * DAY_MS, window.end_ms + 3 * DAY_MS, env=env, kind="funding")
    if around is None:
        raise DataError(f"{symbol}: the store has no funding rates near {window}; {_WAY_OUT}")
    _refuse_holes(symbol, around.ts, window)
    inside = around.between(window.start_ms, window.end_ms)
    return inside.ts, inside["funding_rate"]


def _refuse_holes(symbol: str, stamps: np.ndarray, window: TimeRange) -> None:
    if len(stamps) < 2:
        raise DataError(f"{symbol}: only {len(stamps)} funding rate near {window}; {_WAY_OUT}")
    spacing = np.diff(stamps)
    before = np.concatenate([spacing[:1], spacing[:-1]])
    beyond = np.concatenate([spacing[1:], spacing[-1:]])
    holes = [(int(stamps[k]), int(stamps[k + 1])) for k in np.flatnonzero(spacing > np.maximum(before, beyond))]
    longest = int(spacing.max())
    if int(stamps[0]) > window.start_ms + longest:
        holes.insert(0, (window.start_ms, int(stamps[0])))
    if int(stamps[-1]) + longest < window.end_ms:
        holes.append((int(stamps[-1]), window.end_ms))
    for start, end in holes:
        if start < window.end_ms and end > window.start_ms:
            raise DataError(f"{symbol}: funding rates are missing between {to_iso(start)} and {to_iso(end)}; {_WAY_OUT}")


def _marks_at(stamps: np.ndarray, execution: Frame, mark: PriceColumns | None, mark_opens: Frame | None) -> np.ndarray:
    rows = np.searchsorted(execution.ts, stamps, side="left")
    at_open = rows < len(execution)
    rows = np.minimum(rows, len(execution) - 1)
    opens = execution["open"] if mark is None else mark.open
    closes = execution["close"] if mark is None else mark.valuation
    values = np.where(at_open & (execution.ts[rows] == stamps), opens[rows], closes[np.maximum(rows - 1, 0)])
    if mark_opens is not None:
        _, here, there = np.intersect1d(stamps, mark_opens.ts, assume_unique=True, return_indices=True)
        values[here] = mark_opens["open"][there]
    return values


def _into_bars(stamps: np.ndarray, execution: Frame) -> np.ndarray:
    """Stamps that fall into a hole of the execution bars are charged at the next bar's beginning."""
    rows = np.searchsorted(execution.ts, stamps, side="right") - 1
    covered = (rows >= 0) & (stamps < execution.ts[np.maximum(rows, 0)] + tf_ms(execution.timeframe))
    following = np.minimum(rows + 1, len(execution) - 1)
    moved: np.ndarray = np.where(covered, stamps, np.maximum(stamps, execution.ts[following]))
    return moved
