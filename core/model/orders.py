"""The life of an order: one table of states and what may follow, for every epoch."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from keel.core.errors import InvariantError
from keel.core.model.messages import OrderStatus, Side, SubmitOrder

OrderState = Literal["submitted", "accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown"]

TRANSITIONS: Final[dict[OrderState, tuple[OrderState, ...]]] = {
    "submitted": ("accepted", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown"),
    "accepted": ("accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown"),
    "triggered": ("accepted", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown"),
    "partially_filled": ("accepted", "partially_filled", "filled", "cancelled", "expired", "unknown"),
    "unknown": ("accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired"),
    "filled": (),
    "cancelled": (),
    "rejected": (),
    "expired": (),
}
"""What may follow each state; an empty row is an end. ``unknown``: a command whose answer was lost, resolved by looking."""

CLOSED: Final = frozenset(state for state, after in TRANSITIONS.items() if not after)


def trading_stop_id(symbol: str) -> str:
    """The id under which a venue refuses a SetTradingStop (status rejected): it is about a position, and no order has it."""
    return f"{symbol}-trading-stop"


_STATE_OF: Final[dict[OrderStatus, OrderState | None]] = {
    "accepted": "accepted",
    "rejected": "rejected",
    "amended": "accepted",
    "amend_rejected": None,
    "cancel_rejected": None,
    "triggered": "triggered",
    "partially_filled": "partially_filled",
    "filled": "filled",
    "cancelled": "cancelled",
    "expired": "expired",
}


class OrderRecord(msgspec.Struct, gc=False, eq=False):
    """One order as the executor knows it. ``command`` is what was sent, as amended since; the rest is what the venue said of it."""

    number: int
    client_order_id: str
    symbol: str
    side: Side
    ts_created: int
    command: SubmitOrder | None
    parent_id: str | None = None
    ts_updated: int = 0
    state: OrderState = "submitted"
    filled_qty: float = 0.0
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether anything may still become of it."""
        return self.state not in CLOSED


def fires_when_rising(is_buy: bool, trigger: float, current: float | None) -> bool:
    """Whether a conditional order that does not say so waits for the price to rise to its trigger: by the side of the current price on
    which the trigger is; at the price, or where that is not known, a buy does."""
    return is_buy if current is None or trigger == current else trigger > current


def advance(state: OrderState, status: OrderStatus) -> OrderState:
    """The state after a venue's update. Raises InvariantError where the table does not allow it (no fill after filled)."""
    target = _STATE_OF[status]
    if target is None:
        return state
    if target == "accepted" and state == "partially_filled":
        return state  # an amendment of what is partly filled changes no state
    if target not in TRANSITIONS[state]:
        raise InvariantError(f"an order cannot go from {state} to {target}")
    return target
