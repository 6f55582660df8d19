"""Mark and index prices at bars of the last-price series, where their own series is coarse, partial or missing.

A bar that the series itself has at this timeframe is taken as it is. Elsewhere the price is derived: last x basis, the basis being
mark / last at the latest close at which both are known, never a later one. For triggers (which the exchange may know, and the strategy
may not) the derived path is clamped into [low, high] of the coarser bar that covers it, where there is one.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adapters.replay.history import Floats, PriceColumns
from adapters.store import HistoricalDataStore
from core.frame import Frame
from core.timeframe import TIMEFRAMES, tf_ms

Kind = Literal["mark", "index"]
Ints = npt.NDArray[np.int64]
_LOOK_BACK_BARS = 48
"""Coarse bars loaded before the first one needed, so that it has a basis."""


def price_columns(
    store: HistoricalDataStore, frame: Frame, kind: Kind, *, env: str, category: str, earlier: Frame | None = None
) -> PriceColumns | None:
    """Mark (or index) prices at every bar of ``frame``; None when the store has nothing of this kind for the symbol.

    earlier: last-price bars of any timeframe that reach back further than the frame, for the basis before its first bar.
    """
    available = store.timeframes(frame.symbol, kind=kind, env=env, category=category)
    if not available or not len(frame):
        return None
    duration = tf_ms(frame.timeframe)
    start, end = int(frame.ts[0]), int(frame.ts[-1]) + duration
    finest = min(available, key=tf_ms)
    own = None
    if tf_ms(finest) <= duration:
        own = store.find(frame.symbol, frame.timeframe, start - duration, end, env=env, kind=kind, category=category)
    coarse_name = next((name for name in TIMEFRAMES if name in available and tf_ms(name) > duration), None)
    coarse = None
    if coarse_name is not None:
        back = _LOOK_BACK_BARS * tf_ms(coarse_name)
        coarse = store.find(frame.symbol, coarse_name, start - back, end, env=env, kind=kind, category=category)
    return derive(frame, own, coarse, earlier, source=kind)


def derive(frame: Frame, own: Frame | None, coarse: Frame | None, earlier: Frame | None, *, source: str) -> PriceColumns:
    """The columns from bars of the same timeframe (``own``), a coarser series (``coarse``) and last prices before the frame."""
    duration = tf_ms(frame.timeframe)
    closes = frame.ts + duration
    pair_times, basis = _pairs(frame, own, coarse, earlier)
    at_open = _latest(pair_times, basis, frame.ts)
    at_close = _latest(pair_times, basis, closes)
    path = {name: frame[name] * at_open for name in ("open", "high", "low", "close")}
    if coarse is not None and len(coarse):
        _clamp(path, frame.ts, coarse)
    valuation = frame["close"] * at_close
    if coarse is not None and len(coarse):
        _replace(valuation, closes, coarse.ts + tf_ms(coarse.timeframe), coarse["close"])
    exact = 0
    if own is not None and len(own):
        _replace(valuation, frame.ts, own.ts, own["close"])
        for name, column in path.items():
            exact = _replace(column, frame.ts, own.ts, own[name])
    return PriceColumns(**path, valuation=valuation, exact=exact, source=source)


def _pairs(frame: Frame, own: Frame | None, coarse: Frame | None, earlier: Frame | None) -> tuple[Ints, Floats]:
    """(close times, mark / last) at every close at which both are known, ascending."""
    last_times, last_values = _closes([part for part in (earlier, frame) if part is not None])
    known_times, known_values = _closes([part for part in (coarse, own) if part is not None])
    times, at_last, at_known = np.intersect1d(last_times, known_times, assume_unique=True, return_indices=True)
    return times, known_values[at_known] / last_values[at_last]


def _closes(frames: list[Frame]) -> tuple[Ints, Floats]:
    """Close times and prices of several frames; where two close together the later frame's price stands."""
    if not frames:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    times = np.concatenate([frame.ts + tf_ms(frame.timeframe) for frame in frames])[::-1]
    values = np.concatenate([frame["close"] for frame in frames])[::-1]
    unique, first = np.unique(times, return_index=True)
    return unique, values[first]


def _latest(times: Ints, values: Floats, at: Ints) -> Floats:
    """The value of the latest time not after each ``at``; 1 where there is none."""
    if not len(times):
        return np.ones(len(at))
    position = np.searchsorted(times, at, side="right") - 1
    found: Floats = np.where(position >= 0, values[np.maximum(position, 0)], 1.0)
    return found


def _clamp(path: dict[str, Any], opens: Ints, coarse: Frame) -> None:
    position = np.searchsorted(coarse.ts, opens, side="right") - 1
    inside = (position >= 0) & (opens < coarse.ts[np.maximum(position, 0)] + tf_ms(coarse.timeframe))
    rows = position[inside]
    for column in path.values():
        column[inside] = np.clip(column[inside], coarse["low"][rows], coarse["high"][rows])


def _replace(column: Floats, at: Ints, times: Ints, values: Floats) -> int:
    """Write the values whose times occur among ``at`` into the column; returns how many."""
    _, here, there = np.intersect1d(at, times, assume_unique=True, return_indices=True)
    column[here] = values[there]
    return len(here)
