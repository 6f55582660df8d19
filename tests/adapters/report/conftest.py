"""Results as a run would leave them, built from a seed: whole, empty, stopped, liquidated, of several symbols, with nothing known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from keel.core.metrics import METRICS, compute_backtest_metrics
from keel.core.model.frame import Frame
from keel.core.model.messages import Fill, Liquidation, Side
from keel.core.model.money import UNIT, to_float
from keel.core.model.time_range import TimeRange, to_ms
from keel.core.model.trade import Trade
from keel.core.results.result import BacktestResult, Reconciliation, StopReason
from keel.core.system.config import SystemConfig

START = to_ms("2024-01-01")
MINUTE = 60_000
INITIAL = 10_000 * UNIT
Build = Callable[..., BacktestResult]


def make_bars(symbol: str, count: int, *, seed: int, start_price: float) -> Frame:
    """A walk with calm and wild stretches, in bars of one minute."""
    draw = np.random.default_rng(seed)
    wildness = np.exp(np.repeat(draw.normal(0, 0.45, count // 1440 + 1), 1440)[:count])
    drift = np.repeat(draw.normal(0, 4e-6, count // 20_160 + 1), 20_160)[:count]
    close = start_price * np.exp(np.cumsum(drift + 6e-4 * wildness * draw.normal(size=count)))
    opening = np.concatenate(([start_price], close[:-1]))
    reach = 3e-4 * wildness * np.abs(draw.normal(size=(2, count)))
    high, low = np.maximum(opening, close) * (1 + reach[0]), np.minimum(opening, close) * (1 - reach[1])
    ts = START + MINUTE * np.arange(count, dtype=np.int64)
    columns = {"open": opening, "high": high, "low": low, "close": close, "volume": draw.lognormal(2, 1, count)}
    return Frame(ts, {name: np.round(column, 2) for name, column in columns.items()}, symbol=symbol, timeframe="1m")


def make_trades(bars: dict[str, Frame], count: int, *, seed: int) -> tuple[list[Trade], list[Fill]]:
    """Round trips one after another per symbol, some of them with foresight, so that there is something to see."""
    draw = np.random.default_rng(seed)
    made: list[Trade] = []
    for symbol, frame in bars.items():
        own = count // len(bars)
        places = np.sort(draw.choice(len(frame) - 1, 2 * own, replace=False)) if own else np.empty(0, dtype=np.int64)
        for entry, leave in places.reshape(-1, 2).tolist():
            leave = entry + max(1, int((leave - entry) * draw.uniform(0.1, 0.98)))
            made.append(make_trade(symbol, frame, entry, leave, long=bool(draw.random() < _chance(frame, entry, leave)), draw=draw))
    ordered = sorted(made, key=lambda trade: trade.entry_ts)
    numbered = [_numbered(trade, number) for number, trade in enumerate(ordered, 1)]
    return numbered, [fill for trade in numbered for fill in fills_of(trade)]


def _chance(frame: Frame, entry: int, leave: int) -> float:
    return 0.55 if frame["close"][leave] > frame["close"][entry] else 0.45


def make_trade(symbol: str, frame: Frame, entry: int, leave: int, *, long: bool, draw: np.random.Generator) -> Trade:
    first, last = float(frame["close"][entry]), float(frame["close"][leave])
    qty = round(2500.0 / first, 3)
    sign = 1 if long else -1
    notional, closing = round(qty * first * UNIT), round(qty * last * UNIT)
    return Trade(
        number=0,
        symbol=symbol,
        side="LONG" if long else "SHORT",
        entry_ts=int(frame.ts[entry]) + MINUTE,
        entry_price=first,
        qty=qty,
        entry_notional=notional,
        exit_ts=int(frame.ts[leave]) + MINUTE,
        exit_price=last,
        exit_notional=closing,
        gross_pnl=sign * (closing - notional),
        fees=-(-(notional + closing) * 2 // 10_000),
        funding=sign * int((leave - entry) / 480) * notional // 20_000,
        slippage=(notional + closing) // 20_000,
        fills=2,
        exit_reason=str(draw.choice(["signal", "stop_loss", "take_profit", "trailing"], p=[0.5, 0.25, 0.15, 0.1])),
        strategy="ema_cross",
    )


def _numbered(trade: Trade, number: int) -> Trade:
    return msgspec.structs.replace(trade, number=number)


def fills_of(trade: Trade) -> list[Fill]:
    buy: Side
    sell: Side
    buy, sell = ("BUY", "SELL") if trade.side == "LONG" else ("SELL", "BUY")
    common: dict[str, Any] = {"symbol": trade.symbol, "qty": trade.qty, "fee": trade.fees // 2, "maker": False}
    name, entry, leave = f"{trade.number}", trade.entry_price, trade.exit_price or 0.0
    first = Fill(f"{name}a", name, ts=trade.entry_ts, side=buy, price=entry, realized_pnl=0, reference=entry, **common)
    last = Fill(f"{name}b", name, ts=trade.exit_ts or 0, side=sell, price=leave, realized_pnl=trade.gross_pnl, reference=leave, **common)
    return [first, last]


def make_curve(bars: dict[str, Frame], trades: list[Trade]) -> Frame:
    """Equity at the start and at each close, with open trades at market."""
    frames = list(bars.values())
    count = len(frames[0])
    open_pnl, gross = np.zeros(count), np.zeros(count)
    settled = np.zeros(count)
    for trade in trades:
        close = bars[trade.symbol]["close"]
        first, last = (trade.entry_ts - START) // MINUTE - 1, ((trade.exit_ts or 0) - START) // MINUTE - 1
        sign = 1 if trade.side == "LONG" else -1
        open_pnl[first:last] += sign * trade.qty * (close[first:last] - trade.entry_price)
        gross[first:last] += trade.qty * close[first:last]
        settled[last] += to_float(trade.net_pnl)
    equity = to_float(INITIAL) + np.cumsum(settled) + open_pnl
    ts = np.concatenate(([START], frames[0].ts + MINUTE))
    columns = {"equity": equity, "equity_worst": equity - 0.0004 * gross, "gross_notional": gross, "margin": gross / 2.0}
    starts = {"equity": to_float(INITIAL), "equity_worst": to_float(INITIAL), "gross_notional": 0.0, "margin": 0.0}
    return Frame(ts, {name: np.concatenate(([starts[name]], column)) for name, column in columns.items()})


def make_result(series: dict[str, Frame], trades: list[Trade], fills: list[Fill], **more: Any) -> BacktestResult:
    symbols = list(series)
    count = len(series[symbols[0]])
    system = more.pop("system", None) or SystemConfig(
        system="ema_cross",
        strategy="ema_cross",
        symbols=symbols,
        timeframe="1h",
        execution_timeframe="1m",
        params={"fast": 20, "slow": 50},
        description="Long above, short below: two exponential averages of the hourly close, with a trailing stop.",
    )
    curve = make_curve(series, trades)
    metrics = compute_backtest_metrics(trades, curve, to_float(INITIAL))
    slippage, fees, funding = (sum(getattr(trade, name) for trade in trades) for name in ("slippage", "fees", "funding"))
    gross = sum(trade.gross_pnl for trade in trades) + slippage
    final = INITIAL + gross - slippage - fees - funding
    closes = series[symbols[0]]["close"]
    hold = Frame(curve.ts, {"equity": 10_000 * np.concatenate(([1.0], closes / closes[0]))})
    common: dict[str, Any] = {
        "system": system,
        "window": TimeRange(START, START + count * MINUTE),
        "metrics": dict(metrics),
        "metric_notes": dict(metrics.notes),
        "proof": None,
        "trades": trades,
        "open_trades": [],
        "fills": fills,
        "funding_payments": [],
        "liquidations": [],
        "equity_curve": curve,
        "reconciliation": Reconciliation(INITIAL, gross, slippage, fees, funding, 0, 0, final, final),
        "trust": make_trust(symbols, count),
        "timing": {"bars": count, "bars_per_s": 412_000.0},
        "bars": series,
        "benchmark": hold,
        "order_log": make_order_log(symbols[0]),
        "run_id": "run-4f1c09ab77d2",
        "system_uid": "9d41a6f02c7be813",
        "message_hash": "5b1e7c40",
    }
    return BacktestResult(**{**common, **more})


def make_trust(symbols: list[str], count: int) -> dict[str, Any]:
    facts = {"bars": count, "data_source": ["bybit"], "mark": "own series for all", "open_is_previous_close": 0.9871, "off_grid_prices": 0}
    return {
        "decision_timeframe": "1h",
        "execution_timeframe": "1m",
        "symbols": dict.fromkeys(symbols, facts),
        "open_is_previous_close": 0.9871,
        "ambiguous_bars": 7,
        "off_grid_prices": 0,
        "skipped_bars": 0,
        "liquidation": "full",
        "not_modelled": ["queue position", "the exchange's own outages", "synthetic orders"],
    }


def make_order_log(symbol: str) -> list[dict[str, Any]]:
    denied = [{"ts": START + i * 3_600_000, "symbol": symbol, "kind": "signal_denied", "reason": "cooldown"} for i in range(31)]
    return [*denied, {"ts": START + 900_000, "symbol": symbol, "status": "expired", "reason": "post-only order would have crossed"}]


@pytest.fixture(scope="session")
def year() -> BacktestResult:
    """A year of 1m bars of one symbol, about 800 trades."""
    bars = {"BTCUSDT": make_bars("BTCUSDT", 525_600, seed=5, start_price=42_000.0)}
    return make_result(bars, *make_trades(bars, 800, seed=7))


@pytest.fixture(scope="session")
def build() -> Build:
    """Forty days of two symbols; keyword arguments replace parts of the result."""
    prices = {"BTCUSDT": 42_000.0, "ETHUSDT": 2_300.0}

    def made(*, trade_count: int = 60, symbols: tuple[str, ...] = ("BTCUSDT",), days: float = 40, **more: Any) -> BacktestResult:
        bars = {s: make_bars(s, int(days * 1440), seed=i, start_price=prices[s]) for i, s in enumerate(symbols)}
        trades, fills = make_trades(bars, trade_count, seed=3)
        return make_result(bars, more.pop("trades", trades), more.pop("fills", fills), **more)

    return made


@pytest.fixture(scope="session")
def variants(build: Build) -> dict[str, BacktestResult]:
    """Every kind of end that a run may have, by name."""
    lost = Liquidation("BTCUSDT", START + 9_000_000, "SELL", 0.21, 39_800.5, 39_801.0, 39_610.0, 840 * UNIT, 12 * UNIT)
    blown = StopReason("account_blown", START + 20 * 1440 * MINUTE, "equity 1.20 USDT is below the smallest order of 5 USDT")
    nothing: dict[str, Any] = {"metrics": dict.fromkeys(METRICS), "metric_notes": dict.fromkeys(METRICS, "no bar was processed")}
    return {
        "no_trades": build(trade_count=0, order_log=[]),
        "stopped": build(stop_reason=blown, warnings=["stopped early: account blown at 2024-01-21 00:00 UTC; equity 1.20 USDT is below"]),
        "liquidated": build(
            liquidations=[lost], warnings=["liquidated: 1 position; 840.00 USDT of margin was lost"], trust={"mark": {"synthetic": 57_600}}
        ),
        "two_symbols": build(trade_count=300, symbols=("BTCUSDT", "ETHUSDT"), days=120),
        "nothing_known": build(trade_count=0, days=1 / 1440, benchmark=None, bars={}, fills=[], trust={}, **nothing),
    }
