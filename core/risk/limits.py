"""The memory of the rules: the account's day and peak, exits per symbol, orders of the last minute.

The day is the UTC day and begins with the equity of the first bar that closes at or after 00:00. The peak is that of bar equity.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from keel.core.engine.clock import Clock
from keel.core.model.timeframe import DAY_MS, MINUTE_MS, floor_ts, tf_ms
from keel.core.risk.decision import APPROVED, RiskDecision, denied
from keel.core.risk.gate.gate import Gate
from keel.core.risk.snapshot_view import SnapshotView
from keel.core.system.config import RiskConfig

Floats = npt.NDArray[np.float64]
Breach = Literal["daily_loss_percent", "max_drawdown_percent"]


class LimitsState(msgspec.Struct, frozen=True):
    """The account's day and peak, and what was broken, as plain data."""

    day_end: float
    day_start: float
    top: float
    peak: float
    daily_value: float | None
    drawdown_value: float | None


class AccountLimits:
    """Daily loss and drawdown. ``floor``, ``peak`` and ``day_end`` are public so that the hot path can compare without a call:
    ``observe`` has something to do only when equity <= floor, equity > peak or ts >= day_end. ``decision`` is what a signal is told:
    a denial while a limit is broken.

    A daily breach holds until the next UTC day, a drawdown breach for good. A loss that equals its limit is a breach. While one holds it
    is a cause of the gate.
    """

    __slots__ = (
        "_daily", "_daily_value", "_day_start", "_drawdown", "_drawdown_value", "_gate", "_top", "day_end", "decision", "floor", "peak",
    )  # fmt: skip

    def __init__(self, config: RiskConfig, gate: Gate | None = None) -> None:
        self._gate = Gate() if gate is None else gate
        limited = config.policy == "rules"
        self._daily = config.daily_loss_percent if limited else None
        self._drawdown = config.max_drawdown_percent if limited else None
        self._daily_value: float | None = None
        self._drawdown_value: float | None = None
        self._day_start = self._top = 0.0
        self.decision = APPROVED
        self.floor = -math.inf
        self.peak = 0.0 if self._drawdown is not None else math.inf
        self.day_end: float = 0 if self._daily is not None else math.inf

    @property
    def is_limited(self) -> bool:
        """Whether there is anything to observe."""
        return self._daily is not None or self._drawdown is not None

    def observe(self, ts: int, equity: float) -> Breach | None:
        """Take in the account's equity at a bar's close (ms UTC); returns the limit that it has just broken."""
        if ts >= self.day_end:
            self._begin_day(ts, equity)
        if equity > self.peak:
            self.peak = self._top = equity
            self._set_floor()
        if equity > self.floor:
            return None
        breach = self._find_breach(equity)
        self._set_floor()
        self._decide()
        return breach

    def observe_picture(self, picture: SnapshotView, ts: int) -> Breach | None:
        """``observe`` of a picture of the account, for those who have no actors. ts: its time, where it does not say one (ms UTC)."""
        return self.observe(ts if picture.ts is None else picture.ts, picture.equity)

    def is_out_of_reach(self, low: float, high: float) -> bool:
        """Whether nothing can be broken within the day as long as equity stays between these two; it may go to a new peak."""
        floor = self.floor
        if high > self.peak and self._drawdown is not None and self._drawdown_value is None:
            floor = max(floor, floor_of(high, self._drawdown))
        return low > floor

    def follow(self, equities: Floats) -> int:
        """``observe`` of instants of the same day, in order, up to the first that breaks a limit. Returns how many come before it: those
        are taken in, and it is not."""
        if not len(equities):
            return 0
        tops = np.maximum(np.maximum.accumulate(equities), self.peak)
        floors: Any = self.floor
        if self._drawdown is not None and self._drawdown_value is None:
            left = 1.0 - self._drawdown / 100.0  # as ``floor_of`` has it
            floors = np.where(tops > 0.0, np.maximum(self.floor, tops * left), self.floor)
        broken = equities <= floors
        count = int(broken.argmax()) if broken.any() else len(equities)
        if count and (top := float(tops[count - 1])) > self.peak:
            self.peak = self._top = top
            self._set_floor()
        return count

    @property
    def is_day_locked(self) -> bool:
        """Whether today's loss limit is broken."""
        return self._daily_value is not None

    def state(self) -> LimitsState:
        """What is remembered."""
        return LimitsState(float(self.day_end), self._day_start, self._top, self.peak, self._daily_value, self._drawdown_value)

    def restore(self, state: LimitsState) -> None:
        """Go on from a ``state()``."""
        self.day_end, self._day_start, self._top, self.peak = state.day_end, state.day_start, state.top, state.peak
        self._daily_value, self._drawdown_value = state.daily_value, state.drawdown_value
        self._set_floor()
        self._decide()

    def _begin_day(self, ts: int, equity: float) -> None:
        self.day_end = ts - ts % DAY_MS + DAY_MS
        self._day_start = equity
        self._daily_value = None
        self._set_floor()
        self._decide()

    def _decide(self) -> None:
        """A drawdown, which holds for good, is told before the day's loss."""
        if self._drawdown_value is not None:
            self.decision = denied("max_drawdown_percent", self._drawdown_value, self._drawdown or 0.0)
        elif self._daily_value is not None:
            self.decision = denied("daily_loss_percent", self._daily_value, self._daily or 0.0)
        else:
            self.decision = APPROVED
        self._hold("max_drawdown_percent", self._drawdown_value, self._drawdown)
        self._hold("daily_loss_percent", self._daily_value, self._daily)

    def _hold(self, limit: Breach, value: float | None, most: float | None) -> None:
        text = "" if value is None or most is None else f"risk.{limit} is reached: {value:.4g} % lost, at most {most:g} %"
        self._gate.hold(limit, not text, text)

    def _set_floor(self) -> None:
        floor = -math.inf
        if self._daily is not None and self._daily_value is None:
            floor = floor_of(self._day_start, self._daily)
        if self._drawdown is not None and self._drawdown_value is None and self._top > 0.0:
            floor = max(floor, floor_of(self._top, self._drawdown))
        self.floor = floor

    def _find_breach(self, equity: float) -> Breach | None:
        if self._drawdown is not None and self._drawdown_value is None and equity <= floor_of(self._top, self._drawdown):
            self._drawdown_value = 100.0 * (1.0 - equity / self._top)
            return "max_drawdown_percent"
        if self._daily is not None and self._daily_value is None:
            self._daily_value = 100.0 * (1.0 - equity / self._day_start) if self._day_start > 0.0 else 100.0
            return "daily_loss_percent"
        return None


def floor_of(equity: float, percent: float) -> float:
    """What is left of an equity when so many percent of it are lost."""
    return equity * (1.0 - percent / 100.0)


class Cooldown:
    """Whole decision bars that must pass between an exit and the next entry of a symbol. A flip has none between, so it waits, too."""

    __slots__ = ("_bars", "_exits", "_timeframe")

    def __init__(self, bars: int, timeframe: str) -> None:
        self._bars = bars
        self._timeframe = timeframe
        self._exits: dict[str, int] = {}

    def note_exit(self, symbol: str, ts: int) -> None:
        """The position of the symbol was closed at ts. The first bar that counts begins at or after it."""
        self._exits[symbol] = floor_ts(ts + tf_ms(self._timeframe) - 1, self._timeframe)

    def check(self, symbol: str, ts: int, is_leaving: bool) -> RiskDecision:
        """A denial while fewer than the wanted bars have closed since the exit; ``is_leaving``: the exit is only being made now."""
        if is_leaving:
            return denied("cooldown_bars", 0.0, float(self._bars))
        since = self._exits.get(symbol)
        if since is None:
            return APPROVED
        bars = max(0, ts - since) // tf_ms(self._timeframe)
        return APPROVED if bars >= self._bars else denied("cooldown_bars", float(bars), float(self._bars))

    @property
    def exits(self) -> dict[str, int]:
        """By symbol, when the first bar that counts begins."""
        return dict(self._exits)

    def restore(self, exits: dict[str, int]) -> None:
        """Go on from ``exits``."""
        self._exits = dict(exits)


class Throttle:
    """At most so many orders within any 60 seconds of the clock. Orders that close count, but are never refused."""

    __slots__ = ("_clock", "_limit", "_times")

    def __init__(self, limit: int, clock: Clock) -> None:
        self._limit = limit
        self._clock = clock
        self._times: deque[int] = deque()

    def note_order(self) -> None:
        """An order goes out now."""
        self._times.append(self._clock.now_ms)
        if len(self._times) > 2 * self._limit:
            self._forget()

    def check(self) -> RiskDecision:
        """A denial when the last 60 seconds are full."""
        self._forget()
        count = len(self._times)
        return APPROVED if count < self._limit else denied("max_orders_per_minute", float(count), float(self._limit))

    @property
    def times(self) -> list[int]:
        """When the orders of the last 60 seconds went out."""
        self._forget()
        return list(self._times)

    def restore(self, times: list[int]) -> None:
        """Go on from ``times``."""
        self._times = deque(times)

    def _forget(self) -> None:
        oldest = self._clock.now_ms - MINUTE_MS
        while self._times and self._times[0] <= oldest:
            self._times.popleft()
