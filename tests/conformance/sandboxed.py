"""What both clients of the sandbox share: the server in lock-step, and its truth, against which a client's tale is held at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keel.core.model.money import to_text
from keel.sim.sandbox.settings import AccountSettings
from tests.conformance.market import Market
from tests.conformance.words import SYMBOL, UNSAID, Account
from tests.sim.sandbox.conftest import Sandbox, stepping


@contextmanager
def sandbox_of(market: Market, account: Account, *, ack_ms: int = 20) -> Iterator[Sandbox]:
    """A sandbox over the case's market. Its accounts begin with ten times leverage; a client sets another one by itself."""
    settings = AccountSettings(usdt=float(account.usdt))
    with stepping(market.series(account.category), execution=market.execution, accounts=(settings,), ack_ms=ack_ms) as sandbox:
        yield sandbox


def why(sandbox: Sandbox, client_order_id: str, reason: str) -> str:
    """The exchange's own reason for an order that it took and then rejected: Bybit's enum has no word for most of them."""
    if reason != UNSAID:
        return reason
    orders = sandbox.truth()["orders"]
    return str(next(row["_refusal"] for row in orders if row["orderLinkId"] == client_order_id))


def check_truth(sandbox: Sandbox, balance: str, steps: int | None = None) -> Any:
    """The sandbox's ledger adds up, and says the same balance (and position, in the book's steps)."""
    truth = sandbox.truth()
    assert truth["problems"] == []
    assert to_text(truth["wallet_units"]["USDT"]) == balance
    if steps is not None:
        name = next(name for name in truth["books"] if name.startswith(SYMBOL))
        assert sum(row["steps"] for row in truth["books"][name]["positions"]) == steps
    return truth
