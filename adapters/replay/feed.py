"""Replays history: the execution bars of all symbols, instant by instant, in chunks, with the rarer messages between them.

Order within one instant T: what a hole has held up, by its own time; funding rates of T; the execution bars that close at T, each after its
mark, symbols in the order of the system; coarser bars of T, finest first; open interest last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from keel.adapters.replay.history import Floats, FundingColumns, Ints, SymbolHistory
from keel.core.engine.known_prices import KnownPrices
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar, FundingRate, Message, OpenInterest
from keel.core.model.timeframe import tf_ms

CHUNK_ROWS = 8_192
"""Rows of a chunk, over all symbols together."""
LEAST_INSTANTS = 1_024
"""Instants of a chunk, however many symbols there are: to begin one costs something for each of them."""


@dataclass(slots=True)
class Chunk:
    """A run of instants, from row ``start`` of the feed to ``end`` - 1, and what is delivered before and after their bars."""

    start: int
    end: int
    before: list[tuple[int, Message]]
    """(row, message), ascending: funding rates and what is late, delivered before the bars of that instant."""
    after: list[tuple[int, Message]]
    """(row, message), ascending: coarser bars, then open interest."""


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

    def rows_of(self, place: int) -> Ints | None:
        """The execution row of a symbol at each instant, -1 where it has none; None where it has one at each."""
        return self._rows[place]

    def known_prices(self) -> KnownPrices:
        """What the account's lines know at the end of each instant: last prices, and marks of those who have marks of their own."""
        lasts, marks = [], []
        for place, history in enumerate(self.histories):
            last = self._known(place, history.execution["close"])
            if self.timeframe != self.execution_timeframe or history.higher:
                last = self._with_coarser(place, last)
            lasts.append(last)
            marks.append(last if history.mark is None else self._known(place, history.mark.valuation))
        return KnownPrices(lasts, marks)

    def chunks(self) -> Iterator[Chunk]:
        """The whole run, chunk by chunk."""
        for start in range(0, len(self.closes), self._step):
            end = min(start + self._step, len(self.closes))
            before: list[tuple[int, Message]] = []
            after: list[tuple[int, Message]] = []
            for row, ts, kind, _, message in self._events(start, end):
                (before if kind == _FUNDING or ts < self.closes[row] else after).append((row, message))
            yield Chunk(start, end, before, after)

    def _known(self, place: int, column: Floats) -> Floats:
        """A column of a symbol's execution rows at each instant: the latest value, 0 before the first."""
        rows = self._rows[place]
        if rows is None:
            return column
        latest = np.maximum.accumulate(rows)
        return np.where(latest < 0, 0.0, column[latest])

    def _with_coarser(self, place: int, last: Floats) -> Floats:
        """Last prices after the coarser bars, most of which repeat them; a close that differs holds until the next execution bar."""
        bars: list[tuple[int, int, int, float]] = []
        is_repeated = True
        for frame in self._coarser(self.histories[place]):
            part, duration = _closed(frame, self._start, int(self.closes[-1])), tf_ms(frame.timeframe)
            rows = np.searchsorted(self.closes, part.ts + duration)
            is_repeated = is_repeated and bool((part["close"] == last[rows]).all())
            bars += zip(rows.tolist(), (part.ts + duration).tolist(), [duration] * len(rows), part["close"].tolist(), strict=True)
        if is_repeated:
            return last
        mapping = self._rows[place]
        own = np.arange(len(self.closes)) if mapping is None else np.flatnonzero(mapping >= 0)
        known = last.copy()
        for row, ts, _, close in sorted(bars):
            following = int(np.searchsorted(own, row, side="right"))
            is_own = following > 0 and own[following - 1] == row
            if not (is_own and ts < self.closes[row]):  # what is late is told before the instant's own bar
                known[row : own[following] if following < len(own) else None] = close
        return known

    def _coarser(self, history: SymbolHistory) -> list[Frame]:
        frames = [history.decision, *history.higher.values()]
        return frames[1:] if self.timeframe == self.execution_timeframe else frames

    def _events(self, start: int, end: int) -> list[_Event]:
        """All that is not an execution bar of the instants from row ``start`` to ``end`` - 1, in order of delivery."""
        until = int(self.closes[end - 1])
        known, closed = (int(self.closes[start - 1]),) * 2 if start else (-1, self._start)
        events: list[_Event] = []
        for order, history in enumerate(self.histories):
            if history.funding is not None:
                events += self._rates(history.symbol, history.funding, known, until, order)
            for frame in self._coarser(history):
                events += self._bars(_closed(frame, closed, until), order)
            if history.open_interest is not None:
                points = history.open_interest.between(known + 1, until + 1)
                for row, ts, value in zip(self._row_at(points.ts), points.ts.tolist(), points["open_interest"].tolist(), strict=True):
                    events.append((row, ts, _OPEN_INTEREST, order, OpenInterest(history.symbol, ts, value)))
        events.sort()  # no two are alike up to the message, so that messages are never compared
        return events

    def _rates(self, symbol: str, funding: FundingColumns, after: int, until: int, order: int) -> Iterator[_Event]:
        first, last = np.searchsorted(funding.stamps, (after, until), side="right")
        stamps, rates = funding.stamps[first:last], funding.rates[first:last].tolist()
        for row, ts, rate in zip(self._row_at(stamps), stamps.tolist(), rates, strict=True):
            yield row, ts, _FUNDING, order, FundingRate(symbol, ts, rate)

    def _bars(self, part: Frame, order: int) -> Iterator[_Event]:
        symbol, timeframe, duration = part.symbol, part.timeframe, tf_ms(part.timeframe)
        columns = (part[name].tolist() for name in BAR_COLUMNS)
        for row, ts, *values in zip(self._row_at(part.ts + duration), part.ts.tolist(), *columns, strict=True):
            yield row, ts + duration, duration, order, Bar(symbol, timeframe, ts, ts + duration, *values)

    def _row_at(self, times: Ints) -> list[int]:
        """For each time the first instant at or after it: where a hole swallowed its own, the message comes with the next bar."""
        rows: list[int] = np.searchsorted(self.closes, times).tolist()
        return rows


_Event = tuple[int, int, int, int, Message]
"""(row of delivery, own time, kind, place of the symbol, message); kind: the length of a bar, or one of these two."""
_FUNDING, _OPEN_INTEREST = -1, 1 << 60


def _closed(frame: Frame, after: int, until: int) -> Frame:
    """The bars of a frame with after < ts_close <= until."""
    duration = tf_ms(frame.timeframe)
    return frame.between(after - duration + 1, until - duration + 1)


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
