"""Keeps the bars of each symbol and timeframe, with their features, and hands out snapshots.

Two kinds of series stand behind one reader. A ``ReplaySeries`` holds columns that were computed once, up front, and reveals them bar by
bar: nothing beyond the index that has been reached can be read. A ``LiveSeries`` grows by each closed bar and updates its features one by
one. Both give the same bits; a test holds that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from keel.core.errors import DataError, InvariantError
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import NEVER, tf_ms
from keel.core.strategy.snapshot import PositionView, RunSnapshot, RuntimeSnapshot, SeriesReader

Column = npt.NDArray[Any]


class HistoryBuffer:
    """Rows copied up to the present, in memory of their own that only ever grows at the end. What it hands out can be read, and nobody can
    write to it, by whatever ``base`` or flag: it is a view on memory that is exported read-only."""

    def __init__(self, symbol: str, timeframe: str, columns: Sequence[str]) -> None:
        self._symbol, self._timeframe = symbol, timeframe
        self._rows = self._capacity = 0
        self._names = ("ts", *columns)
        self._written: dict[str, Column] = {}
        self._shown: dict[str, Column] = {}
        self._grow(1)

    def extend_to(self, rows: int, ts: Column, columns: Mapping[str, Column]) -> Frame:
        """A read-only frame of the first ``rows`` rows; rows that are new are copied out of the given columns."""
        if rows > self._rows:
            self._grow(rows)
            new = slice(self._rows, rows)
            for name, column in self._written.items():
                column[new] = ts[new] if name == "ts" else columns[name][new]
            self._rows = rows
        return self.frame(rows)

    def append(self, ts: int, values: Mapping[str, float]) -> None:
        """One more row."""
        row = self._rows
        self._grow(row + 1)
        for name, column in self._written.items():
            column[row] = ts if name == "ts" else values[name]
        self._rows = row + 1

    def frame(self, rows: int) -> Frame:
        """A read-only frame of the first ``rows`` rows, which are there."""
        views = {name: column[:rows] for name, column in self._shown.items()}
        return Frame.of_views(views.pop("ts"), views, symbol=self._symbol, timeframe=self._timeframe)

    def value(self, name: str, row: int) -> float:
        """A column's value at a row that is there."""
        return float(self._written[name][row])

    @property
    def ts(self) -> Column:
        """The times of the rows that are there, read-only."""
        return self._shown["ts"][: self._rows]

    def _grow(self, rows: int) -> None:
        if rows <= self._capacity:
            return
        self._capacity = max(rows, 2 * self._capacity, 1024)
        for name in self._names:
            kind: type = np.int64 if name == "ts" else np.float64
            memory = bytearray(8 * self._capacity)
            column: Column = np.frombuffer(memory, dtype=kind)
            if self._rows:
                column[: self._rows] = self._written[name][: self._rows]
            self._written[name] = column
            self._shown[name] = np.frombuffer(memoryview(memory).toreadonly(), dtype=kind)


class ReplaySeries:
    """Precomputed columns of one symbol and timeframe, revealed up to ``index`` (-1: nothing yet)."""

    def __init__(self, frame: Frame, feature_names: Sequence[str], targets: npt.NDArray[np.int8] | None = None) -> None:
        self.symbol, self.timeframe = frame.symbol, frame.timeframe
        self.duration = tf_ms(frame.timeframe)
        self.feature_names = tuple(feature_names)
        self.index = -1
        self._frame = frame
        self._rows = len(frame)
        # A memoryview hands out plain ints and floats in a third of the time that a numpy scalar takes.
        self._ts = frame.ts.data
        self._values = {name: frame[name].data for name in frame}
        self._targets = (np.zeros(len(frame), dtype=np.int8) if targets is None else targets).data
        self._history: HistoryBuffer | None = None

    def __len__(self) -> int:
        return self._rows

    def reveal_to(self, index: int) -> None:
        """Everything up to and including this row may be read from now on. It never goes back."""
        if not self.index <= index < self._rows:
            raise InvariantError(f"{self.symbol} {self.timeframe}: cannot go from row {self.index} to {index} of {self._rows}")
        self.index = index

    def advance(self, bar: Bar) -> int:
        """Reveal everything up to this bar, which must be a later row of the series, and return its vector target.

        Raises DataError when the series has no such row: a bar that is not its own.
        """
        ts, known, ts_open = self._ts, self.index, bar.ts_open
        index = known + 1  # where it is when every bar is told
        if index >= self._rows or ts[index] != ts_open:
            index = known + (ts_open - ts[known]) // self.duration if known >= 0 else 0  # where it is when no bar is missing in between
            if not known < index < self._rows or ts[index] != ts_open:
                index = int(np.searchsorted(self._frame.ts, ts_open))
                if not known < index < self._rows or ts[index] != ts_open:
                    raise DataError(f"{self.symbol} {self.timeframe}: the bar of {to_iso(bar.ts_open)} is not a later one of its series")
        self.index = index
        target: int = self._targets[index]
        return target

    def changes(self) -> list[int]:
        """Opens of the rows after the revealed ones whose vector target differs from that of the row before (before the first: 0, flat)."""
        rows = slice(self.index + 1, self._rows)
        targets = np.frombuffer(self._targets, dtype=np.int8)[rows]
        before = np.concatenate([np.zeros(1, dtype=np.int8), targets[:-1]])
        times: list[int] = self._frame.ts[rows][targets != before].tolist()
        return times

    def value(self, name: str, index: int) -> float:
        """A column's value at a row that has been reached."""
        if not 0 <= index <= self.index:
            self._check(index)
        value: float = self._values[name][index]
        return value

    def bar_at(self, index: int) -> Bar:
        """The bar of a row that has been reached."""
        self._check(index)
        ts_open = self._ts[index]
        prices = (self._values[name][index] for name in BAR_COLUMNS)
        return Bar(self.symbol, self.timeframe, ts_open, ts_open + self.duration, *prices)

    def history_to(self, index: int) -> Frame:
        """All rows up to and including one that has been reached, copied."""
        self._check(index)
        if self._history is None:
            self._history = HistoryBuffer(self.symbol, self.timeframe, (*BAR_COLUMNS, *self.feature_names))
        return self._history.extend_to(index + 1, self._frame.ts, self._frame.to_dict())

    def rows_closed_at(self, ts: int) -> int:
        """How many bars of the series had closed at ``ts``, revealed or not: for setting up a run."""
        return int(np.searchsorted(self._frame.ts, ts - self.duration, side="right"))

    def row_closed_by(self, ts: int) -> int:
        """The last revealed row whose bar had closed at ``ts``; -1 when there is none."""
        return min(self.rows_closed_at(ts) - 1, self.index)

    def _check(self, index: int) -> None:
        if not 0 <= index <= self.index:
            raise DataError(f"{self.symbol} {self.timeframe}: row {index} is not known yet (the last known is {self.index})")


class Series(SeriesReader, Protocol):
    """What a context needs of a series, replayed or live."""

    index: int

    def advance(self, bar: Bar) -> int: ...
    def row_closed_by(self, ts: int) -> int: ...


class AccountReader(Protocol):
    """What snapshots read from the account (the portfolio actor)."""

    @property
    def equity(self) -> float: ...
    def position_view(self, symbol: str) -> PositionView: ...
    def mark(self, symbol: str) -> float: ...
    def funding_rate(self, symbol: str) -> float | None: ...


class SymbolContext:
    """One symbol's series and the account: what its snapshots ask when they are read. ``on_bar`` is its part of market_data.

    changes: opens of the only bars that can bring a signal, for a strategy that decides by an array (see ReplaySeries.changes); the others
    make no snapshot, and a replay need not even call ``on_bar`` for a decision bar that opens before ``wake_ts``. None: every bar counts.
    """

    __slots__ = ("_account", "_changes", "fresh", "higher", "series", "symbol", "timeframe", "wake_ts")

    def __init__(
        self,
        symbol: str,
        timeframe: str,
        series: Series,
        higher: Mapping[str, Series],
        account: AccountReader,
        *,
        changes: Sequence[int] | None = None,
    ) -> None:
        self.symbol, self.timeframe = symbol, timeframe
        self.series = series
        self.higher = dict(higher)
        self._account = account
        self._changes = None if changes is None else iter(changes)
        self.wake_ts = 0 if self._changes is None else next(self._changes, NEVER)
        self.fresh: list[RuntimeSnapshot] = []
        """Where new snapshots go: market_data's list, handed on at the end of the instant."""

    def on_bar(self, bar: Bar) -> None:
        """Take a closed bar of any timeframe that the system reads; others (a finer execution timeframe's) pass by."""
        if bar.tf == self.timeframe:
            if bar.ts_open >= self.wake_ts:
                target = self.series.advance(bar)
                self.fresh.append(RunSnapshot(self, bar, self.series.index, target))
                if self._changes is not None:
                    self.wake_ts = next(self._changes, NEVER)
        elif bar.tf in self.higher:
            self.higher[bar.tf].advance(bar)

    @property
    def htf_timeframes(self) -> tuple[str, ...]:
        return tuple(self.higher)

    def htf_reader(self, timeframe: str) -> SeriesReader:
        return self.higher[timeframe]

    def htf_index(self, timeframe: str, ts_close: int) -> int:
        return self.higher[timeframe].row_closed_by(ts_close)

    def position(self) -> PositionView:
        return self._account.position_view(self.symbol)

    def equity(self) -> float:
        return self._account.equity

    def mark_price(self) -> float:
        return self._account.mark(self.symbol)

    def funding_rate(self) -> float | None:
        return self._account.funding_rate(self.symbol)

    def read_feature(self, name: str) -> float:
        """A feature's value at the latest bar; for risk's distances."""
        return self.series.value(name, self.series.index)


class MarketData:
    """Bars in (through each symbol's context), snapshots out. ``fresh`` holds the snapshots of the instant that is not closed yet."""

    __slots__ = ("_on_snapshot", "contexts", "fresh")

    def __init__(self, contexts: Sequence[SymbolContext], on_snapshot: Callable[[RuntimeSnapshot], None]) -> None:
        self.contexts = {context.symbol: context for context in contexts}
        self._on_snapshot = on_snapshot
        self.fresh: list[RuntimeSnapshot] = []
        for context in contexts:
            context.fresh = self.fresh

    def on_instant(self, ts: int) -> None:
        """All bars of this instant are in: one snapshot for each symbol whose decision bar closed."""
        for snapshot in self.fresh:
            self._on_snapshot(snapshot)
        self.fresh.clear()

    def read_feature(self, symbol: str, name: str) -> float:
        """A feature's value at a symbol's latest bar."""
        return self.contexts[symbol].read_feature(name)


class StepMarketData(MarketData):
    """Market data for a portfolio strategy, which is asked once an instant, for all symbols together, by its host's ``on_instant``.

    It is asked where the decision bar of at least one symbol has closed. A symbol whose bar is missing shows what was known of it before.
    """

    __slots__ = ("_on_step",)

    def __init__(self, contexts: Sequence[SymbolContext], on_step: Callable[[int], None]) -> None:
        super().__init__(contexts, lambda snapshot: None)
        self._on_step = on_step

    def on_instant(self, ts: int) -> None:
        """All bars of this instant are in."""
        if self.fresh:
            self.fresh.clear()
            self._on_step(ts)
