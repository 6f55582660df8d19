"""When a position is taken over, and what is lost: the mark touches its liquidation price, its margin goes, insurance settles the rest."""

from __future__ import annotations

from core.messages import Liquidation
from core.money import UNIT, mul_div_ceil
from sim.book import Order, Position, SymbolBook
from sim.events import Outbox
from sim.ledger import post
from sim.metrics import ExchangeMetrics


def is_touched(steps: int, mark: float, liquidation_price: float) -> bool:
    """Whether the mark is at or beyond the liquidation price of a position (0: it has none)."""
    if liquidation_price <= 0.0:
        return False
    return mark <= liquidation_price if steps > 0 else mark >= liquidation_price


class Takeover:
    """Takes positions over at their bankruptcy price."""

    __slots__ = ("_count", "_metrics", "_outbox")

    def __init__(self, outbox: Outbox, metrics: ExchangeMetrics) -> None:
        self._outbox, self._metrics, self._count = outbox, metrics, 0

    def take_over(self, book: SymbolBook, position: Position) -> None:
        """The whole position goes at its bankruptcy price: the trader loses its margin, no more and no less.

        The pool gets what closing at the mark is worth; insurance keeps the difference, or adds it (counted).
        """
        instrument, margin = book.instrument, position.margin
        steps, side = abs(position.steps), 1 if position.steps > 0 else -1
        mark = instrument.price_grid.count(book.mark)
        closing_fee = min(margin, book.margin.to_hold(position.cost, side) - mul_div_ceil(position.cost, UNIT, book.leverage))
        at_mark = side * (position.cost - instrument.notional(mark, steps))  # the loss of closing at the mark
        insurance = at_mark + closing_fee - margin
        extra = margin - book.margin.to_hold(position.cost, side)
        bankruptcy = book.margin.bankruptcy_price(side, position.qty * side, position.cost, extra)
        post(book.accounts, position=-margin, fees=closing_fee, pnl=at_mark, insurance=-insurance)
        liquidation = Liquidation(
            book.symbol, book.ts, "SELL" if side > 0 else "BUY", instrument.qty_grid.value(steps), book.mark,
            position.liquidation_price, bankruptcy, margin, max(0, insurance), position.idx,
        )  # fmt: skip
        position.steps = position.cost = position.margin = 0
        position.liquidation_price = 0.0
        self._count += 1
        self._metrics.liquidations += 1
        self._metrics.insurance_paid += max(0, insurance)
        self._outbox.liquidations.append(liquidation)
        self._outbox.emit(liquidation)
        self._outbox.fill(
            book, self._order(liquidation, steps), steps, instrument.price_grid.count(bankruptcy), instrument.price_grid.count(bankruptcy),
            closing_fee, instrument.quote, closing_fee - margin, False, "bust",
        )  # fmt: skip

    def _order(self, liquidation: Liquidation, steps: int) -> Order:
        order = Order(f"liquidation-{self._count}", liquidation.side, 1 if liquidation.side == "BUY" else -1, "market", steps, 0)
        order.reason, order.position_idx = "liquidation", liquidation.position_idx
        return order
