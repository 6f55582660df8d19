"""Market data by REST: closed candles only, settled funding rates, instruments. Lists come newest first and are given oldest first.

Whether a candle is closed is told by the exchange's own time in the same answer, not by a clock of ours: the newest row may be open, and
nothing in it says so (Bybit API documentation v5, "Get Kline").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from keel.adapters.bybit.market import instruments
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.exchange_clock import MarketClock
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, Outcome, PayloadError
from keel.core.errors import ConfigError
from keel.core.model.instrument import Category, Instrument
from keel.core.model.messages import Bar, FundingRate
from keel.core.model.timeframe import DAY_MS, HOUR_MS, MINUTE_MS, floor_ts, tf_ms

Kind = Literal["last", "mark", "index", "premium"]

_PATHS: Final[dict[Kind, str]] = {
    "last": "/v5/market/kline",
    "mark": "/v5/market/mark-price-kline",
    "index": "/v5/market/index-price-kline",
    "premium": "/v5/market/premium-index-price-kline",
}
INTEREST_STEPS: Final = {
    "5min": 5 * MINUTE_MS, "15min": 15 * MINUTE_MS, "30min": 30 * MINUTE_MS, "1h": HOUR_MS, "4h": 4 * HOUR_MS, "1d": DAY_MS,
}  # fmt: skip
"""The exchange's intervals of open interest, in ms."""
_CANDLES: Final = 1_000
_RATES: Final = 200


class MarketReader:
    """Reads of one category. Rows that cannot be read raise: history with a hole in it is no history."""

    def __init__(
        self, rest: RestClient, category: Category, notify: Notify = lambda notice: None, *, market: MarketClock | None = None
    ) -> None:
        self._rest, self._category, self._notify = rest, category, notify
        self.market = market if market is not None else MarketClock(rest.clock)

    async def bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int, kind: Kind = "last") -> list[Bar]:
        """Closed candles with start_ms <= ts_open < end_ms, oldest first, each once. Raises ExchangeRefusal, PayloadError."""
        step, found = tf_ms(timeframe), dict[int, tuple[Bar, int]]()
        begin = floor_ts(start_ms + step - 1, timeframe)
        while begin < end_ms:
            last = min(end_ms - 1, begin + (_CANDLES - 1) * step)
            rows, stated = await self._candles(symbol, timeframe, begin, last, kind)
            bars = [translate.bar_of_list(symbol, timeframe, row) for row in rows]
            found |= {bar.ts_open: (bar, stated) for bar in bars if begin <= bar.ts_open <= last}
            begin = floor_ts(last, timeframe) + step
            if self._is_past_the_end(begin, stated, bars):
                break
        newest = max(found, default=0)
        return [bar for _, (bar, stated) in sorted(found.items()) if self.market.is_closed(bar.ts_close, newest, stated)]

    def _is_past_the_end(self, begin: int, stated: int, bars: list[Bar]) -> bool:
        """Whether no page after this one can hold anything. A page without bars is no end by itself: a symbol may be younger than it."""
        if self.market.follows_stream:
            return not bars and begin > self.market.now_ms
        return begin > (stated or self._rest.clock.now_ms)

    async def funding_rates(self, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Settled rates with start_ms <= ts < end_ms, oldest first. Pages backwards from the end, since a start alone is refused."""
        found: dict[int, FundingRate] = {}
        end = end_ms - 1
        while end >= start_ms:
            params = {"category": self._category, "symbol": symbol, "startTime": start_ms, "endTime": end, "limit": _RATES}
            listing = await self._rest.read(wire.Listing, "/v5/market/funding/history", params, private=False)
            rates = [translate.funding_rate(wire.decode(wire.FundingRow, raw)) for raw in listing.rows]
            fresh = [rate for rate in rates if start_ms <= rate.ts <= end]
            found |= {rate.ts: rate for rate in fresh}
            if len(rates) < _RATES or not fresh:
                break
            end = min(rate.ts for rate in fresh) - 1
        return [found[ts] for ts in sorted(found)]

    async def coming_rate(self, symbol: str) -> FundingRate | None:
        """The rate that will be settled next, as it stands now; None where the exchange tells none."""
        params = {"category": self._category, "symbol": symbol}
        listing = await self._rest.read(wire.Listing, "/v5/market/tickers", params, private=False)
        for row in (wire.decode(wire.TickerRow, raw) for raw in listing.rows):
            if (
                row.symbol == symbol
                and translate.number(row.nextFundingTime, "nextFundingTime")
                and translate.number(row.fundingRate, "fundingRate") is not None
            ):
                rate = float(translate.required(row.fundingRate, "fundingRate"))
                return FundingRate(symbol, translate.time_ms(row.nextFundingTime, "nextFundingTime"), rate)
        return None

    async def open_interest(self, symbol: str, step: str, start_ms: int, end_ms: int) -> list[tuple[int, float]]:
        """(ts, base units) with start_ms <= ts < end_ms at an interval of ``INTEREST_STEPS``, oldest first. Pages backwards."""
        found: dict[int, float] = {}
        end = end_ms - 1
        while end >= start_ms:
            params = {
                "category": self._category, "symbol": symbol, "intervalTime": step, "startTime": start_ms, "endTime": end, "limit": _RATES,
            }  # fmt: skip
            listing = await self._rest.read(wire.Listing, "/v5/market/open-interest", params, private=False)
            rows = [wire.decode(wire.InterestRow, raw) for raw in listing.rows]
            points = {
                translate.time_ms(row.timestamp, "timestamp"): float(translate.required(row.openInterest, "openInterest")) for row in rows
            }
            fresh = {ts: value for ts, value in points.items() if start_ms <= ts <= end}
            found |= fresh
            if len(rows) < _RATES or not fresh:
                break
            end = min(fresh) - 1
        return sorted(found.items())

    @property
    def is_linear(self) -> bool:
        """Whether it reads perpetuals."""
        return self._category == "linear"

    async def instruments(self, symbols: Sequence[str]) -> dict[str, Instrument]:
        """The instruments as they are now, with the account's fees and the risk tiers. Raises ConfigError for one that cannot be traded."""
        return {symbol: await self.instrument(symbol) for symbol in symbols}

    async def instrument(self, symbol: str) -> Instrument:
        """One instrument. Where the account's fees cannot be read (demo), the default rates and a notice."""
        params = {"category": self._category, "symbol": symbol}
        try:
            answer = await self._rest.ask("/v5/market/instruments-info", params, private=False)
            rows = [wire.decode(wire.InstrumentRow, raw) for raw in wire.decode(wire.Listing, answer.result).rows]
        except ExchangeRefusal as error:
            if error.outcome is not Outcome.REFUSED:
                raise
            rows = []
        row = next((row for row in rows if row.symbol == symbol), None)
        if row is None:
            raise ConfigError(f"the exchange knows no {self._category} symbol {symbol!r}: names are upper case, such as BTCUSDT")
        instruments.check_tradable(row, self._category)
        return instruments.instrument(row, self._category, answer.time, await self._tiers(symbol), await self._fees(symbol))

    async def _tiers(self, symbol: str) -> list[wire.TierRow]:
        if self._category != "linear":
            return []
        params = {"category": self._category, "symbol": symbol}
        return await self._rest.rows(wire.TierRow, "/v5/market/risk-limit", params, _fail, private=False)

    async def _fees(self, symbol: str) -> wire.FeeRow | None:
        try:
            params = {"category": self._category, "symbol": symbol}
            listing = await self._rest.read(wire.Listing, "/v5/account/fee-rate", params)
        except ExchangeRefusal as error:
            text = f"{symbol}: the account's fee rates cannot be read ({error}); the default rates are used"
            self._notify(Notice(self._rest.clock.now_ms, "fees_unknown", text, symbol, "info"))
            return None
        rows = [wire.decode(wire.FeeRow, raw) for raw in listing.rows]
        return next((row for row in rows if row.symbol == symbol), None)

    async def _candles(self, symbol: str, timeframe: str, start: int, end: int, kind: Kind) -> tuple[list[list[wire.Number]], int]:
        """(rows, the exchange's time or 0): one page."""
        params = {
            "category": self._category, "symbol": symbol, "interval": translate.INTERVALS[timeframe], "start": start, "end": end,
            "limit": _CANDLES,
        }  # fmt: skip
        answer = await self._rest.ask(_PATHS[kind], params, private=False)
        listing = wire.decode(wire.Listing, answer.result)
        return [wire.decode(list[wire.Number], raw) for raw in listing.rows], answer.time


def _fail(error: PayloadError) -> None:
    raise error
