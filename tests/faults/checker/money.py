"""I-1 to I-4: executions, positions, cash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from keel.core.model.messages import Fill, FundingPayment, Message
from keel.runners.live.memory.records import Adjusted, Opened
from tests.faults.checker.fold import signed


def fills(moved: list[dict[str, Any]], messages: Iterable[Message]) -> Iterator[str]:
    """I-1, I-2. moved: the exchange's executions that move quantity."""
    here = Counter(message.fill_id for message in messages if isinstance(message, Fill))
    there = {row["execId"] for row in moved}
    for name in sorted(there - here.keys()):
        yield f"I-1: the execution {name} is lost"
    for name in sorted(here.keys() - there):
        yield f"I-1: the fill {name} never happened"
    for name, count in here.items():
        if count > 1:
            yield f"I-2: the execution {name} was booked {count} times"


def positions(truth: dict[str, Any], messages: Iterable[Message], qty_step: str) -> Iterator[str]:
    """I-3."""
    step = Decimal(qty_step)
    held: Counter[str] = Counter()
    ours: dict[str, Decimal] = {}
    for message in messages:
        if isinstance(message, Fill):
            ours[message.symbol] = ours.get(message.symbol, Decimal(0)) + signed(message)
        elif isinstance(message, Opened):
            for symbol, steps, _ in message.positions:
                held[symbol] += steps
        elif isinstance(message, Adjusted) and message.symbol:
            held[message.symbol] = message.steps
    theirs: dict[str, Decimal] = {}
    for row in truth["positions"]:
        size = Decimal(row["size"]) * (1 if row["side"] == "Buy" else -1)
        theirs[row["symbol"]] = theirs.get(row["symbol"], Decimal(0)) + size
    for symbol in sorted({*ours, *held, *theirs}):
        mine = ours.get(symbol, Decimal(0)) + held[symbol] * step
        if mine != theirs.get(symbol, Decimal(0)):
            yield f"I-3: {symbol}: the journal's executions amount to {mine}, the exchange holds {theirs.get(symbol, Decimal(0))}"


def cash(truth: dict[str, Any], messages: Iterable[Message]) -> Iterator[str]:
    """I-4."""
    ours = 0
    paid: Counter[tuple[str, int, int]] = Counter()
    for message in messages:
        if isinstance(message, Opened):
            ours += message.cash
        elif isinstance(message, Adjusted):
            ours += message.cash_change
        elif isinstance(message, Fill):
            ours += message.realized_pnl - message.fee
        elif isinstance(message, FundingPayment):
            ours -= message.amount
            paid[message.symbol, message.ts, message.amount] += 1
    wallet = truth["wallet_units"]["USDT"]
    if ours != wallet:
        yield f"I-4: the journal amounts to {ours}, the exchange's wallet to {wallet} (1e-8 USDT; difference {ours - wallet})"
    theirs = Counter((row["symbol"], row["ts"], row["amount"]) for row in truth["funding"])
    if paid != theirs:
        yield f"I-4: funding differs: only in the journal {dict(paid - theirs)}, only at the exchange {dict(theirs - paid)}"
    for coin, accounts in truth["ledger"].items():
        if sum(accounts.values()):
            yield f"I-4: the exchange's own ledger of {coin} is off by {sum(accounts.values())}"
    for problem in truth["problems"]:
        yield f"I-4: the exchange says of itself: {problem}"
