"""What lists know and the private stream has not told: the stream tells first, the lists prove it. When a list has news that the stream
kept to itself, the stream is to be replaced, however well it answers pings; and an order that rests in no list any more is asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.queries import AskOrder, Moment, OrderView
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.wire.shapes import OrderRow

IN_FLIGHT_MS: Final = 3_000
"""How long the stream may be silent about what has happened."""


class _Awaited(msgspec.Struct, frozen=True):
    since_ms: int
    pushes: int
    """What the stream had told of it by then."""
    told: tuple[object, int]
    """State and steps filled by then."""


class StreamWatch:
    """Looks at what one tracker was told, and by whom. ``behind``: why the stream is to be replaced; "" where nothing is wrong."""

    def __init__(self, tracker: OrderTracker) -> None:
        self._tracker = tracker
        self.behind = ""
        self._awaited: dict[str, _Awaited] = {}
        self._owed: dict[str, int] = {}
        """Key of an execution that only a list told -> since when the stream owes it."""
        self._missing: set[str] = set()
        """Orders of ours that the latest list of open orders did not have."""

    def await_news(self, order: TrackedOrder, now: Moment) -> None:
        """The exchange took a command for this order: its news should come by the stream."""
        self._awaited[order.client_order_id] = _Awaited(now.monotonic_ms, order.pushes, _told(order))

    def late(self, now: Moment) -> list[AskOrder]:
        """Orders whose news should have come by now: read them, and hand in what was read (``late_read``)."""
        found: list[AskOrder] = []
        for name, awaited in list(self._awaited.items()):
            order = self._tracker.orders.get(name)
            if order is None or order.pushes != awaited.pushes:
                del self._awaited[name]
            elif now.monotonic_ms - awaited.since_ms >= IN_FLIGHT_MS:
                found.append(AskOrder("late", order.symbol, name, order.order_id))
        self._owed = {key: self._owed.get(key, now.monotonic_ms) for key in self._tracker.owed}
        owing = [key for key, since in self._owed.items() if now.monotonic_ms - since >= IN_FLIGHT_MS]
        if owing:
            self.behind = f"the list had executions that the private stream had not told: {', '.join(owing[:3])}"
        return found

    def late_read(self, query: AskOrder, view: OrderView | None, now: Moment) -> None:
        """What lists say of such an order (None: they could not be read, or it has ended)."""
        awaited, order = self._awaited.pop(query.client_order_id or "", None), self._tracker.orders.get(query.client_order_id)
        if awaited is None or order is None:
            return
        if view is None and order.is_open:
            self.await_news(order, now)
        elif view is not None and view.is_absent:
            self._tracker.answer_lost(order, "taken by the exchange, and no list has it", now.monotonic_ms, now)
        elif _told(order) != awaited.told:
            self.behind = f"{order.symbol} {order.client_order_id}: the lists knew what the private stream had not told"

    def forget(self) -> None:
        """A new connection: it owes us nothing of what was before it."""
        self.behind = ""
        self._owed.clear()
        self._tracker.owed.clear()

    # --- the list of open orders ---

    def resting(self) -> list[str]:
        """Before the list is read: the orders that should be in it."""
        return [order.client_order_id for order in self._tracker.orders if order.life.told != "pending_submit"]

    def unlisted(self, resting: Sequence[str], rows: Sequence[OrderRow], now: Moment) -> list[AskOrder]:
        """Take in the list, and ask about those of ours (``resting``, as of before) that rest no more."""
        tracker = self._tracker
        tracker.on_open_orders(rows, now)
        listed = {found.client_order_id for row in rows if (found := tracker.orders.find(row.orderLinkId, row.orderId)) is not None}
        missing = [name for name in resting if name not in listed]  # in the order in which they were sent, and not a set's
        orders = [order for name in missing if (order := tracker.orders.get(name)) is not None and order.is_open]
        self._missing, before = {*missing}, self._missing
        return [
            AskOrder(
                "unlisted", order.symbol, order.client_order_id, order.order_id, key="again" if order.client_order_id in before else ""
            )
            for order in orders
        ]

    def unlisted_read(self, query: AskOrder, view: OrderView | None, now: Moment, *, is_resync: bool) -> bool:
        """What lists say of such an order. When nobody has it (after a connection at once, else when it was missing before), its fate is
        unknown. Returns whether it has ended unheard."""
        order = self._tracker.orders.get(query.client_order_id)
        if order is None:
            return False
        if view is not None and view.is_absent and (is_resync or query.key):
            self._tracker.answer_lost(order, "it rests no more, and no list has it", now.monotonic_ms, now)
        return order.life.has_ended


def _told(order: TrackedOrder) -> tuple[object, int]:
    return order.life.told, order.filled
