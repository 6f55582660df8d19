"""Whole runs under cross margin: they add up, the portfolio agrees with the ledger, and a system file may ask for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.core.model.messages import Bar
from keel.runners.backtest.engine import run_prepared
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from tests.builders import builtin, made_ready, run, sample_store

PAIR = ("BTCUSDT", "ETHUSDT")
FROM, TO = "2024-01-08", "2024-02-05"
FAST = ("symbols=[BTCUSDT, ETHUSDT]", "warmup_bars=80", "params={fast: 3, slow: 8}", "execution_timeframe=5m")


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("risk.leverage=5", "sizing.percent=150"), id="both within the account"),
        pytest.param(("risk={policy: none, leverage: 50, margin_mode: cross}", "sizing.percent=2000"), id="until it is liquidated"),
        pytest.param(
            ("risk.leverage=10", "sizing.percent=400", "exits.stop_loss.percent=1", "execution.path=pessimistic"), id="with stops"
        ),
    ],
)
def test_a_run_of_two_symbols_adds_up(overrides: tuple[str, ...]) -> None:
    """A difference of one unit between ledger, portfolio and fills would have raised."""
    system, strategy = builtin("ema_cross", *FAST, *overrides, "risk.margin_mode=cross")
    with sample_store(PAIR) as store:
        result = run(store, system, FROM, TO, strategy())
    assert result.reconciliation.difference == 0
    assert {fill.symbol for fill in result.fills} == set(PAIR)
    margin = result.equity_curve["margin"]
    assert (margin >= 0.0).all() and margin.max() > 0.0
    assert bool(result.liquidations) == ("policy: none" in overrides[0])
    assert result.reconciliation.final_balance >= 0 or result.open_trades


def test_cross_and_isolated_are_two_policies_and_one_strategy() -> None:
    """With money enough for both the fills are the same; the margin is not: cross counts it at each mark, isolated at the entry."""
    runs = {}
    with sample_store(PAIR) as store:
        for mode in ("isolated", "cross"):
            system, strategy = builtin("ema_cross", *FAST, "risk.leverage=5", "sizing.percent=50", f"risk.margin_mode={mode}")
            runs[mode] = run_prepared(made_ready(store, system, FROM, TO, strategy()))
    one, other = runs["isolated"], runs["cross"]
    assert one.fills == other.fills and np.array_equal(one.equity_curve["equity"], other.equity_curve["equity"])
    held = one.equity_curve["margin"] > 0.0
    assert held.any() and np.array_equal(held, other.equity_curve["margin"] > 0.0)
    assert np.allclose(one.equity_curve["margin"][held], other.equity_curve["margin"][held], rtol=0.05)


def test_skipped_bars_change_nothing_in_a_whole_run() -> None:
    """The loop of one symbol, that of several, and one that steps every bar of every symbol."""
    settings = (
        "warmup_bars=80",
        "params={fast: 3, slow: 8}",
        "sizing.percent=2000",
        "risk={policy: none, leverage: 50, margin_mode: cross}",
    )
    for symbols in (PAIR[:1], PAIR):
        with sample_store(symbols) as store:
            told = []
            for is_eager in (False, True):
                system, strategy = builtin("ema_cross", f"symbols=[{', '.join(symbols)}]", *settings)
                parts = wire_backtest(made_ready(store, system, FROM, "2024-01-20", strategy()), "t")
                if is_eager:
                    for book in parts.venue.books.values():
                        parts.engine.bus.subscribe(Bar, lambda bar, book=book: setattr(book, "wake_ts", -1), book.symbol)
                replay(parts.feed, parts.engine, parts.venue)
                told.append((parts.messages, list(parts.portfolio.equity_values), parts.venue.position_log))
        assert told[0] == told[1] and len(told[0][0]) > 20


def test_a_system_file_with_cross_margin_runs(home: Path, keel: Callable[..., Any]) -> None:
    (home / "systems").mkdir(exist_ok=True)
    (home / "systems" / "crossed.yaml").write_text(
        "system: crossed\nstrategy: ema_cross\nsymbols: [BTCUSDT]\ntimeframe: 1h\nexecution_timeframe: 5m\nwarmup_bars: 50\n"
        "params: {fast: 3, slow: 8}\nrisk: {leverage: 5, margin_mode: cross}\ndemo: {margin_mode: cross}\n"
    )
    data = keel("backtest", "crossed", "--start", "2024-01-15", "--end", "2024-01-22", "--no-report", "--json").data
    assert data["metrics"]["total_trades"] > 0 and data["reconciliation"]["difference"] == "0"
    kept = json.loads((Path(data["artifacts"]) / "config.json").read_text())["config"]["system"]
    assert (kept["risk"]["margin_mode"], kept["demo"]) == ("cross", {"margin_mode": "cross"})
