"""Each built-in strategy on small series worked by hand, and causal at every bar of a longer one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import talib

from keel.core.model.frame import Frame
from keel.core.model.messages import Bar, Signal
from keel.core.strategy.snapshot import PositionView, RunSnapshot, SnapshotContext
from keel.strategies.atr_breakout import AtrBreakout
from keel.strategies.base import HOLD, BaseStrategy, VectorStrategy
from keel.strategies.registry import check_params, load_strategy

HOUR = 3_600_000
NAN = math.nan
VECTOR_IDS = ("ema_cross", "rsi_reversion", "momentum", "hold")


def frame_of(**columns: list[float]) -> Frame:
    rows = len(next(iter(columns.values())))
    return Frame(np.arange(rows) * HOUR, {name: np.array(values, dtype=float) for name, values in columns.items()})


EMA = "ema_cross"
RSI = "rsi_reversion"
MOMENTUM = "momentum"
WORKED: list[tuple[str, dict[str, Any], dict[str, list[float]], list[int]]] = [
    # above: long, below: short, equal or not known yet: what is
    (EMA, {}, {"ema_fast": [NAN, 2, 3, 3, 2, 1], "ema_slow": [NAN, NAN, 2, 3, 2, 2]}, [HOLD, HOLD, 1, HOLD, HOLD, -1]),
    # sold out at 29.9, kept over 30 to 49.9, out at 50
    (RSI, {}, {"rsi": [NAN, 40, 29.9, 30, 49.9, 50, 60]}, [HOLD, HOLD, 1, HOLD, HOLD, 0, HOLD]),
    # bought out at 71, kept down to 50.1, out at or under 50
    (RSI, {}, {"rsi": [55, 71, 70, 50.1, 49, 45]}, [HOLD, -1, HOLD, HOLD, 0, HOLD]),
    # from one extreme to the other in one bar; a middle that is only touched is reached once
    (RSI, {}, {"rsi": [20, 80, 60, 50, 50, 60]}, [1, -1, HOLD, 0, HOLD, HOLD]),
    (RSI, {"oversold": 10, "overbought": 90, "exit_level": 30}, {"rsi": [9, 29, 31]}, [1, HOLD, 0]),
    # beyond 2 % either way; exactly 2 % is not beyond
    (MOMENTUM, {}, {"momentum": [NAN, 2.0, 2.1, 0.0, -2.0, -2.1]}, [HOLD, 0, 1, 0, 0, -1]),
    (MOMENTUM, {"threshold": 0.0}, {"momentum": [0.1, 0.0, -0.1]}, [1, 0, -1]),
    ("hold", {}, {"close": [1.0, 2.0, 3.0]}, [1, 1, 1]),
]


@pytest.mark.parametrize(("strategy_id", "params", "columns", "expected"), WORKED)
def test_values_worked_by_hand(strategy_id: str, params: dict[str, Any], columns: dict[str, list[float]], expected: list[int]) -> None:
    cls = load_strategy(strategy_id)
    strategy = cls()
    assert isinstance(strategy, VectorStrategy)
    values = strategy.signals(frame_of(**columns), check_params(cls, params))
    assert values.dtype == np.int8
    assert values.tolist() == expected


# --- the breakout, bar by bar ----------------------------------------------------------------------------------------


class OneBar:
    """A series of one bar with given features, and an account with a given position."""

    htf_timeframes = ()

    def __init__(self, features: Mapping[str, float], qty: float = 0.0) -> None:
        self.features, self.qty = features, qty
        self.feature_names = tuple(features)
        self.series = self

    def value(self, name: str, index: int) -> float:
        return self.features[name]

    def position(self) -> PositionView:
        return PositionView("BTCUSDT", self.qty, 100.0, 100.0, 0.0)


def breakout(close: float, features: Mapping[str, float], params: Mapping[str, Any], qty: float = 0.0) -> Signal | None:
    context: SnapshotContext = OneBar(features, qty)  # type: ignore[assignment]  # what the strategy reads, and no more
    bar = Bar("BTCUSDT", "1h", 0, HOUR, close, close, close, close, 1.0)
    return AtrBreakout().generate_signal(RunSnapshot(context, bar, 0), params)


FEATURES = {"channel": 100.0, "atr": 2.0, "trend": 101.0}  # the channel ends at 97 and at 103
LONG = Signal("BTCUSDT", "LONG", stop_loss=100.0, take_profit=112.0, trailing=6.0)  # close 104: less 2 x 2, plus 4 x 2, 3 x 2
SHORT = Signal("BTCUSDT", "SHORT", stop_loss=100.0, take_profit=88.0, trailing=6.0)  # close 96, mirrored
BREAKOUTS: list[tuple[str, float, dict[str, float], dict[str, Any], float, Signal | None]] = [
    ("above channel and trend", 104.0, {}, {}, 0.0, LONG),
    ("on the channel's edge", 103.0, {}, {}, 0.0, None),
    ("above the channel, below the trend", 104.0, {"trend": 105.0}, {}, 0.0, None),
    ("below channel and trend", 96.0, {}, {}, 0.0, SHORT),
    ("below the channel, above the trend", 96.0, {"trend": 95.0}, {}, 0.0, None),
    ("inside", 100.0, {}, {}, 0.0, None),
    ("long already", 104.0, {}, {}, 0.5, None),
    ("short turns long", 104.0, {}, {}, -0.5, LONG),
    ("short already", 96.0, {}, {}, -0.5, None),
    ("trend not known yet", 104.0, {"trend": NAN}, {}, 0.0, None),
    ("atr not known yet", 104.0, {"atr": NAN}, {}, 0.0, None),
    ("no movement at all", 104.0, {"atr": 0.0}, {}, 0.0, None),
    ("no room for a stop", 104.0, {}, {"stop_atr": 52.0}, 0.0, None),
    ("no trailing stop", 104.0, {}, {"trailing_atr": 0.0}, 0.0, Signal("BTCUSDT", "LONG", stop_loss=100.0, take_profit=112.0)),
]


@pytest.mark.parametrize(("case", "close", "features", "params", "qty", "expected"), BREAKOUTS, ids=[row[0] for row in BREAKOUTS])
def test_breakouts(
    case: str, close: float, features: dict[str, float], params: dict[str, Any], qty: float, expected: Signal | None
) -> None:
    effective = check_params(AtrBreakout, params)
    assert breakout(close, {**FEATURES, **features}, effective, qty) == expected


# --- causality -------------------------------------------------------------------------------------------------------

SHORT_PARAMS: dict[str, dict[str, Any]] = {
    "ema_cross": {"fast": 3, "slow": 7},
    "rsi_reversion": {"period": 3, "oversold": 25.0, "overbought": 75.0},
    "momentum": {"momentum_period": 5, "threshold": 0.5},
    "hold": {},
    "atr_breakout": {"channel_period": 5, "atr_period": 4, "trend_period": 5, "breakout_atr": 0.5},
}


def prices(rows: int) -> Frame:
    steps = np.random.default_rng(7).normal(0, 0.6, rows)
    close = 100 + np.cumsum(steps)
    open_ = np.concatenate(([100.0], close[:-1]))
    spread = np.abs(np.random.default_rng(8).normal(0, 0.3, rows))
    high, low = np.maximum(open_, close) + spread, np.minimum(open_, close) - spread
    return Frame(np.arange(rows) * HOUR, {"open": open_, "high": high, "low": low, "close": close, "volume": np.ones(rows)})


def with_features(cls: type[BaseStrategy], bars: Frame, params: Mapping[str, Any]) -> Frame:
    """Features by TA-Lib itself; those of 4h as known at the close of each hour."""
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for name, spec in cls.features.items():
        period = params[str(spec["timeperiod"]).removeprefix("$")]
        if spec["fn"] == "ATR":
            columns[name] = talib.ATR(bars["high"], bars["low"], bars["close"], period)
        elif spec.get("timeframe") == "4h":
            slow = getattr(talib, spec["fn"])(np.ascontiguousarray(bars["close"][3::4]), period)
            known = (np.arange(len(bars)) + 1) // 4 - 1
            columns[name] = np.concatenate(([np.nan], slow))[known + 1]
        else:
            columns[name] = getattr(talib, spec["fn"])(bars["close"], period)
    return bars.with_columns(columns)


def decisions(cls: type[BaseStrategy], bars: Frame, params: Mapping[str, Any]) -> list[Any]:
    frame = with_features(cls, bars, params)
    strategy = cls()
    if isinstance(strategy, VectorStrategy):
        return strategy.signals(frame, params).tolist()
    rows = [{name: float(frame[name][row]) for name in cls.features} for row in range(len(frame))]
    return [breakout(float(frame["close"][row]), features, params) for row, features in enumerate(rows)]


@pytest.mark.parametrize("strategy_id", SHORT_PARAMS)
def test_later_bars_change_no_earlier_decision(strategy_id: str) -> None:
    cls = load_strategy(strategy_id)
    params = check_params(cls, SHORT_PARAMS[strategy_id])
    bars = prices(160)
    whole = decisions(cls, bars, params)
    for rows in range(8, len(bars)):
        assert decisions(cls, bars[:rows], params) == whole[:rows], f"rows after {rows} changed a decision"


@pytest.mark.parametrize("strategy_id", sorted(set(SHORT_PARAMS) - {"hold"}))
def test_each_strategy_goes_both_ways_on_a_random_walk(strategy_id: str) -> None:
    cls = load_strategy(strategy_id)
    made = decisions(cls, prices(160), check_params(cls, SHORT_PARAMS[strategy_id]))
    directions = {item.direction if isinstance(item, Signal) else item for item in made}
    assert directions >= {1, -1} or directions >= {"LONG", "SHORT"}
