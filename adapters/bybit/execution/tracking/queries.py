"""What goes into the tracker beside rows (the time, what lists say of one order), and what comes out of it beside messages: queries to
make and what else whoever carries them has to do.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire import shapes as wire
from keel.core.model.messages import Message, SubmitOrder


class Moment(msgspec.Struct, frozen=True):
    """Now, in ms by three clocks: one that never jumps (for waits), the market's (for events), the exchange's (for notices)."""

    monotonic_ms: int
    market_ms: int
    exchange_ms: int


class OrderView(msgspec.Struct, frozen=True):
    """What lists say of one order. ``row`` None: none of them has it; then ``executions`` is empty too, or it was executed."""

    row: wire.OrderRow | None
    executions: list[wire.ExecutionRow]

    @property
    def is_absent(self) -> bool:
        """Whether nobody has heard of it: evidence of a kind, never proof by itself."""
        return self.row is None and not self.executions


Purpose = Literal["fate", "missing", "amendment", "late", "unlisted", "once"]
"""Who asks: the search for an unknown order, for missing executions, for a lost amendment; the watch over a stream that owes news, the
list of open orders that lacks the order; or a sender, once."""


class AskOrder(msgspec.Struct, frozen=True):
    """Please read one order by everything that may know it, ``after_ms`` from now, and hand in the view (``OrderTracker.order_read``)."""

    purpose: Purpose
    symbol: str
    client_order_id: str | None
    order_id: str | None
    after_ms: int = 0
    key: str = ""
    """Which search, where an order may have several."""


class AskExecutions(msgspec.Struct, frozen=True):
    """Please read the list of executions and hand it in (``OrderTracker.on_execution_list``)."""

    after_ms: int


class AskWitness(msgspec.Struct, frozen=True):
    """Please say what position and wallet show of a symbol that our books do not explain (``OrderTracker.witnessed``)."""

    symbol: str
    client_order_id: str


Query = AskOrder | AskExecutions | AskWitness


class Froze(msgspec.Struct, frozen=True):
    """A cause stands in the way of a symbol's entries from here on (``keel.core.risk.gate.causes``)."""

    cause: str
    text: str
    symbol: str
    key: str


class Thawed(msgspec.Struct, frozen=True):
    """It is over."""

    cause: str
    symbol: str
    key: str


class SendAgain(msgspec.Struct, frozen=True):
    """An exit is proven never to have been placed, and its position stands: send it once more, under its own name."""

    command: SubmitOrder


class TrailingWanted(msgspec.Struct, frozen=True):
    """An entry with a trailing stop was filled: the position's stop can be set now."""

    client_order_id: str


Output = Message | Notice | Query | Froze | Thawed | SendAgain | TrailingWanted
"""In the order in which it came about."""
