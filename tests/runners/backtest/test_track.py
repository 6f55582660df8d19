"""Which bars of a symbol are quiet: the next one that is not, as a look at each of them finds it."""

from __future__ import annotations

import numpy as np
import pytest

import keel.runners.backtest.track as module
from keel.adapters.replay.feed import ReplayFeed
from keel.core.model.timeframe import NEVER, tf_ms
from keel.runners.backtest.track import BEYOND, SymbolTrack
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from tests.runners.backtest.replay_worlds import world


def tracks_of(parts: BacktestParts, *, is_told: bool = False) -> list[SymbolTrack]:
    contexts = parts.engine.market_data.contexts
    return [
        SymbolTrack(parts.feed, place, parts.venue, contexts[history.symbol], is_told=is_told)
        for place, history in enumerate(parts.feed.histories)
    ]


def looked_at(feed: ReplayFeed, track: SymbolTrack, row: int) -> int:
    """The answer by looking at each bar."""
    duration, book = track.duration, track.book
    for at in range(row, len(feed)):
        own = at if track.own_rows is None else track.own_rows[at]
        if own < 0:
            continue
        ts = int(feed.closes[at])
        decides = feed.timeframe == feed.execution_timeframe and ts - duration >= track.context.wake_ts
        if decides or ts > book.wake_ts or track.lows[own] <= book.wake_low or track.highs[own] >= book.wake_high:
            return at
    return BEYOND


@pytest.mark.parametrize("seed", range(12))
def test_the_next_bar_that_is_not_quiet(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For any wake levels and times, with and without holes, however long the blocks are."""
    monkeypatch.setattr(module, "BLOCK_BITS", 1 + seed % 7)
    parts, rng = wire_backtest(world(seed), "t"), np.random.default_rng(seed)
    feed = parts.feed
    for track in tracks_of(parts):
        assert tf_ms(feed.execution_timeframe) == track.duration
        lows, highs = np.asarray(track.lows), np.asarray(track.highs)
        for _ in range(40):
            row, book = int(rng.integers(0, len(feed))), track.book
            book.wake_low = float(rng.choice((-np.inf, lows.min(), np.median(lows), rng.choice(lows))))
            book.wake_high = float(rng.choice((np.inf, highs.max(), highs.max() - 0.2, rng.choice(highs))))
            book.wake_ts = int(rng.choice((NEVER, NEVER, -1, int(rng.choice(feed.closes)) + int(rng.integers(-2, 3)))))
            track.context.wake_ts = int(rng.choice((NEVER, int(rng.choice(feed.closes)) - track.duration)))
            assert track.next_row(row) == looked_at(feed, track, row)


@pytest.mark.parametrize("seed", range(12))
def test_the_reach_of_a_bar_covers_last_mark_and_index(seed: int) -> None:
    parts = wire_backtest(world(seed), "t")
    for history, track in zip(parts.feed.histories, tracks_of(parts), strict=True):
        extras = [extra for extra in (history.mark, history.index) if extra is not None]
        assert list(track.lows) == np.min([history.execution["low"], *(extra.low for extra in extras)], axis=0).tolist()
        assert list(track.highs) == np.max([history.execution["high"], *(extra.high for extra in extras)], axis=0).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_no_bar_is_quiet_that_somebody_wants_to_hear(seed: int) -> None:
    parts = wire_backtest(world(seed), "t")
    for track in tracks_of(parts, is_told=True):
        found, row = 0, track.next_row(0)
        while row < BEYOND:
            found += 1
            assert track.bars_until(row) == found - 1
            row = track.next_row(row + 1)
        assert found == track.bars_until(len(parts.feed))
