"""What a spot fill does: quote against base. A buy's fee is taken in base, so a holding may be off the step; nothing is sold short.

The holding is a position counted in the ledger's units of the base coin. The fee of a buy leaves it at cost, as base given away at the
fill's price; what is left under one step is dust. A maker's rebate is credited in quote, on buys as on sells.
"""

from __future__ import annotations

from collections.abc import Mapping

from keel.core.model.money import fee_on
from keel.core.model.position import base_fee_value
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.exchange.book_costs import BookCosts
from keel.sim.exchange.events import Outbox
from keel.sim.exchange.order_validation import BALANCE_INSUFFICIENT
from keel.sim.margin.cross import CrossAccount
from keel.sim.margin.ledger import FREE, Accounts, post
from keel.sim.margin.settlement import hold_reserve, release_reserve, reserve_share


class SpotSettlement:
    """Balances of two coins; each fill is one posting in each."""

    __slots__ = ("_costs", "_cross", "_outbox")

    def __init__(self, outbox: Outbox, cross: Mapping[str, CrossAccount], costs: BookCosts | None = None) -> None:
        """``cross``: the coins whose cash is margin of linear positions, too: spot may spend what is available of it. costs: where a
        user's own model says the fee; None: the book's rates hold."""
        self._outbox, self._cross, self._costs = outbox, cross, costs

    def fill(self, book: SymbolBook, position: Position, order: WorkingOrder, steps: int, ticks: int, reference: int, maker: bool) -> str:
        """Book an execution and emit it. Returns "" or the venue's reason why it cannot be."""
        units = steps * book.lot
        total = book.instrument.notional(ticks, steps, up=order.side > 0)
        costs = self._costs
        rate = (book.maker_fee if maker else book.taker_fee) if costs is None else costs.fee_rate(book, order, steps, ticks, total, maker)
        share = reserve_share(order, steps)
        if order.side > 0:
            return self._buy(book, position, order, (steps, units, ticks, reference, total, share), rate, maker)
        return self._sell(book, position, order, (steps, units, ticks, reference, total, share), rate, maker)

    def _buy(
        self, book: SymbolBook, position: Position, order: WorkingOrder, deal: tuple[int, int, int, int, int, int], rate: int, maker: bool
    ) -> str:
        steps, units, ticks, reference, total, share = deal
        if total > self._free(book.instrument.quote, book.accounts) + share:
            return BALANCE_INSUFFICIENT
        fee, rebate, pnl = fee_on(units, rate), 0, 0
        position.increase(units, total)
        if fee < 0:  # a rebate comes in the coin that was paid with
            fee, rebate = 0, fee_on(total, rate)
        elif fee:
            pnl = position.reduce(fee, base_fee_value(total, fee, units))
        post(book.accounts, free=share - total - rebate, order=-share, fees=rebate, pnl=total)
        post(book.base_accounts, free=units - fee, fees=fee, pnl=-units)
        order.reserve -= share
        position.parent_id = order.client_order_id
        coin = book.instrument.quote if rebate else book.instrument.base
        self._outbox.fill(book, order, steps, ticks, reference, rebate or fee, coin, pnl, maker)
        return ""

    def _sell(
        self, book: SymbolBook, position: Position, order: WorkingOrder, deal: tuple[int, int, int, int, int, int], rate: int, maker: bool
    ) -> str:
        steps, units, ticks, reference, total, share = deal
        if units > book.base_accounts[FREE] + share or units > position.steps:
            return BALANCE_INSUFFICIENT
        fee = fee_on(total, rate)
        pnl = position.reduce(units, total)
        post(book.base_accounts, free=share - units, order=-share, pnl=units)
        post(book.accounts, free=total - fee, fees=fee, pnl=-total)
        order.reserve -= share
        self._outbox.fill(book, order, steps, ticks, reference, fee, book.instrument.quote, pnl, maker)
        return ""

    def reserve(self, book: SymbolBook, position: Position, order: WorkingOrder) -> str:
        """Hold what a limit order would spend: quote for a buy, base for a sell. Returns "" or the reason why it cannot be held."""
        if order.limit is None:
            return ""
        accounts = _spent(book, order)
        coin = book.instrument.quote if order.side > 0 else book.instrument.base
        needed = book.instrument.notional(order.limit, order.leaves, up=True) if order.side > 0 else order.leaves * book.lot
        if needed > self._free(coin, accounts):
            return BALANCE_INSUFFICIENT
        hold_reserve(accounts, order, needed)
        return ""

    def _free(self, coin: str, accounts: Accounts) -> int:
        account = self._cross.get(coin)
        return accounts[FREE] if account is None else min(accounts[FREE], account.available())

    def release(self, book: SymbolBook, order: WorkingOrder) -> None:
        """Give back what an order still holds."""
        release_reserve(_spent(book, order), order)


def _spent(book: SymbolBook, order: WorkingOrder) -> list[int]:
    return book.accounts if order.side > 0 else book.base_accounts
