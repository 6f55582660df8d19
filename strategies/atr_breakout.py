"""Breakouts of a volatility channel in the direction of a slower trend, with exits that live at the exchange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from keel.core.model.messages import Signal
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.strategies.base import BaseStrategy, Features


class AtrBreakout(BaseStrategy):
    """Long when the close is more than ``breakout_atr`` ATR above its average and above the 4h trend; short mirrored.

    Each entry carries a stop-loss, a take-profit and, unless ``trailing_atr`` is 0, a trailing stop, all in ATR of the entry's bar. Nothing
    else closes a position but a breakout to the other side, which turns it. While a position of the same side is open, nothing is done.

    channel_period, atr_period: decision bars.  trend_period: 4h bars (the feature ``trend`` of a system file takes another timeframe).
    breakout_atr, stop_atr, take_profit_atr, trailing_atr: multiples of the ATR.
    """

    features: ClassVar[Features] = {
        "channel": {"fn": "EMA", "timeperiod": "$channel_period"},
        "atr": {"fn": "ATR", "timeperiod": "$atr_period"},
        "trend": {"fn": "EMA", "timeperiod": "$trend_period", "timeframe": "4h"},
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "channel_period": 20,
        "atr_period": 14,
        "trend_period": 50,
        "breakout_atr": 1.5,
        "stop_atr": 2.0,
        "take_profit_atr": 4.0,
        "trailing_atr": 3.0,
    }

    @classmethod
    def params_problem(cls, params: Mapping[str, Any]) -> str:
        if params["stop_atr"] <= 0 or params["take_profit_atr"] <= 0:
            return "stop_atr and take_profit_atr must be above 0"
        if params["breakout_atr"] < 0 or params["trailing_atr"] < 0:
            return "breakout_atr and trailing_atr must not be negative"
        return ""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        features = snapshot.features
        close, atr = snapshot.bar_ltf.close, features["atr"]
        channel, trend = features["channel"], features["trend"]
        distance = params["breakout_atr"] * atr
        # A feature that is not known yet is nan, and no comparison with nan is true.
        if close > channel + distance and close > trend:
            return self._entry(snapshot, 1, atr, params)
        if close < channel - distance and close < trend:
            return self._entry(snapshot, -1, atr, params)
        return None

    def _entry(self, snapshot: RuntimeSnapshot, sign: int, atr: float, params: Mapping[str, Any]) -> Signal | None:
        close = snapshot.bar_ltf.close
        stop_loss = close - sign * params["stop_atr"] * atr
        take_profit = close + sign * params["take_profit_atr"] * atr
        # Where the ATR is as large as the price there is no room for exits; without movement they would lie on the price itself.
        if snapshot.position.qty * sign > 0 or min(stop_loss, take_profit) <= 0 or atr <= 0:
            return None
        return Signal(
            snapshot.bar_ltf.symbol,
            "LONG" if sign > 0 else "SHORT",
            stop_loss=stop_loss,
            take_profit=take_profit,
            trailing=params["trailing_atr"] * atr or None,
        )
