"""Mark and index prices at bars of the last-price series, where their own series is coarse, partial or missing.

A bar that the series itself has at this timeframe is taken as it is. Elsewhere the price is derived: last x basis, the basis being
mark / last at the latest close at which both are known, never a later one. For triggers (which the exchange may know, and the strategy
may not) the derived path is clamped into [low, high] of the coarser bar that covers it, where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from keel.adapters.replay.history import Floats, Ints, PriceColumns
from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.series import short_time
from keel.core.model.frame import Frame
from keel.core.model.timeframe import TIMEFRAMES, is_finer, tf_ms

Kind = Literal["mark", "index"]
PATH = ("open", "high", "low", "close")
_LOOK_BACK_BARS = 48
"""Bars of each series loaded before the first one needed, so that it has a basis."""


def price_columns(
    store: HistoricalDataStore, frame: Frame, kind: Kind, *, env: str, category: str, fallback: PriceColumns | None = None
) -> PriceColumns | None:
    """Mark (or index) prices at every bar of ``frame``; None when the store has nothing of this kind for it.

    fallback: what stands where nothing is known yet (the mark, for the index); without it the last price does.
    """
    available = store.timeframes(frame.symbol, kind=kind, env=env, category=category)
    if not available or not len(frame):
        return None
    start, end = int(frame.ts[0]), int(frame.ts[-1]) + tf_ms(frame.timeframe)
    known: list[Frame] = []
    before: list[Frame] = []
    completed: list[str] = []
    for timeframe in _usable(available, frame.timeframe):
        back = start - _LOOK_BACK_BARS * tf_ms(timeframe)
        found = store.find(frame.symbol, timeframe, back, end, env=env, kind=kind, category=category)
        if found is None:
            continue
        if timeframe in available:
            completed += _completed(store, found, env=env, category=category)
        if timeframe == frame.timeframe and np.array_equal(found.between(start, end).ts, frame.ts):
            return replace(_as_it_is(found.between(start, end), kind), completed=tuple(completed))
        last = store.find(frame.symbol, timeframe, back, start, env=env, category=category)
        known.insert(0, found)
        if last is not None:
            before.insert(0, last)
    columns = derive(frame, known, before, source=kind, fallback=fallback) if known else None
    return None if columns is None else replace(columns, completed=tuple(completed))


def _completed(store: HistoricalDataStore, found: Frame, *, env: str, category: str) -> list[str]:
    """What is said of a stored series where some of its bars were built out of finer ones."""
    begin, end = int(found.ts[0]), int(found.ts[-1]) + tf_ms(found.timeframe)
    built = len(found) - sum(store.sources(found.symbol, found.timeframe, found.kind, begin, end, env, category).values())
    own = store.span(found.symbol, found.timeframe, found.kind, env, category)
    if built <= 0 or own is None:
        return []
    span = f"the stored series is from {short_time(own[0])} to {short_time(own[1])}"
    return [f"{built:,} of {len(found):,} {found.kind} {found.timeframe} bars were built out of finer ones; {span}"]


def derive(
    frame: Frame, known: Sequence[Frame], before: Sequence[Frame], *, source: str, fallback: PriceColumns | None = None
) -> PriceColumns | None:
    """The columns from bars of mark or index, coarsest first and at most as fine as the frame; None when they tell nothing of it.

    before: last-price bars before the frame, for the basis at its beginning.
    """
    duration = tf_ms(frame.timeframe)
    times, basis = _pairs(frame, known, before)
    opening, closing = np.searchsorted(frame.ts, times), np.searchsorted(frame.ts, times - duration)
    at_open = _from_row_on(opening, basis, len(frame))
    path = {name: frame[name] * at_open for name in PATH}
    valuation = frame["close"] * _from_row_on(closing, basis, len(frame))
    first_open, first_close = (int(rows[0]) if len(rows) else len(frame) for rows in (opening, closing))
    if fallback is not None:
        valuation[:first_close] = fallback.valuation[:first_close]
        for name, column in path.items():
            column[:first_open] = getattr(fallback, name)[:first_open]
    covered = exact = 0
    for bars in known:
        rows, there = rows_at(frame.ts, bars.ts + tf_ms(bars.timeframe) - duration)
        valuation[rows] = bars["close"][there]
        if bars.timeframe != frame.timeframe:
            covered += _clamp(path, frame.ts, bars)
            continue
        exact = len(rows)
        for name, column in path.items():
            column[rows] = bars[name][there]
    if first_close == len(frame) and not covered and not exact:
        return None
    return PriceColumns(**path, valuation=valuation, exact=exact, derived=len(frame) - first_close - exact, source=source)


def _usable(available: Sequence[str], timeframe: str) -> list[str]:
    """Timeframes of bars that cover whole bars of ``timeframe`` and that the store has, or can build out of others that do not."""
    own = [name for name in available if name == timeframe or is_finer(name, timeframe)]
    odd = [name for name in available if name not in own and not is_finer(timeframe, name)]
    usable = [timeframe] if own else []
    for name in TIMEFRAMES:
        if is_finer(timeframe, name) and (name in available or any(is_finer(other, name) for other in odd)):
            usable.append(name)
    return usable


def _as_it_is(own: Frame, source: str) -> PriceColumns:
    path = {name: own[name] for name in PATH}
    return PriceColumns(**path, valuation=own["close"], exact=len(own), derived=0, source=source)


def _pairs(frame: Frame, known: Sequence[Frame], before: Sequence[Frame]) -> tuple[Ints, Floats]:
    """(close times, mark / last) at every close at which both are known, ascending; the finest series' where several have one."""
    times: list[Ints] = []
    basis: list[Floats] = []
    for bars in known:
        closes = bars.ts + tf_ms(bars.timeframe)
        for last in (frame, *before):
            rows, there = rows_at(last.ts, closes - tf_ms(last.timeframe))
            times.append(closes[there])
            basis.append(bars["close"][there] / last["close"][rows])
    joined = np.concatenate(times)[::-1]
    unique, first = np.unique(joined, return_index=True)
    return unique, np.concatenate(basis)[::-1][first]


def _from_row_on(rows: Ints, values: Floats, count: int) -> Floats:
    """A column in which each value holds from its row on until the next one's; 1 before the first."""
    lengths = np.diff(np.concatenate([[0], rows, [count]]))
    return np.repeat(np.concatenate([[1.0], values]), lengths)


def rows_at(ts: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """(rows of ``ts``, rows of ``wanted``) that hold the same times; both ascend, and ``ts`` has a row."""
    rows = np.searchsorted(ts, wanted)
    there = np.flatnonzero(ts[np.minimum(rows, len(ts) - 1)] == wanted)
    return rows[there], there


def _clamp(path: dict[str, Floats], opens: Ints, bars: Frame) -> int:
    """Bring the path into the bars that cover it; returns the number of rows that one covers."""
    begin, end = np.searchsorted(opens, bars.ts), np.searchsorted(opens, bars.ts + tf_ms(bars.timeframe))
    edges = np.concatenate([[0], np.stack([begin, end], axis=1).ravel(), [len(opens)]])
    lengths = np.diff(edges)
    low, high = (np.repeat(_between(bars[name], nothing), lengths) for name, nothing in (("low", -np.inf), ("high", np.inf)))
    for column in path.values():
        np.clip(column, low, high, out=column)
    return int((end - begin).sum())


def _between(values: Floats, nothing: float) -> Floats:
    """nothing, value, nothing, value, ..., nothing: what holds between bars, and in them."""
    mixed = np.full(2 * len(values) + 1, nothing)
    mixed[1::2] = values
    return mixed
