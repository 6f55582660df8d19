"""What a market has behind it: funding and open interest of all that is stored, a past of the walk, and bars moved to the present."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from keel.core.errors import DataError
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import DAY_MS, MINUTE_MS
from keel.core.system.config import ExecutionConfig
from keel.runners.sandbox.assembly import shifted_to, stored_bars
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.endpoints import market as rest_market
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.market.random_walk import FUNDING_MS
from keel.sim.sandbox.settings import SandboxSettings
from tests.builders import DAY, START, sample_store
from tests.sim.sandbox.conftest import walk_feed

BTC = {"category": "linear", "symbol": "BTCUSDT"}
WINDOW = TimeRange(START + 2 * DAY, START + 4 * DAY)


def asked(engine: Engine, handler: Any, **params: Any) -> list[dict[str, Any]]:
    """All pages of a public list, newest first."""
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        result = handler(Call(engine, {**BTC, **params, "cursor": cursor}, 0))
        rows += result["list"]
        cursor = result.get("nextPageCursor", "")
        if not cursor:
            return rows


def test_funding_and_open_interest_of_all_that_is_stored_and_of_nothing_to_come() -> None:
    store = sample_store(days=5)
    engine = Engine(SandboxSettings(pace="lockstep"), BarFeed(stored_bars(store, ["BTCUSDT"], WINDOW, ExecutionConfig())), lambda: START)
    funding, interest = store.find("BTCUSDT", kind="funding"), store.find("BTCUSDT", kind="open_interest")
    assert funding is not None and interest is not None
    for bars in (0, 100, 300):
        for _ in range(bars):
            engine.step_bar()
        now = engine.now_ms
        stamps = [int(row["fundingRateTimestamp"]) for row in asked(engine, rest_market.funding_history)][::-1]
        assert stamps == [ts for ts in funding.ts.tolist() if ts <= now]
        rows = asked(engine, rest_market.open_interest, intervalTime="1h", limit=7)[::-1]
        known = [(ts, value) for ts, value in zip(interest.ts.tolist(), interest["open_interest"].tolist(), strict=True) if ts <= now]
        hours = {ts: value for ts, value in known if ts % 3_600_000 == 0}
        assert [int(row["timestamp"]) for row in rows] == list(hours)
        assert [float(row["openInterest"]) for row in rows] == pytest.approx(list(hours.values()))
        ticker = engine.markets["BTCUSDT"].ticker()
        assert float(ticker["openInterest"]) == pytest.approx(known[-1][1])
    assert len(stamps) > 6


def test_a_walk_begins_with_a_past_of_funding_open_interest_and_trades() -> None:
    engine = Engine(SandboxSettings(), walk_feed(bars=3 * 1440, start_ms=START + DAY), lambda: START + DAY)
    rows = asked(engine, rest_market.funding_history)
    stamps = [int(row["fundingRateTimestamp"]) for row in rows]
    assert stamps[-1] == START - 2 * DAY and set(np.diff(stamps).tolist()) == {-FUNDING_MS}
    assert len({row["fundingRate"] for row in rows}) >= 1 and all(abs(float(row["fundingRate"])) <= 0.005 for row in rows)
    interest = asked(engine, rest_market.open_interest, intervalTime="1h", limit=50)
    assert len(interest) == 73 and len({row["openInterest"] for row in interest}) > 10
    trades = asked(engine, rest_market.recent_trade)
    assert len(trades) == 500 and START < int(trades[0]["time"]) < START + DAY
    for one in (market for market in engine.markets.values() if not market.is_linear):
        assert len(one.trades) == 1000 and not one.fresh_trades


def test_stored_bars_are_moved_by_whole_days_and_played_now() -> None:
    store = sample_store(days=5)
    bars = stored_bars(store, ["BTCUSDT"], WINDOW, ExecutionConfig())
    before = bars.series()[0]
    now = START + 100 * DAY + 7 * 3_600_000 + 123_456
    moved = shifted_to(bars, now)
    after = moved.series()[0]
    shift = int(after.ts[0] - before.ts[0])
    assert shift % DAY_MS == 0 and shift == 98 * DAY
    feed = BarFeed(moved, is_now=True)
    assert feed.is_now and feed.start_ms() == now - now % (5 * MINUTE_MS)
    assert after.funding[0] == [stamp + shift for stamp in before.funding[0]]
    assert after.past_funding[0] == [stamp + shift for stamp in before.past_funding[0]] and after.past_funding[0]
    engine = Engine(SandboxSettings(), feed, lambda: now)
    assert (engine.due_ms(), engine.now_ms) == (now, now)
    assert asked(engine, rest_market.funding_history)[0]["fundingRateTimestamp"] == str(START + 100 * DAY)
    move = feed.next_bar()
    row = int(np.searchsorted(before.ts, feed.start_ms() - shift))
    assert move is not None and move.pieces["BTCUSDT"].prices[3] == before.last[3][row]


def test_a_window_that_ends_before_now_is_refused() -> None:
    short = stored_bars(sample_store(days=5), ["BTCUSDT"], TimeRange(START + 2 * DAY, START + 2 * DAY + DAY // 4), ExecutionConfig())
    with pytest.raises(DataError, match="give --shift-to-now a day more"):
        shifted_to(short, START + 50 * DAY + DAY // 2)
