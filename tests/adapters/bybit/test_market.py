"""Candles: each once, in order, closed, none passed over. Marks and funding rates. Over the sandbox, and as pure cases."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.market.candles import CandleSequence
from keel.adapters.bybit.market.market_stream import MarketStream
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import MarketClock, ServerClock
from keel.adapters.bybit.wire import shapes as wire
from keel.core.errors import ConfigError
from keel.core.model.messages import Bar, FundingRate, MarkPrice, Message
from tests.adapters.bybit.conftest import Desk, desk_over, fast_ms, fast_sleep
from tests.adapters.bybit.test_venue_streams import ws
from tests.builders import bar

LINE = ("BTCUSDT", "1m")


@given(st.lists(st.integers(0, 12), max_size=60))
def test_candles_come_out_once_in_order_and_without_holes(pushed: list[int]) -> None:
    line, out = CandleSequence(bar(0, 1.0).ts_open), list[Bar]()
    for number in pushed:
        out += line.push(bar(number, 100.0 + number))
        assert (line.gap is None) == (not [n for n in pushed if bar(n, 1.0).ts_open in line._waiting])
    expected = 0
    while expected in pushed:
        expected += 1
    assert [one.ts_open for one in out] == [bar(number, 1.0).ts_open for number in range(expected)]


def test_the_first_push_stands_and_later_ones_are_kept_for_the_record() -> None:
    line = CandleSequence()
    assert line.push(bar(0, 100.0)) == [bar(0, 100.0)]
    assert line.push(bar(0, 100.0)) == []
    assert line.push(bar(0, 101.0)) == []
    assert (line.duplicates, line.differing) == (2, [bar(0, 101.0)])


def test_a_gap_that_the_exchange_cannot_fill_is_passed_on_purpose_only() -> None:
    line = CandleSequence(bar(0, 1.0).ts_open)
    assert line.push(bar(3, 1.0)) == []
    assert line.gap == (bar(0, 1.0).ts_open, bar(3, 1.0).ts_open)
    assert line.skip_to(bar(3, 1.0).ts_open) == [bar(3, 1.0)]
    assert line.gap is None


def test_a_clock_that_follows_the_stream_takes_the_youngest_candle_for_open() -> None:
    clock = MarketClock(ServerClock(), follows_stream=True)
    assert clock.is_closed(200, newest_open=200, stated_ms=9_999_999)
    assert not clock.is_closed(300, newest_open=200, stated_ms=9_999_999)
    clock.observe(300)
    assert clock.is_closed(300, newest_open=200, stated_ms=0)


def test_at_the_real_exchange_the_answer_s_own_time_decides() -> None:
    clock = MarketClock(ServerClock(lambda: 10**12))
    assert clock.is_closed(1_000, newest_open=900, stated_ms=1_000)
    assert not clock.is_closed(1_001, newest_open=900, stated_ms=1_000)


@asynccontextmanager
async def market_over(desk: Desk, *, next_open: int | None = None, **options: Any) -> AsyncIterator[tuple[MarketStream, list[Message]]]:
    out: list[Message] = []
    async with aiohttp.ClientSession() as session:
        stream = MarketStream(
            endpoints(Environment.SANDBOX, desk.url), session, desk.rest.clock, "linear", [LINE], desk.reader, out.append,
            notify=desk.notices.append, next_open={} if next_open is None else {LINE: next_open}, freshness_ms={}, sleep=fast_sleep,
            now_ms=fast_ms, rng=random.Random(3), **options,
        )  # fmt: skip
        running = asyncio.create_task(stream.run())
        try:
            await stream.stream.wait_ready(60)
            yield stream, out
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def bars_of(out: list[Message]) -> list[Bar]:
    return [one for one in out if isinstance(one, Bar)]


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [ws({"kind": "dup", "n": 3}, "kline")],
        [ws("drop", "kline", nth=2, times=3)],
        [ws({"kind": "abort"}, "kline", nth=3)],
        [ws({"kind": "reorder", "window": 4}, "kline", nth=1)],
        [ws({"kind": "mutate", "patch": [{"op": "replace", "path": "/data/0/close", "value": "NaN"}]}, "kline", nth=2)],
        [ws({"kind": "mutate", "patch": [{"op": "replace", "path": "/data/0/high", "value": "1"}]}, "kline", nth=2)],
        [ws({"kind": "truncate", "bytes": 30}, "kline", nth=2)],
    ],
    ids=["well", "doubled", "dropped", "aborted", "reordered", "nan", "absurd", "truncated"],
)
async def test_every_candle_is_heard_once_and_in_order(rules: list[dict[str, Any]]) -> None:
    async with desk_over() as desk, market_over(desk, next_open=desk.now_ms) as (_, out):
        begin = desk.now_ms
        desk.faults(*rules)
        for _ in range(6):
            await desk.step()
            await asyncio.sleep(0.01)
        await desk.step(2)
        await desk.until(lambda: len(bars_of(out)) >= 8, "eight candles")
        heard = bars_of(out)
        assert [one.ts_open for one in heard] == [begin + 60_000 * number for number in range(len(heard))]
        told = await desk.reader.bars("BTCUSDT", "1m", begin, desk.now_ms + 60_000)
        assert heard[: len(told)] == told
        assert [one for one in out if isinstance(one, MarkPrice)]


def kline(start: int, *, confirm: bool, close: str = "100") -> wire.WebSocketFrame:
    row = {"start": start, "interval": "1", "open": "100", "high": "101", "low": "99", "close": close, "volume": "1", "confirm": confirm}
    return wire.WebSocketFrame(topic="kline.1.BTCUSDT", type="snapshot", ts=start + 60_000, data=msgspec.Raw(msgspec.json.encode([row])))


async def test_an_open_candle_is_never_heard_and_a_younger_one_says_that_its_elder_is_due() -> None:
    async with desk_over() as desk:
        begin = desk.now_ms
        async with market_over(desk, next_open=begin) as (market, out):
            market._on_data("kline.1.BTCUSDT", kline(begin, confirm=False, close="100.5"))
            assert bars_of(out) == []
            await desk.step()
            await desk.until(lambda: len(bars_of(out)) == 1)
            first = bars_of(out)[0]
            market._on_data("kline.1.BTCUSDT", kline(begin, confirm=True, close="100.5"))
            assert bars_of(out) == [first]
            assert "candle_changed" in desk.codes()
            market._on_data("kline.1.BTCUSDT", kline(begin + 120_000, confirm=False))
            assert market._behind


async def test_a_candle_that_is_called_closed_before_its_end_is_not_believed() -> None:
    async with desk_over() as desk, market_over(desk, next_open=desk.now_ms) as (stream, out):
        begin = desk.now_ms
        early = kline(begin, confirm=True)
        early.ts = begin + 55_000
        stream._on_data("kline.1.BTCUSDT", early)
        assert bars_of(out) == [] and "bad_message" in desk.codes()


async def test_what_is_due_in_a_market_that_waits_for_us_is_fetched_at_once() -> None:
    async with desk_over() as desk, market_over(desk, next_open=desk.now_ms) as (stream, out):
        desk.faults(ws("drop", "kline"))
        await desk.step(2)
        await stream.stream.flush()
        stream.fetch_due()
        await stream.settle()
        assert len(bars_of(out)) == 2


async def test_a_settled_funding_rate_is_read_once_its_time_has_passed() -> None:
    async with desk_over() as desk, market_over(desk) as (_, out):
        for _ in range(9):
            await desk.step(60)
            await asyncio.sleep(0.01)
        await desk.until(lambda: len([one for one in out if isinstance(one, FundingRate)]) >= 2)
        rates = [one for one in out if isinstance(one, FundingRate)]
        assert all(rate.ts % 28_800_000 == 0 for rate in rates)
        assert rates == await desk.reader.funding_rates("BTCUSDT", rates[0].ts, desk.now_ms)


async def test_what_closed_before_the_connection_is_heard_first() -> None:
    async with desk_over() as desk:
        begin = desk.now_ms
        await desk.step(5)
        async with market_over(desk, next_open=begin) as (_, out):
            await desk.step()
            await desk.until(lambda: len(bars_of(out)) == 6)
            assert [one.ts_open for one in bars_of(out)] == [begin + 60_000 * number for number in range(6)]


async def test_history_is_whole_closed_and_oldest_first() -> None:
    async with desk_over(minutes=1_440) as desk:
        await desk.step(3)
        end = desk.now_ms
        bars = await desk.reader.bars("BTCUSDT", "1m", end - 1_200 * 60_000, end)  # two pages
        assert [one.ts_open for one in bars] == sorted({one.ts_open for one in bars})
        assert len(bars) >= 1_199
        assert all(one.ts_close <= end for one in bars)
        marks = await desk.reader.bars("BTCUSDT", "1h", end - 86_400_000, end, "mark")
        assert marks and all(one.volume == 0 for one in marks)


async def test_pages_before_the_first_candle_of_a_young_symbol_are_no_end() -> None:
    async with desk_over() as desk:
        await desk.step(3)
        end = desk.now_ms
        desk.market.observe(end)
        found = await desk.reader.bars("BTCUSDT", "1m", end - 10 * 86_400_000, end)
        assert found[0].ts_open > end - 9 * 86_400_000 and found[-1].ts_close == end


async def test_an_unknown_symbol_is_a_clear_error() -> None:
    async with desk_over() as desk:
        with pytest.raises(ConfigError, match="NOPEUSDT"):
            await desk.reader.instrument("NOPEUSDT")
        found = await desk.reader.instrument("BTCUSDT")
        assert found == desk.market_of().instrument or found.source == "exchange"
        assert found.tiers
