"""History as a portfolio strategy sees it: any stored series up to the present, and not a row further.

What is handed out are read-only views on memory into which rows are copied as they come to be known (see HistoryBuffer).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from keel.core.actors.market_data import HistoryBuffer
from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Category
from keel.core.model.time_range import Moment, to_ms
from keel.core.model.timeframe import tf_ms
from keel.core.strategy.portfolio_order import market_symbol
from keel.core.system.suggestions import did_you_mean
from keel.runners.portfolio.archive import POINTS, Archive, DataType, as_data_type, known_rows


class Clock(Protocol):
    """Tells the present in ms UTC; it is only read."""

    @property
    def now_ms(self) -> int: ...


class HistoricalDataCollector:
    """Series of an archive, cut at the clock's present.

    names: the strategy's own names of its symbols; any other name of the same symbols does as well.  timeframe: of the candles in the
    mappings, which begin at ``since`` (ms).
    """

    def __init__(self, archive: Archive, clock: Clock, names: Sequence[str], category: Category, timeframe: str, since: int) -> None:
        self.__archive, self.__clock = archive, clock
        self.__symbols = {market_symbol(name, category): name for name in names}
        self.__category, self.__timeframe, self.__since = category, timeframe, since
        self.__cuts: dict[tuple[str, str, DataType], _Cut] = {}

    def load_data_period(self, symbol: str, timeframe: str, data_type: str, start: Moment, end: Moment) -> Frame:
        """Rows with start <= ts < end (a candle's ts is its open) that are known by now; an empty frame where there are none.

        ``timeframe`` does not matter for funding rates and open interest. Raises ConfigError for an unknown symbol, timeframe or data
        type, DataError when there is no such series at all.
        """
        kind = as_data_type(data_type)
        if kind not in POINTS:
            tf_ms(timeframe)
        first, last = to_ms(start), to_ms(end)
        known = self.__known(self.__symbol(symbol), timeframe, kind, first)
        begin, stop = np.searchsorted(known.ts, (first, max(first, last)))
        part: Frame = known[int(begin) : int(stop)]
        return part

    @property
    def spot_ohlcv_data(self) -> Mapping[str, Frame]:
        """Spot candles."""
        return self.__mapping("ohlcv_spot")

    @property
    def perpetual_index_ohlcv_data(self) -> Mapping[str, Frame]:
        """Index candles of perpetuals; the mark's where they are missing."""
        return self.__mapping("index_ohlcv_futures")

    @property
    def perpetual_mark_ohlcv_data(self) -> Mapping[str, Frame]:
        """Mark candles of perpetuals."""
        return self.__mapping("mark_ohlcv_futures")

    @property
    def funding_rates_data(self) -> Mapping[str, Frame]:
        """Settled funding rates."""
        return self.__mapping("funding_rates")

    @property
    def open_interest_data(self) -> Mapping[str, Frame]:
        """Open interest."""
        return self.__mapping("open_interest")

    def __symbol(self, name: str) -> str:
        symbol = market_symbol(name, self.__category)
        if symbol not in self.__symbols:
            raise ConfigError(f"{name!r} is not among the symbols of this run: {did_you_mean(name, self.__symbols.values())}")
        return symbol

    def __mapping(self, data_type: DataType) -> Mapping[str, Frame]:
        return _Mapping(tuple(self.__symbols.values()), lambda name: self.__from_beginning(name, data_type))

    def __from_beginning(self, name: str, data_type: DataType) -> Frame:
        known = self.__known(self.__symbol(name), self.__timeframe, data_type, self.__since)
        part: Frame = known[int(np.searchsorted(known.ts, self.__since)) :]
        return part

    def __known(self, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame:
        key = (symbol, timeframe, data_type)
        whole = self.__archive.series(symbol, timeframe, data_type, since)
        if self.__archive.holds_the_known:
            part: Frame = whole[: known_rows(whole, self.__clock.now_ms)]
            return part
        cut = self.__cuts.get(key)
        if cut is None or cut.whole is not whole:
            cut = self.__cuts[key] = _Cut(whole)
        return cut.at(self.__clock.now_ms)


class _Cut:
    """One series and the buffer into which its rows are copied as time goes on."""

    def __init__(self, whole: Frame) -> None:
        self.whole = whole
        self._buffer = HistoryBuffer(whole.symbol, whole.timeframe, whole.columns)

    def at(self, now: int) -> Frame:
        whole = self.whole
        shown = self._buffer.extend_to(known_rows(whole, now), whole.ts, whole.to_dict())
        shown.kind = whole.kind
        return shown


class _Mapping(Mapping[str, Frame]):
    """Frames by symbol, each cut when it is asked for. A symbol without the series is not in it."""

    def __init__(self, names: tuple[str, ...], read: _Read) -> None:
        self._names, self._read = names, read

    def __getitem__(self, name: str) -> Frame:
        try:
            return self._read(name)
        except (ConfigError, DataError) as error:
            raise KeyError(str(error)) from error

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if self.__has(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __has(self, name: str) -> bool:
        try:
            self._read(name)
        except (ConfigError, DataError):
            return False
        return True


class _Read(Protocol):
    def __call__(self, name: str) -> Frame: ...
