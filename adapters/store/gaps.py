"""Gaps: finding bars that are missing, and building them out of finer timeframes where these have every bar of them.

Funding has no timeframe: its interval is read from the series (8 h, 4 h, it changes), and a gap is a distance that is larger than those
on both of its sides, or one that no exchange has.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keel.adapters.store.instruments.funding_intervals import INTERVALS_MS, interval_inside, is_interval
from keel.adapters.store.records import Gap
from keel.adapters.store.schema import BAR_KINDS
from keel.adapters.store.series import EARLIEST, LATEST
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import Frame
from keel.core.model.timeframe import floor_ts, tf_ms


def gaps_of(kind: str, timeframe: str, ts: np.ndarray, start: int = EARLIEST, end: int = LATEST) -> list[Gap]:
    """The gaps among ascending times; from ``start`` on and up to ``end`` too, where these are given."""
    if kind in BAR_KINDS:
        return bar_gaps(ts, timeframe, start, end)
    return point_gaps(ts) if kind == "funding" else []


def bar_gaps(ts: np.ndarray, timeframe: str, start: int = EARLIEST, end: int = LATEST) -> list[Gap]:
    """Missing bars between the times of a series, and between them and the bounds given."""
    duration = tf_ms(timeframe)
    times = ts
    if start != EARLIEST:  # the bar before the first one wanted: one that opened before the start is not part of the span
        times = np.concatenate(([floor_ts(start + duration - 1, timeframe) - duration], times))
    if end != LATEST and len(times):  # and the bar after the last
        times = np.concatenate((times, [floor_ts(end + duration - 1, timeframe)]))
    wide = np.flatnonzero(np.diff(times) > duration)
    return [Gap(int(times[row]) + duration, int(times[row + 1]), (int(times[row + 1]) - int(times[row])) // duration - 1) for row in wide]


def point_gaps(ts: np.ndarray) -> list[Gap]:
    """Holes between settlements: distances larger than both neighbouring distances (at an edge, than the one neighbour), and those that
    are no interval of any exchange."""
    distance = np.diff(ts)
    if not len(distance):
        return []
    before, after = np.concatenate(([-1], distance[:-1])), np.concatenate((distance[1:], [-1]))
    usual = np.maximum(before, after)
    longer = (usual > 0) & (distance > usual + usual // 2)
    odd = ~is_interval(distance) & (distance > INTERVALS_MS[0])
    return [_point_gap(ts, int(row), int(before[row]), int(after[row])) for row in np.flatnonzero(longer | odd)]


def _point_gap(ts: np.ndarray, row: int, before: int, after: int) -> Gap:
    distance = int(ts[row + 1] - ts[row])
    inside = interval_inside(distance, before if before > 0 else None, after if after > 0 else None)
    return Gap(int(ts[row]) + inside, int(ts[row + 1]), max(1, round(distance / inside) - 1))


def build_missing(gaps: list[Gap], timeframe: str, finer: list[str], read: Callable[[str, int, int], Frame | None]) -> dict[str, Frame]:
    """Bars for the gaps, by the finer timeframe they were built from, the coarsest that has them first.

    ``read(timeframe, start, end)`` gives a finer frame or None.
    """
    built: dict[str, Frame] = {}
    wanted = gaps
    for source in reversed(finer):
        parts = [_bars_for(gap, timeframe, source, read) for gap in wanted]
        found = [part for part in parts if part is not None and len(part)]
        if found:
            built[source] = _join(found)
            have = built[source].ts
            wanted = [
                rest for gap in wanted for rest in bar_gaps(have[(have >= gap.start) & (have < gap.end)], timeframe, gap.start, gap.end)
            ]
    return built


def _bars_for(gap: Gap, timeframe: str, source: str, read: Callable[[str, int, int], Frame | None]) -> Frame | None:
    frame = read(source, gap.start, gap.end)
    return None if frame is None else aggregate(frame, timeframe)


def _join(frames: list[Frame]) -> Frame:
    first = frames[0]
    columns = {name: np.concatenate([frame[name] for frame in frames]) for name in first}
    ts = np.concatenate([frame.ts for frame in frames])
    return Frame(ts, columns, symbol=first.symbol, timeframe=first.timeframe, kind=first.kind)
