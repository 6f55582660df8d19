"""Who owes whom: double-entry postings in integers of 1e-8 of their coin.

Each coin has the same eight accounts in one list. A posting changes several of them at once and sums to zero, or nothing happens.
The trader's accounts (free, order, position) never go below zero; the pools are the other side of every trade and may. Under cross margin
free cash may, too: unrealised profit stands for it (sim/margin/cross.py).
"""

from __future__ import annotations

from typing import Final

from keel.core.errors import InvariantError
from keel.core.model.money import LIMIT, to_text

ACCOUNTS: Final = ("free", "order_margin", "position_margin", "fees", "funding", "pnl", "insurance", "external")
FREE, ORDER, POSITION, FEES, FUNDING, PNL, INSURANCE, EXTERNAL = range(8)

Accounts = list[int]
"""The balances of one coin, by the indices above."""


class CreditAccounts(list[int]):
    """The balances of a coin whose free cash may be below zero."""

    __slots__ = ()


class Ledger:
    """The accounts of every coin."""

    __slots__ = ("coins",)

    def __init__(self) -> None:
        self.coins: dict[str, Accounts] = {}

    def accounts(self, coin: str) -> Accounts:
        """The accounts of a coin; they begin at zero."""
        return self.coins.setdefault(coin, [0] * len(ACCOUNTS))

    def on_credit(self, coin: str, *, is_allowed: bool = True) -> Accounts:
        """The accounts of a coin, whose cash may from now on be below zero (or no longer may): the same balances in another list."""
        self.coins[coin] = (CreditAccounts if is_allowed else list)(self.accounts(coin))
        return self.coins[coin]

    def deposit(self, coin: str, amount: int) -> None:
        """Cash from outside into the trader's free cash."""
        post(self.accounts(coin), free=amount, external=-amount)

    def wallet(self, coin: str) -> int:
        """What belongs to the trader: free cash, order margin and position margin; unrealised PnL is not in it."""
        accounts = self.accounts(coin)
        return accounts[FREE] + accounts[ORDER] + accounts[POSITION]


def post(
    accounts: Accounts,
    free: int = 0,
    order: int = 0,
    position: int = 0,
    fees: int = 0,
    funding: int = 0,
    pnl: int = 0,
    insurance: int = 0,
    external: int = 0,
) -> None:
    """Change the accounts of one coin by these amounts; all checks first, then the mutation.

    Raises InvariantError when the amounts do not sum to zero, or would take an account of the trader below zero (free cash
    only where it is not on credit) or any beyond the bound.
    """
    old_free, old_order, old_position, old_fees, old_funding, old_pnl, old_insurance, old_external = accounts
    free += old_free
    order += old_order
    position += old_position
    fees += old_fees
    funding += old_funding
    pnl += old_pnl
    insurance += old_insurance
    external += old_external
    if (
        free + order + position + fees + funding + pnl + insurance + external
        or not 0 <= free < LIMIT
        or not 0 <= order < LIMIT
        or not 0 <= position < LIMIT
        or not -LIMIT < fees < LIMIT
        or not -LIMIT < funding < LIMIT
        or not -LIMIT < pnl < LIMIT
        or not -LIMIT < insurance < LIMIT
        or not -LIMIT < external < LIMIT
    ):
        after = (free, order, position, fees, funding, pnl, insurance, external)
        if accounts.__class__ is not CreditAccounts or not _is_on_credit(after):
            raise InvariantError(_refusal(accounts, after))
    accounts[:] = free, order, position, fees, funding, pnl, insurance, external


def _is_on_credit(after: tuple[int, ...]) -> bool:
    """Whether all is as it must be but for cash below zero."""
    return not sum(after) and after[ORDER] >= 0 and after[POSITION] >= 0 and all(-LIMIT < amount < LIMIT for amount in after)


def _refusal(before: Accounts, after: tuple[int, ...]) -> str:
    rows = [
        f"{name} {to_text(old)} -> {to_text(new)}" for name, old, new in zip(ACCOUNTS, before, after, strict=True) if old != new or new < 0
    ]
    return f"a posting was refused: it must sum to zero (it is off by {to_text(sum(after))}) within bounds: {'; '.join(rows)}"
