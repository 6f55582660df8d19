"""What is lost when a position is taken over, in both margin modes. Insurance settles the rest.

Isolated: the mark touched the position's liquidation price; it goes at its bankruptcy price with its margin, no more and no less. Cross:
the account's maintenance margin rate reached 100 %; sim/margin/cross.py tells which positions go, and at what price.
"""

from __future__ import annotations

from typing import NamedTuple

from keel.core.model.messages import Liquidation
from keel.core.model.money import fee_on
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.exchange.events import Outbox
from keel.sim.exchange.metrics import ExchangeMetrics
from keel.sim.margin.cross import CrossAccount
from keel.sim.margin.cross_settlement import insured
from keel.sim.margin.isolated import initial_margin, margin_to_hold
from keel.sim.margin.ledger import post


def is_touched(steps: int, mark: float, liquidation_price: float) -> bool:
    """Whether the mark is at or beyond the liquidation price of a position (0: it has none)."""
    if liquidation_price <= 0.0:
        return False
    return mark <= liquidation_price if steps > 0 else mark >= liquidation_price


class Terms(NamedTuple):
    """How a position went. Prices as floats, ``ticks`` the fill's; pnl, fee, insurance in 1e-8.

    pnl: what was booked, with what insurance gave; insurance: what it gave at least.
    """

    liquidation_price: float
    bankruptcy_price: float
    ticks: int
    pnl: int
    fee: int
    insurance: int


class Takeover:
    """Takes positions over."""

    __slots__ = ("_metrics", "_outbox")

    def __init__(self, outbox: Outbox, metrics: ExchangeMetrics) -> None:
        self._outbox, self._metrics = outbox, metrics

    def take_over(self, book: SymbolBook, position: Position) -> None:
        """The whole position goes; one Liquidation and one Fill of kind bust tell it."""
        steps, held = abs(position.steps), position.steps
        terms = _isolated(book, position) if book.account is None else _cross(book, position, book.account)
        position.steps = position.cost = position.margin = 0
        position.liquidation_price = 0.0
        self._metrics.liquidations += 1
        self._metrics.insurance_paid += terms.insurance
        instrument = book.instrument
        liquidation = Liquidation(
            book.symbol, book.ts, "SELL" if held > 0 else "BUY", instrument.qty_grid.value(steps), book.mark, terms.liquidation_price,
            terms.bankruptcy_price, max(0, terms.fee - terms.pnl), terms.insurance, position.idx,
        )  # fmt: skip
        self._outbox.liquidations.append(liquidation)
        self._outbox.emit(liquidation)
        order = self._order(liquidation, steps)
        self._outbox.fill(book, order, steps, terms.ticks, terms.ticks, terms.fee, instrument.quote, terms.pnl, False, "bust")

    def _order(self, liquidation: Liquidation, steps: int) -> WorkingOrder:
        name, side = f"liquidation-{self._metrics.liquidations}", liquidation.side
        order = WorkingOrder(name, side, 1 if side == "BUY" else -1, "market", steps, 0)
        order.reason, order.position_idx = "liquidation", liquidation.position_idx
        return order


def _isolated(book: SymbolBook, position: Position) -> Terms:
    """At the bankruptcy price: the trader loses the position's margin. The pool gets what closing at the mark is worth; insurance keeps
    the difference, or adds it (counted)."""
    instrument, margin, policy = book.instrument, position.margin, book.margin
    steps, side = abs(position.steps), 1 if position.steps > 0 else -1
    value = instrument.notional(instrument.price_grid.count(book.mark), steps)
    closing_fee, at_mark, insurance, extra = isolated_loss(side, position.cost, margin, value, policy.leverage, policy.taker_fee)
    bankruptcy = policy.bankruptcy_price(side, position.qty * side, position.cost, extra)
    post(book.accounts, position=-margin, fees=closing_fee, pnl=at_mark, insurance=-insurance)
    ticks = instrument.price_grid.count(bankruptcy)
    return Terms(position.liquidation_price, bankruptcy, ticks, closing_fee - margin, closing_fee, max(0, insurance))


def isolated_loss(side: int, cost: int, margin: int, value: int, leverage: int, taker_fee: int) -> tuple[int, int, int, int]:
    """(fee to close, loss of closing at the mark, what insurance adds (negative: keeps), margin beyond the initial one), in 1e-8.

    ``value``: of the whole position at the mark.
    """
    hold = margin_to_hold(cost, side, leverage, taker_fee)
    closing_fee = min(margin, hold - initial_margin(cost, leverage))
    at_mark = side * (cost - value)
    return closing_fee, at_mark, at_mark + closing_fee - margin, margin - hold


def _cross(book: SymbolBook, position: Position, account: CrossAccount) -> Terms:
    """At the mark, rounded against the trader, for the taker fee; insurance gives what the wallet then lacks, if this was the last one."""
    instrument, grid = book.instrument, book.instrument.price_grid
    steps, side = abs(position.steps), 1 if position.steps > 0 else -1
    liquidation_price = account.liquidation_price(book)
    ticks = max(1, grid.floor(book.mark) if side > 0 else grid.ceil(book.mark))
    total = instrument.notional(ticks, steps)
    fee, pnl = fee_on(total, book.taker_fee), position.reduce(steps, total)
    insurance = insured(account, pnl - fee)
    post(book.accounts, free=pnl - fee + insurance, fees=fee, pnl=-pnl, insurance=-insurance)
    return Terms(liquidation_price, grid.value(ticks), ticks, pnl + insurance, fee, insurance)
