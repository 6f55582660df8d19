"""What of a spot holding counts as a position. The rest is dust: too little for any order, it is flat to strategies and to risk, and stands
in equity, balances and tables. Perpetuals have none: a reduction of any size is taken.
"""

from __future__ import annotations

from keel.core.model.instrument import Instrument


def held_steps(instrument: Instrument, units: int, price: float) -> int:
    """What can be closed of a position of ``units`` (of the book's grid): all of a perpetual, the ``sellable_steps`` of spot."""
    return units if instrument.category == "linear" else sellable_steps(instrument, units, price)


def sellable_steps(instrument: Instrument, units: int, price: float) -> int:
    """How many whole quantity steps of a spot holding of ``units`` (of the book's grid) the exchange would take at this price; 0: dust.

    Dust is less than one step, than the smallest quantity, or than the smallest value of an order. Without a price (0) there is no value.
    """
    grid, book = instrument.qty_grid, instrument.book_grid
    steps = units * book.num * grid.den // (book.den * grid.num)
    if steps <= 0 or grid.value(steps) < instrument.min_qty:
        return 0
    if price > 0.0 and instrument.notional(instrument.price_grid.count(price), steps) < instrument.min_notional:
        return 0
    return steps
