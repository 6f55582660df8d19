"""The public stream: closed candles by ``confirm``, mark prices and settled funding rates, as core messages.

A candle is given out once, in order, and never before those that precede it: a gap (a reconnection, a push that did not come) is filled by
REST first. What the exchange itself does not have is told as FeedGap, and the series goes on after it. Tickers are merged (a snapshot,
then changed fields only); the rate of a funding time is read from its history once that time has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp

from keel.adapters.bybit.market.candles import CandleSequence
from keel.adapters.bybit.market.market_data import MarketReader
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.endpoints import Endpoints
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.transport.streams import Stream
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.adapters.machine import monotonic_ms
from keel.core.model.instrument import Category
from keel.core.model.messages import Bar, FeedGap, Message
from keel.core.model.timeframe import tf_ms

FRESHNESS_MS: Final = {"tickers": 15_000, "kline": 90_000}
GRACE_MS: Final = 3_000
"""How long after its end (as the stream or our clock tells it) a candle's push may take before REST is asked."""
EARLY_MS: Final = 1_000
"""A closed candle cannot be told of earlier than this before its end: it would be acted on before it is one."""
_FILL_TRIES: Final = 5

Line = tuple[str, str]


class MarketStream:
    """Candles and marks of some symbols. ``publish`` takes Bar, MarkPrice, FundingRate and FeedGap.

    next_open: per (symbol, timeframe) the start of the first candle that is wanted (after the warm-up's last); else the first that comes.
    """

    def __init__(
        self,
        where: Endpoints,
        session: aiohttp.ClientSession,
        clock: ServerClock,
        category: Category,
        lines: Sequence[Line],
        reader: MarketReader,
        publish: Callable[[Message], None],
        *,
        notify: Notify,
        next_open: Mapping[Line, int] | None = None,
        freshness_ms: Mapping[str, int] = FRESHNESS_MS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_ms: Callable[[], int] = monotonic_ms,
        **stream_options: Any,
    ) -> None:
        self._clock, self._category, self._reader, self._market = clock, category, reader, reader.market
        self._publish, self._notify, self._sleep, self._now_ms = publish, notify, sleep, now_ms
        self.lines = {line: CandleSequence((next_open or {}).get(line)) for line in lines}
        self._tickers: dict[str, wire.TickerRow] = {}
        self._behind: dict[Line, int] = {}
        """Monotonic time since when a candle is due."""
        self._filling: dict[Line, asyncio.Task[None]] = {}
        self._rates: set[asyncio.Task[None]] = set()
        topics = [f"kline.{translate.INTERVALS[timeframe]}.{symbol}" for symbol, timeframe in lines]
        self._ticker_topics = {symbol: f"tickers.{symbol}" for symbol, _ in lines}
        topics += self._ticker_topics.values()
        url = where.check_url(where.public_url(category), private=False)
        self.stream = Stream(
            "public",
            url,
            session,
            topics,
            self._on_data,
            notify=notify,
            on_ready=self._catch_up,
            freshness_ms=freshness_ms,
            sleep=sleep,
            now_ms=now_ms,
            **stream_options,
        )

    async def run(self) -> None:
        """Keep the connection and watch for candles that do not come, until cancelled."""
        watching = asyncio.create_task(self._watch())
        try:
            await self.stream.run()
        finally:
            for task in (watching, *self._filling.values(), *self._rates):
                task.cancel()
            await asyncio.gather(watching, *self._filling.values(), *self._rates, return_exceptions=True)

    async def settle(self) -> None:
        """Wait for the reads that came of what was heard so far: gaps that are filled, funding rates that were settled."""
        reading = [task for task in (*self._filling.values(), *self._rates) if not task.done()]
        if reading:
            await asyncio.wait(reading)

    def fetch_due(self) -> None:
        """Read every candle that must have closed by the market's time and has not come. For a market that waits for us: when all that it
        sent has been heard, what is not here was lost."""
        now = self._market.now_ms
        for line, series in self.lines.items():
            if series.next_open is not None and series.next_open + tf_ms(line[1]) <= now:
                self._fill(line)

    def age_ms(self, symbol: str) -> int | None:
        """How old the latest ticker of a symbol is; None before the first connection."""
        seen = self.stream.last_data_ms.get(self._ticker_topics.get(symbol, ""))
        return None if seen is None else self._now_ms() - seen

    def oldest_ms(self) -> int | None:
        """``age_ms`` of the symbol for which it is largest; None where it is not known of one."""
        seen = [*map(self.stream.last_data_ms.get, self._ticker_topics.values())]
        known = [each for each in seen if each is not None]
        return self._now_ms() - min(known) if known and len(known) == len(seen) else None

    # --- frames ---

    def _on_data(self, topic: str, frame: wire.WebSocketFrame) -> None:
        kind, _, rest = topic.partition(".")
        ts = translate.time_ms(frame.ts, "ts")
        self._market.observe(ts)
        if kind == "tickers":
            self._on_ticker(wire.decode(wire.TickerRow, frame.data), ts, is_delta=frame.type == "delta")
            return
        interval, _, symbol = rest.partition(".")
        line = (symbol, translate.TIMEFRAME_OF.get(interval, ""))
        for row in wire.decode_rows(wire.KlineRow, frame.data, self._refuse):
            if row.confirm:
                bar = translate.bar_of_push(*line, row)
                if bar.ts_close > ts + EARLY_MS:
                    self._refuse(PayloadError(f"{topic}: the candle of {row.start} is said to be closed at {ts}, before its end"))
                    continue
                self._push(line, bar)
            elif (due := self.lines[line].next_open) is not None and row.start > due:
                self._behind.setdefault(line, self._now_ms())  # a younger candle is open already: an older one must have closed

    def _push(self, line: Line, bar: Bar) -> None:
        series = self.lines[line]
        repeats = len(series.differing)
        for free in series.push(bar):
            self._publish(free)
        if len(series.differing) > repeats:
            text = f"{line[0]} {line[1]}: the candle of {bar.ts_open} was pushed again with other values; the first one stands"
            self._notify(Notice(self._clock.now_ms, "candle_changed", text, line[0]))
        if series.gap is not None:
            self._fill(line)
        else:
            self._behind.pop(line, None)

    def quote(self, symbol: str) -> tuple[float, float] | None:
        """Best bid and ask of the latest ticker; None where it has none, or they cross."""
        row = self._tickers.get(symbol)
        if row is None:
            return None
        try:
            bid, ask = translate.number(row.bid1Price, "bid1Price"), translate.number(row.ask1Price, "ask1Price")
        except PayloadError:
            return None  # nobody decides on it
        return (float(bid), float(ask)) if bid and ask and 0 < bid < ask else None

    def _on_ticker(self, row: wire.TickerRow, ts: int, *, is_delta: bool) -> None:
        before = self._tickers.get(row.symbol)
        if is_delta:
            if before is None:
                return  # a change of what we have not seen
            row = _changed(before, row)
        self._tickers[row.symbol] = row
        if row.markPrice not in (None, "") and (before is None or row.markPrice != before.markPrice):
            self._publish(translate.mark_price(row.symbol, ts, row.markPrice))
        if before is not None and row.nextFundingTime != before.nextFundingTime:
            self._on_next_funding(row.symbol, before.nextFundingTime, row.nextFundingTime)

    def _on_next_funding(self, symbol: str, before: wire.Number, after: wire.Number) -> None:
        """Once the next funding time is a later one, or there is none, that of before has passed."""
        if not translate.number(before, "nextFundingTime"):
            return
        stamp = translate.time_ms(before, "nextFundingTime")
        if translate.number(after, "nextFundingTime") is None or translate.time_ms(after, "nextFundingTime") > stamp:
            task = asyncio.create_task(self._settled(symbol, stamp))
            self._rates.add(task)
            task.add_done_callback(self._rates.discard)

    # --- gaps ---

    async def _catch_up(self) -> None:
        """After a (re)connection: what closed meanwhile, before anything new is heard."""
        await asyncio.gather(*(self._fill_line(line) for line in self.lines if self.lines[line].next_open is not None))

    async def _watch(self) -> None:
        """A push that does not come: ask REST once it is due for too long, by the stream's own tale or by the clock."""
        while True:
            await self._sleep(GRACE_MS / 1000)
            now = self._market.now_ms
            for line, series in self.lines.items():
                due = series.next_open
                is_late = due is not None and due + tf_ms(line[1]) + GRACE_MS < now
                since = self._behind.get(line)
                if self.stream.is_ready and (is_late or (since is not None and self._now_ms() - since >= GRACE_MS)):
                    self._fill(line)

    def _fill(self, line: Line) -> None:
        running = self._filling.get(line)
        if running is None or running.done():
            self._filling[line] = asyncio.create_task(self._fill_line(line))

    async def _fill_line(self, line: Line) -> None:
        """Read what is missing and give it out in order. What the exchange does not have after five tries is a gap for good."""
        symbol, timeframe = line
        series = self.lines[line]
        for attempt in range(_FILL_TRIES):
            begin = series.next_open
            if begin is None:
                return
            end = series.gap[1] if series.gap is not None else max(begin + tf_ms(timeframe), self._market.now_ms) + 1
            try:
                bars = await self._reader.bars(symbol, timeframe, begin, end)
            except (ExchangeRefusal, PayloadError) as error:
                self._notify(Notice(self._clock.now_ms, "backfill_failed", f"{symbol} {timeframe}: {error}", symbol))
                bars = []
            for bar in bars:
                for free in series.push(bar):
                    self._publish(free)
            if series.gap is None:
                self._behind.pop(line, None)
                return
            await self._sleep(0.5 * 2**attempt)
        if series.gap is not None:
            self._pass_over(line, series)

    def _pass_over(self, line: Line, series: CandleSequence) -> None:
        gap = series.gap
        if gap is None:
            return
        text = f"{line[0]} {line[1]}: the exchange has no candles in [{gap[0]}, {gap[1]})"
        self._notify(Notice(self._clock.now_ms, "feed_gap", text, line[0], "error"))
        self._publish(FeedGap(line[0], line[1], *gap))
        for free in series.skip_to(gap[1]):
            self._publish(free)

    async def _settled(self, symbol: str, stamp: int) -> None:
        """The rate that was settled at a stamp; its history may lag behind it."""
        for attempt in range(_FILL_TRIES):
            try:
                rates = await self._reader.funding_rates(symbol, stamp, stamp + 1)
            except (ExchangeRefusal, PayloadError):
                rates = []
            if rates:
                self._publish(rates[-1])
                return
            await self._sleep(1.0 * 2**attempt)
        text = f"{symbol}: the funding rate of {stamp} is not in the exchange's history"
        self._notify(Notice(self._clock.now_ms, "funding_unknown", text, symbol))

    def _refuse(self, error: PayloadError) -> None:
        self.stream.quarantined += 1
        self._notify(Notice(self._clock.now_ms, "bad_message", f"public stream: {str(error)[:300]}"))


def _changed(old: wire.TickerRow, new: wire.TickerRow) -> wire.TickerRow:
    """A ticker with the fields that a delta names. Written out: an exchange sends thousands a second."""
    return wire.TickerRow(
        old.symbol,
        old.markPrice if new.markPrice is None else new.markPrice,
        old.fundingRate if new.fundingRate is None else new.fundingRate,
        old.nextFundingTime if new.nextFundingTime is None else new.nextFundingTime,
        old.lastPrice if new.lastPrice is None else new.lastPrice,
        old.bid1Price if new.bid1Price is None else new.bid1Price,
        old.ask1Price if new.ask1Price is None else new.ask1Price,
    )
