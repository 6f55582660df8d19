"""The independent checker: a sandbox's truth and a journal's folder in, broken rules out. Nothing of the actors is asked.

Rules I-1 to I-8 and I-11 of the reliability bar; each finding begins with its number. The journal is folded here once more, in a few
lines of its own: sums of fills, states of orders, states of the gate. Quantities are decimals, money is integers of 1e-8: no tolerance.

I-1  every execution at the exchange that moves quantity is in the journal, and no other
I-2  none is there twice
I-3  opening + executions = the exchange's position
I-4  opening cash + adjustments + realised - fees - funding = the exchange's wallet; its own ledger sums to zero
I-5  one order per client id, one applied create per intent
I-6  every order of ours has its intent in the journal, as it was sent, and from before it was received
I-7  no end of an order without evidence: the exchange's own end, a definite no, or a search that kept all its times
I-8  filled quantities only grow, up to the quantity; states follow the table; nothing is filled after filled
I-11 nothing is received while the gate is shut
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from adapters.bybit.evidence import OrderNotFound
from adapters.journal import Record, read
from core.messages import AmendOrder, Fill, FundingPayment, Message, OrderUpdate, SubmitOrder
from runners.live.records import TYPES, Adjusted, GateChanged, Opened

CLOCK_SLACK_MS: Final = 250
"""By how much the journal's clock and the exchange's may differ: what a session is allowed to trade with, without a notice."""
APART_MS: Final = 10_000
GONE_BY_MS: Final = 11_000
"""A create is refused as too old after 5 s (and 1 s that the exchange's clock may be ahead), and lists lag by at most 5 s."""

LEGAL: Final = {
    "": ("accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "accepted": ("amended", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "amended": ("amended", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "triggered": ("accepted", "amended", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "partially_filled": ("partially_filled", "amended", "filled", "cancelled", "expired"),
}
"""What may be told of an order after what; ends are followed by nothing."""
ENDS: Final = ("filled", "cancelled", "rejected", "expired")
AT_VENUE: Final = {
    "filled": ("Filled",),
    "cancelled": ("Cancelled", "Deactivated", "PartiallyFilledCanceled"),
    "rejected": ("Rejected",),
    "expired": ("Cancelled", "Rejected", "Deactivated", "PartiallyFilledCanceled"),
}
"""An end in the journal -> what the exchange must say of the order."""
ENDED_AT_VENUE: Final = ("Filled", "Cancelled", "Deactivated", "PartiallyFilledCanceled", "Rejected")
DOUBTFUL: Final = ("-1 ", "10000 ", "10014 ", "10016 ", "10019 ", "20006 ", "170007 ", "170146 ", "170147 ", "HTTP 5", "no answer")
"""Answers that are evidence of nothing."""
OUR_OWN_NO: Final = ("denied: ", "not ready: ", "frozen: ")
BY_EXCHANGE: Final = ("CreateByStopLoss", "CreateByTakeProfit", "CreateByTrailing", "CreateByPartial", "CreateByTakeOver")


@dataclass
class Told:
    """An order, as the journal tells it."""

    intent: SubmitOrder | None = None
    intent_ms: int = 0
    qty: Decimal = Decimal(0)
    filled: Decimal = Decimal(0)
    status: str = ""
    reason: str = ""
    parent: str | None = None
    waited: list[int] = field(default_factory=list)
    """For how long each search in vain had waited."""


def check(
    truth: dict[str, Any],
    folder: Path,
    *,
    strangers: Collection[str] = (),
    qty_step: str = "0.001",
    clock_slack_ms: int = CLOCK_SLACK_MS,
    settled: bool = True,
) -> list[str]:
    """What is wrong, as sentences that begin with the number of the rule; none when all is well. ``truth``: of one account.

    strangers: client ids of orders that somebody else placed.  settled: all is over: no order's end may be missing from the journal.
    """
    records = list(read(folder, types=TYPES))
    return list(findings(truth, records, strangers, qty_step, clock_slack_ms, settled))


def findings(
    truth: dict[str, Any],
    records: list[Record],
    strangers: Collection[str] = (),
    qty_step: str = "0.001",
    clock_slack_ms: int = CLOCK_SLACK_MS,
    settled: bool = True,
) -> Iterator[str]:
    """The same, over records."""
    messages: list[Message] = [record.message for record in records]
    moved = [row for row in truth["executions"] if row["execType"] != "Funding"]
    told, broken = _fold(records)
    yield from _fills(moved, messages)
    yield from _positions(truth, messages, Decimal(qty_step))
    yield from _cash(truth, messages)
    yield from _names(truth)
    yield from _intents(truth, told, strangers, clock_slack_ms)
    yield from _ends(truth, told, settled)
    yield from _exits(truth, told, settled)
    yield from broken
    yield from _quantities(truth, told, settled)
    yield from _gate(truth, records, told, clock_slack_ms)


# --- I-1 to I-4: executions, positions, cash ---


def _fills(moved: list[dict[str, Any]], messages: Iterable[Message]) -> Iterator[str]:
    here = Counter(message.fill_id for message in messages if isinstance(message, Fill))
    there = {row["execId"] for row in moved}
    for name in sorted(there - here.keys()):
        yield f"I-1: the execution {name} is lost"
    for name in sorted(here.keys() - there):
        yield f"I-1: the fill {name} never happened"
    for name, count in here.items():
        if count > 1:
            yield f"I-2: the execution {name} was booked {count} times"


def _positions(truth: dict[str, Any], messages: Iterable[Message], step: Decimal) -> Iterator[str]:
    held: Counter[str] = Counter()
    ours: dict[str, Decimal] = {}
    for message in messages:
        if isinstance(message, Fill):
            ours[message.symbol] = ours.get(message.symbol, Decimal(0)) + _signed(message)
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


def _cash(truth: dict[str, Any], messages: Iterable[Message]) -> Iterator[str]:
    cash = 0
    paid: Counter[tuple[str, int, int]] = Counter()
    for message in messages:
        if isinstance(message, Opened):
            cash += message.cash
        elif isinstance(message, Adjusted):
            cash += message.cash_change
        elif isinstance(message, Fill):
            cash += message.realized_pnl - message.fee
        elif isinstance(message, FundingPayment):
            cash -= message.amount
            paid[message.symbol, message.ts, message.amount] += 1
    wallet = truth["wallet_units"]["USDT"]
    if cash != wallet:
        yield f"I-4: the journal amounts to {cash}, the exchange's wallet to {wallet} (1e-8 USDT; difference {cash - wallet})"
    theirs = Counter((row["symbol"], row["ts"], row["amount"]) for row in truth["funding"])
    if paid != theirs:
        yield f"I-4: funding differs: only in the journal {dict(paid - theirs)}, only at the exchange {dict(theirs - paid)}"
    for coin, accounts in truth["ledger"].items():
        if sum(accounts.values()):
            yield f"I-4: the exchange's own ledger of {coin} is off by {sum(accounts.values())}"
    for problem in truth["problems"]:
        yield f"I-4: the exchange says of itself: {problem}"


# --- I-5, I-6: names and intents ---


def _names(truth: dict[str, Any]) -> Iterator[str]:
    for name, count in Counter(row["orderLinkId"] for row in truth["orders"] if row["orderLinkId"]).items():
        if count > 1:
            yield f"I-5: {count} orders at the exchange have the client id {name}"
    for name, count in Counter(row["orderLinkId"] for row in truth["creates"] if row["code"] == 0 and row["orderLinkId"]).items():
        if count > 1:
            yield f"I-5: {count} creates of {name} were applied"


def _intents(truth: dict[str, Any], told: dict[str, Told], strangers: Collection[str], slack_ms: int) -> Iterator[str]:
    received = {row["orderLinkId"]: row["received"] for row in reversed(truth["creates"])}
    for row in truth["orders"]:
        name = row["orderLinkId"]
        if name in strangers or (not name and row["createType"].startswith(BY_EXCHANGE)):
            continue
        order = told.get(name)
        intent = order.intent if order is not None else None
        if order is None or intent is None:
            yield f"I-6: the exchange has the order {name or row['orderId']!r}, and the journal has no intent for it"
            continue
        if order.intent_ms > received[name] + slack_ms:
            yield f"I-6: {name} was received {order.intent_ms - received[name]} ms before its intent was written"
        asked = (intent.symbol, {"BUY": "Buy", "SELL": "Sell"}[intent.side], intent.reduce_only)
        if asked != (row["symbol"], row["side"], row["reduceOnly"]):
            yield f"I-6: {name} was meant as {asked}, and the exchange has {(row['symbol'], row['side'], row['reduceOnly'])}"


# --- I-7: ends ---


def _ends(truth: dict[str, Any], told: dict[str, Told], settled: bool) -> Iterator[str]:
    venue = {row["orderLinkId"]: row for row in truth["orders"] if row["orderLinkId"]}
    for name, order in told.items():
        if order.parent is not None:
            continue  # made by the exchange out of a bracket, it has no name there: see _exits
        row = venue.get(name)
        if order.status not in ENDS:
            if settled and (row is None or row["orderStatus"] in ENDED_AT_VENUE):
                at_venue = "does not have it" if row is None else f"says {row['orderStatus']}"
                yield f"I-7: {name} is still {order.status or 'submitted'}, and the exchange {at_venue}"
            continue
        if row is not None:
            if row["orderStatus"] not in AT_VENUE[order.status]:
                yield f"I-7: {name} ended as {order.status} ({order.reason}), and the exchange says {row['orderStatus']}"
            continue
        yield from _unheard_of(name, order)


def _exits(truth: dict[str, Any], told: dict[str, Told], settled: bool) -> Iterator[str]:
    """Orders that the exchange made out of brackets have no name there: as many of them have ended here as there."""
    ended = Counter(order.status for order in told.values() if order.parent is not None and order.status in ENDS)
    theirs = [row["orderStatus"] for row in truth["orders"] if not row["orderLinkId"] and row["stopOrderType"]]
    for status, statuses in AT_VENUE.items():
        there = sum(each in statuses for each in theirs)
        if ended[status] > there:
            yield f"I-7: {ended[status]} exits ended as {status}, and at the exchange {there}"
    resting = sum(order.status not in ENDS for order in told.values() if order.parent is not None)
    there = sum(each not in ENDED_AT_VENUE for each in theirs)
    if settled and resting != there:
        yield f"I-7: {resting} exits rest, and at the exchange {there}"


def _unheard_of(name: str, order: Told) -> Iterator[str]:
    """An order that ended and that the exchange does not have: our own no, its definite no, or a search in vain."""
    if order.status != "rejected":
        yield f"I-7: {name} ended as {order.status}, and the exchange has never had it"
    elif order.reason.startswith(OUR_OWN_NO):
        return
    elif order.reason.startswith("not placed"):
        waited = order.waited
        if len(waited) < 2 or waited[-1] - waited[0] < APART_MS or waited[-1] < GONE_BY_MS:
            yield f"I-7: {name} was given up after searches at {waited} ms"
    elif not order.reason[:1].isdigit() or order.reason.startswith(DOUBTFUL):
        yield f"I-7: {name} was ended on {order.reason!r}, which is evidence of nothing"


# --- I-8: the journal's own story of each order ---


def _fold(records: Iterable[Record]) -> tuple[dict[str, Told], list[str]]:
    """Every order as the journal tells it, and where that story is impossible."""
    told: dict[str, Told] = {}
    broken: list[str] = []
    for record in records:
        message = record.message
        if isinstance(message, SubmitOrder):
            order = told.setdefault(message.client_order_id, Told())
            if order.intent is None:
                order.intent, order.intent_ms, order.qty = message, record.ts, _decimal(message.qty)
            elif order.intent != message:
                broken.append(f"I-6: {message.client_order_id} is written down twice, and not the same")
        elif isinstance(message, OrderNotFound):
            told.setdefault(message.client_order_id, Told()).waited.append(message.waited_ms)
        elif isinstance(message, AmendOrder) and message.qty is not None and message.client_order_id in told:
            told[message.client_order_id].qty = max(told[message.client_order_id].qty, _decimal(message.qty))
        elif isinstance(message, OrderUpdate):
            broken += _told_of(told.setdefault(message.client_order_id, Told()), message)
        elif isinstance(message, Fill) and message.kind == "trade":
            broken += _filled(told.setdefault(message.client_order_id, Told()), message)
    return told, broken


def _told_of(order: Told, update: OrderUpdate) -> Iterator[str]:
    name, status = update.client_order_id, update.status
    if status in ("cancel_rejected", "amend_rejected"):
        return
    if status not in LEGAL.get(order.status, ()):
        yield f"I-8: {name} went from {order.status or 'submitted'} to {status}"
    told = _decimal(update.filled_qty)
    if told != order.filled:
        yield f"I-8: {name} is said to be filled by {told}, and its fills amount to {order.filled}"
    order.status, order.reason, order.parent = status, update.reason, update.parent_id or order.parent


def _filled(order: Told, fill: Fill) -> Iterator[str]:
    if fill.client_order_id.startswith(("external-", "adl-")):
        return
    order.filled += _decimal(fill.qty)
    if order.status == "filled":
        yield f"I-8: {fill.client_order_id} is filled by {fill.fill_id} after it was filled"
    if order.intent is not None and order.filled > order.qty:
        yield f"I-8: {fill.client_order_id} is filled by {order.filled} of {order.qty}"


def _quantities(truth: dict[str, Any], told: dict[str, Told], settled: bool) -> Iterator[str]:
    for row in truth["orders"]:
        order, there = told.get(row["orderLinkId"]), Decimal(row["cumExecQty"])
        if order is not None and (order.filled != there if settled else order.filled > there):
            yield f"I-8: {row['orderLinkId']} is filled by {order.filled}, at the exchange by {there}"


# --- I-11: the gate ---


def _gate(truth: dict[str, Any], records: Iterable[Record], told: dict[str, Told], slack_ms: int) -> Iterator[str]:
    """Orders that were received well inside of a time for which the gate was shut to them. A session begins with the gate shut."""
    spans = list(_spans(records))
    for row in truth["creates"]:
        order = told.get(row["orderLinkId"])
        if row["code"] != 0 or order is None or order.intent is None:
            continue
        for begin, end, state in spans:
            is_shut = state == "HALTED" or (state == "REDUCING" and not order.intent.reduce_only)
            if is_shut and begin + slack_ms < row["received"] < end - slack_ms:
                yield f"I-11: {row['orderLinkId']} was received while the gate was {state}"


def _spans(records: Iterable[Record]) -> Iterator[tuple[int, int, str]]:
    """(from, to, state), in ms of the journal's clock, over all sessions."""
    begin, state, last = 0, "HALTED", 0
    for record in records:
        last = max(last, record.ts)
        changed = record.message.state if isinstance(record.message, GateChanged) else None
        if record.kind == "SessionStarted":
            changed = "HALTED"
        if changed is not None and changed != state:
            yield begin, record.ts, state
            begin, state = record.ts, changed
    yield begin, (1 << 60) if state == "HALTED" else last, state


# --- small things ---


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value)).normalize()


def _signed(fill: Fill) -> Decimal:
    return _decimal(fill.qty) * (1 if fill.side == "BUY" else -1)
