"""The built-in models, under the names that a system file knows them by. They answer what the keys of ``execution`` give, to the last unit.

Without ``execution.costs`` nothing is asked: the exchange then has the same numbers as integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from keel.core.costs.inputs import FillInputs, FundingInputs


class FlatFees:
    """One rate for takers and one for makers, as fractions; None: what ``execution.taker_fee`` and ``maker_fee`` or the instrument say."""

    max_rebate = 0.05

    def __init__(self, taker: float | None = None, maker: float | None = None) -> None:
        self.taker, self.maker = taker, maker

    def fee_rate(self, fill: FillInputs) -> float:
        rate = self.maker if fill.is_maker else self.taker
        return fill.built_in if rate is None else rate

    def reserved_fee_rate(self, symbol: str, built_in: float) -> float:
        return built_in if self.taker is None else self.taker


class FlatSlippage:
    """The same basis points for every taker; None: ``execution.slippage_bps``."""

    def __init__(self, bps: float | None = None) -> None:
        self.bps = bps

    def slippage_bps(self, fill: FillInputs) -> float:
        return fill.built_in if self.bps is None else self.bps

    def reserved_slippage_bps(self, symbol: str, built_in: float) -> float:
        return built_in if self.bps is None else self.bps


class SquareRootImpact:
    """base_bps + coefficient x volatility_bps x sqrt(qty / bar volume); a bar without volume counts as wholly taken."""

    def __init__(self, base_bps: float = 0.0, coefficient: float = 0.0) -> None:
        self.base_bps, self.coefficient = base_bps, coefficient

    def impact_bps(self, fill: FillInputs) -> float:
        share = fill.qty / fill.volume if fill.volume > 0.0 else 1.0
        return min(self.base_bps + self.coefficient * fill.volatility_bps * math.sqrt(share), 5_000.0)


class FlatFunding:
    """One rate at every funding time, as a fraction; None: that of the series."""

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate

    def funding_rate(self, position: FundingInputs) -> float:
        return position.built_in if self.rate is None else self.rate


BUILT_IN: Final[Mapping[str, Mapping[str, type[Any]]]] = MappingProxyType(
    {
        "fees": {"flat": FlatFees},
        "slippage": {"flat": FlatSlippage},
        "impact": {"square_root": SquareRootImpact},
        "funding": {"flat": FlatFunding},
    }
)
"""Kind -> name -> class."""
