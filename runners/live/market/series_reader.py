"""Reads the series that a portfolio strategy may ask for: before the start out of the store and the exchange, then with each decision bar.

A decision bar waits until the candles that close with it are published, as a bar waits for what features read. A candle that does not come
within some seconds is left out, and the step is taken without it: told when that begins and when it is over, counted with the step
(``SeriesRows.missing``), and read with a later one if it is published then. One that is passed over stays a hole, as in a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from keel.adapters.bybit.market.market_data import INTEREST_STEPS, Kind
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, Outcome
from keel.adapters.machine import monotonic_ms
from keel.adapters.store import HistoricalDataStore
from keel.core.model.frame import BAR_COLUMNS
from keel.core.model.instrument import Category, Instrument
from keel.core.model.messages import Bar, FundingRate
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import MINUTE_MS, floor_ts, tf_ms
from keel.runners.live.market.interest_step import interest_step
from keel.runners.live.market.portfolio_history import POINT_COLUMNS, Key, PortfolioHistory
from keel.runners.live.memory.records import SeriesRows
from keel.runners.portfolio.archive import POINTS, SERIES

PATIENCE_MS: Final = 30_000
"""How long a decision bar waits for the candles beside it."""
LOCKSTEP_PATIENCE_MS: Final = 700
"""How long a decision bar waits in lock-step: what is not there then does not exist."""
_KINDS: Final[Mapping[str, Kind]] = {"last": "last", "mark": "mark", "index": "index"}
Rows = dict[int, tuple[float, ...]]


class MarketHistory(Protocol):
    """The exchange's history."""

    async def bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int, kind: Kind = "last") -> list[Bar]: ...
    async def funding_rates(self, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]: ...
    async def coming_rate(self, symbol: str) -> FundingRate | None: ...
    async def open_interest(self, symbol: str, step: str, start_ms: int, end_ms: int) -> list[tuple[int, float]]: ...


class SeriesReader:
    """Fills a ``PortfolioHistory``. waits: whether what is due and not there is still to come (not over a market that waits for us)."""

    def __init__(
        self,
        history: PortfolioHistory,
        reader: MarketHistory,
        store: HistoricalDataStore | None,
        category: Category,
        instruments: Mapping[str, Instrument],
        *,
        waits: bool,
        notify: Notify,
        now_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        """Raises DataError for open interest that the store has none of."""
        self.history = history
        self._reader, self._store, self._category, self._instruments = reader, store, category, instruments
        self._waits, self._notify, self._now_ms = waits, notify, now_ms
        self._next: dict[Key, int] = {}
        """By series, the first time that has not been read."""
        self._asked: dict[tuple[str, int], int] = {}
        """By symbol and close, when a decision bar's rows were first asked for."""
        self._refused: set[Key] = set()
        """Candles that the exchange does not offer."""
        self._told: set[str] = set()
        self._without: dict[Key, int] = {}
        """How many steps in a row were taken without something of a series that was due."""
        has_interest = "open_interest" in history.data_types
        self._steps = {symbol: interest_step(store, symbol, category) for symbol in history.symbols} if has_interest else {}

    @property
    def names(self) -> tuple[str, ...]:
        """What is read, for messages."""
        return self.history.data_types

    # --- before the start ---

    async def load(self) -> None:
        """Everything from the history's beginning to the session's start."""
        for symbol in self.history.symbols:
            for key in self.history.keys(symbol):
                self.history.fill(key, await (self._points(key) if key[2] in POINTS else self._candles(key)))
        for symbol in self.history.find_stand_ins():
            text = f"{symbol}: the exchange has no index candles; mark candles stand for them"
            self._notify(Notice(self.history.start, "stand_in", text, symbol))

    async def _candles(self, key: Key) -> Rows:
        """The store's candles, and the exchange's where it has none."""
        symbol, timeframe, data_type = key
        begin, end, step = self.history.since, floor_ts(self.history.start, timeframe), tf_ms(timeframe)
        kind = _KINDS[SERIES[data_type][0]]
        rows: Rows = {}
        if self._store is not None and begin < end:
            stored = self._store.find(symbol, timeframe, begin, end, kind=kind, category=self._category)
            if stored is not None:
                rows = dict(zip(stored.ts.tolist(), zip(*(stored[name].tolist() for name in BAR_COLUMNS), strict=True), strict=True))
        missing = [ts for ts in range(begin, end, step) if ts not in rows]
        if missing:
            for bar in await self._bars(key, missing[0], missing[-1] + 1):
                rows.setdefault(bar.ts_open, _values(bar, data_type))
            missing = [ts for ts in missing if ts not in rows]
        if missing:
            count = f"{len(missing)} of {(end - begin) // step} candles"
            self._report(key, f"{count} before the start are missing, the first of {to_iso(missing[0])}")
        return rows

    async def _bars(self, key: Key, begin: int, end: int) -> list[Bar]:
        """Closed candles that open in [begin, end). None where the exchange refuses: for good where there has never been one, else they are
        asked for again."""
        if key in self._refused:
            return []
        symbol, timeframe, data_type = key
        try:
            return await self._reader.bars(symbol, timeframe, begin, end, _KINDS[SERIES[data_type][0]])
        except ExchangeRefusal as error:
            if error.outcome is not Outcome.REFUSED:
                raise
            if self.history.newest(key) is None:
                self._refused.add(key)
            self._report(key, f"the exchange gives no such candles ({error})")
            return []

    async def _points(self, key: Key) -> Rows:
        symbol, _, data_type = key
        begin, end = self.history.since, self.history.start + 1
        rows: Rows = {}
        if self._store is not None:
            stored = self._store.find(symbol, "", begin, end, kind=SERIES[data_type][0], category=self._category)
            if stored is not None:
                rows = {ts: (value,) for ts, value in zip(stored.ts.tolist(), stored[POINT_COLUMNS[data_type]].tolist(), strict=True)}
        return rows | await self._ask_points(key, max(rows, default=begin - 1) + 1, end)

    # --- with each decision bar ---

    async def rows(self, bar: Bar) -> tuple[SeriesRows, ...] | None:
        """What has come to be known by the close of a decision bar; None: not all of it is published yet."""
        first = self._asked.setdefault((bar.symbol, bar.ts_close), self._now_ms())
        is_over = self._now_ms() - first >= (PATIENCE_MS if self._waits else LOCKSTEP_PATIENCE_MS)
        read: dict[Key, Rows] = {}
        for key in self.history.keys(bar.symbol):
            begin = self._begin(key)
            found = await (self._new_points(key, bar) if key[2] in POINTS else self._new_candles(key, begin, bar.ts_close))
            if not is_over and not self._is_whole(key, bar, max(found, default=begin - 1)):
                return None
            read[key] = found
        self._asked.pop((bar.symbol, bar.ts_close), None)
        known = [self._known(key, bar, found) for key, found in read.items()]
        return tuple(each for each in known if each.rows or each.missing)

    def _known(self, key: Key, bar: Bar, found: Rows) -> SeriesRows:
        """What has come of a series, and how much of what was due has not."""
        missing = self._missing(key, bar, found)
        if found:
            self._next[key] = max(found) + 1
        made = SeriesRows(key[2], key[1], tuple(sorted(found.items())), missing)
        before = self._without.pop(key, 0)
        if missing:
            self._without[key] = before + 1
        if missing and not before:
            text = f"{bar.symbol} {made.name}: {missing} due at {to_iso(bar.ts_close)} did not come; the strategy decides without"
            self._notify(Notice(bar.ts_close, "series_late", text, bar.symbol))
        elif before and not missing:
            text = f"{bar.symbol} {made.name}: nothing is missing at {to_iso(bar.ts_close)}; decisions without all of it: {before}"
            self._notify(Notice(bar.ts_close, "series_back", text, bar.symbol, "info"))
        return made

    def _missing(self, key: Key, bar: Bar, found: Rows) -> int:
        """How many rows were due by the bar's close, after those that were known, and are not among what was found."""
        begin = self._begin(key)
        if key[2] in POINTS:
            return int(not self._is_whole(key, bar, max(found, default=begin - 1)))
        if key in self._refused:
            return 0
        step = tf_ms(key[1])
        due = range(floor_ts(begin + step - 1, key[1]), floor_ts(bar.ts_close, key[1]), step)
        return sum(ts not in found for ts in due)

    def _begin(self, key: Key) -> int:
        """The first time that is not known."""
        known = self._next.get(key)
        if known is None:
            newest = self.history.newest(key)
            known = self.history.since if newest is None else newest + 1
            self._next[key] = known
        return known

    def _is_whole(self, key: Key, bar: Bar, newest: int) -> bool:
        """Whether a series has what is due at the bar's close. newest: the time of its newest row."""
        symbol, timeframe, data_type = key
        if data_type not in POINTS:
            return key in self._refused or newest + tf_ms(timeframe) >= floor_ts(bar.ts_close, timeframe)
        if not self._waits:
            return True
        is_interest = data_type == "open_interest"
        period = INTEREST_STEPS[self._steps[symbol]] if is_interest else self._instruments[symbol].funding_interval_min * MINUTE_MS
        return not bar.ts_open < newest + period <= bar.ts_close

    async def _new_candles(self, key: Key, begin: int, close: int) -> Rows:
        if begin + tf_ms(key[1]) - 1 > close:
            return {}
        return {bar.ts_open: _values(bar, key[2]) for bar in await self._bars(key, begin, close) if bar.ts_close <= close}

    async def _new_points(self, key: Key, bar: Bar) -> Rows:
        rows = await self._ask_points(key, self._begin(key), bar.ts_close + 1)
        if key[2] == "funding_rates" and not self._waits and bar.ts_close not in rows:
            # A market that waits for us settles a stamp when its next bar begins. Until then its ticker tells the rate.
            coming = await self._reader.coming_rate(bar.symbol)
            if coming is not None and coming.ts == bar.ts_close >= self._begin(key):
                rows[coming.ts] = (coming.rate,)
        return rows

    async def _ask_points(self, key: Key, since: int, until: int) -> Rows:
        symbol, _, data_type = key
        if since >= until:
            return {}
        if data_type == "funding_rates":
            return {rate.ts: (rate.rate,) for rate in await self._reader.funding_rates(symbol, since, until)}
        return {ts: (value,) for ts, value in await self._reader.open_interest(symbol, self._steps[symbol], since, until)}

    def _report(self, key: Key, what: str) -> None:
        symbol, timeframe, data_type = key
        text = f"{symbol} {data_type} {timeframe}: {what}"
        if text in self._told:
            return
        self._told.add(text)
        self._notify(Notice(self.history.start, "series_incomplete", text, symbol, severity="warning"))


def _values(bar: Bar, data_type: str) -> tuple[float, ...]:
    """A candle's numbers; marks and indexes have no volume."""
    return (bar.open, bar.high, bar.low, bar.close, bar.volume if data_type == "ohlcv_spot" else 0.0)
