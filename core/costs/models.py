"""What a cost model is: one method, which answers for one fill or funding time and depends on nothing but what it is asked.

No class has to be derived from these: one that has the method is a model. Parameters of the system file are the arguments of its
constructor. Each question is asked twice, and two answers to it are an error: a bar whose outcome depends on the order of its prices is
walked both ways, so that a model that counts its calls would count what never happened.
"""

from __future__ import annotations

from typing import Protocol

from keel.core.costs.inputs import FillInputs, FundingInputs


class FeeModel(Protocol):
    """The exchange's fee on a fill, as a fraction of its notional (0.00055 is 0.055 %), at most 0.05.

    A class that pays rebates says how much: ``max_rebate = 0.0001``; without it an answer below 0 is an error. One that has
    ``reserved_fee_rate(symbol, built_in)`` says what margin, liquidations and sizes set aside for a taker (else ``built_in``: the taker fee
    of the system file or the instrument).
    """

    def fee_rate(self, fill: FillInputs) -> float: ...


class SlippageModel(Protocol):
    """What a taker pays beside half the spread, in basis points of the price: 0 to 5000, rounded up to 1e-8.

    One that has ``reserved_slippage_bps(symbol, built_in)`` says what sizes set aside (else ``built_in``: ``execution.slippage_bps``).
    """

    def slippage_bps(self, fill: FillInputs) -> float: ...


class ImpactModel(Protocol):
    """By how much a taker's own size moves the price, in basis points: 0 to 5000, rounded up to 1e-8."""

    def impact_bps(self, fill: FillInputs) -> float: ...


class FundingModel(Protocol):
    """The rate at a funding time, as a fraction of the position's value: -0.5 to 0.5. Longs pay when it is positive, shorts receive."""

    def funding_rate(self, position: FundingInputs) -> float: ...
