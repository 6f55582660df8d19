"""What the venue says: every event leaves through one outbox, which numbers fills and keeps what a run's result needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from keel.core.model.messages import Fill, FillKind, FundingPayment, Liquidation, Message, OrderStatus, OrderUpdate, SubmitOrder
from keel.sim.exchange.book import SymbolBook, WorkingOrder

UsedIds = dict[str, None]
"""Every client order id that the venue has taken on, in order (a dict, so that the latest can be given back)."""


class Numbering:
    """Numbers orders in the order of their arrival: their time priority."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        """The next number."""
        self.last += 1
        return self.last


class Outbox:
    """Emits events and keeps fills, funding payments and liquidations."""

    __slots__ = ("emit", "fills", "funding_payments", "liquidations", "warnings")

    def __init__(self, emit: Callable[[Message], None]) -> None:
        self.emit: Callable[[Any], None] = emit
        self.fills: list[Fill] = []
        self.funding_payments: list[FundingPayment] = []
        self.liquidations: list[Liquidation] = []
        self.warnings: list[str] = []

    @contextmanager
    def held(self) -> Iterator[list[Any]]:
        """Keep back what is emitted meanwhile: whoever asked emits it later, or drops it."""
        emit, events = self.emit, list[Any]()
        self.emit = events.append
        try:
            yield events
        finally:
            self.emit = emit

    def order(self, book: SymbolBook, order: WorkingOrder, status: OrderStatus, reason: str = "") -> None:
        """State of one order, as it is now."""
        num, den, limit = book.qty_num, book.qty_den, order.limit
        self.emit(
            OrderUpdate(
                order.client_order_id,
                book.symbol,
                book.ts,
                status,
                order.filled * num / den,
                order.leaves * num / den,
                reason,
                order.order_type,
                None if limit is None else book.instrument.price_grid.value(limit),
                order.trigger,
                order.side_name,
                order.parent_id,
            )
        )

    def refused(self, command: SubmitOrder, ts: int, reason: str) -> None:
        """The rejection of an order that the venue never held: emitted with the type and the prices that it was sent with."""
        self.emit(
            OrderUpdate(
                command.client_order_id, command.symbol, ts, "rejected", 0.0, 0.0, reason, command.order_type, command.price,
                command.trigger_price, command.side,
            )
        )  # fmt: skip

    def answer(self, symbol: str, client_order_id: str, ts: int, status: OrderStatus, reason: str) -> None:
        """The rejection of a command about an order that the venue does not hold."""
        self.emit(OrderUpdate(client_order_id, symbol, ts, status, reason=reason))

    def fill(
        self,
        book: SymbolBook,
        order: WorkingOrder,
        steps: int,
        ticks: int,
        reference: int,
        fee: int,
        fee_coin: str,
        pnl: int,
        maker: bool,
        kind: FillKind = "trade",
    ) -> None:
        """One execution of ``steps`` at ``ticks``."""
        num, den, fills = book.price_num, book.price_den, self.fills
        price = ticks * num / den
        fill = Fill(
            f"f-{len(fills) + 1}",
            order.client_order_id,
            book.symbol,
            book.ts,
            order.side_name,
            steps * book.qty_num / book.qty_den,
            price,
            fee,
            pnl,
            maker,
            price if reference == ticks else reference * num / den,
            kind,
            fee_coin,
            order.position_idx,
            order.reason,
        )
        fills.append(fill)
        self.emit(fill)
