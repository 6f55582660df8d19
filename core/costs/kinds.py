"""The kinds of cost model: the method that each has, and which answers it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

MAX_FEE_RATE: Final = 0.05
MAX_COST_BPS: Final = 5_000.0
MAX_FUNDING_RATE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. method: what is asked, with one argument; reserved: what is asked for sizes, with two, "" where nothing is; least and
    most: the bounds of an answer; unit: what an answer is, in words."""

    name: str
    method: str
    argument: str
    reserved: str
    least: float
    most: float
    unit: str

    def lowest(self, model: Any) -> float:
        """The least that a model may answer: of fees, below 0 only by a rebate that the class declares."""
        return self.least if self.name != "fees" else 0.0 - float(getattr(model, "max_rebate", 0.0))

    def problem(self, answer: Any, lowest: float) -> str:
        """What is wrong with an answer, in words; "" for one that holds."""
        if isinstance(answer, bool) or not isinstance(answer, (int, float)):
            shown = repr(answer)
            what = "None" if answer is None else f"{shown[:60]} ({type(answer).__name__})"
            return f"answered {what}: {self.unit} is needed"
        if not _is_finite(answer):
            return f"answered {answer}: {self.unit} is needed, and that is not a finite number"
        if answer < lowest and self.name == "fees":
            return f"answered {answer:g}: a fee below 0 is a rebate, and the class declares {_declared(-lowest)} (max_rebate = {-answer:g})"
        if not lowest <= answer <= self.most:
            return f"answered {answer:g}: {self.unit} is needed, from {lowest:g} to {self.most:g}"
        return ""


def _is_finite(answer: float) -> bool:
    try:
        return math.isfinite(answer)
    except OverflowError:
        return False


def _declared(rebate: float) -> str:
    return f"{rebate:g} at most" if rebate else "none"


_FRACTION: Final = "a fraction (0.00055 is 0.055 %)"

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "fees": Kind("fees", "fee_rate", "fill", "reserved_fee_rate", 0.0, MAX_FEE_RATE, _FRACTION),
        "slippage": Kind("slippage", "slippage_bps", "fill", "reserved_slippage_bps", 0.0, MAX_COST_BPS, "a number of basis points"),
        "impact": Kind("impact", "impact_bps", "fill", "", 0.0, MAX_COST_BPS, "a number of basis points"),
        "funding": Kind("funding", "funding_rate", "position", "", -MAX_FUNDING_RATE, MAX_FUNDING_RATE, "a fraction (0.0001 is 1 bp)"),
    }
)
"""By name, in the order in which they are told."""
