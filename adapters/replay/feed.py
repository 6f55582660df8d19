"""Replays history: the execution bars of all symbols, instant by instant, in chunks, with the rarer messages between them.

Order within one instant T: what a hole has held up, by its own time; funding rates of T; the execution bars that close at T, each after its
mark, symbols in the order of the system; coarser bars of T, finest first; open interest last. Columns become lists in chunks, never whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keel.adapters.replay.history import FundingColumns, Ints, SymbolHistory
from keel.core.frame import BAR_COLUMNS, Frame
from keel.core.messages import Bar, FundingRate, Message, OpenInterest
from keel.core.timeframe import tf_ms

CHUNK_ROWS = 8_192
"""Rows of a chunk, over all symbols together."""
LEAST_INSTANTS = 1_024
"""Instants of a chunk, however many symbols there are: to begin one costs something for each of them."""

Row = tuple[float, float, float, float]
"""reach_low, reach_high, close, valuation: reach is the furthest that last, mark and index go in the bar."""


@dataclass(slots=True)
class Lane:
    """One symbol's execution bars within a chunk: rows ``start`` to ``end`` of its history, and ``present``, the instants (counted within
    the chunk) at which it has a bar; None when it has one at each."""

    history: SymbolHistory
    start: int
    end: int
    present: list[int] | None

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self.history.symbol

    @property
    def has_mark(self) -> bool:
        """Whether it has mark prices of its own."""
        return self.history.mark is not None

    def columns(self) -> list[list[float]]:
        """open, high, low, close, volume, and those of Row but close: all that a loop over one symbol reads."""
        frame = self.history.execution
        columns = [frame[name][self.start : self.end] for name in BAR_COLUMNS]
        lists = [column.tolist() for column in columns]
        return [*lists, *self._reach(lists[2], lists[1]), self._valuation(lists[3])]

    def rows(self, instants: int) -> Iterator[Row | None]:
        """A row per instant, None where the symbol has no bar; what is not in a Row is read where something happens."""
        frame = self.history.execution
        low, high, close = (frame[name][self.start : self.end].tolist() for name in ("low", "high", "close"))
        rows = zip(*self._reach(low, high), close, self._valuation(close), strict=True)
        if self.present is None:
            return rows
        filled: list[Row | None] = [None] * instants
        for instant, row in zip(self.present, rows, strict=True):
            filled[instant] = row
        return iter(filled)

    def _reach(self, low: list[float], high: list[float]) -> tuple[list[float], list[float]]:
        history, rows = self.history, slice(self.start, self.end)
        extras = [extra for extra in (history.mark, history.index) if extra is not None]
        if not extras:
            return low, high
        frame = history.execution
        lows = [frame["low"][rows], *(extra.low[rows] for extra in extras)]
        highs = [frame["high"][rows], *(extra.high[rows] for extra in extras)]
        return np.minimum.reduce(lows).tolist(), np.maximum.reduce(highs).tolist()

    def _valuation(self, close: list[float]) -> list[float]:
        if self.history.mark is None:
            return close
        valuation: list[float] = self.history.mark.valuation[self.start : self.end].tolist()
        return valuation


@dataclass(slots=True)
class Chunk:
    """A run of instants: closes of execution bars (ms), a lane per symbol, and what is delivered before and after the bars."""

    closes: list[int]
    lanes: list[Lane]
    before: list[tuple[int, Message]]
    """(instant, message), ascending: funding rates and what is late, delivered before the bars of that instant."""
    after: list[tuple[int, Message]]
    """(instant, message), ascending: coarser bars, then open interest."""


class ReplayFeed:
    """All symbols of a run. ``timeframe`` is the decision timeframe; execution bars of the same timeframe serve for both.

    start_ms: when the window begins; None: with the first bar.  chunk_rows: of a chunk, over all symbols; None: what is quick.
    """

    def __init__(
        self, histories: Sequence[SymbolHistory], timeframe: str, *, start_ms: int | None = None, chunk_rows: int | None = None
    ) -> None:
        self.histories = list(histories)
        self.timeframe = timeframe
        self.execution_timeframe = histories[0].execution.timeframe
        self._duration = tf_ms(self.execution_timeframe)
        rows_each = (CHUNK_ROWS if chunk_rows is None else chunk_rows) // len(self.histories)
        self._step = max(LEAST_INSTANTS if chunk_rows is None else 1, rows_each)
        self.closes = _union_of_closes([history.execution for history in self.histories], self._duration)
        self._start = int(self.closes[0]) - self._duration if start_ms is None else start_ms
        self._rows = [_rows_at(history.execution, self.closes - self._duration) for history in self.histories]

    def __len__(self) -> int:
        """Instants."""
        return len(self.closes)

    @property
    def bars(self) -> int:
        """Execution bars over all symbols."""
        return sum(len(history.execution) for history in self.histories)

    def row_of(self, symbol_index: int, instant: int) -> int:
        """The execution row of a symbol at an instant's position; -1 where it has none."""
        rows = self._rows[symbol_index]
        return instant if rows is None else int(rows[instant])

    def chunks(self) -> Iterator[Chunk]:
        """The whole run, chunk by chunk."""
        for start in range(0, len(self.closes), self._step):
            end = min(start + self._step, len(self.closes))
            closes = self.closes[start:end]
            lanes = [self._lane(position, history, start, end) for position, history in enumerate(self.histories)]
            events = self._events(int(self.closes[start - 1]) if start else None, closes)
            yield Chunk(
                closes.tolist(),
                lanes,
                [(instant, message) for instant, ts, kind, _, message in events if kind == _FUNDING or ts < instant],
                [(instant, message) for instant, ts, kind, _, message in events if kind != _FUNDING and ts == instant],
            )

    def _lane(self, position: int, history: SymbolHistory, start: int, end: int) -> Lane:
        mapping = self._rows[position]
        if mapping is None:
            return Lane(history, start, end, None)
        wanted = mapping[start:end]
        present = np.flatnonzero(wanted >= 0)
        first = int(wanted[present[0]]) if len(present) else 0
        return Lane(history, first, first + len(present), present.tolist())

    def _events(self, previous: int | None, closes: Ints) -> list[_Event]:
        """All that is not an execution bar of the instants after ``previous`` (None: from the beginning), in order of delivery."""
        until = int(closes[-1])
        known, closed = (-1, self._start) if previous is None else (previous, previous)
        events: list[_Event] = []
        for order, history in enumerate(self.histories):
            if history.funding is not None:
                events += _rates(history.symbol, history.funding, known, closes, order)
            coarser = [history.decision, *history.higher.values()]
            for frame in coarser[1 if self.timeframe == self.execution_timeframe else 0 :]:
                events += _bars(frame, closed, closes, order)
            if history.open_interest is not None:
                points = history.open_interest.between(known + 1, until + 1)
                times, values = points.ts.tolist(), points["open_interest"].tolist()
                for instant, ts, value in zip(_instants(points.ts, closes), times, values, strict=True):
                    events.append((instant, ts, _OPEN_INTEREST, order, OpenInterest(history.symbol, ts, value)))
        events.sort()  # no two are alike up to the message, so that messages are never compared
        return events


_Event = tuple[int, int, int, int, Message]
"""(instant of delivery, own time, kind, place of the symbol, message); kind: the length of a bar, or one of these two."""
_FUNDING, _OPEN_INTEREST = -1, 1 << 60


def _rates(symbol: str, funding: FundingColumns, after: int, closes: Ints, order: int) -> Iterator[_Event]:
    first, last = np.searchsorted(funding.stamps, (after, int(closes[-1])), side="right")
    stamps, rates = funding.stamps[first:last], funding.rates[first:last].tolist()
    for instant, ts, rate in zip(_instants(stamps, closes), stamps.tolist(), rates, strict=True):
        yield instant, ts, _FUNDING, order, FundingRate(symbol, ts, rate)


def _bars(frame: Frame, after: int, closes: Ints, order: int) -> Iterator[_Event]:
    """The bars of a frame with after < ts_close <= the last instant."""
    symbol, timeframe, duration = frame.symbol, frame.timeframe, tf_ms(frame.timeframe)
    part = frame.between(after - duration + 1, int(closes[-1]) - duration + 1)
    columns = (part[name].tolist() for name in BAR_COLUMNS)
    for instant, ts, *values in zip(_instants(part.ts + duration, closes), part.ts.tolist(), *columns, strict=True):
        yield instant, ts + duration, duration, order, Bar(symbol, timeframe, ts, ts + duration, *values)


def _instants(times: Ints, closes: Ints) -> list[int]:
    """For each time the first instant at or after it: where a hole swallowed its own, the message comes with the next bar."""
    instants: list[int] = closes[np.searchsorted(closes, times)].tolist()
    return instants


def _union_of_closes(frames: Sequence[Frame], duration: int) -> Ints:
    first = frames[0].ts
    if all(len(frame) == len(first) and bool((frame.ts == first).all()) for frame in frames[1:]):
        return first + duration
    return np.unique(np.concatenate([frame.ts for frame in frames])) + duration


def _rows_at(frame: Frame, opens: Ints) -> Ints | None:
    """For each instant the frame's row that opens there, -1 where there is none; None when every instant has its row."""
    if len(frame) == len(opens):
        return None
    rows = np.full(len(opens), -1, dtype=np.int64)
    rows[np.searchsorted(opens, frame.ts)] = np.arange(len(frame))
    return rows
