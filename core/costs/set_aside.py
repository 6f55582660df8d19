"""What sizes set aside for a taker's costs: the numbers of ``execution``, or what a user's own models say in their place."""

from __future__ import annotations

from dataclasses import dataclass

from keel.core.costs.asked import CostModels
from keel.core.model.costs import MAX_COST_RATE
from keel.core.model.instrument import Instrument
from keel.core.model.money import to_units
from keel.core.system.config import ExecutionConfig


@dataclass(frozen=True, slots=True)
class SetAside:
    """Rates in 1e-8. execution: None: the instruments' fees, and nothing for spread and slippage. models: None: the built-in ones."""

    execution: ExecutionConfig | None = None
    models: CostModels | None = None

    @classmethod
    def of(cls, given: SetAside | ExecutionConfig | None) -> SetAside:
        """``given`` itself, or the rates of the built-in models under an execution configuration."""
        return given if isinstance(given, SetAside) else cls(given)

    def fee_rate(self, instrument: Instrument) -> int:
        """A taker's fee."""
        fee = self.execution.taker_fee if self.execution is not None else None
        rate = instrument.taker_fee if fee is None else to_units(fee)
        return rate if self.models is None else self.models.reserved_fee_rate(instrument.symbol, rate)

    def cost_rate(self, instrument: Instrument) -> int:
        """A taker's half spread and slippage together."""
        spread, slippage = (0, 0) if self.execution is None else (self.execution.half_spread_rate, self.execution.slippage_rate)
        if self.models is not None:
            slippage = self.models.reserved_slippage_rate(instrument.symbol, slippage)
        return min(spread + slippage, MAX_COST_RATE)
