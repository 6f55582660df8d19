"""What a fill does to a position, written once: ``apply_fill``. The exchange (isolated and cross margin, and the kernel with them), the
portfolio, the account client and the Bybit adapter call it, each on a state of its own, so that they check one another.

``cost`` (>= 0, 1e-8 of the quote coin) is the notional of the open quantity. A reduction of c of q steps releases floor(cost x c / q);
PnL is that against the closing notional. A flip closes all first (the cost becomes exactly 0), then opens.
"""

from __future__ import annotations

from keel.core.errors import InvariantError
from keel.core.model.instrument import Instrument, notional_of
from keel.core.model.money import check_bound, mul_div_floor


class PositionBook:
    """Signed quantity in steps, cost in 1e-8. Mutable; it has one owner."""

    __slots__ = ("cost", "instrument", "steps")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.steps = 0
        self.cost = 0

    def fill(self, side: int, steps: int, ticks: int, total: int) -> tuple[int, int, int, int]:
        """Book a fill by ``apply_fill``; returns its closing and opening steps, the notional of what closed, and the realised PnL."""
        factor = self.instrument.notional_factor
        closing, opening, closed, pnl, self.steps, cost = apply_fill(self.steps, self.cost, side, steps, ticks, total, factor[0], factor[1])
        self.cost = check_bound(cost, "position cost")
        return closing, opening, closed, pnl

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
        return self.fill(-1 if self.steps > 0 else 1, steps, 0, notional)[3]

    @property
    def qty(self) -> float:
        """Base units, negative when short."""
        return self.instrument.book_grid.value(self.steps)

    @property
    def signed_cost(self) -> int:
        """The cost, negative when short: the unrealised PnL is the value less this."""
        return self.cost if self.steps > 0 else -self.cost

    @property
    def entry_price(self) -> float:
        """Average entry price, for display, margin and liquidation price; 0 when flat."""
        return average_price(self.cost, abs(self.steps), self.instrument)

    def unrealized(self, price: float) -> float:
        """PnL in quote coins that closing at ``price`` would give, before fees; a valuation, so a float."""
        if not self.steps:
            return 0.0
        return price * self.instrument.book_grid.value(self.steps) - self.signed_cost / 1e8


def apply_fill(
    held: int, cost: int, side: int, steps: int, ticks: int, total: int, value_num: int, value_den: int
) -> tuple[int, int, int, int, int, int]:  # fmt: skip
    """A fill of ``steps`` (unsigned; side +1 buys) at ``ticks``, worth ``total``, on a position of signed ``held`` steps and this cost.

    It closes first and releases cost, then opens. value_num/value_den: the instrument's notional factor, by which a flip's total is shared.
    Returns (steps that closed, steps that opened, notional of what closed, realised PnL before fees, steps after, cost after).
    """
    if held * side >= 0:
        return 0, steps, 0, 0, held + side * steps, cost + total
    size = -held * side
    closing = min(steps, size)
    opening = steps - closing
    closed = notional_of(ticks, closing, value_num, value_den) if opening else total
    released = released_cost(cost, closing, size)
    return closing, opening, closed, realized_pnl(-side, closed, released), held + side * steps, cost - released + total - closed


def base_fee_value(total: int, fee: int, units: int) -> int:
    """What a spot buy's fee, taken in ``fee`` of the ``units`` bought for ``total``, is worth: 1e-8 of the quote coin."""
    return mul_div_floor(total, fee, units)


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
