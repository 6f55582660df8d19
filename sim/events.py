"""What the venue says: every event leaves through one outbox, which numbers fills and keeps what a run's result needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.messages import Fill, FillKind, FundingPayment, Liquidation, Message, OrderStatus, OrderUpdate, Side
from sim.book import Order, SymbolBook


class Outbox:
    """Emits events and keeps fills, funding payments and liquidations."""

    __slots__ = ("emit", "fills", "funding_payments", "liquidations")

    def __init__(self, emit: Callable[[Message], None]) -> None:
        self.emit: Callable[[Any], None] = emit
        self.fills: list[Fill] = []
        self.funding_payments: list[FundingPayment] = []
        self.liquidations: list[Liquidation] = []

    def order(self, book: SymbolBook, order: Order, status: OrderStatus, reason: str = "") -> None:
        """State of one order, as it is now."""
        grid = book.instrument.qty_grid
        limit = order.limit
        self.emit(
            OrderUpdate(
                order.client_order_id,
                book.symbol,
                book.ts,
                status,
                order.filled * grid.num / grid.den,
                order.leaves * grid.num / grid.den,
                reason,
                order.order_type,
                None if limit is None else book.instrument.price_grid.value(limit),
                order.trigger,
                order.side_name,
                order.parent_id,
            )
        )

    def answer(self, symbol: str, client_order_id: str, ts: int, status: OrderStatus, reason: str, side: Side = "BUY") -> None:
        """A no to a command about an order that the venue does not hold."""
        self.emit(OrderUpdate(client_order_id, symbol, ts, status, reason=reason, side=side))

    def fill(
        self,
        book: SymbolBook,
        order: Order,
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
        instrument = book.instrument
        grid, lots = instrument.price_grid, instrument.qty_grid
        fills = self.fills
        price = ticks * grid.num / grid.den
        fill = Fill(
            f"f-{len(fills) + 1}",
            order.client_order_id,
            book.symbol,
            book.ts,
            order.side_name,
            steps * lots.num / lots.den,
            price,
            fee,
            pnl,
            maker,
            price if reference == ticks else reference * grid.num / grid.den,
            kind,
            fee_coin,
            order.position_idx,
            order.reason,
        )
        fills.append(fill)
        self.emit(fill)
