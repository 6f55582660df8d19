"""What counts as held: without dust (core/dust.py)."""

from __future__ import annotations

from core.actors.portfolio import Line, Portfolio
from core.dust import sellable_steps


def held_quantities(portfolio: Portfolio) -> dict[str, float]:
    """Symbol -> signed base units, without dust."""
    return {symbol: line.qty for symbol, line in portfolio.lines.items() if line.book.steps and not is_dust(line)}


def is_dust(line: Line) -> bool:
    """Whether a spot holding is too small to be sold. Perpetuals have no such rests."""
    return not line.is_linear and not sellable_steps(line.instrument, line.book.steps, line.last)
