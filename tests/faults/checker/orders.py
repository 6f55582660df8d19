"""I-5 to I-8: names, intents, ends and quantities of orders, between the journal and the exchange."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from decimal import Decimal
from typing import Any, Final

from tests.faults.checker.fold import ENDS, Told

APART_MS: Final = 10_000
GONE_BY_MS: Final = 11_000
"""A create is refused as too old after 5 s (and 1 s that the exchange's clock may be ahead), and lists lag by at most 5 s."""

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
OUR_DENIALS: Final = ("denied: ", "not ready: ", "frozen: ", "the exchange has banned this address: nothing is sent", "HTTP 403")
"""What never left; and the door of an address that is banned, behind which nothing is looked at."""
BY_EXCHANGE: Final = ("CreateByStopLoss", "CreateByTakeProfit", "CreateByTrailing", "CreateByPartial", "CreateByTakeOver", "CreateByAdl")


def names(truth: dict[str, Any]) -> Iterator[str]:
    """I-5."""
    for name, count in Counter(row["orderLinkId"] for row in truth["orders"] if row["orderLinkId"]).items():
        if count > 1:
            yield f"I-5: {count} orders at the exchange have the client id {name}"
    for name, count in Counter(row["orderLinkId"] for row in truth["creates"] if row["code"] == 0 and row["orderLinkId"]).items():
        if count > 1:
            yield f"I-5: {count} creates of {name} were applied"


def intents(truth: dict[str, Any], told: dict[str, Told], strangers: Collection[str], slack_ms: int) -> Iterator[str]:
    """I-6."""
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


def ends(truth: dict[str, Any], told: dict[str, Told], settled: bool) -> Iterator[str]:
    """I-7."""
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
    yield from _exits(truth, told, settled)


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
    elif order.reason.startswith(OUR_DENIALS):
        return
    elif order.reason.startswith("not placed"):
        waited = order.waited
        if len(waited) < 2 or waited[-1] - waited[0] < APART_MS or waited[-1] < GONE_BY_MS:
            yield f"I-7: {name} was given up after searches at {waited} ms"
    elif not order.reason[:1].isdigit() or order.reason.startswith(DOUBTFUL):
        yield f"I-7: {name} was ended on {order.reason!r}, which is evidence of nothing"


def quantities(truth: dict[str, Any], told: dict[str, Told], settled: bool) -> Iterator[str]:
    """I-8, against the exchange."""
    for row in truth["orders"]:
        order, there = told.get(row["orderLinkId"]), Decimal(row["cumExecQty"])
        if order is not None and (order.filled != there if settled else order.filled > there):
            yield f"I-8: {row['orderLinkId']} is filled by {order.filled}, at the exchange by {there}"
