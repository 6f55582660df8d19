"""The equity curve as the metrics read it: checked once, optional columns where they are there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.model.time_range import to_iso

EquityCurve = Frame | tuple[Sequence[int] | np.ndarray, Sequence[float] | np.ndarray] | Sequence[tuple[int, float]]
"""A Frame with a column ``equity`` (and those of ``Curve``), or (times in ms, equity), or a list of (time in ms, equity)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Equity in quote coins at times in ms UTC; the first row is the start of the window, the others are closes of bars."""

    ts: np.ndarray
    equity: np.ndarray
    initial: float
    """Equity before the first row; the first peak."""
    worst: np.ndarray | None
    """Equity at each bar's worst price for the position."""
    gross: np.ndarray | None
    """Sum over symbols of |position| at mark, quote coins."""
    margin: np.ndarray | None
    """Position margin, quote coins."""
    distance: np.ndarray | None
    """Smallest distance of the bar between mark and liquidation price, in percent of the mark; not finite when flat."""

    @property
    def span_ms(self) -> int:
        """From the first row to the last."""
        return int(self.ts[-1] - self.ts[0])

    @property
    def bars(self) -> slice:
        """The rows that are closes of bars: all but the first, where there is more than one."""
        return slice(1, None) if len(self.ts) > 1 else slice(None)


def read_curve(equity_curve: EquityCurve, initial_capital: float | None = None) -> Curve:
    """The curve, checked; without a capital, its first equity is that. Raises DataError when it is empty or holds what is not finite,
    ConfigError for a capital that is not positive and for what is no curve."""
    frame = _as_frame(equity_curve)
    if not len(frame):
        raise DataError("the equity curve is empty: it needs at least the row at the start of the window")
    if initial_capital is None:
        initial_capital = float(_finite(frame, "equity")[0])
    if not (_is_number(initial_capital) and math.isfinite(initial_capital) and initial_capital > 0):
        raise ConfigError(f"initial capital must be a positive amount, not {initial_capital!r}")
    return Curve(
        ts=frame.ts,
        equity=_finite(frame, "equity"),
        initial=float(initial_capital),
        worst=_optional(frame, "equity_worst"),
        gross=_optional(frame, "gross_notional"),
        margin=_optional(frame, "margin"),
        distance=_optional(frame, "liquidation_distance_pct", finite=False),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_frame(given: EquityCurve) -> Frame:
    """Any form of a curve as a Frame. Two columns are a tuple; rows of (time, equity) are any other sequence."""
    if isinstance(given, Frame):
        return given
    try:
        ts, equity = given if isinstance(given, tuple) else tuple(zip(*given, strict=True)) or ((), ())
        return Frame(np.asarray(ts, dtype=np.int64), {"equity": np.asarray(equity, dtype=np.float64)}, kind="equity")
    except (TypeError, ValueError) as error:
        wanted = "a Frame with ts and equity, (times in ms, equity), or a list of (time in ms, equity)"
        raise ConfigError(f"this is no equity curve: {error}; give {wanted}") from None


def _optional(frame: Frame, name: str, *, finite: bool = True) -> np.ndarray | None:
    if name not in frame:
        return None
    column: np.ndarray = _finite(frame, name) if finite else frame[name]
    return column


def _finite(frame: Frame, name: str) -> np.ndarray:
    column: np.ndarray = frame[name]
    good = np.isfinite(column)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(f"the equity curve's {name} at {to_iso(int(frame.ts[row]))} (row {row}) is {column[row]}, which is not a number")
    return column
