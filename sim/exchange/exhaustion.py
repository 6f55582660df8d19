"""When a run has nothing left to do: no position, no order, and no cash for the smallest order of any symbol."""

from __future__ import annotations

from collections.abc import Mapping

from keel.core.model.dust import held_steps
from keel.core.model.instrument import notional_of, notional_up
from keel.core.model.money import UNIT, to_text
from keel.core.results.result import StopReason
from keel.sim.exchange.book import SymbolBook
from keel.sim.exchange.order_validation import BALANCE_INSUFFICIENT, NOT_ENOUGH_MARGIN
from keel.sim.margin.ledger import FREE, Ledger


class ExhaustionCheck:
    """Looks at the account after the events that can end it, and keeps the first reason.

    account_blown: equity is below what the smallest order needs. insufficient_free_margin: it is not (a spot holding that is too small
    to sell counts), yet every further order would be refused.

    It looks while a symbol is stepped. That symbol's price is the present one; of the others' it knows nothing, since the loop may have
    skipped their bars: what they need is judged by its lower bound at any price, what they hold is taken at cost.
    """

    __slots__ = ("_books", "_ledger", "reason")

    def __init__(self, books: Mapping[str, SymbolBook], ledger: Ledger) -> None:
        self._books, self._ledger = books, ledger
        self.reason: StopReason | None = None

    def on_refused(self, book: SymbolBook, reason: str) -> None:
        """An order was refused; only a lack of money is of interest."""
        if reason in (NOT_ENOUGH_MARGIN, BALANCE_INSUFFICIENT):
            self._look(book)

    def on_flat(self, book: SymbolBook) -> None:
        """A position was closed or taken over."""
        self._look(book)

    def _look(self, book: SymbolBook) -> None:
        if self.reason is not None:
            return
        needs = []
        for other in self._books.values():
            need = smallest_order(other, other.last) if other is book else least_need(other)
            if other.orders or _is_open(other, other is book) or other.accounts[FREE] >= need:
                return
            needs.append(need)
        need, equity = min(needs), self._equity(book)
        code = "account_blown" if equity < need else "insufficient_free_margin"
        quote = book.instrument.quote
        detail = (
            f"{book.symbol}: equity {to_text(equity)} {quote}, free {to_text(book.accounts[FREE])} {quote}; "
            f"the smallest order needs {to_text(need)} {quote}"
        )
        self.reason = StopReason(code, book.ts, detail)

    def _equity(self, book: SymbolBook) -> int:
        quote = book.instrument.quote
        holdings = sum(
            round(other.last * position.qty * UNIT) if other is book else position.cost
            for other in self._books.values()
            if other.is_spot and other.instrument.quote == quote
            for position in other.positions
        )
        return self._ledger.wallet(quote) + holdings


def smallest_order(book: SymbolBook, price: float) -> int:
    """What the smallest order at this price would take from free cash, in 1e-8."""
    instrument = book.instrument
    numerator, denominator = instrument.notional_factor
    ticks = max(1, instrument.price_grid.floor(price))
    return _taken(book, smallest_notional(ticks, book.min_steps, instrument.min_notional, numerator, denominator))


def smallest_notional(ticks: int, min_steps: int, min_notional: int, value_num: int, value_den: int) -> int:
    """The value of the smallest order at this price, in 1e-8: by the least quantity and the least value; value_num/value_den is the
    instrument's notional factor."""
    one = max(1, notional_of(ticks, 1, value_num, value_den))
    steps = max(min_steps, -(-min_notional // one))
    return notional_up(ticks, steps, value_num, value_den)


def least_need(book: SymbolBook) -> int:
    """What the smallest order would take at least, whatever the price is, in 1e-8."""
    instrument = book.instrument
    return _taken(book, max(instrument.min_notional, instrument.notional(1, book.min_steps, up=True)))


def _taken(book: SymbolBook, notional: int) -> int:
    return notional if book.is_spot else book.margin.to_order(notional, 1)


def _is_open(book: SymbolBook, has_price: bool) -> bool:
    """Whether something could be closed: a position, or a spot holding of the smallest order (without a price: of its quantity)."""
    price = book.last if has_price else 0.0
    return any(held_steps(book.instrument, position.steps, price) for position in book.positions)
