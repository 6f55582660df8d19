"""What counts as held. On spot a rest that cannot be sold is none: under one step, the smallest order, or the smallest value."""

from __future__ import annotations

from core.actors.portfolio import Line, Portfolio


def held_quantities(portfolio: Portfolio) -> dict[str, float]:
    """Symbol -> signed base units, without dust."""
    return {symbol: line.qty for symbol, line in portfolio.lines.items() if line.book.steps and not is_dust(line)}


def is_dust(line: Line) -> bool:
    """Whether a spot holding is too small to be sold. Perpetuals have no such rests."""
    if line.is_linear:
        return False
    instrument = line.instrument
    steps = instrument.qty_grid.floor(line.qty)
    worth = instrument.notional(instrument.price_grid.count(line.last), steps)
    return steps <= 0 or worth < instrument.min_notional or instrument.qty_grid.value(steps) < instrument.min_qty
