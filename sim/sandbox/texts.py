"""Numbers as the exchange writes them: decimal strings, never exponents."""

from __future__ import annotations

from decimal import Decimal

from keel.core.model.instrument import Instrument
from keel.core.model.money import UNIT, to_text

money = to_text
"""An integer of 1e-8 as decimal text."""


def decimal(value: float, places: int = 8) -> str:
    """A float with at most so many decimals, without trailing zeros."""
    text = f"{value:.{places}f}"
    if not float(text):
        return "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(instrument: Instrument, value: float) -> str:
    """A price with the tick's decimals; it need not be on the grid (mark, index)."""
    return f"{value:.{instrument.price_grid.decimals}f}"


def quantity(instrument: Instrument, steps: int) -> str:
    """So many quantity steps."""
    return instrument.qty_grid.text(steps)


def coins(units: int, unit: int) -> str:
    """An amount counted in 1/unit of a coin."""
    if unit == UNIT:
        return to_text(units)
    text = format(Decimal(units) / Decimal(unit), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(units: int) -> str:
    """A rate in 1e-8 as a fraction."""
    return to_text(units)
