"""The strategy interface: what a user writes.

Strategies are the same in every epoch. They decide; they never size by margin, never place orders, never look at a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from core.frame import Frame
from core.messages import Signal
from core.snapshot import RuntimeSnapshot

HOLD: Final = 2
"""In a vector strategy's array: keep what is."""

TARGET: Final = "signal"
"""The name under which a vector strategy's array is revealed, like a feature."""

Features = Mapping[str, Mapping[str, Any]]
"""Name -> {fn, parameters, timeframe, input, output}; ``$name`` takes a strategy parameter. The same form as in a system file."""


class BaseStrategy:
    """A signal strategy. Stateless between calls but for what it keeps itself.

    Optional methods: ``on_start(params)``, ``on_fill(fill)``, ``on_order(update)``, ``state() -> dict``, ``restore(state)``.
    """

    features: ClassVar[Features] = {}
    defaults: ClassVar[Mapping[str, Any]] = {}
    """Parameters and their default values; a system file's ``params`` may set these and no others."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        """A decision at this bar's close, or None to leave things as they are."""
        raise TypeError(f"{type(self).__name__} must define generate_signal(snapshot, params)")


class VectorStrategy(BaseStrategy):
    """The same decisions as an array: +1 long, -1 short, 0 flat, HOLD keeps what is; one int8 per bar of the decision frame.

    ``generate_signal`` is derived: a signal arises only where the value changes against the one last acted on. It starts flat.
    """

    _last: int = 0

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
        """The target at each bar. ``frame`` holds bars and features (higher timeframes as known at each bar); must be causal."""
        raise TypeError(f"{type(self).__name__} must define signals(frame, params)")

    def on_start(self, params: Mapping[str, Any]) -> None:
        """Begin flat."""
        self._last = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        value = snapshot.target
        if value == self._last or value == HOLD:
            return None
        self._last = value
        return Signal(snapshot.symbol, "LONG" if value > 0 else "SHORT" if value < 0 else "FLAT")
