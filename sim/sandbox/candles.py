"""Candles of one symbol: base bars in columns that grow, and any coarser interval made out of them when asked."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from core.timeframe import DAY_MS, MINUTE_MS, WEEK_MS
from sim.sandbox.feed import Floats, Ints, SymbolSeries

INTERVALS: Final = ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720", "D", "W", "M")
_WEEK_ORIGIN = -3 * DAY_MS
LAST, MARK, INDEX = range(3)
_COLUMNS = 13  # open, high, low, close of last, mark and index; volume


def interval_ms(interval: str) -> int:
    """Length of an interval; a month counts as 31 days (only to compare)."""
    return {"D": DAY_MS, "W": WEEK_MS, "M": 31 * DAY_MS}.get(interval) or int(interval) * MINUTE_MS


def start_of(ts: int, interval: str) -> int:
    """The open of the candle in which a time lies."""
    if interval == "M":
        return int(np.datetime64(ts, "ms").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64))
    length = interval_ms(interval)
    origin = _WEEK_ORIGIN if interval == "W" else 0
    return ts - (ts - origin) % length


def end_of(start: int, interval: str) -> int:
    """The first ms after the candle that opens at ``start``."""
    if interval == "M":
        month = np.datetime64(start, "ms").astype("datetime64[M]") + np.timedelta64(1, "M")
        return int(month.astype("datetime64[ms]").astype(np.int64))
    return start + interval_ms(interval)


class Candles:
    """Closed base bars and the one that is being made."""

    def __init__(self, duration_ms: int, capacity: int = 4096) -> None:
        self.duration_ms = duration_ms
        self.count = 0
        self._ts: Ints = np.zeros(capacity, dtype=np.int64)
        self._values: Floats = np.zeros((_COLUMNS, capacity))
        self.forming: list[float] | None = None
        self.forming_ts = 0

    def load(self, series: SymbolSeries, rows: int) -> None:
        """Take the first rows of a series as closed bars."""
        mark = series.mark or series.last
        if series.mark_closes is not None:
            close = series.mark_closes
            mark = mark[0], np.maximum(mark[1], close), np.minimum(mark[2], close), close
        columns = [*series.last, *mark, *(series.index or mark), series.volume]
        capacity = max(4096, 2 * rows)
        self._ts = np.zeros(capacity, dtype=np.int64)
        self._values = np.zeros((_COLUMNS, capacity))
        self._ts[:rows] = series.ts[:rows]
        for place, column in enumerate(columns):
            self._values[place, :rows] = column[:rows]
        self.count = rows

    def add(self, ts_open: int, prices: tuple[float, ...], volume: float) -> None:
        """A piece of the market: twelve prices (last, mark, index) from ``ts_open`` on. It never crosses the end of a base bar."""
        start = ts_open - ts_open % self.duration_ms
        forming = self.forming
        if forming is None or start != self.forming_ts:
            self.close()
            self.forming, self.forming_ts = [*prices, volume], start
            return
        for at in (0, 4, 8):
            forming[at + 1] = max(forming[at + 1], prices[at + 1])
            forming[at + 2] = min(forming[at + 2], prices[at + 2])
            forming[at + 3] = prices[at + 3]
        forming[12] += volume

    def close(self) -> None:
        """Close the bar that is being made."""
        if self.forming is None:
            return
        if self.count == len(self._ts):
            self._ts = np.concatenate((self._ts, np.zeros_like(self._ts)))
            self._values = np.concatenate((self._values, np.zeros_like(self._values)), axis=1)
        self._ts[self.count] = self.forming_ts
        self._values[:, self.count] = self.forming
        self.count += 1
        self.forming = None

    def offers(self, interval: str) -> bool:
        """Whether candles of this interval can be made out of the base bars."""
        return (interval in INTERVALS and interval_ms(interval) % self.duration_ms == 0) or interval == "M"

    def rows(self, interval: str, since: int | None, until: int | None, limit: int, kind: int = LAST) -> list[tuple[int, list[float]]]:
        """Candles with since <= open <= until, the newest ``limit`` of them, oldest first: (open time, [o, h, l, c, volume, turnover]).

        The one that is being made comes last, like the exchange's; nothing flags it.
        """
        ts, values = self._all()
        end = len(ts) if until is None else int(np.searchsorted(ts, end_of(start_of(until, interval), interval)))
        span = (limit + 1) * interval_ms(interval) // self.duration_ms + 1
        begin = max(0, end - span)
        if since is not None:
            begin = max(
                begin, int(np.searchsorted(ts, start_of(since + interval_ms(interval) - 1, interval) if interval != "M" else since))
            )
        if begin >= end:
            return []
        made = self._group(ts[begin:end], values[:, begin:end], interval, kind)
        if begin and start_of(int(ts[begin - 1]), interval) == made[0][0]:
            made = made[1:]  # its beginning lies outside
        kept = [row for row in made if (since is None or row[0] >= since) and (until is None or row[0] <= until)]
        return kept[-limit:]

    def newest(self, interval: str) -> tuple[int, list[float]] | None:
        """The latest candle of an interval."""
        rows = self.rows(interval, None, None, 1)
        return rows[-1] if rows else None

    def day(self) -> tuple[float, float, float, float, float, float] | None:
        """Of the last 24 hours: first open, high, low, volume, turnover, and the price an hour ago; None before the first bar."""
        ts, values = self._all()
        if not len(ts):
            return None
        begin = int(np.searchsorted(ts, int(ts[-1]) - DAY_MS + self.duration_ms))
        hour = int(np.searchsorted(ts, int(ts[-1]) - max(0, 3_600_000 - self.duration_ms)))  # longer bars: the open of the latest
        part = values[:, begin:]
        typical = (part[0] + part[1] + part[2] + part[3]) / 4.0
        return (
            float(part[0, 0]), float(part[1].max()), float(part[2].min()), float(part[12].sum()), float((typical * part[12]).sum()),
            float(values[0, hour]),
        )  # fmt: skip

    def _all(self) -> tuple[Ints, Floats]:
        if self.forming is None:
            return self._ts[: self.count], self._values[:, : self.count]
        if self.count == len(self._ts):
            self._ts = np.concatenate((self._ts, np.zeros_like(self._ts)))
            self._values = np.concatenate((self._values, np.zeros_like(self._values)), axis=1)
        self._ts[self.count] = self.forming_ts
        self._values[:, self.count] = self.forming
        return self._ts[: self.count + 1], self._values[:, : self.count + 1]

    def _group(self, ts: Ints, values: Floats, interval: str, kind: int) -> list[tuple[int, list[float]]]:
        if interval == "M":
            starts: Any = ts.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
        else:
            origin = _WEEK_ORIGIN if interval == "W" else 0
            starts = ts - (ts - origin) % interval_ms(interval)
        first = np.flatnonzero(np.concatenate(([True], starts[1:] != starts[:-1])))
        last = np.concatenate((first[1:], [len(ts)])) - 1
        at = 4 * kind
        high = np.maximum.reduceat(values[at + 1], first)
        low = np.minimum.reduceat(values[at + 2], first)
        volume = np.add.reduceat(values[12], first)
        typical = (values[0] + values[1] + values[2] + values[3]) / 4.0
        turnover = np.add.reduceat(typical * values[12], first)
        table = np.stack((values[at][first], high, low, values[at + 3][last], volume, turnover), axis=1)
        return list(zip(starts[first].tolist(), table.tolist(), strict=True))
