"""Reads what features take beside bars: mark prices, settled funding rates, open interest; for the warm-up, and at each decision bar.

The value at a bar's close is the backtest's: the mark candle's close; the last rate settled, and the last open interest stated, at or
before it. What the exchange has not published yet is waited for, and the bar with it: a decision is made on all of it or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from keel.adapters.bybit.market.market_data import INTEREST_STEPS, Kind
from keel.adapters.replay.marks import price_columns
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame, as_known
from keel.core.model.instrument import Category, Instrument
from keel.core.model.messages import Bar, FundingRate
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import DAY_MS, MINUTE_MS, tf_ms
from keel.runners.live.market.interest_step import interest_step
from keel.runners.live.market.series_reader import SeriesReader
from keel.runners.live.memory.records import InputsKnown

Floats = npt.NDArray[np.float64]
Points = dict[int, float]
"""ts -> value"""
_LOOK_BACK_MS: Final = 3 * DAY_MS
_KINDS: Final = {"funding_rate": "funding", "open_interest": "open_interest"}


class History(Protocol):
    """The exchange's history."""

    async def bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int, kind: Kind = "last") -> list[Bar]: ...
    async def funding_rates(self, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]: ...
    async def coming_rate(self, symbol: str) -> FundingRate | None: ...
    async def open_interest(self, symbol: str, step: str, start_ms: int, end_ms: int) -> list[tuple[int, float]]: ...


class InputReader:
    """names: of EXTRA_COLUMNS.  waits: whether what is due and not there is still to come (not over a market that waits for us).

    series: what a portfolio strategy may ask for beside bars, read with each decision bar, too.
    """

    def __init__(
        self,
        reader: History,
        store: HistoricalDataStore | None,
        category: Category,
        instruments: Mapping[str, Instrument],
        names: Sequence[str],
        *,
        waits: bool,
        series: SeriesReader | None = None,
    ) -> None:
        """Raises ConfigError for what the exchange has not for this category, DataError for open interest that the store has none of."""
        if category == "spot" and (missing := [name for name in names if name != "mark_close"]):
            raise ConfigError(f"features read {', '.join(missing)}: spot has none of it; leave these features out")
        self._reader, self._store, self._category, self._instruments = reader, store, category, instruments
        self.names, self._waits = tuple(names), waits
        self._points: dict[tuple[str, str], Points] = {}
        has_interest = "open_interest" in names
        self._steps = {symbol: interest_step(store, symbol, category) for symbol in instruments} if has_interest else {}
        self._series = series

    @property
    def waited_for(self) -> tuple[str, ...]:
        """Everything that a decision bar waits for; nothing where bars are all that is read."""
        return (*self.names, *(self._series.names if self._series is not None else ()))

    # --- warm-up ---

    async def load_series(self) -> None:
        """What a portfolio strategy may ask for of the time before the start."""
        if self._series is not None:
            await self._series.load()

    async def columns(self, frame: Frame, until_ms: int) -> dict[str, Floats]:
        """A column for each name, as known at each bar's close. Raises DataError for a bar of whose mark nobody knows."""
        found: dict[str, Floats] = {}
        for name in self.names:
            if name == "mark_close":
                found[name] = await self._marks(frame)
            else:
                await self._learn(frame.symbol, name, int(frame.ts[0]) if len(frame) else until_ms, until_ms)
                points = sorted(self._points[frame.symbol, name].items())
                times, values = np.array([ts for ts, _ in points], np.int64), np.array([value for _, value in points], np.float64)
                found[name] = as_known(times, values, frame.ts + tf_ms(frame.timeframe))
        return found

    async def _marks(self, frame: Frame) -> Floats:
        """The store's own mark bars, where it has one for each; else the exchange's, and where that has none the last price (spot)."""
        if not len(frame) or self._category == "spot":
            last: Floats = frame["close"]
            return last
        stored = price_columns(self._store, frame, "mark", env="live", category=self._category) if self._store is not None else None
        if stored is not None and stored.exact == len(frame):
            return stored.valuation
        bars = await self._reader.bars(frame.symbol, frame.timeframe, int(frame.ts[0]), int(frame.ts[-1]) + 1, "mark")
        known = {bar.ts_open: bar.close for bar in bars}
        if missing := [ts for ts in frame.ts.tolist() if ts not in known]:
            raise DataError(
                f"{frame.symbol} {frame.timeframe}: a feature reads mark_close, and the exchange has no mark candle of {to_iso(missing[0])}"
            )
        return np.array([known[ts] for ts in frame.ts.tolist()], dtype=np.float64)

    async def _learn(self, symbol: str, name: str, since: int, until: int) -> None:
        """Points of the store, and those of the exchange after them."""
        if (symbol, name) in self._points:
            return
        points = self._points[symbol, name] = {}
        if self._store is not None:
            stored = self._store.find(symbol, "", 0, until + 1, kind=_KINDS[name], category=self._category)
            if stored is not None:
                points.update(zip(stored.ts.tolist(), stored[name].tolist(), strict=True))
        begin = max(points, default=since - _LOOK_BACK_MS - 1) + 1
        points.update(await self._ask(symbol, name, begin, until + 1))

    # --- one bar ---

    async def at(self, bar: Bar) -> InputsKnown | None:
        """What is known when a decision bar closes; None: not everything of it is published yet."""
        values: dict[str, float] = {}
        for name in self.names:
            value = await (self._mark_at(bar) if name == "mark_close" else self._point_at(bar, name))
            if value is None:
                return None
            values[name] = value
        rows = await self._series.rows(bar) if self._series is not None else ()
        return None if rows is None else InputsKnown(bar.ts_close, bar.symbol, values, rows)

    async def _mark_at(self, bar: Bar) -> float | None:
        if self._category == "spot":
            return bar.close
        bars = await self._reader.bars(bar.symbol, bar.tf, bar.ts_open, bar.ts_open + 1, "mark")
        return bars[-1].close if bars else None

    async def _point_at(self, bar: Bar, name: str) -> float | None:
        """The last point at or before the close."""
        points = self._points.setdefault((bar.symbol, name), {})
        newest = max(points, default=bar.ts_close - 8 * DAY_MS)
        points.update(await self._ask(bar.symbol, name, newest + 1, bar.ts_close + 1))
        if name == "funding_rate" and not self._waits and newest < bar.ts_close and bar.ts_close not in points:
            # A market that waits for us settles a stamp when its next bar begins. Until then its ticker tells the rate.
            coming = await self._reader.coming_rate(bar.symbol)
            if coming is not None and coming.ts == bar.ts_close:
                points[coming.ts] = coming.rate
        known = max((ts for ts in points if ts <= bar.ts_close), default=None)
        if self._waits and (known is None or bar.ts_close - known >= self._period_ms(bar.symbol, name)):
            return None
        for old in [ts for ts in points if known is not None and ts < known]:
            del points[old]
        return float("nan") if known is None else points[known]

    def _period_ms(self, symbol: str, name: str) -> int:
        if name == "funding_rate":
            return self._instruments[symbol].funding_interval_min * MINUTE_MS
        return INTEREST_STEPS[self._steps[symbol]]

    async def _ask(self, symbol: str, name: str, since: int, until: int) -> Points:
        if since >= until:
            return {}
        if name == "funding_rate":
            return {rate.ts: rate.rate for rate in await self._reader.funding_rates(symbol, since, until)}
        return dict(await self._reader.open_interest(symbol, self._steps[symbol], since, until))
