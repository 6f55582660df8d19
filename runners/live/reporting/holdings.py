"""What counts as held: without dust (core/model/dust.py)."""

from __future__ import annotations

from keel.core.actors.portfolio import Portfolio
from keel.core.model.dust import held_steps


def held_quantities(portfolio: Portfolio) -> dict[str, float]:
    """Symbol -> signed base units, without dust."""
    return {symbol: line.qty for symbol, line in portfolio.lines.items() if held_steps(line.instrument, line.book.steps, line.last)}
