"""What a snapshot shows that was made by hand: series and account as a unit test gives them, checked to fit together.

The same questions are answered as by market_data in a run, so a strategy cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from keel.core.errors import ConfigError
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import tf_ms

if TYPE_CHECKING:
    from keel.core.strategy.snapshot import PositionView


class FixtureSeries:
    """Bars of one timeframe up to the last closed one, with features as further columns."""

    __slots__ = ("_frame", "_length_ms", "feature_names", "index")

    def __init__(self, frame: Frame) -> None:
        self._frame, self.index = frame, len(frame) - 1
        self._length_ms = tf_ms(frame.timeframe)
        self.feature_names = tuple(name for name in frame.columns if name not in BAR_COLUMNS)

    def value(self, name: str, index: int) -> float:
        """A feature's value at a bar."""
        return float(self._frame[name][index])

    def bar_at(self, index: int) -> Bar:
        """A bar."""
        ts = int(self._frame.ts[index])
        prices = (float(self._frame[name][index]) for name in BAR_COLUMNS)
        return Bar(self._frame.symbol, self._frame.timeframe, ts, ts + self._length_ms, *prices)

    def history_to(self, index: int) -> Frame:
        """The bars up to this one, copied."""
        columns = {name: self._frame[name][: index + 1].copy() for name in self._frame.columns}
        return Frame(self._frame.ts[: index + 1].copy(), columns, symbol=self._frame.symbol, timeframe=self._frame.timeframe)


class GivenContext:
    """One symbol's series and the account, standing still."""

    __slots__ = ("_equity", "_funding_rate", "_higher", "_mark_price", "_position", "series")

    def __init__(
        self, bar: Bar, history: Frame | None, features: Mapping[str, float], htf: Mapping[str, Bar | Frame], position: PositionView,
        equity: float, mark_price: float, funding_rate: float | None,
    ) -> None:  # fmt: skip
        self.series = FixtureSeries(_with_features(_frame_of(bar) if history is None else _ending_with(history, bar), features))
        self._higher = {timeframe: FixtureSeries(_closed_by(given, timeframe, bar)) for timeframe, given in htf.items()}
        self._position, self._equity, self._mark_price, self._funding_rate = position, equity, mark_price, funding_rate

    @property
    def htf_timeframes(self) -> tuple[str, ...]:
        """The higher timeframes."""
        return tuple(self._higher)

    def htf_reader(self, timeframe: str) -> FixtureSeries:
        """A higher timeframe's series."""
        return self._higher[timeframe]

    def htf_index(self, timeframe: str, ts_close: int) -> int:
        """Its last bar."""
        return self._higher[timeframe].index

    def position(self) -> PositionView:
        """The account's position."""
        return self._position

    def equity(self) -> float:
        """The account's equity."""
        return self._equity

    def mark_price(self) -> float:
        """The mark price."""
        return self._mark_price

    def funding_rate(self) -> float | None:
        """The rate that was settled last."""
        return self._funding_rate


def _frame_of(bar: Bar) -> Frame:
    columns = {name: np.array([getattr(bar, name)], dtype=np.float64) for name in BAR_COLUMNS}
    return Frame(np.array([bar.ts_open], dtype=np.int64), columns, symbol=bar.symbol, timeframe=bar.tf)


def _ending_with(history: Frame, bar: Bar) -> Frame:
    """The history as this bar's. Raises ConfigError where it ends with another."""
    if not len(history) or int(history.ts[-1]) != bar.ts_open:
        last = f"ends with the bar of {to_iso(int(history.ts[-1]))}" if len(history) else "is empty"
        raise ConfigError(f"the snapshot's history {last}, and its bar opened at {to_iso(bar.ts_open)}: the last row must be that bar")
    return Frame(history.ts, {name: history[name] for name in history.columns}, symbol=bar.symbol, timeframe=bar.tf)


def _with_features(frame: Frame, features: Mapping[str, float]) -> Frame:
    """The frame with these values in its last row; before it a feature that the frame does not have is nan."""
    columns = {}
    for name, value in features.items():
        if name in BAR_COLUMNS:
            raise ConfigError(f"a feature named {name!r} would hide the bar's own {name}: give it another name")
        columns[name] = frame[name].copy() if name in frame else np.full(len(frame), np.nan)
        columns[name][-1] = value
    return frame.with_columns(columns)


def _closed_by(given: Bar | Frame, timeframe: str, bar: Bar) -> Frame:
    """A higher timeframe's bars. Raises ConfigError where one closes after the snapshot's bar: it could not be known yet."""
    frame = _frame_of(given) if isinstance(given, Bar) else given
    if not len(frame):
        raise ConfigError(f"htf[{timeframe!r}] has no bar: give the last closed one, or leave the timeframe out")
    closed = int(frame.ts[-1]) + tf_ms(timeframe)
    if closed > bar.ts_close:
        raise ConfigError(f"htf[{timeframe!r}] holds a bar that closes at {to_iso(closed)}, after the snapshot's at {to_iso(bar.ts_close)}")
    return Frame(frame.ts, {name: frame[name] for name in frame.columns}, symbol=bar.symbol, timeframe=timeframe)
