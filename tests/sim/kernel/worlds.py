"""Random markets, systems and decisions as prepared runs, without a store: what the kernel and the actors are held together over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from keel.adapters.replay.history import FundingColumns, PriceColumns, SymbolHistory
from keel.core.model.frame import Frame
from keel.core.model.instrument import Grid, Instrument, build_tiers, generic_tiers
from keel.core.model.money import UNIT, to_units
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.risk.exits import atr_feature, volatility_feature
from keel.core.system.config import ConstantFunding, Distance, ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.preparation import Prepared, SymbolColumns
from keel.strategies.base import HOLD, VectorStrategy
from tests.builders import START, perpetual

GRIDS = (("0.1", "0.001", 50_000.0), ("0.01", "0.01", 2_500.0), ("5", "0.001", 60_000.0), ("0.0001", "1", 0.8), ("0.5", "10", 90.0),
         ("0.00001", "100", 0.02), ("1", "0.1", 300.0), ("0.000001", "0.1", 0.0127))  # fmt: skip
"""Tick, step, price."""


class Given(VectorStrategy):
    """Decides by an array that is there already."""


@dataclass(frozen=True)
class Market:
    """What the prices are drawn by. Volatility, gaps and the mark's distance in bps of the price."""

    seed: int
    rows: int
    grid: int
    volatility: float
    gap: float
    drift: float
    timeframes: tuple[str, str]
    mark: str
    index: bool
    funding: str
    holes: bool
    first: int


markets = st.builds(
    Market,
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(20, 220),
    grid=st.integers(0, len(GRIDS) - 1),
    volatility=st.sampled_from([3.0, 30.0, 120.0, 400.0]),
    gap=st.sampled_from([0.0, 0.0, 20.0, 300.0]),
    drift=st.sampled_from([0.0, 0.0, 40.0, -40.0]),
    timeframes=st.sampled_from([("1h", "1h"), ("5m", "5m"), ("1h", "15m"), ("15m", "5m"), ("4h", "1h"), ("1d", "4h"), ("1w", "1d")]),
    mark=st.sampled_from(["", "", "near", "far", "still"]),
    index=st.booleans(),
    funding=st.sampled_from(["", "aligned", "aligned", "odd", "often"]),
    holes=st.booleans(),
    first=st.integers(0, 2),
)

distances = st.one_of(
    st.none(),
    st.builds(Distance, percent=st.sampled_from([0.05, 0.4, 1.0, 3.0, 12.0, 60.0])),
    st.builds(Distance, atr=st.sampled_from([0.3, 1.5, 4.0]), period=st.sampled_from([7, 14])),
)
trailings = st.one_of(
    distances,
    st.builds(Distance, percent=st.sampled_from([0.1, 0.7, 2.0]), activate_percent=st.sampled_from([0.2, 1.0, 30.0, 99.9])),
    st.builds(Distance, atr=st.sampled_from([0.5, 2.0]), period=st.just(7), activate_percent=st.sampled_from([0.5, 2.0])),
)
exits = st.one_of(
    st.none(),
    st.builds(
        ExitsConfig,
        stop_loss=distances,
        take_profit=distances,
        trailing=trailings,
        max_bars=st.sampled_from([None, None, 1, 3, 20]),
        trigger=st.sampled_from(["last", "last", "mark", "index"]),
    ),
)
sizings = st.one_of(
    st.builds(SizingConfig, model=st.just("percent_equity"), percent=st.sampled_from([33.3, 95.0, 1.0, 100.0, 400.0, 5_000.0])),
    st.builds(SizingConfig, model=st.just("percent_equity"), percent=st.sampled_from([20.0, 90.0, 300.0, 2_000.0])),
    st.builds(SizingConfig, model=st.just("fixed_usd"), usd=st.sampled_from([250.0, 900.0, 9_999.99, 3.0, 1e6])),
    st.builds(SizingConfig, model=st.just("fixed_qty"), qty=st.sampled_from([0.5, 20.0, 0.0004, 12_345.6])),
    st.builds(
        SizingConfig,
        model=st.just("risk_per_trade"),
        percent=st.sampled_from([0.5, 2.0, 20.0]),
        stop_atr=st.sampled_from([None, 1.0, 2.5]),
        atr_period=st.sampled_from([7, 14]),
    ),
    st.builds(SizingConfig, model=st.just("inverse_vol"), budget_percent=st.sampled_from([0.5, 10.0, 100.0]), lookback_bars=st.just(96)),
)
risks = st.builds(
    RiskConfig,
    policy=st.sampled_from(["rules", "rules", "rules", "none"]),
    leverage=st.sampled_from([3.0, 1.0, 2.0, 7.5, 25.0, 33.3, 50.0, 100.0]),
    max_position_usd=st.sampled_from([None, None, 500.0, 30_000.0]),
    max_gross_usd=st.sampled_from([None, None, 800.0]),
    max_open_positions=st.sampled_from([None, 1, 2]),
    daily_loss_percent=st.sampled_from([None, None, 1.0, 8.0]),
    max_drawdown_percent=st.sampled_from([None, None, None, 3.0, 30.0, 100.0]),
    on_limit=st.sampled_from(["flatten", "hold"]),
    cooldown_bars=st.sampled_from([0, 0, 0, 1, 3]),
    price_collar_percent=st.sampled_from([None, 5.0]),
    margin_reserve_percent=st.sampled_from([0.0, 0.5, 20.0]),
)
executions = st.builds(
    ExecutionConfig,
    half_spread_bps=st.sampled_from([0.0, 0.0, 0.5, 3.3]),
    slippage_bps=st.sampled_from([0.0, 1.0, 2.5, 60.0]),
    path=st.sampled_from(["ohlc", "pessimistic"]),
    limit_fill=st.sampled_from(["through", "touch"]),
    taker_fee=st.sampled_from([None, None, 0.0, 0.00033, 0.01, -0.0001]),
)
equities = st.sampled_from([10_000.0, 1_000.0, 3_333.33, 250_000.0, 60.0, 4.0, 90_000_000.0, 1e9])


@st.composite
def worlds(draw: st.DrawFn) -> Prepared:
    """A prepared run of any of these."""
    market = draw(markets)
    instrument = _instrument(market, draw)
    system = SystemConfig(
        system="random", strategy="given", symbols=[instrument.symbol], timeframe=market.timeframes[0],
        execution_timeframe=market.timeframes[1], initial_equity=draw(equities), exits=draw(exits), sizing=draw(sizings), risk=draw(risks),
        execution=draw(executions),
    )  # fmt: skip
    return world(market, instrument, system, draw(st.sampled_from([0.05, 0.2, 0.6])))


def world(market: Market, instrument: Instrument, system: SystemConfig, change: float) -> Prepared:
    """The prepared run of a market. change: how often the target changes."""
    generator = np.random.default_rng(market.seed)
    decision_tf, execution_tf = market.timeframes
    parts = tf_ms(decision_tf) // tf_ms(execution_tf)
    decisions = max(2, market.rows // parts) + market.first
    start = START - market.first * tf_ms(decision_tf)
    fine = _bars(generator, market, decisions * parts, instrument.price_grid)
    ts = start + tf_ms(execution_tf) * np.arange(decisions * parts, dtype=np.int64)
    coarse = {
        "open": fine["open"].reshape(-1, parts)[:, 0], "high": fine["high"].reshape(-1, parts).max(axis=1),
        "low": fine["low"].reshape(-1, parts).min(axis=1), "close": fine["close"].reshape(-1, parts)[:, -1],
    }  # fmt: skip
    decision_ts = ts[::parts]
    in_window = ts >= START
    kept = np.ones(len(ts), dtype=bool)
    kept_decisions = np.ones(decisions, dtype=bool)
    if market.holes:
        if parts == 1:
            kept = kept_decisions = generator.random(len(ts)) > 0.08
        else:
            kept = (generator.random(len(ts)) > 0.05) | (np.arange(len(ts)) % parts == parts - 1)
    kept[-1] = kept_decisions[-1] = True
    execution = _frame(ts, fine, in_window & kept, execution_tf, instrument.symbol)
    features = _features(generator, decisions, coarse["close"])
    decision = _frame(decision_ts, {**coarse, **features}, kept_decisions, decision_tf, instrument.symbol)
    first = int(np.searchsorted(decision.ts, START))
    targets = _targets(generator, len(decision), change)
    history = SymbolHistory(instrument, execution, decision)
    mark = _beside(generator, execution, market.mark) if market.mark else None
    history.mark = mark
    history.index = _beside(generator, execution, "near") if market.index else None
    history.funding = _funding(generator, market, execution, mark)
    columns = SymbolColumns(decision, tuple(features), {}, targets, first)
    window = TimeRange(START, int(execution.ts[-1]) + tf_ms(execution_tf))
    return Prepared(system, window, Given(), {}, [history], [columns], {decision_tf: first})


def _instrument(market: Market, draw: st.DrawFn) -> Instrument:
    tick, step, _ = GRIDS[market.grid]
    tiers = draw(st.sampled_from([generic_tiers(), build_tiers(_SMALL_TIERS)]))
    return perpetual(
        "XUSDT", tick, step, min_qty=float(step) * draw(st.sampled_from([1, 5])), min_notional=draw(st.sampled_from([0, to_units("5")])),
        max_market_qty=draw(st.sampled_from([1e7, 1e9, 1e9, float(step) * 40])), tiers=tiers,
    )  # fmt: skip


_SMALL_TIERS = [
    (to_units("900"), to_units("0.004"), 100 * UNIT), (to_units("6000"), to_units("0.01"), 100 * UNIT),
    (to_units("40000"), to_units("0.03"), 20 * UNIT), (to_units("3000000"), to_units("0.1"), 5 * UNIT),
]  # fmt: skip


def _bars(generator: np.random.Generator, market: Market, rows: int, grid: Grid) -> dict[str, np.ndarray]:
    price = GRIDS[market.grid][2]
    moves = (generator.standard_normal(rows) * market.volatility + market.drift) / 1e4
    jumps = generator.standard_normal(rows) * market.gap / 1e4 * (generator.random(rows) < 0.3)
    closes = price * np.exp(np.cumsum(moves + jumps))
    opens = np.concatenate([[price], closes[:-1]]) * np.exp(jumps)
    wicks = np.abs(generator.standard_normal((2, rows))) * market.volatility / 1e4
    wicks *= generator.random((2, rows)) < 0.7
    highs, lows = np.maximum(opens, closes) * (1 + wicks[0]), np.minimum(opens, closes) * (1 - np.minimum(wicks[1], 0.9))
    columns = {"open": opens, "high": highs, "low": lows, "close": closes}
    return {name: _on_grid(column, grid) for name, column in columns.items()} | {"volume": np.full(rows, 1000.0)}


def _on_grid(prices: np.ndarray, grid: Grid) -> np.ndarray:
    counts = np.maximum(1, np.rint(prices * grid.den / grid.num))
    return counts * grid.num / grid.den


def _beside(generator: np.random.Generator, execution: Frame, how: str) -> PriceColumns:
    """A series near the last price, off its grid; ``far`` strays by percents, ``still`` stays where it began whatever last does."""
    if how == "still":
        same = np.full(len(execution), float(execution["open"][0]))
        return PriceColumns(same, same.copy(), same.copy(), same.copy(), same.copy(), len(execution), 0, "mark")
    size = 2e-4 if how == "near" else 2e-2
    basis = 1 + size * np.cumsum(generator.standard_normal(len(execution))) / 10
    opens, closes = execution["open"] * basis, execution["close"] * basis
    highs = np.maximum(np.maximum(opens, closes), execution["high"] * basis * (1 - size * generator.random(len(execution))))
    lows = np.minimum(np.minimum(opens, closes), execution["low"] * basis * (1 + size * generator.random(len(execution))))
    return PriceColumns(opens, highs, lows, closes, closes.copy(), len(execution), 0, "mark")


def _funding(generator: np.random.Generator, market: Market, execution: Frame, mark: PriceColumns | None) -> FundingColumns | None:
    if not market.funding:
        return None
    bar = tf_ms(execution.timeframe)
    every = {"aligned": 8 * bar, "odd": 5 * bar + bar // 3 + 7, "often": bar // 2}[market.funding]
    stamps = np.arange(int(execution.ts[0]) - every, int(execution.ts[-1]) + 2 * bar, every, dtype=np.int64)
    rates = np.round(generator.standard_normal(len(stamps)) * generator.choice([1e-4, 1e-2]), 8)
    prices = execution["close"] if mark is None else mark.close
    rows = np.clip(np.searchsorted(execution.ts, stamps), 0, len(execution) - 1)
    return FundingColumns(stamps, rates, prices[rows] * (1 + 1e-3 * generator.standard_normal(len(stamps))), "history")


def _features(generator: np.random.Generator, rows: int, closes: np.ndarray) -> dict[str, np.ndarray]:
    """Distances and volatility as a run might have them, with some that are not known."""
    columns = {}
    for name, size in ((atr_feature(7), closes * 0.01), (atr_feature(14), closes * 0.03), (volatility_feature(96), np.full(rows, 0.02))):
        column = size * np.abs(generator.standard_normal(rows))
        column[generator.random(rows) < 0.05] = np.nan
        columns[name] = column
    return columns


def _targets(generator: np.random.Generator, rows: int, change: float) -> np.ndarray:
    """Targets that stay for a while; with some HOLD among them."""
    drawn = generator.choice([1, -1, 0, HOLD], size=rows, p=[0.35, 0.35, 0.2, 0.1])
    fresh = generator.random(rows) < change
    fresh[0] = True
    return drawn[np.maximum.accumulate(np.where(fresh, np.arange(rows), 0))].astype(np.int8)


def _frame(ts: np.ndarray, columns: Mapping[str, np.ndarray], kept: np.ndarray, timeframe: str, symbol: str) -> Frame:
    full: dict[str, Any] = {"volume": np.full(len(ts), 1000.0), **columns}
    return Frame(ts[kept], {name: column[kept] for name, column in full.items()}, symbol=symbol, timeframe=timeframe)


CONSTANT = ConstantFunding(constant=0.0001)
