"""The strategy interface: what a user writes.

Strategies are the same in every epoch. They decide; they never size by margin, never place orders, never look at a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from keel.core.errors import ConfigError
from keel.core.model.frame import Frame
from keel.core.model.messages import Signal
from keel.core.strategy.portfolio_order import DataView, OMSView, Order
from keel.core.risk.position_manager import PositionManager
from keel.core.strategy.snapshot import RuntimeSnapshot

HOLD: Final = 2
"""In a vector strategy's array: keep what is."""

_DIRECTIONS: Final[Mapping[int, Any]] = {1: "LONG", -1: "SHORT", 0: "FLAT"}
"""What a vector strategy's values say; any other goes into the Signal as it is, which refuses it."""

TARGET: Final = "signal"
"""The name under which a vector strategy's array is revealed, like a feature."""

Features = Mapping[str, Mapping[str, Any]]
"""Name -> {fn, parameters, timeframe, input, output}; ``$name`` takes a strategy parameter. The same form as in a system file."""


class BaseStrategy:
    """A signal strategy. Stateless between calls but for what it keeps itself.

    Optional methods: ``on_start(params)``, ``on_fill(fill)``, ``on_order(update)``, ``state() -> dict``, ``restore(state)``.
    """

    features: ClassVar[Features] = MappingProxyType({})
    """What the strategy reads; a system file's ``features`` of the same name take precedence."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Parameters and their default values; a system file's ``params`` may set these and no others.

    A value must be of its default's kind: a whole number where the default is one (write 2.0 where fractions make sense). None takes all.
    """

    @classmethod
    def params_problem(cls, params: Mapping[str, Any]) -> str:
        """What is wrong with these parameters taken together, for people; empty when nothing is."""
        return ""

    @property
    def reads_every_bar(self) -> bool:
        """Whether ``generate_signal`` has to be called at each bar. A vector strategy's needs it only where its array's value changes."""
        return True

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        """A decision at this bar's close, or None to leave things as they are."""
        raise TypeError(f"{type(self).__name__} must define generate_signal(snapshot, params)")


class VectorStrategy(BaseStrategy):
    """The same decisions as an array: +1 long, -1 short, 0 flat, HOLD keeps what is; one int8 per bar of the decision frame.

    ``generate_signal`` is derived: a signal arises only where the value changes against the one last acted on, symbol by symbol. Each
    starts flat.
    """

    _acted: Mapping[str, int] = MappingProxyType({})
    """The value last acted on, by symbol. Replaced on each change and never altered, so that subclasses need no ``__init__``."""

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
        """The target at each bar. ``frame`` holds bars and features (higher timeframes as known at each bar); must be causal.

        A feature that its history does not yet allow is nan; every comparison with nan is false.
        """
        raise TypeError(f"{type(self).__name__} must define signals(frame, params)")

    @property
    def reads_every_bar(self) -> bool:
        """False, unless a subclass brings a ``generate_signal`` of its own."""
        return type(self).generate_signal is not VectorStrategy.generate_signal

    def on_start(self, params: Mapping[str, Any]) -> None:
        """Begin flat."""
        self._acted = {}

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        """The change of ``snapshot.target``, if there is one."""
        value = snapshot.target
        symbol = snapshot.bar_ltf.symbol
        try:
            acted = self._acted[symbol]
        except KeyError:  # a symbol's first bar; a try costs nothing on all the others
            acted = 0
            self._acted = {**self._acted, symbol: acted}
        if value == acted:
            return None
        if value == HOLD:
            return None
        self._acted = {**self._acted, symbol: value}
        return Signal(symbol, _DIRECTIONS.get(value, value))

    def state(self) -> dict[str, Any]:
        """What a restart needs: the value last acted on, by symbol. Plain JSON data."""
        return {"acted": dict(self._acted)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state()``."""
        self._acted = dict(state["acted"])


class PortfolioStrategy(BaseStrategy):
    """Several symbols at once, one call for all of them at each step. ``lookback_days`` of history before the start are visible.

    In a system file it trades the file's symbols; a class that names ``symbols`` of its own needs these there. It is made without
    arguments then, and gets its parameters in ``on_start``, which begins every run anew.
    """

    symbols: Sequence[str] = ()
    lookback_days: int = 0
    position_manager: PositionManager | None = None
    """What screens and sizes its orders in a system. None: orders without a value are sized by the system's ``sizing``."""
    data_timeframes: Sequence[str] = ("15m",)
    """Timeframes of the candles that it, or its position manager, asks history for: a session reads these, and builds coarser ones out of
    them and of those of the system. A backtest reads whatever the store has."""
    data_types: Sequence[str] = ("mark_ohlcv_futures", "index_ohlcv_futures", "funding_rates", "ohlcv_spot")
    """What a session reads for it, as far as the system's category has it: add open_interest, or leave out what is never asked for."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        """Not this way: raises ConfigError."""
        raise ConfigError(f"{type(self).__name__} is a portfolio strategy: it is asked for all symbols at once, by run_strategy")

    def run_strategy(self, oms_client: OMSView, data_manager: DataView) -> Sequence[Order | Mapping[str, Any]]:
        """The targets of this step; a mapping of the same keys serves as an Order. A symbol that is not named is left as it is."""
        raise TypeError(f"{type(self).__name__} must define run_strategy(oms_client, data_manager)")
