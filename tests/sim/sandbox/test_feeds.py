"""Where prices come from: the walk is the same from the same seed, stored bars are played along their path, candles add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError
from keel.core.model.timeframe import DAY_MS, MINUTE_MS
from keel.sim.sandbox.engine import Engine, piece_length
from keel.sim.sandbox.market.candles import INDEX, LAST, MARK, Candles
from keel.sim.sandbox.market.feeds import BarFeed
from keel.sim.sandbox.market.intervals import end_of, start_of
from keel.sim.sandbox.settings import SandboxSettings
from tests.sim.sandbox.conftest import START, Bars, flat_bars, made_bars, running, until, walk_feed, walking, wall_ms
from tests.sim.sandbox.raw import Raw


def test_a_walk_follows_from_its_seed() -> None:
    def moves(seed: int) -> list[object]:
        feed = walk_feed(bars=5, start_ms=START, seed=seed)
        return [move.pieces for move in (feed.next_move(1_000) for _ in range(50)) if move is not None]

    assert moves(3) == moves(3) != moves(4)


def test_a_walk_keeps_its_prices_on_the_grid_and_its_candles_whole() -> None:
    feed = walk_feed(bars=5, start_ms=START)
    for _ in range(300):
        move = feed.next_move(700)
        assert move is not None and move.ts_open // MINUTE_MS == (move.ts_close - 1) // MINUTE_MS
        for name, piece in move.pieces.items():
            grid = next(
                one for one in feed.instruments() if name.startswith(one.symbol) and (one.category == "spot") == ("." in name)
            ).price_grid
            for at in (0, 4, 8):
                open_, high, low, close = piece.prices[at : at + 4]
                assert low <= min(open_, close) <= max(open_, close) <= high
            assert all(grid.is_on(price) for price in piece.prices[:4])


@pytest.mark.parametrize("duration", [5 * MINUTE_MS, 240 * MINUTE_MS])
def test_a_walk_of_longer_bars_steps_by_them_and_settles_funding_at_its_stamps(duration: int) -> None:
    feed = walk_feed(bars=600, start_ms=START + 7, duration_ms=duration)
    series = feed.history("BTCUSDT")
    assert series is not None and len(series.ts) == 600 and set(np.diff(series.ts)) == {duration}
    assert feed.start_ms() == START == series.ts[-1] + duration
    stamps, at = set(), START
    for _ in range(2 * DAY_MS // duration):
        stamps |= {stamp for _, stamp, _, _ in feed.funding_due(at)}
        move = feed.next_bar()
        assert move is not None and move.ts_close - move.ts_open == duration
        at = move.ts_close
    assert stamps == set(range(START, START + 2 * DAY_MS, 8 * 60 * MINUTE_MS))


def test_a_walks_bars_divide_the_funding_interval() -> None:
    with pytest.raises(ConfigError, match="use 1m to 4h"):
        walk_feed(duration_ms=DAY_MS)


def test_bars_longer_than_an_hour_have_a_ticker() -> None:
    """The price an hour ago is then the open of the latest bar."""
    with running(walking(pace="lockstep"), walk_feed(bars=300, duration_ms=240 * MINUTE_MS)) as sandbox:
        sandbox.step()
        client = Raw(sandbox)
        ticker = client.result("/v5/market/tickers", category="linear", symbol="BTCUSDT")["list"][0]
        bars = client.result("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="240", limit=6)["list"]
    assert float(ticker["prevPrice1h"]) == float(bars[0][1])
    assert float(ticker["highPrice24h"]) == max(float(bar[2]) for bar in bars)


def test_candles_finer_than_the_bars_are_not_offered() -> None:
    with running(walking(pace="lockstep"), walk_feed(bars=300, duration_ms=60 * MINUTE_MS)) as sandbox:
        client = Raw(sandbox)
        hours = client.result("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="60", limit=1000)["list"]
        assert len(hours) == 300
        assert sandbox.step(2)["market_time"] == int(hours[0][0]) + 3 * 60 * MINUTE_MS
        answer = client.get("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="5")[2]
        assert answer["retCode"] == 10001


@pytest.mark.parametrize("length", [1_000, 20_000, 60_000])
def test_a_bar_in_pieces_has_the_bars_own_extremes(length: int) -> None:
    series = made_bars(30)
    feed = BarFeed(Bars(series))
    candles = Candles(MINUTE_MS)
    while (move := feed.next_move(length)) is not None:
        piece = move.pieces["BTCUSDT"]
        candles.add(move.ts_open, piece.prices, piece.volume)
    candles.close()
    for kind, columns in ((LAST, series.last), (MARK, series.mark), (INDEX, series.index)):
        rows = candles.rows("1", None, None, 100, kind)
        assert [start for start, _ in rows] == series.ts.tolist()
        table = np.array([values[:4] for _, values in rows])
        assert np.allclose(table, np.stack(columns or series.last, axis=1), rtol=0, atol=1e-9)


@given(st.integers(1, 400), st.sampled_from(["1", "5", "60", "240", "D", "W", "M"]), st.integers(1, 50))
def test_coarser_candles_are_those_of_their_minutes(count: int, interval: str, limit: int) -> None:
    series = made_bars(count)
    candles = Candles(MINUTE_MS)
    candles.load(series, count)
    rows = candles.rows(interval, None, None, limit)
    starts = sorted({start_of(ts, interval) for ts in series.ts.tolist()})[-limit:]
    assert [start for start, _ in rows] == starts
    open_, high, low, close = series.last
    for start, values in rows:
        inside = (series.ts >= start) & (series.ts < end_of(start, interval))
        expected = [open_[inside][0], high[inside].max(), low[inside].min(), close[inside][-1], series.volume[inside].sum()]
        assert values[:5] == pytest.approx(expected)


def test_months_and_weeks_begin_where_the_exchange_begins_them() -> None:
    assert start_of(START + 40 * DAY_MS, "M") == START + 31 * DAY_MS
    assert end_of(START + 31 * DAY_MS, "M") == START + 60 * DAY_MS  # February 2024
    assert start_of(START + 6 * DAY_MS, "W") == START  # 2024-01-01 was a Monday


@given(st.integers(1, 120_000), st.floats(0.1, 1000.0))
def test_a_piece_divides_the_bar(tick_ms: int, factor: float) -> None:
    length = piece_length(SandboxSettings(tick_ms=tick_ms, factor=factor), MINUTE_MS)
    assert 1 <= length <= MINUTE_MS and MINUTE_MS % length == 0


def test_a_symbol_without_a_bar_stands_still() -> None:
    whole, holed = flat_bars(100, 101, 102, symbol="AUSDT"), flat_bars(10, 11, 12, symbol="BUSDT")
    keep = np.array([True, False, True])
    holed.ts, holed.volume = holed.ts[keep], holed.volume[keep]
    holed.last = (holed.last[0][keep], holed.last[1][keep], holed.last[2][keep], holed.last[3][keep])
    engine = Engine(SandboxSettings(pace="lockstep"), BarFeed(Bars(whole, holed)), lambda: START)
    engine.step_bar()
    moved = engine.step_bar()
    assert moved is not None and [market.symbol for market in moved.closed] == ["AUSDT"]
    assert engine.markets["BUSDT"].last == 10


def test_stored_bars_play_at_any_speed_to_their_end() -> None:
    with running(walking(pace="real", factor=6_000.0, tick_ms=10), BarFeed(Bars(made_bars(30)))) as sandbox:
        until(lambda: sandbox.get("/admin/truth")["bars_left"] == 0)
        rows = Raw(sandbox).result("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="1")["list"]
        until(lambda: len(rows) <= 30)
    with running(walking(pace="max"), BarFeed(Bars(made_bars(500)))) as sandbox:
        until(lambda: sandbox.get("/admin/truth")["market_time"] == START + 500 * MINUTE_MS)
        until(lambda: sandbox.get("/admin/about")["has_ended"])
        assert not sandbox.get("/admin/about")["is_synthetic"]


def test_the_mark_of_a_close_is_published_where_the_path_ends_elsewhere() -> None:
    """A mark that is known at the hour only: orders trigger along the path, the ticker and the candle say what was known at the close."""
    closes = np.array([30_011.0, 29_900.5, 30_500.0])
    series = made_bars(3, first=1, mark_closes=closes)
    engine = Engine(SandboxSettings(pace="lockstep"), BarFeed(Bars(series)), lambda: START)
    market, account = engine.markets["BTCUSDT"], next(iter(engine.accounts.values()))
    assert market.mark == closes[0]
    for row in (1, 2):
        engine.step_bar()
        assert market.mark == closes[row]
        assert series.mark is not None and account.exchange.books["BTCUSDT"].mark == series.mark[3][row]
    rows = market.candles.rows("1", None, None, 10, MARK)
    assert [row[3] for _, row in rows] == closes.tolist()
    assert all(low <= close <= high for _, (_, high, low, close, *_rest) in rows)


def test_a_bar_that_is_played_in_parts_has_its_mark_at_its_end() -> None:
    feed = BarFeed(Bars(made_bars(2, mark_closes=np.array([1.0, 2.0]))))
    parts = [feed.next_move(MINUTE_MS // 4) for _ in range(8)]
    assert [part.marks.get("BTCUSDT") for part in parts if part is not None] == [None, None, None, 1.0, None, None, None, 2.0]


def test_a_walk_at_real_speed_lives_in_the_present() -> None:
    with running(walking(tick_ms=200), walk_feed()) as sandbox:
        until(lambda: abs(sandbox.get("/admin/truth")["market_time"] - wall_ms()) < 1_000)
        about = sandbox.get("/admin/about")
        assert (about["pace"], about["is_now"], about["bar_ms"], about["bars_left"]) == ("real", True, MINUTE_MS, None)
        assert about["is_synthetic"] and not about["has_ended"]
        rows = Raw(sandbox).result("/v5/market/kline", category="linear", symbol="BTCUSDT", interval="1", limit=3)["list"]
        assert wall_ms() - int(rows[0][0]) < 2 * MINUTE_MS
        price = str(round(float(rows[0][4]) * 0.995, 1))
        order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": price}
        assert Raw(sandbox).post("/v5/order/create", order)[2]["retCode"] == 0
        row = Raw(sandbox).result("/v5/order/realtime", category="linear", symbol="BTCUSDT")["list"][0]
        assert abs(int(row["createdTime"]) - wall_ms()) < 2_000
