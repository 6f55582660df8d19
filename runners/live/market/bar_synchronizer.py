"""Bars of all symbols, gathered into instants: T is whole when every series that has a bar closing at T has given it. Pure.

What is late beyond the grace is left out; the instant goes on without it, and its bar comes afterwards, without a decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from keel.core.model.messages import Bar
from keel.core.model.timeframe import floor_ts, tf_ms

GRACE_MS: Final = 2_000
"""For so long an instant waits for a late bar, where nobody says otherwise."""
Line = tuple[str, str]
"""(symbol, timeframe)"""


class Gathered(msgspec.Struct, frozen=True):
    """The bars that close at ts, finest timeframe first, symbols in their order; ``missing`` did not come in time."""

    ts: int
    bars: list[Bar]
    missing: list[Line]


class Instants:
    """Takes bars, gives instants, in order of time. ``lines`` in the order of delivery within an instant."""

    def __init__(self, symbols: Sequence[str], timeframes: Iterable[str], *, grace_ms: int = GRACE_MS, last_ts: int = 0) -> None:
        ordered = sorted(dict.fromkeys(timeframes), key=tf_ms)
        self.lines: list[Line] = [(symbol, timeframe) for timeframe in ordered for symbol in symbols]
        self._grace_ms = grace_ms
        self._waiting: dict[int, dict[Line, Bar]] = {}
        self._since: dict[int, int] = {}
        self._awaited: dict[int, list[Line]] = {}
        """Every series that has a bar which closes then."""
        self.last_ts = last_ts
        """The latest instant that was given out."""

    def add(self, bar: Bar, now_ms: int) -> bool:
        """Take a bar (now_ms: monotonic). False: its instant has been given out already."""
        if bar.ts_close <= self.last_ts:
            return False
        if bar.ts_close not in self._waiting:
            self._waiting[bar.ts_close], self._since[bar.ts_close] = {}, now_ms
            self._awaited[bar.ts_close] = self._expected(bar.ts_close)
        self._waiting[bar.ts_close][bar.symbol, bar.tf] = bar
        return True

    @property
    def is_whole(self) -> bool:
        """Whether the oldest instant that waits has all its bars."""
        if not self._waiting:
            return False
        ts = min(self._waiting)
        return not self._missing(ts)

    def ready(self, now_ms: int) -> list[Gathered]:
        """Instants that are whole, or whose grace is over, oldest first; none is passed over by a younger one."""
        given: list[Gathered] = []
        while self._waiting:
            ts = min(self._waiting)
            missing = self._missing(ts)
            if missing and now_ms - self._since[ts] < self._grace_ms:
                break
            given.append(self._give(ts, missing))
        return given

    def give_all(self) -> list[Gathered]:
        """Everything that is here, whole or not."""
        return [self._give(ts, self._missing(ts)) for ts in sorted(self._waiting)]

    @property
    def is_empty(self) -> bool:
        """Whether no bar waits."""
        return not self._waiting

    def _give(self, ts: int, missing: list[Line]) -> Gathered:
        bars = self._waiting.pop(ts)
        del self._since[ts], self._awaited[ts]
        self.last_ts = ts
        return Gathered(ts, [bars[line] for line in self.lines if line in bars], missing)

    def _missing(self, ts: int) -> list[Line]:
        bars = self._waiting[ts]
        return [line for line in self._awaited[ts] if line not in bars]

    def _expected(self, ts: int) -> list[Line]:
        return [line for line in self.lines if floor_ts(ts, line[1]) == ts]
