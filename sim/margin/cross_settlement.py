"""What a fill does to a linear position under cross margin: the wallet takes what it realises, and the account says what may be opened."""

from __future__ import annotations

from keel.core.model.messages import FillKind
from keel.core.model.money import fee_on
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.exchange.book_costs import BookCosts
from keel.sim.exchange.events import Outbox
from keel.sim.exchange.metrics import ExchangeMetrics
from keel.sim.exchange.order_validation import EXCEEDS_TIER, NOT_ENOUGH_MARGIN
from keel.sim.margin.cross import CrossAccount, net_of, value_at_mark
from keel.sim.margin.isolated import max_leverage
from keel.sim.margin.ledger import post
from keel.sim.margin.settlement import hold_reserve, order_margin_of, release_reserve, reserve_share


class CrossSettlement:
    """Contracts that share the margin of their quote coin. A fill is booked whole or refused with nothing changed."""

    __slots__ = ("_accounts", "_costs", "_metrics", "_outbox")

    def __init__(self, outbox: Outbox, metrics: ExchangeMetrics, accounts: dict[str, CrossAccount], costs: BookCosts | None = None) -> None:
        """``accounts``: by quote coin. costs: where a user's own model says the fee; None: the book's rates hold."""
        self._outbox, self._metrics, self._accounts, self._costs = outbox, metrics, accounts, costs

    def fill(self, book: SymbolBook, position: Position, order: WorkingOrder, steps: int, ticks: int, reference: int, maker: bool) -> str:
        """Book an execution and emit it. Returns "" or the venue's reason why it cannot be."""
        held, saved_cost = position.steps, position.cost
        total = book.instrument.notional(ticks, steps)
        costs = self._costs
        rate = (book.maker_fee if maker else book.taker_fee) if costs is None else costs.fee_rate(book, order, steps, ticks, total, maker)
        fee = fee_on(total, rate)
        share = reserve_share(order, steps)
        _, opening, closed, pnl = position.fill(order.side, steps, ticks, total)
        if opening:
            refusal = self._refusal(book, order, total - closed, share, pnl - fee)
            if refusal:
                position.steps, position.cost = held, saved_cost
                return refusal
            position.parent_id = order.client_order_id
        kind: FillKind = "trade"
        paid = insured(self._accounts[book.instrument.quote], pnl - fee)
        if paid:
            kind = "bust"
            self._metrics.insurance_paid += paid
        post(book.accounts, free=share + pnl - fee + paid, order=-share, fees=fee, pnl=-pnl, insurance=-paid)
        order.reserve -= share
        self._outbox.fill(book, order, steps, ticks, reference, fee, book.instrument.quote, pnl + paid, maker, kind)
        return ""

    def _refusal(self, book: SymbolBook, order: WorkingOrder, opened: int, share: int, change: int) -> str:
        """Why the position that an order has just made in the book may not be. ``change``: of the wallet, by pnl and fee.

        What an order reserved is its own, whatever has become of the account since: one that rests is not refused when it fills.
        """
        available = self._accounts[book.instrument.quote].available() + share + change
        if available <= 0 and book.margin.to_order(opened, order.side) > share:
            return NOT_ENOUGH_MARGIN
        value = abs(value_at_mark(book, net_of(book)[0]))
        if value > book.margin.unlimited_to and book.margin.leverage > max_leverage(value, book.margin.tiers):
            return EXCEEDS_TIER
        return ""

    def reserve(self, book: SymbolBook, position: Position, order: WorkingOrder) -> str:
        """Hold margin for what a limit order would open, at its limit. Returns "" or the reason why it cannot be held."""
        needed = order_margin_of(book, position, order)
        if needed is None:
            return ""
        if self._accounts[book.instrument.quote].available() - needed <= 0:
            return NOT_ENOUGH_MARGIN
        hold_reserve(book.accounts, order, needed)
        return ""

    def release(self, book: SymbolBook, order: WorkingOrder) -> None:
        """Give back what an order still holds."""
        release_reserve(book.accounts, order)


def insured(account: CrossAccount, change: int) -> int:
    """What insurance pays when the wallet changes by this and nothing is open any more that could stand for what it lacks."""
    return 0 if account.is_open() else max(0, -(account.wallet + change))
