"""The same bars, once through a backtest and once through a session over the wire: the same orders, fills, fees, funding and balance.

Built-in systems one by one, and over a real month: test_wire_parity.py.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.core.model.messages import Fill, FundingPayment, Message, SubmitOrder
from keel.core.system.config import SystemConfig, for_epoch
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.strategies.base import BaseStrategy
from tests.builders import DAY, START, SharedStore, add_series, builtin, coarser, made_ready, sample
from tests.runners.live.conftest import Ran, plain_of, plan_of, run_session, stored_sandbox

KINDS = (SubmitOrder, Fill, FundingPayment)
FROM, TO = START + 20 * DAY, START + 22 * DAY


def both(
    store: HistoricalDataStore, system: SystemConfig, strategy: type[BaseStrategy], span: tuple[int, int], folder: Path, **sandbox_has: Any
) -> tuple[BacktestParts, Ran, Any]:
    """A backtest, the session over the same bars, and what the sandbox (with these settings) knows at its end."""
    prepared = made_ready(store, system, *span, strategy())
    parts = wire_backtest(prepared, "bt")
    replay(parts.feed, parts.engine, parts.venue)
    with stored_sandbox(store, system, *span, **sandbox_has) as sandbox:
        ran = run_session(plan_of(system, strategy, store, sandbox.url, folder))
        truth = sandbox.truth()
    return parts, ran, truth


def check_same(parts: BacktestParts, ran: Ran, truth: Any, *, trails: bool = False) -> None:
    """To the last unit. trails: exits are set anew after the fill, which gives them other names, and orders other numbers."""

    def rows(messages: list[Message]) -> list[dict[str, Any]]:
        found = [plain_of(message) for message in messages if isinstance(message, KINDS)]
        return [{name: value for name, value in row.items() if name != "client_order_id"} for row in found] if trails else found

    assert ran.ending.failure is None
    for kind in KINDS:
        there = rows([message for message in parts.messages if isinstance(message, kind)])
        here = rows(ran.of(kind))
        assert here == there, kind.__name__
    portfolio = ran.live.books.portfolio
    assert portfolio.cash == parts.portfolio.cash == truth["wallet_units"]["USDT"]
    assert (portfolio.fees, portfolio.funding) == (parts.portfolio.fees, parts.portfolio.funding)
    assert portfolio.equity_values == parts.portfolio.equity_values
    assert ran.ending.differences == [] and truth["problems"] == []


SYSTEMS = [
    ("ema_cross", ()),
    ("rsi_reversion", ("params.oversold=35", "params.overbought=65")),
    ("momentum", ("params.threshold=1",)),
    ("hold", ()),
    ("atr_breakout", ("warmup_bars=60",)),
    ("ema_cross", ("exits={stop_loss: {percent: 0.5}, take_profit: {percent: 1}}", "timeframe=30m")),
]


@cache
def marked_store(days: int = 40, symbols: tuple[str, ...] = ("BTCUSDT",)) -> HistoricalDataStore:
    """Five-minute bars and funding of the sample, without marks of their own: the wire has fewer digits than an invented mark. It is
    shared, and only read."""
    with SharedStore(":memory:") as store:
        return filled(store, days, symbols)


def filled(store: HistoricalDataStore, days: int = 40, symbols: tuple[str, ...] = ("BTCUSDT",)) -> HistoricalDataStore:
    """The same written into a store."""
    for symbol, made in sample(symbols, days).series.items():
        add_series(store, coarser(made.last, 5), symbol, "5m", made.instrument)
        store.upsert_funding(symbol, made.funding, source="test")
    return store


@pytest.mark.long
def test_marks_that_are_known_by_the_hour_value_the_account_alike(journals: Path) -> None:
    """Bars of 5m, marks of 1h: at the hour the mark that was stored, in between last x basis, which the wire rounds to the tick."""
    system, strategy = builtin("hold", "warmup_bars=100")
    with filled(HistoricalDataStore(":memory:")) as store:
        hours = store.find("BTCUSDT", "1h", START, START + 40 * DAY)
        assert hours is not None
        marks = {name: np.round(hours[name] * 1.0013, 1) for name in ("open", "high", "low", "close")}
        store.upsert_bars("BTCUSDT", "1h", {"ts": hours.ts, **marks, "volume": np.zeros(len(hours))}, source="test", kind="mark")
        parts, ran, truth = both(store, system, strategy, (FROM, TO), journals)
    assert ran.ending.agrees and truth["problems"] == []
    there, here = np.array(parts.portfolio.equity_values), np.array(ran.live.books.portfolio.equity_values)
    held = max(fill.qty for fill in ran.of(Fill))
    assert np.abs(there - here).max() <= 0.05 * held + 1e-6  # half a tick
    assert np.abs(there - here)[11::12].max() <= 1e-6  # the hours


def on_demo(name: str, *overrides: str) -> tuple[SystemConfig, type[BaseStrategy]]:
    """The system as its demo epoch runs it: under cross margin, though it asks for isolated margin elsewhere."""
    system, strategy = builtin(name, "demo.margin_mode=cross", *overrides)
    assert system.risk.margin_mode == "isolated"
    return for_epoch(system, "demo"), strategy


def test_two_symbols_on_one_margin_balance_decide_as_the_backtest(journals: Path) -> None:
    """100x and orders of 45 times the equity, over the demo profile: what is free for one symbol the other's mark decides."""
    symbols, sizing = ("BTCUSDT", "ETHUSDT"), "sizing={model: percent_equity, percent: 4500}"
    system, strategy = on_demo(
        "momentum", "warmup_bars=100", "symbols=[BTCUSDT, ETHUSDT]", "params.threshold=0.5", "risk.leverage=100",
        "risk.margin_reserve_percent=5", sizing,
    )  # fmt: skip
    with marked_store(symbols=symbols) as store:
        parts, ran, truth = both(store, system, strategy, (FROM, TO), journals, profile="demo")
    check_same(parts, ran, truth)
    assert len(parts.venue.fills) > 4 and truth["margin_mode"] == "cross" and truth["ledger"]["USDT"]["position_margin"] == 0


@pytest.mark.long
@pytest.mark.parametrize(("name", "overrides"), SYSTEMS)
def test_a_demo_session_decides_as_the_backtest_of_its_epoch(name: str, overrides: tuple[str, ...], journals: Path) -> None:
    system, strategy = on_demo(
        name, "risk.leverage=5", *(() if any("warmup" in each for each in overrides) else ("warmup_bars=100",)), *overrides
    )
    with marked_store() as store:
        parts, ran, truth = both(store, system, strategy, (FROM, TO), journals, profile="demo")
    check_same(parts, ran, truth, trails=name == "atr_breakout")
    assert parts.venue.fills
