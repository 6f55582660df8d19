"""The latest that is known of the market between two instants."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.messages import FundingRate


@dataclass(slots=True)
class Prices:
    """By symbol. ``rates``: settled funding rates that wait for their instant."""

    mark: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    rates: list[FundingRate] = field(default_factory=list)

    def due_rates(self, ts: int) -> list[FundingRate]:
        """Rates that were settled at or before ts, each given once."""
        due = sorted((rate for rate in self.rates if rate.ts <= ts), key=lambda rate: (rate.ts, rate.symbol))
        self.rates = [rate for rate in self.rates if rate.ts > ts]
        return due
