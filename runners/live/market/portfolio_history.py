"""History as a portfolio strategy sees it in a session: what was loaded before the start, and what has been read since, bar by bar.

Candles are kept in as few timeframes as possible (``bases``); coarser ones are built out of them when they are asked for. Nothing in here
is of the future: rows come with the decision bar at whose close they are known, and through the journal, so that a restart has the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import msgspec
import numpy as np

from keel.core.actors.market_data import HistoryBuffer
from keel.core.errors import ConfigError, DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import DAY_MS, is_finer, tf_ms
from keel.runners.live.memory.records import SeriesRows
from keel.runners.portfolio.archive import POINTS, SERIES, DataType, as_data_type

Key = tuple[str, str, DataType]
"""(symbol, timeframe or "" for points, data type)"""


class HeldRows(msgspec.Struct, frozen=True):
    """One series as plain data: the bytes of ts (int64) and of its columns (float64)."""

    symbol: str
    timeframe: str
    data_type: str
    ts: bytes
    columns: list[bytes]


class PortfolioHistory:
    """Series of a session's symbols from ``since`` (ms) on. data_types: those that are loaded; implements ``Archive``."""

    holds_the_known = True

    def __init__(self, symbols: Sequence[str], bases: Sequence[str], data_types: Sequence[DataType], since: int, start: int) -> None:
        self.symbols, self.bases, self.data_types = tuple(symbols), tuple(bases), tuple(data_types)
        self.since, self.start = since, start
        self.instead: dict[tuple[str, DataType], DataType] = {}
        """By symbol and data type: the series that stands for one that the exchange has not."""
        self._held: dict[Key, _Held] = {}
        self._built: dict[Key, _Held] = {}

    def keys(self, symbol: str) -> list[Key]:
        """The series of a symbol that are read."""
        return [key for key in self._all_keys(symbol) if (symbol, key[2]) not in self.instead]

    def _all_keys(self, symbol: str) -> list[Key]:
        return [
            (symbol, timeframe, data_type)
            for data_type in self.data_types
            for timeframe in (("",) if data_type in POINTS else self.bases)
        ]  # fmt: skip

    # --- in ---

    def fill(self, key: Key, rows: Mapping[int, tuple[float, ...]]) -> None:
        """What was loaded before the start, by time."""
        held = self._of(key)
        for ts in sorted(rows):
            held.add(ts, rows[ts])

    def frames(self) -> dict[tuple[str, str, str], Frame]:
        """Every series as it is now, empty ones included: to be written down when a journal begins."""
        return {key: self._of(key).frame() for symbol in self.symbols for key in self._all_keys(symbol)}

    def take_frames(self, frames: Mapping[tuple[str, str, str], Frame]) -> bool:
        """Begin with series that were written down, if they are all there; returns whether they are."""
        wanted = [key for symbol in self.symbols for key in self._all_keys(symbol)]
        if any(key not in frames for key in wanted):
            return False
        for key in wanted:
            self._of(key).extend(frames[key])
        self.find_stand_ins()
        return True

    def take(self, symbol: str, read: Sequence[SeriesRows]) -> None:
        """Rows that are known from now on; those that were taken before change nothing."""
        for each in read:
            held = self._of((symbol, each.timeframe, as_data_type(each.data_type)))
            for ts, values in each.rows:
                held.add(ts, values)

    def find_stand_ins(self) -> list[str]:
        """Let the mark stand for the index where there are candles of the one and none of the other; the symbols of which this is so."""
        index: DataType = "index_ohlcv_futures"
        mark: DataType = "mark_ohlcv_futures"
        found = []
        for symbol in self.symbols if index in self.data_types and mark in self.data_types else ():
            there = {kind for (name, _, kind), held in self._held.items() if name == symbol and len(held)}
            if mark in there and index not in there:
                self.instead[symbol, index] = mark
                found.append(symbol)
        return found

    def newest(self, key: Key) -> int | None:
        """The time of the newest row of a series; None where there is none."""
        held = self._held.get(key)
        return held.newest if held is not None and len(held) else None

    # --- out ---

    def series(self, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame:
        """All rows that are known. Raises ConfigError for what a session does not load: another series, candles that are finer, history
        before the lookback; DataError where there is nothing of a series yet."""
        wanted = self.instead.get((symbol, data_type), data_type)
        if wanted not in self.data_types:
            raise ConfigError(
                f"{symbol}: this session has no {data_type}, it reads {', '.join(self.data_types)}: name it in data_types of the strategy"
            )
        if since < self.since:
            days = ceil((self.start - since) / DAY_MS)
            raise ConfigError(
                f"{symbol} {data_type}: history from {to_iso(since)} on is asked for, and this session holds it from {to_iso(self.since)}"
                f" on: with lookback_days = {days} the strategy has it"
            )
        frame = self._candles(symbol, timeframe, wanted) if wanted not in POINTS else self._of((symbol, "", wanted)).frame()
        if not len(frame):
            raise DataError(f"{' '.join(filter(None, (symbol, data_type, frame.timeframe)))}: the exchange has had none so far")
        frame.kind = SERIES[data_type][0]
        return frame

    def _candles(self, symbol: str, timeframe: str, data_type: DataType) -> Frame:
        if timeframe in self.bases:
            return self._of((symbol, timeframe, data_type)).frame()
        base = next((name for name in reversed(self.bases) if is_finer(name, timeframe)), None)
        if base is None:
            raise ConfigError(
                f"{symbol} {timeframe}: this session reads candles of {', '.join(self.bases)} and what can be built of them: name"
                f" {timeframe} in data_timeframes of the strategy"
            )
        key = (symbol, timeframe, data_type)
        built = self._built.get(key)
        if built is None:
            built = self._built[key] = _Held(*key)
        built.add_built_of(self._of((symbol, base, data_type)).frame())
        return built.frame()

    def _of(self, key: Key) -> _Held:
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held(*key)
        return held

    # --- memory ---

    def state(self) -> list[HeldRows]:
        """All rows, to be written at once; what was built out of them is built again."""
        return [held.state() for held in self._held.values() if len(held)]

    def restore(self, state: Sequence[HeldRows]) -> None:
        """Go on from a ``state()``."""
        for kept in state:
            data_type = as_data_type(kept.data_type)
            held = self._held[kept.symbol, kept.timeframe, data_type] = _Held(kept.symbol, kept.timeframe, data_type)
            held.restore(kept)
        self.find_stand_ins()


class _Held:
    """One growing series."""

    def __init__(self, symbol: str, timeframe: str, data_type: DataType) -> None:
        self.symbol, self.timeframe, self.data_type = symbol, timeframe, data_type
        self.columns = (POINT_COLUMNS[data_type],) if data_type in POINTS else BAR_COLUMNS
        self.newest = -1
        self._buffer = HistoryBuffer(symbol, timeframe, self.columns)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, ts: int, values: Sequence[float]) -> None:
        """One more row, unless it is not a later one."""
        if ts > self.newest:
            self._buffer.append(ts, dict(zip(self.columns, values, strict=True)))
            self._rows += 1
            self.newest = ts

    def add_built_of(self, finer: Frame) -> None:
        """The whole bars that finer ones make after the newest that is here."""
        begin = self.newest + tf_ms(self.timeframe) if self._rows else 0
        part: Frame = finer[int(np.searchsorted(finer.ts, begin)) :]
        made = aggregate(part, self.timeframe)
        for row, ts in enumerate(made.ts.tolist()):
            self.add(ts, [float(made[name][row]) for name in BAR_COLUMNS])

    def frame(self) -> Frame:
        """All rows, read-only."""
        return self._buffer.frame(self._rows)

    def state(self) -> HeldRows:
        frame = self.frame()
        columns = [frame[name].tobytes() for name in self.columns]
        return HeldRows(self.symbol, self.timeframe, self.data_type, frame.ts.tobytes(), columns)

    def restore(self, kept: HeldRows) -> None:
        ts = np.frombuffer(kept.ts, dtype=np.int64)
        columns = {name: np.frombuffer(column, dtype=np.float64) for name, column in zip(self.columns, kept.columns, strict=True)}
        self.extend(Frame(ts, columns))

    def extend(self, frame: Frame) -> None:
        """Begin with these rows."""
        if len(frame):
            self._buffer.extend_to(len(frame), frame.ts, frame.to_dict())
            self._rows, self.newest = len(frame), int(frame.ts[-1])


POINT_COLUMNS: Mapping[DataType, str] = {"funding_rates": "funding_rate", "open_interest": "open_interest"}
"""The one column of a series of points."""
