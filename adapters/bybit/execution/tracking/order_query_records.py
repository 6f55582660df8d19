"""What is written down about an order whose fate was unknown: that it was doubted, and each time that it was looked for in vain.

A journal with these shows on what evidence an order was ended that the exchange never spoke of.
"""

from __future__ import annotations

from keel.core.model.messages import Message


class OrderDoubted(Message, frozen=True):
    """From here on nobody knows whether the exchange has this order; its symbol is frozen until it is found out."""

    ts: int
    client_order_id: str
    symbol: str
    why: str


class OrderNotFound(Message, frozen=True):
    """Open orders, closed orders, history and executions were read, and none has the order.

    waited_ms: how long before that look the latest request for it may have left (by a clock that never jumps).
    """

    ts: int
    client_order_id: str
    symbol: str
    waited_ms: int


class AbsenceContradicted(Message, frozen=True):
    """No list has the order, and position or wallet show what our books do not explain: its absence is not believed."""

    ts: int
    client_order_id: str
    symbol: str
    against: str


EVIDENCE = (OrderDoubted, OrderNotFound, AbsenceContradicted)
