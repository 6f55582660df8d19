"""What a run is told, and in which order. The messages are those that go over the bus of a whole run without orders."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from keel.adapters.replay.feed import ReplayFeed
from keel.adapters.store import HistoricalDataStore
from keel.core.model.frame import Frame
from keel.core.model.messages import Bar, FundingRate, MarkPrice, OpenInterest
from keel.core.model.timeframe import tf_ms
from keel.core.system.config import ExecutionConfig
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.strategies.base import BaseStrategy
from tests.builders import HOUR, MINUTE, START, listen, made_ready, perpetual, plain_system

FIVE = 5 * MINUTE
HISTORY = ExecutionConfig(funding="history", gaps="skip")
SYMBOLS = ("BTCUSDT", "ETHUSDT")


class Idle(BaseStrategy):
    """Reads an hour, four hours and open interest, and decides nothing. Keeps what it was shown."""

    features: ClassVar = {
        "quick": {"fn": "SMA", "timeperiod": 2},
        "slow": {"fn": "SMA", "timeperiod": 2, "timeframe": "4h"},
        "interest": {"fn": "SMA", "timeperiod": 2, "input": "open_interest"},
    }

    def __init__(self):
        self.seen = []

    def generate_signal(self, snapshot, params):
        htf = snapshot.htf["4h"].bar.ts_close if snapshot.history.ts[0] + 4 * HOUR < snapshot.ts_close else None
        self.seen.append((snapshot.ts_close, snapshot.symbol, snapshot.funding_rate, htf))


@pytest.fixture(scope="module")
def market(walk, without):
    """Four days of 5m bars and marks of two symbols with funding and open interest; ``holes``: rows that each lacks. Each is made once, and
    only read."""
    with ExitStack() as stores:

        @cache
        def make(holes=((), ())):
            store = stores.enter_context(HistoricalDataStore(":memory:"))
            for seed, (symbol, rows) in enumerate(zip(SYMBOLS, holes, strict=True)):
                store.upsert_instrument(perpetual(symbol))
                store.upsert_bars(symbol, "5m", without(walk(1152, seed=seed), *rows), source="test")
                store.upsert_bars(symbol, "5m", walk(1152, seed=seed, basis=True), source="test", kind="mark")
                stamps = START + HOUR * np.arange(0, 97, 8)
                store.upsert_funding(symbol, {"ts": stamps, "funding_rate": 1e-5 * np.arange(13)}, source="test")
                store.upsert_open_interest(symbol, {"ts": START + HOUR * np.arange(97), "open_interest": np.arange(97.0)}, source="test")
            return store

        yield make


def loaded(store, begin, end, *, symbols=SYMBOLS, execution=HISTORY, one_timeframe=False):
    """A run over hours [begin, end), made ready."""
    frames = {"timeframe": "1h"} if one_timeframe else {"timeframe": "1h", "execution_timeframe": "5m"}
    system = plain_system(*symbols, **frames, warmup_bars=3, execution=execution)
    return made_ready(store, system, START + begin * HOUR, START + end * HOUR, Idle())


def told(ready, chunk_rows=None):
    """(messages in order, strategy, feed) of such a run, in chunks of so many rows."""
    strategy = Idle()
    parts = wire_backtest(replace(ready, strategy=strategy), "t")
    messages = []
    listen(parts.engine.bus, messages.append)
    more = {} if chunk_rows is None else {"chunk_rows": chunk_rows}
    feed = ReplayFeed(ready.histories, "1h", start_ms=ready.window.start_ms, **more)
    replay(feed, parts.engine, parts.venue)
    return messages, strategy, feed


def heard(store, begin, end, **changes):
    """The same of hours [begin, end)."""
    return told(loaded(store, begin, end, **changes))


def told_at(message):
    return message.ts_close if isinstance(message, Bar) else message.ts


def short(message):
    """A message as one word."""
    if isinstance(message, Bar):
        return f"{message.symbol[:3]} {message.tf}"
    names = {FundingRate: "funding", MarkPrice: "mark", OpenInterest: "interest"}
    return f"{message.symbol[:3]} {names[type(message)]}"


def test_the_order_within_one_instant(market):
    messages, _, _ = heard(market(), 20, 30)
    at_24 = [short(message) for message in messages if told_at(message) == START + 24 * HOUR]
    assert at_24 == [
        "BTC funding", "ETH funding",
        "BTC mark", "BTC 5m", "ETH mark", "ETH 5m",
        "BTC 1h", "ETH 1h", "BTC 4h", "ETH 4h",
        "BTC interest", "ETH interest",
    ]  # fmt: skip


def test_with_one_timeframe_its_bars_come_once(market):
    messages, _, _ = heard(market(), 20, 30, one_timeframe=True, symbols=("BTCUSDT",))
    at_24 = [short(message) for message in messages if told_at(message) == START + 24 * HOUR]
    assert at_24 == ["BTC funding", "BTC mark", "BTC 1h", "BTC 4h", "BTC interest"]


def test_a_higher_bar_that_closes_with_the_decision_is_known_to_it(market):
    _, strategy, _ = heard(market(), 20, 30, symbols=("BTCUSDT",))
    assert [(ts - START, higher - START) for ts, _, _, higher in strategy.seen[2:5]] == [
        (23 * HOUR, 20 * HOUR),
        (24 * HOUR, 24 * HOUR),
        (25 * HOUR, 24 * HOUR),
    ]


def test_nothing_is_lost_at_the_ends_of_the_window(market):
    """From 21:00 to 32:00 (a funding time): the last rate before, all bars that close inside, and the rate at the end."""
    messages, strategy, _ = heard(market(), 21, 32, symbols=("BTCUSDT",))
    found = {
        kind: [(told_at(m) - START) / HOUR for m in messages if short(m) == f"BTC {kind}"] for kind in ("funding", "1h", "4h", "interest")
    }
    assert found == {"funding": [16, 24, 32], "1h": [*range(22, 33)], "4h": [24, 28, 32], "interest": [*range(21, 33)]}
    assert sum(short(m) == "BTC 5m" for m in messages) == 11 * 12
    rates = {(ts - START) // HOUR: rate for ts, _, rate, _ in strategy.seen}
    assert (rates[22], rates[24], rates[31], rates[32]) == pytest.approx((2e-5, 3e-5, 3e-5, 4e-5))


HOLES = {
    "whole": ((), ()),
    "one symbol has a hole": (range(290, 330), ()),
    "both have, at different times": (range(290, 330), range(320, 400)),
    "both have, at once": (range(280, 305), range(280, 305)),
    "at the start": (range(250, 262), range(250, 255)),
    "at the end": ((), range(370, 384)),
}


@pytest.mark.parametrize("holes", HOLES.values(), ids=HOLES.keys())
@pytest.mark.parametrize("symbols", [SYMBOLS, ("BTCUSDT",)], ids=["two", "one"])
@pytest.mark.covering(1)
def test_chunks_change_nothing(market, holes, symbols):
    ready = loaded(market(holes), 21, 32, symbols=symbols)
    whole, strategy, feed = told(ready)
    assert len(feed) > 90
    for rows in (1, 7, 64):
        parts, again, _ = told(ready, rows)
        assert parts == whole
        assert again.seen == strategy.seen


@pytest.mark.parametrize("holes", HOLES.values(), ids=HOLES.keys())
def test_everything_comes_once_in_the_order_of_time(market, holes):
    """Per symbol: a message that a hole has held up comes before the next bar, and no time goes back but in the hole's own instant."""
    store = market(holes)
    messages, _, feed = heard(store, 21, 32)
    for symbol in SYMBOLS:
        own = [message for message in messages if message.symbol == symbol]
        assert all(told_at(a) <= told_at(b) for a, b in pairwise(own))
        assert len(set(map(repr, own))) == len(own)
    fine = [message for message in messages if isinstance(message, Bar) and message.tf == "5m"]
    assert [bar.ts_close for bar in fine] == sorted(bar.ts_close for bar in fine)
    assert len(fine) == feed.bars
    for history in feed.histories:
        bars = [m for m in messages if isinstance(m, Bar) and m.symbol == history.symbol]
        for frame in (history.execution, history.decision, history.higher["4h"]):
            duration = tf_ms(frame.timeframe)
            closes = frame.ts[(frame.ts + duration > START + 21 * HOUR) & (frame.ts + duration <= feed.closes[-1])] + duration
            told = [m for m in bars if m.tf == frame.timeframe]
            assert [m.ts_close for m in told] == closes.tolist()
            known = frame.between(int(closes[0]) - duration, int(closes[-1]))
            assert [m.close for m in told] == known["close"].tolist()


def test_what_a_hole_holds_up_comes_before_the_next_bar(market):
    """The hole is 23:40 to 24:20: hour and four hours that end in it, and its funding, come with the bar that closes at 24:25."""
    messages, strategy, _ = heard(market((range(284, 292), ())), 21, 32, symbols=("BTCUSDT",))
    words = [short(message) for message in messages]
    late = words.index("BTC 4h")
    bar = messages[late + 3]
    assert words[late - 1 : late + 5] == ["BTC 1h", "BTC 4h", "BTC interest", "BTC mark", "BTC 5m", "BTC mark"]
    assert words[late - 2] == "BTC funding"
    assert bar.ts_close == START + 24 * HOUR + 25 * MINUTE
    assert strategy.seen[2][0] == START + 24 * HOUR


def test_rows_of_a_symbol_with_holes(market):
    """The venue reads marks by row: the row at an instant is that of the bar that closes then."""
    _, _, feed = heard(market(HOLES["both have, at different times"]), 21, 32)
    for position, history in enumerate(feed.histories):
        for row, close in zip(feed.rows_of(position).tolist(), feed.closes.tolist(), strict=True):
            there = close - FIVE in history.execution.ts
            assert (row >= 0) == there
            assert not there or history.execution.ts[row] == close - FIVE


def test_what_is_known_at_each_instant(market):
    """The latest price of each symbol, its mark beside it; 0 before the first; a coarser bar's close until the next execution bar."""
    _, _, feed = heard(market(HOLES["both have, at different times"]), 21, 32)
    prices = feed.known_prices()
    for place, history in enumerate(feed.histories):
        bars = dict(zip((history.execution.ts + FIVE).tolist(), history.execution["close"].tolist(), strict=True))
        marks = dict(zip(bars, history.mark.valuation.tolist(), strict=True))
        last = mark = 0.0
        for row, close in enumerate(feed.closes.tolist()):
            last, mark = bars.get(close, last), marks.get(close, mark)
            assert (prices.lasts[place][row], prices.marks[place][row]) == (last, mark)


def test_a_coarser_bar_that_closes_elsewhere_holds_until_the_next_execution_bar(market):
    """As the account hears it: the execution bar first, the coarser one after it; one that a hole held up comes before the next bar."""
    ready = loaded(market((range(284, 292), ())), 21, 32)
    plain = ReplayFeed(ready.histories, "1h", start_ms=ready.window.start_ms).known_prices()
    for history in ready.histories:
        history.decision = Frame(
            history.decision.ts, {**{name: history.decision[name] for name in history.decision}, "close": history.decision["close"] + 1.0},
            symbol=history.symbol, timeframe="1h",
        )  # fmt: skip
    parts = wire_backtest(replace(ready, strategy=Idle()), "t")
    prices, known = parts.feed.known_prices(), []
    listen(parts.engine.bus, lambda message: None)
    portfolio = parts.portfolio
    close_account = portfolio.on_instant
    portfolio.on_instant = lambda ts: known.append([line.last for line in portfolio.lines.values()]) or close_account(ts)
    replay(parts.feed, parts.engine, parts.venue)
    assert np.array(known).T.tolist() == [column.tolist() for column in prices.lasts]
    assert all((ours != theirs).any() for ours, theirs in zip(prices.lasts, plain.lasts, strict=True))
