"""What the exchange itself saw: the counters for trust, and what each change of a position left of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PositionChange = tuple[int, int, int, int, float]
"""A position after a change: (ts, signed steps, cost, margin, liquidation price); money in 1e-8. A bar's changes have
ts_open <= ts < ts_close."""
PositionLog = Sequence[PositionChange]


class ExchangeMetrics:
    """Counters of one run. insurance_paid in 1e-8 of the quote coin; capped: bars in which the volume cap cut an execution or put it
    off.

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
