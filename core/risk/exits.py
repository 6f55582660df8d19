"""Exits that go with an entry: distances of the system's ``exits``, or the signal's own prices, as one Bracket on the price grid.

A distance is measured at the decision bar (its close, its ATR) and laid off from the entry: the close for a market order, the limit
price for a limit order. Prices are rounded to the grid away from the entry, so that an exit is never nearer than it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keel.core.model.instrument import Grid, grid_ceil, grid_floor, grid_value
from keel.core.model.messages import Bracket, Signal
from keel.core.risk.decision import Reason, RiskDecision, denied
from keel.core.system.config import Distance, ExitsConfig, SizingConfig

ReadFeature = Callable[[str, str], float]
"""(symbol, name) -> the feature's value at the latest decision bar; nan where it has none."""


def atr_feature(period: int) -> str:
    """The name of the hidden ATR feature."""
    return f"_atr_{period}"


def volatility_feature(lookback_bars: int) -> str:
    """The name of the hidden volatility feature."""
    return f"_volatility_{lookback_bars}"


def hidden_features(exits: ExitsConfig | None, sizing: SizingConfig) -> dict[str, dict[str, Any]]:
    """The features of the decision timeframe that exits and sizing need, by name, in a system file's form; inputs come first.

    Volatility is the deviation of the log returns of the last ``lookback_bars`` bars.
    """
    distances = (exits.stop_loss, exits.take_profit, exits.trailing) if exits is not None else ()
    periods = {distance.period: None for distance in distances if distance is not None and distance.atr is not None}
    if sizing.model == "risk_per_trade" and sizing.stop_atr is not None:
        periods[sizing.atr_period] = None
    features: dict[str, dict[str, Any]] = {atr_feature(period): {"fn": "ATR", "timeperiod": period} for period in periods}
    if sizing.model == "inverse_vol":
        features["_ratio"] = {"fn": "ROCR", "timeperiod": 1}
        features["_log_return"] = {"fn": "LN", "input": "_ratio"}
        features[volatility_feature(sizing.lookback_bars)] = {"fn": "STDDEV", "timeperiod": sizing.lookback_bars, "input": "_log_return"}
    return features


class ExitRules:
    """Turns a signal into its bracket. ``are_set``: whether the system has exits of its own."""

    __slots__ = ("_exits", "_read_feature", "are_set", "max_bars")

    def __init__(self, exits: ExitsConfig | None, read_feature: ReadFeature) -> None:
        self._exits = exits if exits is not None else ExitsConfig()
        self.are_set = not (self._exits.stop_loss is self._exits.take_profit is self._exits.trailing is None)
        self._read_feature = read_feature
        self.max_bars = self._exits.max_bars

    def bracket(self, signal: Signal, close: float, grid: Grid | None) -> Bracket | RiskDecision:
        """The exits of an entry, or a denial. A signal's own exit takes the place of the system's of that kind."""
        entry = signal.limit_price if signal.order_type == "limit" and signal.limit_price is not None else close
        up = signal.direction == "LONG"
        exits, symbol = self._exits, signal.symbol
        try:
            stop = self._level(signal.stop_loss, exits.stop_loss, symbol, close, entry, not up, grid, "invalid_stop_loss")
            target = self._level(signal.take_profit, exits.take_profit, symbol, close, entry, up, grid, "invalid_take_profit")
            trailing, activation = self._trailing(signal, close, entry, up, grid)
        except _Refused as refused:
            return refused.decision
        return Bracket(stop, target, trailing, activation, exits.trigger)

    def _level(
        self,
        own: float | None,
        distance: Distance | None,
        symbol: str,
        close: float,
        entry: float,
        above: bool,
        grid: Grid | None,
        reason: Reason,
    ) -> float | None:
        """An exit price above or below the entry, on the grid."""
        if own is not None:
            level = own
        elif distance is not None:
            length = self._length(distance, symbol, close)
            level = entry + length if above else entry - length
        else:
            return None
        if not is_beyond(level, entry, above):
            raise _Refused(denied(reason, level, entry))
        level = _outward(level, above, grid)
        if level <= 0.0:
            raise _Refused(denied(reason, level, entry))
        return level

    def _trailing(self, signal: Signal, close: float, entry: float, up: bool, grid: Grid | None) -> tuple[float | None, float | None]:
        """(distance, activation price); the activation belongs to the system's own trailing stop."""
        if signal.trailing is not None:
            if not signal.trailing > 0.0:
                raise _Refused(denied("invalid_trailing", signal.trailing))
            return _outward(signal.trailing, True, grid), None
        rule = self._exits.trailing
        if rule is None:
            return None, None
        trailing = _outward(self._length(rule, signal.symbol, close), True, grid)
        if not rule.activate_percent:
            return trailing, None
        way = percent_of(close, rule.activate_percent)
        activation = entry + way if up else entry - way
        if activation <= 0.0:
            raise _Refused(denied("invalid_trailing", activation, entry))
        return trailing, _outward(activation, up, grid)

    def _length(self, distance: Distance, symbol: str, close: float) -> float:
        if distance.percent is not None:
            return percent_of(close, distance.percent)
        atr = self._read_feature(symbol, atr_feature(distance.period))
        length = (distance.atr or 0.0) * atr
        if not length > 0.0:
            raise _Refused(denied("exit_distance_unknown", atr))
        return length


class _Refused(Exception):
    """Carries a denial out of the middle of a bracket; never leaves this module."""

    def __init__(self, decision: RiskDecision) -> None:
        self.decision = decision


def _outward(price: float, up: bool, grid: Grid | None) -> float:
    return price if grid is None else outward(price, up, grid.num, grid.den)


# --- as functions of numbers, for code that is compiled, too ---


def percent_of(price: float, percent: float) -> float:
    """A distance of so many percent of a price."""
    return price * percent / 100.0


def is_beyond(level: float, entry: float, above: bool) -> bool:
    """Whether an exit price is one, and on its side of the entry."""
    return level > 0.0 and (level > entry if above else level < entry)


def outward(price: float, up: bool, num: int, den: int) -> float:
    """A price on the grid num/den: itself where it is (nearly) on it, else the next one up or down."""
    return grid_value(grid_ceil(price, num, den) if up else grid_floor(price, num, den), num, den)
