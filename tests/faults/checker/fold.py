"""I-8: every order as the journal tells it, and where that story is impossible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from keel.adapters.bybit.execution.tracking.order_query_records import OrderNotFound
from keel.adapters.journal import Record
from keel.core.model.messages import AmendOrder, Fill, OrderUpdate, SubmitOrder

LEGAL: Final = {
    "": ("accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "accepted": ("amended", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "amended": ("amended", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "triggered": ("accepted", "amended", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "partially_filled": ("partially_filled", "amended", "filled", "cancelled", "expired"),
}
"""What may be told of an order after what; ends are followed by nothing."""
ENDS: Final = ("filled", "cancelled", "rejected", "expired")


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
    held: Decimal = Decimal(0)
    """What was known to be held of the symbol when the intent was written, and no exit under way was to close."""
    waited: list[int] = field(default_factory=list)
    """For how long each search in vain had waited."""


def fold(records: Iterable[Record]) -> tuple[dict[str, Told], list[str]]:
    """(orders by client id, findings)"""
    told: dict[str, Told] = {}
    broken: list[str] = []
    held: dict[str, Decimal] = {}
    for record in records:
        message = record.message
        if isinstance(message, SubmitOrder):
            order = told.setdefault(message.client_order_id, Told())
            if order.intent is None:
                order.intent, order.intent_ms, order.qty = message, record.ts, decimal(message.qty)
                order.held = _left(held.get(message.symbol, Decimal(0)), message, told)
            elif order.intent != message:
                broken.append(f"I-6: {message.client_order_id} is written down twice, and not the same")
        elif isinstance(message, OrderNotFound):
            told.setdefault(message.client_order_id, Told()).waited.append(message.waited_ms)
        elif isinstance(message, AmendOrder) and message.qty is not None and message.client_order_id in told:
            told[message.client_order_id].qty = max(told[message.client_order_id].qty, decimal(message.qty))
        elif isinstance(message, OrderUpdate):
            broken += _told_of(told.setdefault(message.client_order_id, Told()), message)
        elif isinstance(message, Fill):
            held[message.symbol] = held.get(message.symbol, Decimal(0)) + signed(message)
            if message.kind != "trade" or message.client_order_id.startswith(("external-", "adl-")):
                continue
            broken += _filled(told.setdefault(message.client_order_id, Told()), message)
    return told, broken


def _left(held: Decimal, command: SubmitOrder, told: dict[str, Told]) -> Decimal:
    """What is held, less what exits of ours that were sent before this command and have not ended take of it."""
    side = "SELL" if held > 0 else "BUY"
    leaving = Decimal(0)
    for order in told.values():
        exit_ = order.intent
        if exit_ is None or exit_ is command or order.status in ENDS or not exit_.reduce_only:
            continue
        if (exit_.symbol, exit_.side) == (command.symbol, side):
            leaving += abs(held) if not exit_.qty else order.qty - order.filled
    return max(abs(held) - leaving, Decimal(0)).copy_sign(held)


def _told_of(order: Told, update: OrderUpdate) -> Iterator[str]:
    name, status = update.client_order_id, update.status
    if status in ("cancel_rejected", "amend_rejected"):
        return
    if status not in LEGAL.get(order.status, ()):
        yield f"I-8: {name} went from {order.status or 'submitted'} to {status}"
    told = decimal(update.filled_qty)
    if told != order.filled:
        yield f"I-8: {name} is said to be filled by {told}, and its fills amount to {order.filled}"
    order.status, order.reason, order.parent = status, update.reason, update.parent_id or order.parent


def _filled(order: Told, fill: Fill) -> Iterator[str]:
    order.filled += decimal(fill.qty)
    if order.status == "filled":
        yield f"I-8: {fill.client_order_id} is filled by {fill.fill_id} after it was filled"
    if order.intent is not None and order.filled > order.qty:
        yield f"I-8: {fill.client_order_id} is filled by {order.filled} of {order.qty}"


def decimal(value: float) -> Decimal:
    """A float on a grid as the decimal that it stands for."""
    return Decimal(repr(value)).normalize()


def signed(fill: Fill) -> Decimal:
    """Positive when it buys."""
    return decimal(fill.qty) * (1 if fill.side == "BUY" else -1)
