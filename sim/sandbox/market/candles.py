"""Candles of one symbol: base bars in columns that grow, and any coarser interval made out of them when asked."""

from __future__ import annotations

from typing import Final

import numpy as np

from keel.core.model.frame import doubled
from keel.core.model.timeframe import DAY_MS, HOUR_MS
from keel.sim.sandbox.market.bar_source import Floats, Ints, SymbolSeries
from keel.sim.sandbox.market.grouping import KINDS, LongCandles, firsts, grouped, turnover
from keel.sim.sandbox.market.intervals import INTERVALS, end_of, interval_ms, start_of, starts_of

LAST, MARK, INDEX = KINDS
_COLUMNS: Final = 13  # open, high, low, close of last, mark and index; volume
_MANY: Final = 60
"""Candles of more base bars than this are kept; others are made when they are asked for."""


class Candles:
    """Closed base bars and the one that is being made."""

    def __init__(self, duration_ms: int, capacity: int = 4096) -> None:
        self.duration_ms = duration_ms
        self.count = 0
        self._ts: Ints = np.zeros(capacity, dtype=np.int64)
        self._values: Floats = np.zeros((_COLUMNS, capacity))
        self.forming: list[float] | None = None
        self.forming_ts = 0
        self._long = {name: LongCandles(name) for name in INTERVALS if self.offers(name) and self._is_long(name)}

    def _is_long(self, interval: str) -> bool:
        return interval == "M" or interval_ms(interval) > _MANY * self.duration_ms

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
        for candles in self._long.values() if rows else ():
            candles.load(self._ts[:rows], self._values[:, :rows])

    def add(self, ts_open: int, prices: tuple[float, ...], volume: float) -> None:
        """A piece of the market: twelve prices (last, mark, index) from ``ts_open`` on. It never crosses the end of a base bar."""
        start = ts_open - ts_open % self.duration_ms
        forming = self.forming
        if forming is None or start != self.forming_ts:
            self.close()
            self.forming, self.forming_ts = [*prices, volume], start
            for candles in self._long.values():
                candles.reach(start, self._values, self.count)
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
            self._ts = doubled(self._ts)
            self._values = doubled(self._values)
        self._ts[self.count] = self.forming_ts
        self._values[:, self.count] = self.forming
        self.count += 1
        self.forming = None

    @property
    def first_ts(self) -> int:
        """The open of the oldest bar; 0 before the first one."""
        return int(self._ts[0]) if self.count else self.forming_ts

    def offers(self, interval: str) -> bool:
        """Whether candles of this interval can be made out of the base bars."""
        return (interval in INTERVALS and interval_ms(interval) % self.duration_ms == 0) or interval == "M"

    def table(
        self, interval: str, since: int | None, until: int | None, limit: int, kind: int = LAST, *, is_oldest: bool = False
    ) -> tuple[Ints, Floats]:
        """Candles with since <= open <= until, the newest ``limit`` of them or the oldest, in order: open times, and six columns: open,
        high, low, close, volume, turnover. What it costs is what it returns.

        The one that is being made comes last, like the exchange's; nothing flags it.
        """
        ts, values = self._all()
        if interval in self._long:
            starts, made = self._long[interval].table(values, since, until, kind)
        else:
            starts, made = self._short(ts, values, interval, self._rows_of(ts, interval, since, until, limit, is_oldest), kind)
        kept = _part(limit, is_oldest)
        return starts[kept], made[:, kept]

    def starts(self, interval: str, since: int | None, until: int | None, limit: int, *, is_oldest: bool = False) -> Ints:
        """The open times of ``table``."""
        ts, values = self._all()
        if interval in self._long:
            starts = self._long[interval].starts(values, since, until)
        else:
            begin, end = self._rows_of(ts, interval, since, until, limit, is_oldest)
            starts = ts[begin:end]
            if begin < end and interval_ms(interval) > self.duration_ms:
                starts = starts_of(starts, interval)
                starts = starts[firsts(starts)][self._is_cut(ts, begin, interval, int(starts[0])) :]
        return starts[_part(limit, is_oldest)]

    def newest_start(self, interval: str) -> int:
        """The open of the latest candle, which may change yet; there is one."""
        return start_of(self.forming_ts if self.forming is not None else int(self._ts[self.count - 1]), interval)

    def _rows_of(self, ts: Ints, interval: str, since: int | None, until: int | None, limit: int, is_oldest: bool) -> tuple[int, int]:
        """The base bars of so many candles, at most."""
        begin = 0 if since is None else int(np.searchsorted(ts, start_of(since + interval_ms(interval) - 1, interval)))
        end = len(ts) if until is None else int(np.searchsorted(ts, end_of(start_of(until, interval), interval)))
        most = limit * (interval_ms(interval) // self.duration_ms)
        return (begin, min(end, begin + most)) if is_oldest else (max(begin, end - most), end)

    def _short(self, ts: Ints, values: Floats, interval: str, rows: tuple[int, int], kind: int) -> tuple[Ints, Floats]:
        begin, end = rows
        if begin >= end:
            return ts[:0], np.empty((6, 0))
        part = values[:, begin:end]
        if interval_ms(interval) == self.duration_ms:
            return ts[begin:end], np.stack((*part[4 * kind : 4 * kind + 4], part[12], turnover(part)))
        starts = starts_of(ts[begin:end], interval)
        first = firsts(starts)
        made = grouped(part, first, (kind,))
        is_cut = self._is_cut(ts, begin, interval, int(starts[0]))
        return starts[first][is_cut:], made[:, is_cut:]

    @staticmethod
    def _is_cut(ts: Ints, begin: int, interval: str, start: int) -> int:
        """1 where the beginning of the first candle lies before the rows, so that it is left out; else 0."""
        return int(begin > 0 and start_of(int(ts[begin - 1]), interval) == start)

    def rows(self, interval: str, since: int | None, until: int | None, limit: int, kind: int = LAST) -> list[tuple[int, list[float]]]:
        """The newest of ``table`` as rows: (open time, [open, high, low, close, volume, turnover])."""
        starts, made = self.table(interval, since, until, limit, kind)
        return list(zip(starts.tolist(), made.T.tolist(), strict=True))

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
        hour = int(np.searchsorted(ts, int(ts[-1]) - max(0, HOUR_MS - self.duration_ms)))  # longer bars: the open of the latest
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
            self._ts = doubled(self._ts)
            self._values = doubled(self._values)
        self._ts[self.count] = self.forming_ts
        self._values[:, self.count] = self.forming
        return self._ts[: self.count + 1], self._values[:, : self.count + 1]


def _part(limit: int, is_oldest: bool) -> slice:
    return slice(None, limit) if is_oldest else slice(-limit, None)
