"""What an account's margins are, in both margin modes: computed when asked, from the engine's books and ledger. All money in 1e-8.

Isolated: a position's initial margin by its entry, its maintenance margin by the mark. Cross ("UTA Trading Rules"): both by the mark, of a
symbol's net side; the margin balance is the wallet of USDT with the unrealised PnL at mark. Other coins are no collateral (ASSUMED).
"""

from __future__ import annotations

from typing import NamedTuple

from keel.core.model.money import UNIT, mul_div_ceil
from keel.sim.exchange.book import Position, SymbolBook
from keel.sim.margin.cross import margins_at_mark, net_of, value_at_mark
from keel.sim.margin.ledger import ORDER
from keel.sim.sandbox.account.simulated_account import SimulatedAccount


class AccountMargins(NamedTuple):
    """``balance``: what margin is counted against, 0 with isolated margin, where nothing is; ``order``: held by linear orders."""

    balance: int
    order: int
    position: int
    maintenance: int


def position_margins(book: SymbolBook, position: Position) -> tuple[int, int]:
    """(initial, maintenance) margin of a position, fee to close included; under cross margin the hedged side of a symbol has none."""
    if not position.steps:
        return 0, 0
    side = 1 if position.steps > 0 else -1
    if book.account is not None:
        net, _ = net_of(book)
        return margins_at_mark(book.margin, abs(value_at_mark(book, net)), side) if net * side > 0 else (0, 0)
    policy = book.margin
    initial = policy.to_hold(position.cost, side)
    closing_fee = initial - mul_div_ceil(position.cost, UNIT, book.leverage)
    value = round(book.mark * abs(position.qty) * UNIT)
    return initial, max(0, policy.maintenance(value, closing_fee))


def coin_margins(account: SimulatedAccount, coin: str) -> AccountMargins:
    """Of all linear positions and orders that settle in a coin."""
    order = account.exchange.ledger.accounts(coin)[ORDER] - spot_locked(account, coin)
    cross = account.exchange.cross_accounts.get(coin)
    if cross is not None:
        balance, initial, maintenance, _ = cross.totals()
        return AccountMargins(balance, order, initial, maintenance)
    held = maintenance = 0
    for name, market in account.markets.items():
        if market.is_linear and market.instrument.quote == coin:
            book = account.exchange.books[name]
            held += sum(position.margin for position in book.positions)
            maintenance += sum(position_margins(book, position)[1] for position in book.positions)
    return AccountMargins(0, order, held, maintenance)


def spot_locked(account: SimulatedAccount, coin: str) -> int:
    """What open spot orders hold of a coin, in its unit."""
    held = 0
    for name, market in account.markets.items():
        if market.is_linear:
            continue
        for order in account.exchange.books[name].orders.values():
            if (market.instrument.quote if order.side > 0 else market.instrument.base) == coin:
                held += order.reserve
    return held
