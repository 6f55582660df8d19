"""Cross margin: all linear positions of one quote coin stand on the account's whole margin balance. The second margin policy.

- Margin balance = wallet + unrealised PnL at mark. A position's initial and maintenance margin are both counted at its present mark
  (Bybit help centre, "UTA Trading Rules"), by the tier of its value at mark; in hedge mode for the net side of a symbol only.
- Available = margin balance - initial margin of positions - order margin. An order that opens needs something of it to be left.
- A realised loss, a fee or funding goes against the wallet. Cash may be below zero while unrealised profit of what is open stands for it
  (no interest is charged); when nothing is open any more, insurance pays what is missing.
- Liquidation when total maintenance margin >= margin balance, tested at every point of a bar's path that the exchange stops at: its four
  corners and whatever happens between. The stepped symbol's mark is the present one, that of each other the latest one.
- Orders that hold margin end first. Then positions go, the one with the largest maintenance margin first, each whole, until the rate is
  below 100 % and no cash is owed. ASSUMED, where the exchange only says that positions are reduced, then taken over account-wide:
  a position goes at its mark, rounded against the trader, for the taker fee; what the wallet lacks when the last one has gone is paid by
  insurance. So the account's bankruptcy is that of its whole balance, and not of a share of it that belongs to one position.

No bar of a symbol with an open position may be skipped: its mark is a part of what every other symbol may do.
"""

from __future__ import annotations

from collections.abc import Callable

from keel.core.model.money import UNIT
from keel.sim.exchange.book import Position, SymbolBook, WorkingOrder
from keel.sim.margin.isolated import IsolatedMargin
from keel.sim.margin.ledger import FREE, ORDER, POSITION, Accounts

Shown = tuple[int, float]
Margins = tuple[int, int]
"""(initial, maintenance), each with the fee to close, in 1e-8."""


def margins_at_mark(margin: IsolatedMargin, value: int, side: int) -> Margins:
    """Margins of a position of this value at mark (1e-8). Source: Bybit help centre, "UTA Trading Rules"."""
    initial = margin.to_hold(value, side)
    return initial, margin.maintenance(value, margin.closing_fee(value, side))


def value_at_mark(book: SymbolBook, steps: int) -> int:
    """What so many steps are worth at the present mark, in 1e-8; signed as they are."""
    return round(book.mark * steps * book.qty_num / book.qty_den * UNIT)


def net_of(book: SymbolBook) -> tuple[int, int]:
    """(steps, cost) of all positions of a symbol together, both signed: the long side positive."""
    steps = cost = 0
    for position in book.positions:
        held = position.steps
        if held:
            steps += held
            cost += position.cost if held > 0 else -position.cost
    return steps, cost


def has_position(book: SymbolBook) -> bool:
    """Whether anything is open."""
    return any(position.steps for position in book.positions)


def shown(book: SymbolBook, position: Position) -> Shown:
    """What is told of a position beside its size: (margin in 1e-8, liquidation price or 0), in either margin mode."""
    return (position.margin, position.liquidation_price) if book.account is None else book.account.shown(book, position)


class CrossAccount:
    """The margin of one coin. ``books``: its linear symbols, in the order in which they are stepped within an instant."""

    __slots__ = ("_since", "_until", "accounts", "books")

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.books: list[SymbolBook] = []
        self._since = self._until = 0

    def begin(self, ts_open: int, ts_close: int) -> None:
        """A bar with these bounds is stepped now."""
        self._since, self._until = ts_open, ts_close

    # --- balances ---

    @property
    def wallet(self) -> int:
        """Cash and order margin; below zero while unrealised profit stands for it."""
        accounts = self.accounts
        return accounts[FREE] + accounts[ORDER] + accounts[POSITION]

    def totals(self) -> tuple[int, int, int, bool]:
        """(margin balance, initial margin, maintenance margin, whether anything is open); of positions, in 1e-8."""
        balance, initial, maintenance, is_open = self.wallet, 0, 0, False
        for book in self.books:
            if has_position(book):
                is_open = True
                steps, cost = net_of(book)
                value = value_at_mark(book, steps)
                balance += value - cost
                if steps:
                    one, other = margins_at_mark(book.margin, abs(value), 1 if steps > 0 else -1)
                    initial += one
                    maintenance += other
        return balance, initial, maintenance, is_open

    def available(self) -> int:
        """What new orders may take: margin balance less all initial and order margin; below zero when there is too little."""
        balance, initial, _, _ = self.totals()
        return balance - initial - self.accounts[ORDER]

    def is_open(self) -> bool:
        """Whether any position is open."""
        return any(has_position(book) for book in self.books)

    # --- liquidation ---

    def is_due(self) -> bool:
        """Whether the maintenance margin rate has reached 100 %."""
        balance, _, maintenance, is_open = self.totals()
        return is_open and maintenance >= balance

    def liquidate(
        self, stepped: SymbolBook, end: Callable[[SymbolBook, WorkingOrder], None], take_over: Callable[[SymbolBook, Position], None]
    ) -> None:
        """Free the account of what it cannot margin: orders by ``end``, positions by ``take_over``, which books each of them."""
        for book in self.books:
            self._stand(book, stepped)
            for order in [order for order in book.orders.values() if order.reserve]:
                end(book, order)
        while self.is_open() and (self.is_due() or self.wallet < 0):
            book, position = self._largest()
            self._stand(book, stepped)
            take_over(book, position)

    def _stand(self, book: SymbolBook, stepped: SymbolBook) -> None:
        """Tell a symbol the time while another one is stepped: the bar's last where it has been stepped already, else its first."""
        if book is not stepped:
            book.ts = self._until - 1 if self.books.index(book) < self.books.index(stepped) else self._since

    def _largest(self) -> tuple[SymbolBook, Position]:
        """The position with the largest maintenance margin, the earlier symbol's of two alike; the hedged side of one comes last."""
        found: list[tuple[int, SymbolBook, Position]] = []
        for book in self.books:
            net, _ = net_of(book)
            for position in book.positions:
                if position.steps:
                    needs = margins_at_mark(book.margin, abs(value_at_mark(book, net)), 1 if net > 0 else -1)[1]
                    found.append((needs if position.steps * net > 0 else -1, book, position))
        _, book, position = max(found, key=lambda entry: entry[0])
        return book, position

    # --- what is shown ---

    def shown(self, book: SymbolBook, position: Position) -> Shown:
        """(initial margin at mark, present estimate of the liquidation price) of a position; the hedged side has neither."""
        net, _ = net_of(book)
        if position.steps * net <= 0:
            return 0, 0.0
        return margins_at_mark(book.margin, abs(value_at_mark(book, net)), 1 if net > 0 else -1)[0], self.liquidation_price(book)

    def liquidation_price(self, book: SymbolBook) -> float:
        """The mark of this symbol at which the account would be liquidated if every other mark stayed as it is; 0: none.

        It solves wallet + unrealised PnL = maintenance margin for that mark, tier by tier, in whole coins.
        """
        steps, cost = net_of(book)
        if not steps:
            return 0.0
        balance, _, maintenance, _ = self.totals()
        side, margin, value = 1 if steps > 0 else -1, book.margin, value_at_mark(book, steps)
        own = margins_at_mark(margin, abs(value), side)[1]
        spare = (balance - (value - cost) - (maintenance - own)) / UNIT
        fee_rate = (1.0 - side * UNIT / margin.leverage) * margin.taker_fee / UNIT
        qty, price = abs(steps) * book.qty_num / book.qty_den, 0.0
        for tier in margin.tiers:
            owed = side * (cost / UNIT - spare - tier.deduction / UNIT)
            price = owed / (qty * (1.0 - side * (tier.maintenance_rate / UNIT + fee_rate)))
            if qty * price <= tier.limit / UNIT:
                break
        return price if price > 0.0 else 0.0
