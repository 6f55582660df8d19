"""Buy and hold: what every other strategy has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.core.model.frame import Frame
from keel.core.strategy.portfolio_order import DataView, InstrumentType, OMSView, Order
from keel.strategies.base import PortfolioStrategy, VectorStrategy


class Hold(VectorStrategy):
    """Long from the first bar to the last."""

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
        return np.ones(len(frame), dtype=np.int8)


class HoldStrategy(PortfolioStrategy):
    """Long in each symbol, ordered once; how much is the position manager's to say."""

    def __init__(self, symbols: Sequence[str] = (), lookback_days: int = 0) -> None:
        self.symbols, self.lookback_days = tuple(symbols), lookback_days
        self._ordered = False

    def on_start(self, params: Mapping[str, Any]) -> None:
        """Begin anew: nothing is ordered yet."""
        self._ordered = False

    def state(self) -> dict[str, Any]:
        """What a restart needs: whether it has ordered. Plain JSON data."""
        return {"ordered": self._ordered}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a ``state()``."""
        self._ordered = bool(state["ordered"])

    def run_strategy(self, oms_client: OMSView, data_manager: DataView) -> Sequence[Order]:
        """One LONG for each symbol at the first step, nothing after it."""
        if self._ordered:
            return []
        self._ordered = True
        kind: InstrumentType = oms_client.instrument_type
        return [Order(symbol, kind, "LONG") for symbol in self.symbols]
