"""Several symbols in one account: limits over all of them, margins apart, one order of things, and the quick way through the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.messages import Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig
from keel.runners.backtest.outcome import message_hash
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.strategies.base import BaseStrategy
from tests.builders import DAY, HOUR, START, add_series, builtin, listen, made_ready, perpetual, plain_system, run, sample_store

THREE = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
FROM, TO = START + 15 * DAY, START + 30 * DAY


def outcome(parts: BacktestParts) -> tuple[str, int]:
    replay(parts.feed, parts.engine, parts.venue)
    return message_hash(parts.messages, np.frombuffer(parts.portfolio.equity_values, dtype=np.float64)), len(parts.venue.fills)


SYSTEMS = [
    ("ema_cross", ("params={fast: 3, slow: 8}", "execution_timeframe=5m")),
    ("ema_cross", ("params={fast: 3, slow: 8}", "execution_timeframe=1h")),
    ("rsi_reversion", ("params={period: 5, oversold: 35, exit_level: 50, overbought: 65}", "exits.max_bars=5")),
    ("atr_breakout", ("params.breakout_atr=0.5", "execution={max_volume_share: 0.0005, half_spread_bps: 2, impact: {coefficient: 0.2}}")),
    ("momentum", ("params={momentum_period: 3, threshold: 0.2}", "risk={leverage: 10, daily_loss_percent: 1, max_gross_usd: 9000}")),
]


@pytest.mark.parametrize(("name", "overrides"), SYSTEMS)
@pytest.mark.parametrize("marks", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_quick_way_gives_the_same_messages_as_the_bus(name: str, overrides: tuple[str, ...], marks: bool) -> None:
    """Where somebody listens, every message is told; where nobody does, most bars are not made. Both give the same, to the last bit."""
    system, strategy = builtin(name, "warmup_bars=80", f"symbols=[{', '.join(THREE)}]", *overrides)
    with sample_store(THREE, 32) as stored:
        store = stored if marks else without_marks(stored)
        ready = made_ready(store, system, FROM, TO, strategy())
        quick = outcome(wire_backtest(ready, "t"))
        parts = wire_backtest(replace(ready, strategy=strategy()), "t")
        heard: list[Any] = []
        listen(parts.engine.bus, heard.append)
        assert outcome(parts) == quick and quick[1] > 20
    assert len(heard) > 3 * 15 * 24


def without_marks(store: HistoricalDataStore) -> HistoricalDataStore:
    """The same last prices and funding alone."""
    plain = HistoricalDataStore(":memory:")
    for symbol in THREE:
        plain.upsert_instrument(store.instrument(symbol))
        plain.upsert_bars(symbol, "5m", store.get_ohlcv(symbol, "5m").to_dict(), source="test")
        plain.upsert_funding(symbol, store.get_funding_rates(symbol).to_dict(), source="test")
    return plain


class AllAtOnce(BaseStrategy):
    """Long in every symbol at the first hour, flat at the third."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        hour = (snapshot.ts_close - START) // HOUR
        return Signal(snapshot.symbol, "LONG" if hour == 1 else "FLAT") if hour in (1, 3) else None


def flat(*symbols: str) -> HistoricalDataStore:
    """Six hours at 100 of each."""
    store = HistoricalDataStore(":memory:")
    for symbol in symbols:
        add_series(store, [(100.0, 100.0, 100.0, 100.0)] * 6, symbol)
    return store


LIMITS: list[tuple[dict[str, Any], list[float]]] = [
    # quantity 40 each is 4,000 of 10,000; limits take the symbols in the order of the system
    ({}, [40.0, 40.0, 20.0]),  # the account's own margin is the limit at leverage 1 (no reserve)
    ({"leverage": 3.0}, [40.0, 40.0, 40.0]),
    ({"leverage": 3.0, "max_gross_usd": 10_000.0}, [40.0, 40.0, 20.0]),
    ({"leverage": 3.0, "max_gross_usd": 4_000.0}, [40.0]),
    ({"leverage": 3.0, "max_open_positions": 2}, [40.0, 40.0]),
    ({"leverage": 3.0, "max_position_usd": 1_000.0}, [10.0, 10.0, 10.0]),
]


@pytest.mark.parametrize(("limits", "bought"), LIMITS)
@pytest.mark.parametrize("symbols", [THREE, THREE[::-1]])
def test_limits_over_all_symbols(limits: dict[str, Any], bought: list[float], symbols: tuple[str, ...]) -> None:
    """Entries of one instant share the room, first come, first served: what is in flight counts."""
    system = plain_system(
        *symbols,
        sizing=SizingConfig(model="fixed_qty", qty=40.0),
        risk=RiskConfig(policy="rules", margin_reserve_percent=0.0, **limits),
        execution=ExecutionConfig(slippage_bps=0.0, funding="none", taker_fee=0.0),
    )
    plain = {symbol: perpetual(symbol, taker_fee=0) for symbol in symbols}
    store = HistoricalDataStore(":memory:")
    for symbol in symbols:
        add_series(store, [(100.0, 100.0, 100.0, 100.0)] * 6, symbol, instrument=plain[symbol])
    with store:
        result = run(store, system, START, START + 6 * HOUR, AllAtOnce())
    entries = [fill for fill in result.fills if fill.side == "BUY"]
    assert [(fill.symbol, fill.qty) for fill in entries] == list(zip(symbols, bought, strict=False))
    assert result.equity_curve["gross_notional"].max() == sum(bought) * 100.0
    assert len(result.trades) == len(bought)


def test_margin_is_isolated_by_symbol() -> None:
    """At leverage 10 BTC falls by 15 % and is taken over; ETH, of the same size, and the rest of the cash are not touched."""
    store = HistoricalDataStore(":memory:")
    add_series(store, [(100, 100, 100, 100), (100, 100, 100, 100), (100, 100, 85, 85), (85, 85, 85, 85)], "BTCUSDT")
    add_series(store, [(100.0, 100.0, 100.0, 100.0)] * 4, "ETHUSDT")
    system = plain_system(
        "BTCUSDT", "ETHUSDT", sizing=SizingConfig(model="fixed_usd", usd=5_000.0), risk=RiskConfig(policy="none", leverage=10)
    )

    class Stay(AllAtOnce):
        def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
            return Signal(snapshot.symbol, "LONG") if (snapshot.ts_close - START) // HOUR == 1 else None

    with store:
        result = run(store, system, START, START + 4 * HOUR, Stay())
    assert [event.symbol for event in result.liquidations] == ["BTCUSDT"]
    assert [trade.symbol for trade in result.open_trades] == ["ETHUSDT"]
    assert 9_490 < result["final_equity"] < 9_510  # the margin of one: 5,000 / 10
    assert result.reconciliation.difference == 0
