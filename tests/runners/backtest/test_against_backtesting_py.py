"""keel beside backtesting.py, which is not ours: an EMA 20/50 crossover over the same bars and the same averages gives the same trades.

Flips by one order, filled at the next bar's open, 0.055 % taker, no slippage, quantity 1, leverage 1, equity far above the notional; what
is open at the end is left open by both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.crossover import MINUTE_MS, SLOW, START_MS, crossover_system, random_walk, run_peer
from keel.adapters.store import HistoricalDataStore
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.model.trade import Trade
from keel.core.results.result import BacktestResult
from keel.core.system.config import SystemConfig
from keel.runners.backtest.engine import run_prepared
from keel.runners.backtest.preparation import prepare
from keel.runners.user_code import load_function
from keel.strategies.ema_cross import EmaCross


def system(timeframe: str) -> SystemConfig:
    """The benchmark's system with just the warm-up that gives both averages a value at every bar of the window."""
    return msgspec.structs.replace(crossover_system(timeframe), warmup_bars=SLOW)


def both(store: HistoricalDataStore, system: SystemConfig, window: TimeRange) -> tuple[BacktestResult, Any, int]:
    """keel's result, the peer's statistics over the same bars and averages, and the time of its bar 0.

    The peer never decides on its first bar, keel does: so the peer gets one bar more at the front, the last of keel's warm-up.
    """
    prepared = prepare(store, system, window, EmaCross(), system.params, load_function=load_function)
    frame = prepared.columns[0].decision[prepared.columns[0].first - 1 :]
    columns = {name: np.array(column) for name, column in frame.to_dict().items()}
    return run_prepared(prepared), run_peer(columns, columns["ema_fast"], columns["ema_slow"]), int(frame.ts[0])


def assert_agreement(result: BacktestResult, peer: Any, first: int, timeframe: str) -> None:
    """Equal numbers of closed trades; each entry and exit bar and price equal; equity within what rounding fees to 1e-8 can make."""
    ours = [
        (_bar(t.entry_ts, first, timeframe), _bar(t.exit_ts, first, timeframe), t.entry_price, t.exit_price, _size(t))
        for t in result.trades
    ]
    theirs = peer["_trades"].sort_values(["ExitBar", "EntryBar"])
    assert len(ours) == len(theirs) == peer["# Trades"]
    columns = (theirs[name].tolist() for name in ("EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "Size"))
    assert ours == list(zip(*columns, strict=True))
    assert len(result.open_trades) == 1
    assert len(result.fills) == len(ours) + 1  # one order for each flip
    allowed = 1e-8 * len(result.fills)
    equity = result.equity_curve["equity"][1:]
    assert abs(equity[-1] - peer["Equity Final [$]"]) <= allowed
    assert np.abs(equity - peer["_equity_curve"]["Equity"].to_numpy()[1:]).max() <= allowed
    assert result["final_equity"] == pytest.approx(equity[-1], abs=allowed, rel=0)


def _bar(ts: int | None, first: int, timeframe: str) -> int:
    assert ts is not None
    number, rest = divmod(ts - first, tf_ms(timeframe))
    assert rest == 0  # at the open
    return number


def _size(trade: Trade) -> int:
    assert trade.qty == 1.0
    return 1 if trade.side == "LONG" else -1


def test_on_a_random_walk() -> None:
    rows = 20_000
    with HistoricalDataStore(":memory:") as store:
        store.upsert_bars("BTCUSDT", "1m", random_walk(rows, seed=11), source="test")
        window = TimeRange(START_MS + SLOW * MINUTE_MS, START_MS + rows * MINUTE_MS)
        result, peer, first = both(store, system("1m"), window)
    assert len(result.trades) > 200
    assert_agreement(result, peer, first, "1m")


@pytest.mark.real_data
@pytest.mark.long
def test_on_nine_months_of_real_bars(real_data: Path) -> None:
    """BTCUSDT 5m, 2025-01 to 2025-09: gaps of price between bars and a changing volatility, as they were."""
    file = real_data / "bybit" / "linear" / "kline_5m" / "BTCUSDT.parquet"
    with HistoricalDataStore(":memory:") as store:
        store.import_file(file)
        frame = store.get_ohlcv("BTCUSDT", "5m")
        result, peer, first = both(store, system("5m"), TimeRange(int(frame.ts[SLOW]), int(frame.ts[-1]) + tf_ms("5m")))
    assert len(frame) > 70_000
    assert_agreement(result, peer, first, "5m")
