"""The independent checker: a sandbox's truth and a journal's folder in, broken rules out. Nothing of the actors is asked.

Each finding begins with the number of its rule. The journal is folded here once more, in a few lines of its own: sums of fills, states of
orders, states of the gate. Quantities are decimals, money is integers of 1e-8: no tolerance.

From truth and journal alone:
I-1  every execution at the exchange that moves quantity is in the journal, and no other
I-2  none is there twice
I-3  opening + executions = the exchange's position
I-4  opening cash + adjustments + realised - fees - funding = the exchange's wallet; its own ledger sums to zero
I-5  one order per client id, one applied create per intent
I-6  every order of ours has its intent in the journal, as it was sent, and from before it was received
I-7  no end of an order without evidence: the exchange's own end, a definite no, or a search that kept all its times
I-8  filled quantities only grow, up to the quantity; states follow the table; nothing is filled after filled
I-9  no order that adds is accepted after a panic has latched
I-11 nothing is received while the gate is shut
I-13 each candle once, instants in order, a decision only on candles that are in, one entry per candle
I-14 what closes is reduce-only and never takes a position through zero
I-18 never ACTIVE where nothing could be sent; halted never without a reason

With what a harness saw beside them (``Seen``; what is not given is not judged):
I-10 the system's limits hold at every order of ours, worst case, open orders included
I-12 the state that a session ended with is the one that its journal folds to, twice, in another process, and after any prefix
I-15 every number that was sent is a plain decimal on tick or step
I-16 neither key nor secret is in any file or word of the run
I-17 requests within the local budget, few connections, nothing leaked
I-18 in time after the last fault: READY, or not, with a reason; and time goes on
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from keel.adapters.journal import Record, read
from keel.core.model.messages import Message
from keel.runners.live.memory.records import TYPES, Opened
from tests.faults.checker.canary import canaries
from tests.faults.checker.candles import candles
from tests.faults.checker.exposure import exposure
from tests.faults.checker.fold import fold
from tests.faults.checker.gate import alive, gate, latched
from tests.faults.checker.memory import memories
from tests.faults.checker.money import cash, fills, positions
from tests.faults.checker.orders import ends, intents, names, quantities
from tests.faults.checker.seen import NOTHING, Limits, Seen
from tests.faults.checker.wire import leaks, numbers, pace

__all__ = ["CLOCK_SLACK_MS", "Limits", "Seen", "check", "findings"]

CLOCK_SLACK_MS = 250
"""By how much the journal's clock and the exchange's may differ: what a session is allowed to trade with, without a notice."""


def check(
    truth: dict[str, Any],
    folder: Path,
    *,
    strangers: Collection[str] = (),
    qty_step: str = "0.001",
    clock_slack_ms: int = CLOCK_SLACK_MS,
    settled: bool = True,
    seen: Seen = NOTHING,
) -> list[str]:
    """What is wrong, as sentences that begin with the number of the rule; none when all is well. ``truth``: of one account.

    strangers: client ids of orders that somebody else placed.  settled: all is over: no order's end may be missing from the journal.
    """
    records = list(read(folder, types=TYPES))
    found = list(findings(truth, records, strangers, qty_step, clock_slack_ms, settled, seen))
    return found + list(canaries(folder, seen))


def findings(
    truth: dict[str, Any],
    records: list[Record],
    strangers: Collection[str] = (),
    qty_step: str = "0.001",
    clock_slack_ms: int = CLOCK_SLACK_MS,
    settled: bool = True,
    seen: Seen = NOTHING,
) -> Iterator[str]:
    """The same, over records."""
    messages: list[Message] = [record.message for record in records]
    moved = [row for row in truth["executions"] if row["execType"] != "Funding"]
    told, broken = fold(records)
    yield from fills(moved, messages)
    yield from positions(truth, messages, qty_step)
    yield from cash(truth, messages)
    yield from names(truth)
    yield from intents(truth, told, strangers, clock_slack_ms)
    yield from ends(truth, told, settled)
    yield from broken
    yield from quantities(truth, told, settled)
    yield from latched(truth, records, told, clock_slack_ms, seen)
    yield from gate(truth, records, told, clock_slack_ms, seen)
    yield from candles(messages, seen)
    yield from exposure(truth, told, strangers, qty_step, seen)
    yield from alive(records, {symbol for message in messages if isinstance(message, Opened) for symbol in message.grids}, seen)
    yield from memories(seen)
    yield from numbers(seen)
    yield from pace(seen)
    yield from leaks(seen)
