"""The series of a portfolio run, whole: loaded once, cut to the present by the collector that strategies see.

Mark candles that the store has only coarser are the last-price candles times the basis (mark / last) that is known at each one's close;
without any mark they are the last-price candles. Index candles that are missing are the mark's. Each such stand-in is noted once.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol, get_args

import numpy as np

from keel.adapters.replay.marks import price_columns
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import NEVER, tf_ms
from keel.core.system.suggestions import did_you_mean

DataType = Literal["ohlcv_spot", "index_ohlcv_futures", "mark_ohlcv_futures", "funding_rates", "open_interest"]
SERIES: Final[dict[DataType, tuple[str, str]]] = {
    "ohlcv_spot": ("last", "spot"),
    "index_ohlcv_futures": ("index", "linear"),
    "mark_ohlcv_futures": ("mark", "linear"),
    "funding_rates": ("funding", "linear"),
    "open_interest": ("open_interest", "linear"),
}
"""Data type -> the store's kind and category."""
POINTS: Final = ("funding_rates", "open_interest")
"""Data types that are points in time, not candles."""


def as_data_type(name: str) -> DataType:
    """The data type of this name. Raises ConfigError for an unknown one."""
    for known in get_args(DataType):
        if name == known:
            found: DataType = known
            return found
    raise ConfigError(f"there is no data type {name!r}: {did_you_mean(name, get_args(DataType))}")


class Archive(Protocol):
    """Where whole series come from: the store, a permutation of it, or what a session has heard.

    holds_the_known: it has nothing of the future, and what it hands out cannot be written to: nothing need be copied.
    """

    holds_the_known: bool

    def series(self, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame: ...


class StoredArchive:
    """Series of a store from ``since`` up to ``until`` (ms); what is asked for from earlier on is loaded anew.

    ``notes``: what stands in for what, a sentence each.
    """

    holds_the_known = False

    def __init__(self, store: HistoricalDataStore, since: int, until: int, *, env: str = "live") -> None:
        self._store, self._env = store, env
        self.since, self.until = since, until
        self._loaded: dict[tuple[str, str, DataType], tuple[int, Frame]] = {}
        self.asked: dict[tuple[str, DataType], int] = {}
        """By timeframe ("" for points) and data type, the earliest time (ms) from which on it was asked for."""
        self.notes: dict[str, None] = {}

    def series(self, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame:
        """All rows from ``since`` (or earlier) on. Raises DataError when the store has none of this series."""
        key = (symbol, "" if data_type in POINTS else timeframe, data_type)
        begin = min(since, self.since)
        asked = (key[1], data_type)
        if since < self.asked.get(asked, NEVER):
            self.asked[asked] = since
        known = self._loaded.get(key)
        if known is not None and known[0] <= begin:
            return known[1]
        frame = self._load(symbol, key[1], data_type, begin)
        if frame is None:
            kind, category = SERIES[data_type]
            what = self._store.spans_in_words(symbol, kind, self._env, category)
            span = f"from {to_iso(begin)} to {to_iso(self.until)}"
            raise DataError(f"{symbol} {' '.join(filter(None, (data_type, key[1])))}: there is nothing {span}; {what}: import it")
        self._loaded[key] = (begin, frame)
        return frame

    def has(self, symbol: str, data_type: DataType) -> bool:
        """Whether the store itself has any such series of a symbol."""
        kind, category = SERIES[data_type]
        return self._store.has_series(symbol, kind=kind, env=self._env, category=category)

    def _load(self, symbol: str, timeframe: str, data_type: DataType, begin: int) -> Frame | None:
        kind, category = SERIES[data_type]
        until = self.until + (data_type in POINTS)  # a point of the very end has come by then; a candle that opens there has not closed
        found = self._store.find(symbol, timeframe, begin, until, self._env, kind, category)
        if data_type == "mark_ohlcv_futures":
            return self._marks(symbol, timeframe, begin) if found is None else found
        if data_type == "index_ohlcv_futures":
            return self._index(symbol, timeframe, begin, found)
        return found

    def _marks(self, symbol: str, timeframe: str, begin: int) -> Frame | None:
        last = self._store.find(symbol, timeframe, begin, self.until, self._env)
        if last is None:
            return None
        columns = price_columns(self._store, last, "mark", env=self._env, category="linear")
        if columns is None:
            self._note(f"{symbol}: the store has no mark prices; its last prices stand for them")
            return _renamed(last.with_columns({"volume": np.zeros(len(last))}), "mark")
        self._note(f"{symbol}: {timeframe} mark candles are last-price candles times the basis of the coarser marks that the store has")
        return _scaled(last, columns.valuation / last["close"])

    def _index(self, symbol: str, timeframe: str, begin: int, found: Frame | None) -> Frame | None:
        """The index with the mark where it is missing."""
        try:
            mark = self.series(symbol, timeframe, "mark_ohlcv_futures", begin)
        except DataError:
            return found
        if found is None:
            self._note(f"{symbol}: the store has no {timeframe} index candles; mark candles stand for them")
            return _renamed(mark, "index")
        missing = np.setdiff1d(mark.ts, found.ts)
        if not len(missing):
            return found
        self._note(f"{symbol}: {len(missing)} of {len(mark)} {timeframe} index candles are missing; mark candles stand for them")
        rows = np.searchsorted(mark.ts, missing)
        ts = np.concatenate([found.ts, missing])
        order = np.argsort(ts)
        columns = {name: np.concatenate([found[name], mark[name][rows]])[order] for name in found}
        return Frame(ts[order], columns, symbol=symbol, timeframe=timeframe, kind="index")

    def _note(self, text: str) -> None:
        self.notes[text] = None


def known_rows(frame: Frame, now: int) -> int:
    """How many rows of a series are known at ``now`` (ms): candles that have closed, points that have come."""
    duration = tf_ms(frame.timeframe) if frame.timeframe else 0
    return int(np.searchsorted(frame.ts, now - duration, side="right"))


def _renamed(frame: Frame, kind: str) -> Frame:
    return Frame(frame.ts, {name: frame[name] for name in frame}, symbol=frame.symbol, timeframe=frame.timeframe, kind=kind)


def _scaled(last: Frame, basis: np.ndarray) -> Frame:
    """Candles times the basis known at each one's close; an open at that of the candle before it, so that nothing is known too early."""
    before = np.concatenate([basis[:1], basis[:-1]])
    opens, closes = last["open"] * before, last["close"] * basis
    columns = {
        "open": opens,
        "high": np.maximum.reduce([last["high"] * basis, opens, closes]),
        "low": np.minimum.reduce([last["low"] * basis, opens, closes]),
        "close": closes,
        "volume": np.zeros(len(last)),
    }
    return Frame(last.ts, columns, symbol=last.symbol, timeframe=last.timeframe, kind="mark")
