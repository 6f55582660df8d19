"""The integer book of one position: signed steps and cost, written once for the portfolio, the exchange and (later) the kernel.

``cost`` (>= 0, 1e-8 of the quote coin) is the notional of the open quantity. A reduction of c of q steps releases floor(cost x c / q);
PnL is that against the closing notional. A flip closes all first (the cost becomes exactly 0), then opens.
"""

from __future__ import annotations

from core.errors import InvariantError
from core.instrument import Instrument
from core.money import check_bound, mul_div_floor


class PositionBook:
    """Signed quantity in steps, cost in 1e-8. Mutable; it has one owner."""

    __slots__ = ("cost", "instrument", "steps")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.steps = 0
        self.cost = 0

    def increase(self, steps: int, notional: int) -> None:
        """Add ``steps`` (signed, in the position's own direction) at ``notional`` (>= 0)."""
        if self.steps * steps < 0:
            raise InvariantError(f"{self.instrument.symbol}: an increase of {steps} against a position of {self.steps}")
        self.steps += steps
        self.cost = check_bound(self.cost + notional, "position cost")

    def reduce(self, steps: int, notional: int) -> int:
        """Close ``steps`` (unsigned, at most what is open) for ``notional``; returns the realised PnL in 1e-8, before fees."""
        held = abs(self.steps)
        if not 0 < steps <= held:
            raise InvariantError(f"{self.instrument.symbol}: a reduction of {steps} of {held} steps")
        released = released_cost(self.cost, steps, held)
        self.cost -= released
        if self.steps > 0:
            self.steps -= steps
            return realized_pnl(1, notional, released)
        self.steps += steps
        return realized_pnl(-1, notional, released)

    @property
    def qty(self) -> float:
        """Base units, negative when short."""
        return self.instrument.book_grid.value(self.steps)

    @property
    def entry_price(self) -> float:
        """Average entry price, for display, margin and liquidation price; 0 when flat."""
        return average_price(self.cost, abs(self.steps), self.instrument)

    def unrealized(self, price: float) -> float:
        """PnL in quote coins that closing at ``price`` would give, before fees; a valuation, so a float."""
        if not self.steps:
            return 0.0
        value = price * self.instrument.book_grid.value(self.steps)
        return value - self.cost / 1e8 if self.steps > 0 else value + self.cost / 1e8


def released_cost(cost: int, steps: int, held: int) -> int:
    """The part of a position's cost that closing ``steps`` of the ``held`` (both unsigned) releases; all of it with the last one."""
    return cost if steps == held else mul_div_floor(cost, steps, held)


def realized_pnl(side: int, notional: int, released: int) -> int:
    """What closing at ``notional`` what had cost ``released`` brings a long (side +1) or a short (-1), before fees."""
    return notional - released if side > 0 else released - notional


def unrealized_at(price: int, steps: int, cost: int, num: int, den: int) -> int:
    """What a position of signed ``steps`` (one is num/den base units) with this cost is ahead at a price in 1e-8: in 1e-8, rounded down."""
    value = mul_div_floor(price, steps * num, den)
    return value - cost if steps > 0 else value + cost


def average_price(cost: int, steps: int, instrument: Instrument) -> float:
    """cost / quantity as a float price (not on the grid); 0 when steps is 0."""
    if not steps:
        return 0.0
    return cost / 1e8 / instrument.book_grid.value(steps)


def split_fill(held: int, steps: int) -> tuple[int, int]:
    """(closing, opening) parts, unsigned, of an order of signed ``steps`` against a position of ``held`` steps."""
    if held * steps >= 0:
        return 0, abs(steps)
    closing = min(abs(held), abs(steps))
    return closing, abs(steps) - closing
