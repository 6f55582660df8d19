"""The life of an order: one table of states and what may follow, for every epoch."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from keel.core.errors import InvariantError
from keel.core.model.messages import OrderStatus, Side, SubmitOrder

OrderState = Literal[
    "pending_submit", "unknown", "accepted", "pending_amend", "pending_cancel", "triggered", "partially_filled",
    "filled", "cancelled", "rejected", "expired",
]  # fmt: skip

TRANSITIONS: Final[dict[OrderState, tuple[OrderState, ...]]] = {
    "pending_submit": (
        "accepted", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown", "pending_amend", "pending_cancel",
    ),
    "unknown": (
        "accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired", "pending_submit", "pending_amend",
        "pending_cancel",
    ),
    "accepted": (
        "accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown", "pending_amend",
        "pending_cancel",
    ),
    "pending_amend": (
        "pending_submit", "accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown",
        "pending_cancel",
    ),
    "pending_cancel": (
        "pending_submit", "accepted", "triggered", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown",
    ),
    "triggered": (
        "accepted", "partially_filled", "filled", "cancelled", "rejected", "expired", "unknown", "pending_amend", "pending_cancel",
    ),
    "partially_filled": (
        "accepted", "partially_filled", "filled", "cancelled", "expired", "unknown", "pending_amend", "pending_cancel",
    ),
    "filled": (),
    "cancelled": (),
    "rejected": (),
    "expired": (),
}  # fmt: skip
"""What may follow each state; an empty row is an end. ``pending_submit``, ``pending_amend``: a command is on its way and not answered;
``pending_cancel``: until the order has ended or its cancel is refused. ``unknown``: an answer was lost, and the exchange is being asked;
then what it was before, or what was found."""

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


_ANSWERS: Final[dict[OrderStatus, OrderState]] = {
    "amended": "pending_amend",
    "amend_rejected": "pending_amend",
    "cancel_rejected": "pending_cancel",
}
"""What a venue's word answers; an end answers everything."""


class OrderLife(msgspec.Struct, gc=False, eq=False, kw_only=True):
    """Where an order is in its life: what the venue said last, what was asked since, and whether an answer to it was lost. The state
    follows from the three, so that none of them is forgotten for another: an order that is being cancelled may be filled further and is
    still being cancelled, and one whose fate is unknown is, once found, still unwanted if its cancel was asked for."""

    told: OrderState = "pending_submit"
    """By the venue: never ``unknown``, ``pending_amend`` or ``pending_cancel``."""
    asked: Literal["", "pending_amend", "pending_cancel"] = ""
    """What was sent: a change that is not answered, or a cancel that has not come about. A cancel outweighs a change."""
    is_unknown: bool = False
    """An answer was lost, and nobody knows yet what became of the order."""

    @property
    def state(self) -> OrderState:
        """The state by the table."""
        if self.told in CLOSED:
            return self.told
        return "unknown" if self.is_unknown else self.asked or self.told

    @property
    def is_open(self) -> bool:
        """Whether anything may still become of it."""
        return self.told not in CLOSED

    @property
    def has_ended(self) -> bool:
        """Whether nothing may become of it any more."""
        return self.told in CLOSED

    @property
    def is_being_cancelled(self) -> bool:
        """Whether it is open, and its cancel was asked for and not refused."""
        return self.asked == "pending_cancel" and self.told not in CLOSED

    def amending(self) -> None:
        """A change of it leaves."""
        if not self.asked:
            self.asked = "pending_amend"

    def cancelling(self) -> None:
        """Its cancel leaves."""
        self.asked = "pending_cancel"

    def answered(self) -> None:
        """The change was taken; what it changed is told by itself."""
        if self.asked == "pending_amend":
            self.asked = ""

    def doubted(self) -> None:
        """An answer was lost."""
        self.is_unknown = True

    def found(self) -> None:
        """It is known again what became of it (nothing new, where nothing follows)."""
        self.is_unknown = False

    def follow(self, status: OrderStatus) -> None:
        """The venue's word. Raises InvariantError where the table does not allow it, with nothing changed. A refused cancel ends the
        wish for it only where the order's fate is known: what nobody has found is not wanted back."""
        before = self.told
        self.told = advance(before, status)
        if self.told != before:
            self.is_unknown = False
        if self.asked and self.asked == _ANSWERS.get(status) and not self.is_unknown:
            self.asked = ""


class OrderRecord(OrderLife, gc=False, eq=False):
    """One order as the executor knows it. ``command`` is what was sent, as amended since; the rest is what the venue said of it."""

    number: int
    client_order_id: str
    symbol: str
    side: Side
    ts_created: int
    command: SubmitOrder | None
    parent_id: str | None = None
    ts_updated: int = 0
    filled_qty: float = 0.0
    reason: str = ""


def fires_when_rising(is_buy: bool, trigger: float, current: float | None) -> bool:
    """Whether a conditional order that does not say so waits for the price to rise to its trigger: by the side of the current price on
    which the trigger is; at the price, or where that is not known, a buy does."""
    return is_buy if current is None or trigger == current else trigger > current


def advance(state: OrderState, status: OrderStatus) -> OrderState:
    """What the venue has told of an order (``OrderLife.told``) after its update. Raises InvariantError where the table does not
    allow it (no fill after filled)."""
    target = _STATE_OF[status]
    if target is None:
        return state
    if target == "accepted" and state == "partially_filled":
        return state  # an amendment of what is partly filled changes no state
    if target not in TRANSITIONS[state]:
        raise InvariantError(f"an order cannot go from {state} to {target}")
    return target
