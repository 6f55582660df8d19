"""Replays history: the execution bars of all symbols, instant by instant, in chunks, with the rarer messages between them.

Order within one instant T (ARCHITECTURE "Order within one instant"): funding rates and marks of T, then the bars that close at T, finest
timeframe first, symbols in the order of the system; open interest last. Columns become lists in chunks, never whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adapters.replay.history import Floats, PriceColumns, SymbolHistory
from core.errors import InvariantError
from core.frame import BAR_COLUMNS, Frame
from core.messages import Bar, FundingRate, Message, OpenInterest
from core.timeframe import tf_ms

CHUNK_ROWS = 65_536
"""Rows of a chunk, over all symbols together."""

Row = tuple[float, ...]
"""open, high, low, close, volume, reach_low, reach_high, valuation: reach is the furthest that last, mark and index go in the bar."""


@dataclass(slots=True)
class Lane:
    """One symbol's execution bars within a chunk: eight columns (see Row), and ``present``, the instants (counted within the chunk) at which
    it has a bar; None when it has one at each."""

    symbol: str
    has_mark: bool
    columns: list[list[float]]
    present: list[int] | None

    def rows(self, instants: int) -> Iterator[Row | None]:
        """A row per instant, None where the symbol has no bar."""
        rows = zip(*self.columns, strict=True)
        if self.present is None:
            return rows
        filled: list[Row | None] = [None] * instants
        for instant, row in zip(self.present, rows, strict=True):
            filled[instant] = row
        return iter(filled)


@dataclass(slots=True)
class Chunk:
    """A run of instants: closes of execution bars (ms), a lane per symbol, and what is delivered before and after the bars."""

    closes: list[int]
    lanes: list[Lane]
    before: list[tuple[int, Message]]
    """(instant, message), ascending: funding rates, delivered before the bars of that instant."""
    after: list[tuple[int, Message]]
    """(instant, message), ascending: coarser bars, then open interest."""


class ReplayFeed:
    """All symbols of a run. ``timeframe`` is the decision timeframe; execution bars of the same timeframe serve for both."""

    def __init__(self, histories: Sequence[SymbolHistory], timeframe: str, *, chunk_rows: int = CHUNK_ROWS) -> None:
        self.histories = list(histories)
        self.timeframe = timeframe
        self.execution_timeframe = histories[0].execution.timeframe
        self._duration = tf_ms(self.execution_timeframe)
        self._step = max(1, chunk_rows // len(self.histories))
        self.closes = _union_of_closes([history.execution for history in self.histories], self._duration)
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
            previous = int(self.closes[start - 1]) if start else int(closes[0]) - self._duration
            yield Chunk(closes.tolist(), lanes, self._before(previous, closes), self._after(previous, closes))

    def _lane(self, position: int, history: SymbolHistory, start: int, end: int) -> Lane:
        mapping = self._rows[position]
        if mapping is None:
            return Lane(history.symbol, history.mark is not None, _columns(history, start, end), None)
        wanted = mapping[start:end]
        present = np.flatnonzero(wanted >= 0)
        first = int(wanted[present[0]]) if len(present) else 0
        return Lane(history.symbol, history.mark is not None, _columns(history, first, first + len(present)), present.tolist())

    def _before(self, previous: int, closes: np.ndarray[Any, Any]) -> list[tuple[int, Message]]:
        events: list[tuple[int, int, int, Message]] = []
        for order, history in enumerate(self.histories):
            funding = history.funding
            if funding is None:
                continue
            first, last = np.searchsorted(funding.stamps, (previous, int(closes[-1])), side="right")
            for stamp, rate in zip(funding.stamps[first:last].tolist(), funding.rates[first:last].tolist(), strict=True):
                events.append((_instant_of(stamp, closes), stamp, order, FundingRate(history.symbol, stamp, rate)))
        events.sort(key=lambda event: event[:3])
        return [(instant, message) for instant, _, _, message in events]

    def _after(self, previous: int, closes: np.ndarray[Any, Any]) -> list[tuple[int, Message]]:
        events: list[tuple[int, int, int, Message]] = []
        for order, history in enumerate(self.histories):
            coarser = list(history.higher.values())
            if self.timeframe != self.execution_timeframe:
                coarser.append(history.decision)
            for frame in coarser:
                duration = tf_ms(frame.timeframe)
                for bar in _bars_closing(frame, duration, previous, int(closes[-1])):
                    events.append((_instant_of(bar.ts_close, closes), duration, order, bar))
            if history.open_interest is not None:
                part = history.open_interest.between(previous + 1, int(closes[-1]) + 1)
                for stamp, value in zip(part.ts.tolist(), part["open_interest"].tolist(), strict=True):
                    events.append((_instant_of(stamp, closes), 1 << 60, order, OpenInterest(history.symbol, stamp, value)))
        events.sort(key=lambda event: event[:3])
        return [(instant, message) for instant, _, _, message in events]


def _union_of_closes(frames: Sequence[Frame], duration: int) -> np.ndarray[Any, Any]:
    first = frames[0].ts
    if all(len(frame) == len(first) and bool((frame.ts == first).all()) for frame in frames[1:]):
        return first + duration
    return np.unique(np.concatenate([frame.ts for frame in frames])) + duration


def _rows_at(frame: Frame, opens: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """For each instant the frame's row that opens there, -1 where there is none; None when every instant has its row."""
    if len(frame) == len(opens):
        return None
    rows = np.full(len(opens), -1, dtype=np.int64)
    rows[np.searchsorted(opens, frame.ts)] = np.arange(len(frame))
    return rows


def _columns(history: SymbolHistory, start: int, end: int) -> list[list[float]]:
    frame = history.execution
    columns = [frame[name][start:end] for name in BAR_COLUMNS]
    low, high = columns[2], columns[1]
    valuation = columns[3]
    for extra in (history.mark, history.index):
        if extra is not None:
            low, high = _reach(low, high, extra, start, end)
    lists = [column.tolist() for column in columns]
    if history.mark is not None:
        valuation = history.mark.valuation[start:end]
    lists.append(lists[2] if low is columns[2] else low.tolist())
    lists.append(lists[1] if high is columns[1] else high.tolist())
    lists.append(lists[3] if valuation is columns[3] else valuation.tolist())
    return lists


def _reach(low: Floats, high: Floats, extra: PriceColumns, start: int, end: int) -> tuple[Floats, Floats]:
    return np.minimum(low, extra.low[start:end]), np.maximum(high, extra.high[start:end])


def _instant_of(ts: int, closes: np.ndarray[Any, Any]) -> int:
    """The first instant at or after a time: where a hole swallowed its own instant, the message comes with the next bar."""
    position = int(np.searchsorted(closes, ts))
    if position >= len(closes):
        raise InvariantError(f"no instant at or after {ts} in this chunk")
    return int(closes[position])


def _bars_closing(frame: Frame, duration: int, after: int, until: int) -> Iterator[Bar]:
    """The bars of a frame with after < ts_close <= until."""
    part = frame.between(after - duration + 1, until - duration + 1)
    opens = part.ts.tolist()
    for ts_open, *values in zip(opens, *(part[name].tolist() for name in BAR_COLUMNS), strict=True):
        yield Bar(frame.symbol, frame.timeframe, ts_open, ts_open + duration, *values)
