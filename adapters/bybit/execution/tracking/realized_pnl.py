"""Realised PnL of the account's executions, by the same integer book that the portfolio keeps: the exchange states it only on the stream,
rounded in its own way, and REST lists do not have it. What the exchange states is compared, never booked (but for takeovers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil

from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import ExecutionRow
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill
from keel.core.model.money import mul_div_floor
from keel.core.model.position import PositionBook, base_fee_value


class RealizedBooks:
    """One PositionBook per symbol and position index. Seeded with what was held before our first execution."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        self._books: dict[tuple[str, int], PositionBook] = {}

    def seed(self, symbol: str, steps: int, cost: int, position_idx: int = 0) -> None:
        """What is held: signed steps of the book's grid, and cost in 1e-8. The portfolio must begin with the same."""
        book = self._book(symbol, position_idx)
        book.steps, book.cost = steps, cost

    def held(self, symbol: str, position_idx: int = 0) -> int:
        """Signed steps held, as our executions tell it."""
        return self._book(symbol, position_idx).steps

    def would_differ(self, fills: Iterable[tuple[Fill, int | None]]) -> bool:
        """Whether, booked in this order, one of these fills of a symbol would give another PnL than the exchange states for it
        (None: it states none): then what stands between our book and it is not here yet. Nothing is changed."""
        trial = RealizedBooks(self._instruments)
        for fill, stated in fills:
            key = (fill.symbol, fill.position_idx)
            if key not in trial._books:
                book = self._book(*key)
                trial.seed(fill.symbol, book.steps, book.cost, fill.position_idx)
            own = trial.apply(fill)
            if stated is not None and fill.kind == "trade" and abs(stated - own) > tolerance(fill):
                return True
        return False

    def apply(self, fill: Fill) -> int:
        """Book an execution; returns the realised PnL in 1e-8 of the quote coin, before fees."""
        book = self._book(fill.symbol, fill.position_idx)
        return self._linear(book, fill) if book.instrument.category == "linear" else self._spot(book, fill)

    def _linear(self, book: PositionBook, fill: Fill) -> int:
        instrument = book.instrument
        ticks, steps = instrument.price_grid.count(fill.price), instrument.qty_grid.count(fill.qty)
        return book.fill(1 if fill.side == "BUY" else -1, steps, ticks, instrument.notional(ticks, steps))[3]

    def _spot(self, book: PositionBook, fill: Fill) -> int:
        instrument = book.instrument
        ticks, lots = instrument.price_grid.count(fill.price), instrument.qty_grid.count(fill.qty)
        units = instrument.book_grid.count(fill.qty)
        total = instrument.notional(ticks, lots, up=fill.side == "BUY")
        if fill.side == "BUY":
            book.increase(units, total)
            if fill.fee_coin == instrument.base and fill.fee > 0:
                return book.reduce(fill.fee, base_fee_value(total, fill.fee, units))
            return 0
        known = min(units, book.steps)  # more than we bought: held from before, at a cost that nobody knows
        if known <= 0:
            return 0
        return book.reduce(known, total if known == units else mul_div_floor(total, known, units))

    def _book(self, symbol: str, position_idx: int) -> PositionBook:
        found = self._books.get((symbol, position_idx))
        if found is None:
            found = self._books[symbol, position_idx] = PositionBook(self._instruments[symbol])
        return found


def tolerance(fill: Fill) -> int:
    """How far two honest PnLs of a fill may lie apart, in 1e-8: the exchange rounds its entry price, we round each release of cost."""
    return 2 + ceil(fill.qty)


def stated_pnl(row: ExecutionRow) -> int | None:
    """What the exchange states of an execution's PnL, in 1e-8; None where it states none (lists do not)."""
    return translate.units(row.execPnl, "execPnl") if translate.number(row.execPnl, "execPnl") is not None else None


def richer(known: ExecutionRow | None, row: ExecutionRow) -> ExecutionRow:
    """Of two tellings of an execution the one that states its PnL: what it differs by shows what is missing."""
    return row if known is None or stated_pnl(known) is None else known
