"""The loop goes from event to event, and gives what a walk through every instant gives: to the last bit, over random worlds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import keel.runners.backtest.replay
import keel.runners.backtest.track
from keel.adapters.replay.feed import ReplayFeed
from keel.core.model.messages import Bar, Fill, Halt, Resume
from keel.runners.backtest.outcome import message_hash
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from tests.builders import START, listen
from tests.runners.backtest.every_instant import replay_every_instant
from tests.runners.backtest.replay_worlds import world

Loop = Callable[[ReplayFeed, Any], int]
QUICK, ALL = (0, 2, 4, 7, 9, 11, 12, 14, 15, 18), 150
"""The quick ones hold together all that worlds are for."""


def outcome(seed: int, loop: Loop, change: Callable[[BacktestParts], None] | None = None) -> dict[str, Any]:
    """All that a run leaves behind."""
    parts = wire_backtest(world(seed), "w")
    _interrupted(parts, seed)
    if change is not None:
        change(parts)
    bars = loop(parts.feed, parts.engine, parts.venue)
    portfolio, venue = parts.portfolio, parts.venue
    return {
        "bars": bars,
        "clock": parts.engine.clock.now_ms,
        "hash": message_hash(parts.messages, np.frombuffer(portfolio.equity_values, dtype=np.float64)),
        "messages": parts.messages,
        "halts": parts.halts,
        "account": portfolio.state(),
        "risk": parts.risk.state(),
        "fills": len(venue.fills),
        "liquidations": venue.liquidations,
        "stop": venue.stop_reason,
        "positions": {symbol: log for symbol, log in venue.position_log.items() if log},
        "metrics": {name: getattr(venue.metrics, name) for name in type(venue.metrics).__slots__},
    }


def _interrupted(parts: BacktestParts, seed: int) -> None:
    """In some worlds somebody halts trading after a fill, with or without closing what is open, and lets it go on after another."""
    rng, bus = np.random.default_rng(seed + 1), parts.engine.bus
    if rng.random() > 0.4:
        return
    draws = iter(rng.random((100_000, 2)).tolist())

    def on_fill(fill: Fill) -> None:
        chance, kind = next(draws)
        if chance < 0.15:
            bus.publish(Resume(fill.ts, "test") if kind < 0.5 else Halt(fill.ts, "test", kind > 0.75))

    bus.subscribe(Fill, on_fill)


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key, value in expected.items():
        assert found[key] == value, key


@pytest.mark.parametrize("seed", [seed if seed in QUICK else pytest.param(seed, marks=pytest.mark.long) for seed in range(ALL)])
def test_from_event_to_event_as_through_every_instant(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks and indices of their own, holes, coarser bars that differ, brackets, limits near and far, halts, liquidations, spot, cross."""
    expected = outcome(seed, replay_every_instant)
    same(outcome(seed, replay), expected)
    monkeypatch.setattr(keel.runners.backtest.replay, "BLOCK", 1 + seed * 7 % 90)
    monkeypatch.setattr(keel.runners.backtest.track, "BLOCK_BITS", 1 + seed % 5)

    def in_small_chunks(parts: BacktestParts) -> None:
        parts.feed = ReplayFeed(parts.feed.histories, parts.feed.timeframe, start_ms=START, chunk_rows=20 + seed * 13 % 400)

    same(outcome(seed, replay, in_small_chunks), expected)


@pytest.mark.parametrize("seed", [seed if seed in QUICK else pytest.param(seed, marks=pytest.mark.long) for seed in range(0, 24, 3)])
def test_whoever_listens_changes_nothing(seed: int) -> None:
    """Whoever wants to hear bars or marks makes every bar one that is told: the engine takes whole instants then."""
    expected = outcome(seed, replay)
    heard: list[Any] = []
    same(outcome(seed, replay, lambda parts: listen(parts.engine.bus, heard.append)), expected)
    told = sum(isinstance(message, Bar) for message in heard)
    same(outcome(seed, replay, lambda parts: parts.engine.bus.subscribe(Bar, heard.append)), expected)
    assert told >= expected["bars"] > 0 and len(heard) >= told + expected["bars"]


def test_the_worlds_hold_what_they_are_for() -> None:
    """Among those that are always run: fills, liquidations, limits that are broken, halts, and an account that is blown."""
    found = [outcome(seed, replay) for seed in QUICK]
    reasons = {halt.reason for each in found for halt in each["halts"]}
    assert reasons == {"daily_loss_percent", "max_drawdown_percent", "test"}
    assert sum(each["fills"] for each in found) > 1000 and sum(bool(each["liquidations"]) for each in found) > 2
    assert any(each["stop"] is not None for each in found)
