"""When a run has nothing left to do: no position, no order, and no cash for the smallest order of any symbol."""

from __future__ import annotations

from collections.abc import Mapping

from core.money import UNIT, to_text
from core.result import StopReason
from sim.book import SymbolBook
from sim.constraints import BALANCE_INSUFFICIENT, NOT_ENOUGH_MARGIN
from sim.ledger import FREE, Ledger


class StopWatch:
    """Looks at the account after the events that can end it, and keeps the first reason.

    account_blown: equity is below what the smallest order needs. insufficient_free_margin: it is not (a spot holding that is too small
    to sell counts), yet every further order would be refused.
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
            need = smallest_order(other)
            if need is None or other.orders or _is_open(other) or other.accounts[FREE] >= need:
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
            round(other.last * position.qty * UNIT)
            for other in self._books.values()
            if other.is_spot and other.instrument.quote == quote
            for position in other.positions
        )
        return self._ledger.wallet(quote) + holdings


def smallest_order(book: SymbolBook) -> int | None:
    """What the smallest order at the last price would take from free cash, in 1e-8; None before the first bar."""
    if not book.last > 0.0:
        return None
    instrument = book.instrument
    ticks = max(1, instrument.price_grid.floor(book.last))
    one = max(1, instrument.notional(ticks, 1))
    steps = max(book.min_steps, -(-instrument.min_notional // one))
    notional = instrument.notional(ticks, steps, up=True)
    return notional if book.is_spot else book.margin.to_order(notional, 1)


def _is_open(book: SymbolBook) -> bool:
    """Whether something could be closed: a position, or a spot holding of at least the smallest order."""
    instrument = book.instrument
    for position in book.positions:
        if not book.is_spot:
            if position.steps:
                return True
            continue
        steps = position.steps // book.lot
        value = instrument.notional(max(1, instrument.price_grid.floor(book.last)), steps) if steps else 0
        if steps >= book.min_steps and value >= instrument.min_notional:
            return True
    return False
