"""History for the store, through pybit in a thread of its own: candles and settled funding rates, oldest first.

Rare, long and not in a hurry: the one place where a blocking client does no harm. pybit is imported when the first page is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from keel.adapters.bybit.market.market_data import Kind
from keel.adapters.bybit.transport.endpoints import Endpoints, Environment
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.adapters.bybit.wire.shapes import FundingRow
from keel.core.errors import VenueError
from keel.core.model.instrument import Category
from keel.core.model.messages import Bar, FundingRate
from keel.core.model.timeframe import floor_ts, tf_ms

_CANDLES: Final = 1_000
_RATES: Final = 200
_METHODS: Final[dict[Kind, str]] = {
    "last": "get_kline",
    "mark": "get_mark_price_kline",
    "index": "get_index_price_kline",
    "premium": "get_premium_index_price_kline",
}


class HistoryDownloader:
    """Downloads of one category. ``progress`` is told (done_ms, total_ms) after each page, from the thread."""

    def __init__(self, where: Endpoints, category: Category, progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        self._where, self._category, self._progress = where, category, progress
        self._client: Any = None

    async def bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int, kind: Kind = "last") -> list[Bar]:
        """Closed candles with start_ms <= ts_open < end_ms. Raises VenueError when the exchange refuses or does not answer."""
        return await asyncio.to_thread(self._bars, symbol, timeframe, start_ms, end_ms, kind)

    async def funding_rates(self, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Settled rates with start_ms <= ts < end_ms. Raises VenueError."""
        return await asyncio.to_thread(self._funding_rates, symbol, start_ms, end_ms)

    def _bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int, kind: Kind) -> list[Bar]:
        step, found = tf_ms(timeframe), dict[int, Bar]()
        begin = floor_ts(start_ms + step - 1, timeframe)
        while begin < end_ms:
            last = min(end_ms - 1, begin + (_CANDLES - 1) * step)
            answer = self._ask(
                _METHODS[kind], symbol=symbol, interval=translate.INTERVALS[timeframe], start=begin, end=last, limit=_CANDLES
            )  # fmt: skip
            now = int(answer.get("time") or 0)
            for row in answer["result"]["list"]:
                bar = translate.bar_of_list(symbol, timeframe, row)
                if begin <= bar.ts_open <= last and bar.ts_close <= now:
                    found[bar.ts_open] = bar
            begin = floor_ts(last, timeframe) + step
            self._progress(min(begin, end_ms) - start_ms, end_ms - start_ms)
            if begin > now:
                break
        return [found[ts] for ts in sorted(found)]

    def _funding_rates(self, symbol: str, start_ms: int, end_ms: int) -> list[FundingRate]:
        found: dict[int, FundingRate] = {}
        end = end_ms - 1
        while end >= start_ms:
            answer = self._ask("get_funding_rate_history", symbol=symbol, startTime=start_ms, endTime=end, limit=_RATES)
            rows = answer["result"]["list"]
            rates = [
                translate.funding_rate(FundingRow(row["symbol"], row["fundingRate"], row["fundingRateTimestamp"])) for row in rows
            ]  # fmt: skip
            fresh = [rate for rate in rates if start_ms <= rate.ts <= end]
            found |= {rate.ts: rate for rate in fresh}
            if len(rows) < _RATES or not fresh:
                break
            end = min(rate.ts for rate in fresh) - 1
            self._progress(end_ms - end, end_ms - start_ms)
        return [found[ts] for ts in sorted(found)]

    def _ask(self, method: str, **fields: Any) -> dict[str, Any]:
        client = self._client if self._client is not None else self._connect()
        try:
            answer: dict[str, Any] = getattr(client, method)(category=self._category, **fields)
            if not isinstance(answer["result"]["list"], list):
                raise PayloadError("no list")
        except Exception as error:  # noqa: BLE001  # pybit raises its own, requests' and plain ValueErrors; all mean that there is no history
            raise VenueError(f"{fields['symbol']}: {method} failed: {type(error).__name__}: {str(error)[:200]}") from None
        return answer

    def _connect(self) -> Any:
        from pybit import unified_trading as pybit  # here, since it pulls in half a second of imports

        self._client = pybit.HTTP(testnet=False, demo=self._where.environment is Environment.DEMO)
        if self._where.environment is Environment.SANDBOX:
            self._client.endpoint = self._where.rest
        return self._client
