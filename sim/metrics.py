"""What the exchange itself saw: counters for trust, friction per fill, margin stress and distance to liquidation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PositionLog = Sequence[tuple[int, int, int, int, float]]
"""(ts, steps, cost, margin, liquidation price) at every change of a position."""


class ExchangeMetrics:
    """Counters of one run. insurance_paid in 1e-8 of the quote coin; capped: executions that the volume cap cut or put off.

    volume_share_max: the largest share of a bar's volume that one execution took.
    """

    __slots__ = (
        "ambiguous_bars",
        "capped",
        "insurance_paid",
        "liquidations",
        "maker_fills",
        "moved_to_band",
        "orders",
        "rejected",
        "taker_fills",
        "volume_share_max",
    )

    def __init__(self) -> None:
        self.ambiguous_bars = self.insurance_paid = self.liquidations = self.moved_to_band = 0
        self.maker_fills = self.taker_fills = self.capped = self.orders = self.rejected = 0
        self.volume_share_max = 0.0

    def trust(self) -> dict[str, Any]:
        """The counters by name, for the run's ``trust`` section."""
        return {name: getattr(self, name) for name in self.__slots__}


def distance_to_liquidation(
    log: PositionLog, ts: npt.NDArray[np.int64], low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """How far the mark stayed from the liquidation price, per bar, as a fraction of the mark; inf where nothing can be liquidated.

    ts: closes of bars, ascending.  low, high: extremes of the mark in those bars.  The position is the one held at the bar's close.
    """
    distance = np.full(len(ts), np.inf)
    if not log:
        return distance
    row = np.searchsorted(np.array([entry[0] for entry in log], dtype=np.int64), ts, side="right") - 1
    steps = np.array([entry[1] for entry in log])[row]
    price = np.array([entry[4] for entry in log])[row]
    long = (row >= 0) & (steps > 0) & (price > 0.0)
    short = (row >= 0) & (steps < 0) & (price > 0.0)
    distance[long] = (low[long] - price[long]) / low[long]
    distance[short] = (price[short] - high[short]) / high[short]
    return distance
