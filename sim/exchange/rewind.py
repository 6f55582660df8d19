"""What one bar may change at the venue, kept before it goes along one path, so that it can go along the other from the same state.

A checkpoint is taken between two moments, when no order takes. It holds the symbol's book (under cross margin the books of its whole
account, which a liquidation may reach), the accounts of every coin, the counters, and how long each log was. Objects stay who they are:
going back changes what is in them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from keel.core.model.money import UNIT
from keel.core.model.position import unrealized_at
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.exchange.events import Numbering, Outbox, UsedIds
from keel.sim.exchange.exhaustion import ExhaustionCheck
from keel.sim.exchange.metrics import ExchangeMetrics
from keel.sim.margin.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Shared:
    """What the books of one exchange have in common."""

    ledger: Ledger
    outbox: Outbox
    metrics: ExchangeMetrics
    used_ids: UsedIds
    numbering: Numbering
    exhaustion: ExhaustionCheck


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one path made of a bar. equity: of the quote coin at the bar's close, in 1e-8; fills: without their times, in a fixed order."""

    equity: int
    fills: list[tuple[Any, ...]]


class Checkpoint:
    """The state of a book and of what it shares, at one moment."""

    __slots__ = ("_accounts", "_book", "_books", "_counts", "_lengths", "_shared", "_stop")

    def __init__(self, shared: Shared, book: SymbolBook) -> None:
        self._shared, self._book = shared, book
        self._books = [_KeptBook(each) for each in ([book] if book.account is None else book.account.books)]
        self._accounts = [(accounts, list(accounts)) for accounts in shared.ledger.coins.values()]
        self._counts = [getattr(shared.metrics, name) for name in shared.metrics.__slots__]
        outbox = shared.outbox
        self._lengths = (
            len(outbox.fills), len(outbox.funding_payments), len(outbox.liquidations), len(outbox.warnings), len(shared.used_ids)
        )  # fmt: skip
        self._stop = (shared.exhaustion.reason, shared.numbering.last)

    def restore(self) -> None:
        """Make everything what it was. What was emitted since stays with who heard it: mute or hold the outbox meanwhile."""
        shared, outbox = self._shared, self._shared.outbox
        for kept in self._books:
            kept.restore()
        for accounts, balances in self._accounts:
            accounts[:] = balances
        for name, count in zip(shared.metrics.__slots__, self._counts, strict=True):
            setattr(shared.metrics, name, count)
        fills, payments, liquidations, warnings, ids = self._lengths
        del outbox.fills[fills:], outbox.funding_payments[payments:], outbox.liquidations[liquidations:], outbox.warnings[warnings:]
        while len(shared.used_ids) > ids:
            shared.used_ids.popitem()
        shared.exhaustion.reason, shared.numbering.last = self._stop

    def outcome(self) -> Outcome:
        """What came of the bar since then; the book stands at its close."""
        fills = self._shared.outbox.fills[self._lengths[0] :]
        quote = self._book.instrument.quote
        equity = self._shared.ledger.wallet(quote) + sum(_worth(kept.book) for kept in self._books)
        return Outcome(equity, sorted(map(_what, fills)))


class _KeptBook:
    """One symbol's part of a checkpoint."""

    __slots__ = ("_fields", "_funding", "_log", "_orders", "_pending", "_positions", "book")

    def __init__(self, book: SymbolBook) -> None:
        self.book = book
        self._fields = _fields_of(book)
        self._orders = [(order, msgspec.structs.astuple(order)) for order in book.orders.values()]
        self._positions = [_PositionFields.of(position) for position in book.positions]
        self._pending = tuple(book.pending)
        self._funding = (book.funding.cursor, book.funding.next_stamp)
        self._log = len(book.position_log)

    def restore(self) -> None:
        book = self.book
        book.ts, book.last, book.mark, book.index, book.volume_left, book.ambiguous, book.is_capped = self._fields[:7]
        book.fresh, book.waiting = list(self._fields[7]), list(self._fields[8])
        book.orders = {}
        for order, values in self._orders:
            for name, value in zip(_ORDER_FIELDS, values, strict=True):
                setattr(order, name, value)
            book.orders[order.client_order_id] = order
        for position in self._positions:
            position.restore()
        book.pending = deque(self._pending)
        book.funding.cursor, book.funding.next_stamp = self._funding
        del book.position_log[self._log :]


@dataclass(frozen=True, slots=True)
class _PositionFields:
    position: Position
    steps: int
    cost: int
    margin: int
    liquidation_price: float
    parent_id: str
    children: tuple[WorkingOrder, ...]

    @classmethod
    def of(cls, position: Position) -> _PositionFields:
        return cls(
            position, position.steps, position.cost, position.margin, position.liquidation_price, position.parent_id,
            tuple(position.children),
        )  # fmt: skip

    def restore(self) -> None:
        position = self.position
        position.steps, position.cost, position.margin = self.steps, self.cost, self.margin
        position.liquidation_price, position.parent_id = self.liquidation_price, self.parent_id
        position.children = list(self.children)


_ORDER_FIELDS: Final = WorkingOrder.__struct_fields__
Fields = tuple[int, float, float, float, int, bool, bool, tuple[WorkingOrder, ...], tuple[WorkingOrder, ...]]


def _fields_of(book: SymbolBook) -> Fields:
    marks = book.last, book.mark, book.index
    return book.ts, *marks, book.volume_left, book.ambiguous, book.is_capped, tuple(book.fresh), tuple(book.waiting)


def _worth(book: SymbolBook) -> int:
    """What the positions of a symbol add to the wallet, in 1e-8: unrealised PnL at mark; of a spot holding its value at last."""
    grid = book.instrument.book_grid
    price = round((book.last if book.is_spot else book.mark) * UNIT)
    return sum(
        unrealized_at(price, position.steps, 0 if book.is_spot else position.cost, grid.num, grid.den) for position in book.positions
    )


def _what(fill: Any) -> tuple[Any, ...]:
    """A fill without its number and time; a takeover without its counted id."""
    return (
        "" if fill.reason == "liquidation" else fill.client_order_id, fill.symbol, fill.side, fill.qty, fill.price, fill.fee,
        fill.realized_pnl, fill.maker, fill.kind, fill.fee_coin, fill.position_idx, fill.reason,
    )  # fmt: skip
