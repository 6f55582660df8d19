"""Random accounts, markets and decisions out of a seed, as prepared runs: what the replay's loop and its witness are held together over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.adapters.replay.history import FundingColumns, PriceColumns, SymbolHistory
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import Frame
from keel.core.model.messages import Signal
from keel.core.model.money import UNIT, to_units
from keel.core.model.time_range import TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import Distance, ExecutionConfig, ExitsConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.preparation import Prepared, SymbolColumns
from keel.strategies.base import HOLD, BaseStrategy, VectorStrategy
from tests.builders import HOUR, START, perpetual, spot_pair

Rng = np.random.Generator
Floats = npt.NDArray[np.float64]
TIMEFRAMES = (("1h", "1h"), ("5m", "5m"), ("1h", "15m"), ("30m", "5m"), ("4h", "1h"))
"""Decision and execution."""


class Given(VectorStrategy):
    """Decides by an array that is there already."""


class Asked(BaseStrategy):
    """Is asked at every bar; its decisions follow from the seed, and from nothing that differs between two ways through one history."""

    def __init__(self, seed: int, often: float) -> None:
        self._rng, self._often = np.random.default_rng(seed), often

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        draw, price = self._rng.random(3), snapshot.bar_ltf.close
        if draw[0] > self._often:
            return None
        seen = snapshot.equity + snapshot.mark_price + snapshot.position.unrealized_pnl  # whatever it is shown must be the same
        direction = ("LONG", "SHORT", "FLAT")[int(draw[1] * 3)]
        size = round(seen / 4 * draw[2]) * 1.0 if draw[2] > 0.5 else 0.0
        limit = round(price * (0.999 if direction == "LONG" else 1.001), 1)
        more: dict[str, Any] = {"order_type": "limit", "limit_price": limit} if draw[2] < 0.2 else {}
        return Signal(snapshot.symbol, direction, size_usd=max(0.0, size), **more)  # type: ignore[arg-type]


def world(seed: int) -> Prepared:
    """A prepared run; the same seed gives the same one, with a strategy of its own."""
    rng = np.random.default_rng(seed)
    decision, execution = TIMEFRAMES[int(rng.integers(len(TIMEFRAMES)))]
    rows = int(rng.integers(60, 700)) * (tf_ms(decision) // tf_ms(execution))
    rows = min(rows, 1500) // (tf_ms(decision) // tf_ms(execution)) * (tf_ms(decision) // tf_ms(execution))
    symbols = [f"C{number:02d}USDT" for number in range(int(rng.choice((1, 1, 2, 3, 9))))]
    is_spot = rng.random() < 0.15
    is_told = rng.random() < 0.5
    with_holes = rng.random() < 0.4
    shape = (float(rng.choice((3.0, 20.0, 80.0))), float(rng.choice((0.0, 0.0, 200.0))))
    risk = _risk(rng, is_spot)
    least = to_units(str(int(9_500 * risk.leverage))) if rng.random() < 0.25 else 0  # the account is soon too small for any order
    histories = [_history(rng, symbol, decision, execution, rows, shape, is_spot, with_holes, least) for symbol in symbols]
    window = TimeRange(START, START + rows * tf_ms(execution))
    system = SystemConfig(
        system="world", strategy="world", symbols=symbols, category="spot" if is_spot else "linear", timeframe=decision,
        execution_timeframe=execution, warmup_bars=0, initial_equity=10_000.0, sizing=_sizing(rng, least), exits=_exits(rng),
        risk=risk, execution=_execution(rng, with_holes, is_spot),
    )  # fmt: skip
    strategy: BaseStrategy = Asked(seed, float(rng.choice((0.1, 0.4)))) if is_told else Given()
    columns = []
    for history in histories:
        targets = None if is_told else _targets(rng, len(history.decision))
        columns.append(SymbolColumns(history.decision, (), {tf: (frame, ()) for tf, frame in history.higher.items()}, targets, 0))
    return Prepared(system, window, strategy, {}, histories, columns, {decision: 0})


def _history(
    rng: Rng,
    symbol: str,
    decision: str,
    execution: str,
    rows: int,
    shape: tuple[float, float],
    is_spot: bool,
    with_holes: bool,
    least: int,
) -> SymbolHistory:
    volatility, gap = shape
    ticks = _walk(rng, rows, 1000.0, volatility, gap)
    prices = {name: np.round(column, 1) for name, column in ticks.items()}
    ts = START + np.arange(rows, dtype=np.int64) * tf_ms(execution)
    whole = Frame(ts, {**prices, "volume": np.round(rng.uniform(1, 90, rows), 3)}, symbol=symbol, timeframe=execution)
    own = np.ones(rows, dtype=bool)
    if with_holes and rng.random() < 0.7:
        for _ in range(int(rng.integers(1, 5))):
            first = int(rng.integers(0, rows - 1))
            own[first : first + int(rng.integers(1, 60))] = False
        own[-1 if rng.random() < 0.5 else 0] = True
    bars = Frame(ts[own], {name: whole[name][own] for name in whole}, symbol=symbol, timeframe=execution)
    coarse = bars if decision == execution else aggregate(whole if rng.random() < 0.5 else bars, decision)
    if decision != execution and rng.random() < 0.3:  # closes of its own: they hold until the next execution bar
        changed = coarse["close"] * np.where(rng.random(len(coarse)) < 0.2, 1.001, 1.0)
        coarse = Frame(coarse.ts, {**{name: coarse[name] for name in coarse}, "close": changed}, symbol=symbol, timeframe=decision)
    higher = {"1d": aggregate(whole, "1d")} if rng.random() < 0.3 and rows * tf_ms(execution) > 48 * HOUR else {}
    history = SymbolHistory((spot_pair if is_spot else perpetual)(symbol, min_notional=least), bars, coarse, higher)
    if not is_spot and rng.random() < 0.5:
        history.mark = _near(rng, bars, 0.002)
        if rng.random() < 0.5:
            history.index = _near(rng, bars, 0.004)
    if not is_spot:
        stamps = START + HOUR * np.arange(-8, rows * tf_ms(execution) // HOUR + 1, int(rng.choice((1, 8))), dtype=np.int64)
        history.funding = FundingColumns(stamps, rng.normal(0, 2e-4, len(stamps)), np.full(len(stamps), 1000.0), "test")
    if rng.random() < 0.3:
        history.volatility_bps = np.full(len(bars), 10.0)
    return history


def _walk(rng: Rng, rows: int, price: float, volatility: float, gap: float) -> dict[str, Floats]:
    steps = rng.normal(0, volatility / 1e4, rows) + np.where(rng.random(rows) < 0.01, rng.normal(0, gap / 1e4, rows), 0.0)
    close = price * np.exp(np.cumsum(steps))
    open_ = np.concatenate([[price], close[:-1]])
    wick = np.abs(rng.normal(0, volatility / 1e4, (2, rows)))
    return {
        "open": open_, "high": np.maximum(open_, close) * (1 + wick[0]) + 0.1, "low": np.minimum(open_, close) * (1 - wick[1]) - 0.1,
        "close": close,
    }  # fmt: skip


def _near(rng: Rng, bars: Frame, distance: float) -> PriceColumns:
    factor = 1 + distance * np.sin(np.arange(len(bars)) / 9 + rng.uniform(0, 6))
    open_, high, low, close = (bars[name] * factor for name in ("open", "high", "low", "close"))
    return PriceColumns(open_, high, low, close, close * (1 + 1e-5), exact=len(bars), derived=0, source="test")


def _targets(rng: Rng, rows: int) -> npt.NDArray[np.int8]:
    """Changes now and then, or at most bars."""
    often = float(rng.choice((0.03, 0.2, 0.6)))
    drawn = rng.choice(np.array([1, -1, 0, HOLD], dtype=np.int8), rows)
    changes = np.where(rng.random(rows) < often, np.arange(rows), 0)
    found: npt.NDArray[np.int8] = drawn[np.maximum.accumulate(changes)]
    return found


def _sizing(rng: Rng, least: int) -> SizingConfig:
    if least:
        return SizingConfig(model="fixed_usd", usd=least / UNIT * 1.02)
    if rng.random() < 0.5:
        return SizingConfig(model="fixed_usd", usd=float(rng.choice((500.0, 3000.0, 9900.0))))
    return SizingConfig(model="percent_equity", percent=float(rng.choice((5.0, 40.0, 300.0, 5000.0))))


def _exits(rng: Rng) -> ExitsConfig | None:
    if rng.random() < 0.3:
        return None

    def distance(share: float, **more: Any) -> Distance | None:
        return Distance(percent=float(rng.choice((0.2, 1.0, 5.0))), **more) if rng.random() < share else None

    return ExitsConfig(
        stop_loss=distance(0.5), take_profit=distance(0.4), trailing=distance(0.3, activate_percent=float(rng.choice((0.0, 0.5)))),
        max_bars=int(rng.integers(1, 30)) if rng.random() < 0.3 else None, trigger=str(rng.choice(("last", "mark", "index"))),  # type: ignore[arg-type]
    )  # fmt: skip


def _risk(rng: Rng, is_spot: bool) -> RiskConfig:
    if rng.random() < 0.15:
        return RiskConfig(policy="none", leverage=1.0 if is_spot else float(rng.choice((1.0, 10.0, 100.0))))
    return RiskConfig(
        leverage=1.0 if is_spot else float(rng.choice((1.0, 5.0, 50.0, 100.0))),
        margin_mode="cross" if not is_spot and rng.random() < 0.25 else "isolated",
        daily_loss_percent=float(rng.choice((0.3, 2.0, 50.0))) if rng.random() < 0.6 else None,
        max_drawdown_percent=float(rng.choice((1.0, 10.0, 60.0))) if rng.random() < 0.6 else None,
        on_limit="flatten" if rng.random() < 0.6 else "hold",
        cooldown_bars=int(rng.choice((0, 0, 3))),
        max_open_positions=2 if rng.random() < 0.2 else None,
    )


def _execution(rng: Rng, with_holes: bool, is_spot: bool) -> ExecutionConfig:
    return ExecutionConfig(
        latency_ms=int(rng.choice((0, 0, 90_000))),
        slippage_bps=float(rng.choice((0.0, 2.0))),
        max_volume_share=0.05 if rng.random() < 0.2 else "none",
        limit_fill="touch" if rng.random() < 0.5 else "through",
        path="pessimistic" if rng.random() < 0.2 else "ohlc",
        funding="none" if is_spot else "history",
        gaps="skip" if with_holes else "error",
    )
