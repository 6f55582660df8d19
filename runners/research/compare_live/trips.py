"""Round trips out of fills and funding, with four values of each leg: what was paid, and three prices that lead there. Integers of 1e-8.

A trip goes from flat to flat (or to a flip); one that is still open is valued at the last mark price, on both sides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from keel.core.errors import InvariantError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill, FundingPayment

STILL_OPEN: Final = "still open"


class Prices(msgspec.Struct, frozen=True):
    """Where a fill's price came from. anchor: the price at which it was decided (the close of the bar, the trigger of an exit); reference:
    the market's when it reached the exchange; half_spread: as a rate of 1e-8 of the reference. is_own: whether the system ordered it."""

    anchor: float
    reference: float
    half_spread: int
    decided_ts: int
    is_own: bool = True


class Leg(msgspec.Struct, frozen=True):
    """All entries, or all exits, of a trip. paid: the notional at fill prices; spread, reference, anchor: the same quantity at the
    reference price with half the spread, at the reference price, and at the price of the decision."""

    paid: int = 0
    spread: int = 0
    reference: int = 0
    anchor: int = 0
    is_own: bool = True

    def plus(self, other: Leg) -> Leg:
        """Both together."""
        return Leg(
            self.paid + other.paid, self.spread + other.spread, self.reference + other.reference, self.anchor + other.anchor,
            self.is_own and other.is_own,
        )  # fmt: skip

    def share(self, part: int, whole: int) -> Leg:
        """So many parts of a whole; what is lost by rounding stays with the rest (``minus``)."""
        paid, spread, reference, anchor = (value * part // whole for value in (self.paid, self.spread, self.reference, self.anchor))
        return Leg(paid, spread, reference, anchor, self.is_own)

    def valued(self, worth: int) -> Leg:
        """With what is left at a mark price, as if it had been closed there: all four values are that price's."""
        return Leg(self.paid + worth, self.spread + worth, self.reference + worth, self.anchor + worth, self.is_own)

    def minus(self, other: Leg) -> Leg:
        """The rest."""
        return Leg(
            self.paid - other.paid, self.spread - other.spread, self.reference - other.reference, self.anchor - other.anchor, self.is_own
        )


class Trip(msgspec.Struct, frozen=True):
    """direction: +1 long, -1 short. steps: all that was opened, of the book's grid. fees, funding: paid is positive. exit_ts: None while it
    is open; then ``held`` steps are left of it, and ``worth`` is what they are worth at the last mark price. decided_ts: of the first
    entry."""

    symbol: str
    direction: int
    steps: int
    entry: Leg
    exit: Leg
    fees: int
    funding: int
    entry_ts: int
    exit_ts: int | None
    decided_ts: int
    exit_reason: str = ""
    worth: int = 0
    held: int = 0

    @property
    def net(self) -> int:
        """Profit after fees and funding, in 1e-8."""
        return self.direction * (self.exit.paid + self.worth - self.entry.paid) - self.fees - self.funding


PricesOf = Callable[[Fill], Prices]
Held = tuple[str, int, int]
"""(symbol, signed steps, cost in 1e-8)"""


def round_trips(
    events: Iterable[Fill | FundingPayment],
    instruments: Mapping[str, Instrument],
    prices_of: PricesOf,
    marks: Mapping[str, float],
    *,
    held: Sequence[Held] = (),
    held_since: int = 0,
) -> list[Trip]:
    """The trips of fills and payments in their order. marks: at the end. held: positions that were there before, at their cost: what nobody
    ordered. Raises InvariantError for what is no perpetual."""
    books = {symbol: _OpenTrip(instrument) for symbol, instrument in instruments.items()}
    for symbol, steps, cost in held:
        books[symbol].begin(steps, cost, held_since)
    for event in events:
        book = books[event.symbol]
        if isinstance(event, Fill):
            book.fill(event, prices_of(event))
        else:
            book.pay(event)
    for symbol, book in books.items():
        book.value(marks.get(symbol, 0.0))
    return sorted((trip for book in books.values() for trip in book.done), key=lambda trip: (trip.entry_ts, trip.symbol))


class _OpenTrip:
    """One symbol's trip under way."""

    def __init__(self, instrument: Instrument) -> None:
        if instrument.category != "linear":
            raise InvariantError(f"{instrument.symbol} is no perpetual")
        self._instrument = instrument
        self.done: list[Trip] = []
        self._steps = 0
        self._clear()

    def _clear(self) -> None:
        self._opened = self._fees = self._funding = 0
        self._direction = self._since = self._decided = 0
        self._entry, self._exit = Leg(), Leg()

    def begin(self, steps: int, cost: int, ts: int) -> None:
        self._open(1 if steps > 0 else -1, abs(steps), Leg(cost, cost, cost, cost, False), 0, ts, ts)

    def fill(self, fill: Fill, prices: Prices) -> None:
        steps = self._instrument.qty_grid.count(fill.qty)
        side = 1 if fill.side == "BUY" else -1
        leg = self._leg(fill, prices, steps)
        closing = min(steps, abs(self._steps)) if self._steps * side < 0 else 0
        if closing:
            part, fee = leg.share(closing, steps), fill.fee * closing // steps
            self._exit, self._fees = self._exit.plus(part), self._fees + fee
            self._steps += side * closing
            if not self._steps:
                self._end(fill.ts, fill.reason)
            leg, rest = leg.minus(part), fill.fee - fee
        else:
            rest = fill.fee
        if steps > closing:
            self._open(side, steps - closing, leg, rest, fill.ts, prices.decided_ts)

    def pay(self, payment: FundingPayment) -> None:
        if self._steps:
            self._funding += payment.amount
        elif self.done:
            last = self.done[-1]
            self.done[-1] = msgspec.structs.replace(last, funding=last.funding + payment.amount)

    def value(self, mark: float) -> None:
        """The end: what is open is worth its mark."""
        if self._steps:
            worth = round(abs(self._steps) * self._instrument.qty_grid.value(1) * mark * 1e8)
            self._end(None, STILL_OPEN, worth)

    def _open(self, side: int, steps: int, leg: Leg, fee: int, ts: int, decided: int) -> None:
        if not self._opened:
            self._direction, self._since, self._decided = side, ts, decided
        self._steps += side * steps
        self._opened += steps
        self._entry, self._fees = self._entry.plus(leg), self._fees + fee

    def _end(self, ts: int | None, reason: str, worth: int = 0) -> None:
        trip = Trip(
            self._instrument.symbol, self._direction, self._opened, self._entry, self._exit, self._fees, self._funding, self._since, ts,
            self._decided, reason, worth, abs(self._steps),
        )  # fmt: skip
        self.done.append(trip)
        self._clear()

    def _leg(self, fill: Fill, prices: Prices, steps: int) -> Leg:
        grid = self._instrument.price_grid
        paid, reference, anchor = (
            self._instrument.notional(grid.count(price), steps) for price in (fill.price, prices.reference, prices.anchor)
        )
        side = 1 if fill.side == "BUY" else -1
        return Leg(paid, reference + side * (reference * prices.half_spread // 100_000_000), reference, anchor, prices.is_own)
