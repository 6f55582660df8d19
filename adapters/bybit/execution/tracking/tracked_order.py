"""One order as the exchange has told of it, and the index by which rows find their orders."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterator
from typing import Final

from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import OrderRow
from keel.core.model.instrument import Instrument
from keel.core.model.messages import OrderStatus, OrderType, OrderUpdate, Side, SubmitOrder
from keel.core.model.orders import OrderLife, OrderState

_KEEP_CLOSED: Final = 20_000


class TrackedOrder:
    """An order of ours, or one that the exchange made out of a bracket of ours. Quantities in steps of the instrument's grid."""

    __slots__ = (
        "client_order_id", "command", "ending", "filled", "instrument", "is_sent_again", "is_written_off", "last_ms", "life",
        "order_id", "order_type", "parent_id", "price", "pushes", "qty",
        "reason", "role", "side", "told", "trailing_set", "trigger",
    )  # fmt: skip

    def __init__(
        self,
        client_order_id: str,
        instrument: Instrument,
        side: Side,
        qty: int,
        *,
        command: SubmitOrder | None = None,
        parent_id: str | None = None,
        role: str = "",
    ) -> None:
        self.client_order_id, self.instrument, self.side, self.qty = client_order_id, instrument, side, qty
        self.command, self.parent_id, self.role = command, parent_id, role
        self.order_type: OrderType = command.order_type if command is not None else "stop_market"
        self.price = command.price if command is not None else None
        self.trigger = command.trigger_price if command is not None else None
        self.reason = command.reason if command is not None else translate.REASONS.get(role, "signal")
        self.life = OrderLife()
        self.filled = 0
        self.order_id: str | None = None
        self.ending: tuple[OrderStatus, str, int, int] | None = None
        """(status, reason, quantity it had filled, ts): an end that was told, whose executions are not all here yet."""
        self.told = 0
        """The largest executed quantity that any status told."""
        self.last_ms = self.pushes = 0
        """Exchange's time of the latest news, and how often the private stream (and not a list) told of it."""
        self.trailing_set = False
        self.is_sent_again = False
        """An exit that was proven absent and sent once more."""
        self.is_written_off = False
        """Nobody waits for its missing executions any more."""

    @property
    def symbol(self) -> str:
        """The symbol."""
        return self.instrument.symbol

    @property
    def position_idx(self) -> int:
        """0 in one-way mode."""
        return self.command.position_idx if self.command is not None else 0

    @property
    def state(self) -> OrderState:
        """Its state by the table of core."""
        return self.life.state

    @property
    def is_open(self) -> bool:
        """Whether anything may still become of it."""
        return self.life.is_open

    @property
    def is_unwanted(self) -> bool:
        """Whether its cancel was asked for, and not refused; also once it has ended."""
        return self.life.asked == "pending_cancel"

    @property
    def is_exit(self) -> bool:
        """Whether it can do nothing but reduce."""
        return self.command is not None and self.command.reduce_only

    @property
    def missing(self) -> int:
        """Steps that a status counted as executed and that no execution has brought yet."""
        return max(self.told, self.ending[2] if self.ending is not None else 0) - self.filled

    def differs(self, row: OrderRow) -> bool:
        """Take over price, quantity and trigger of a row; returns whether one of them is another now. A trailing stop's level follows the
        market by itself and is no amendment."""
        instrument = self.instrument
        quantity = translate.steps(instrument, row.qty, "qty")
        limit = translate.price_or_none(instrument, row.price) if row.orderType == "Limit" else None
        trigger = translate.price_or_none(instrument, row.triggerPrice)
        before = (self.qty, self.price, None if self.role == "ts" else self.trigger)
        self.qty, self.price, self.trigger = quantity or self.qty, limit, trigger
        return before != (self.qty, self.price, None if self.role == "ts" else self.trigger)

    def update(self, status: OrderStatus, ts: int, reason: str) -> OrderUpdate:
        """The order as it is now, as an event."""
        grid = self.instrument.qty_grid
        is_over = status in ("filled", "cancelled", "rejected", "expired")
        leaves = 0 if is_over else max(0, self.qty - self.filled)
        return OrderUpdate(
            self.client_order_id, self.symbol, ts, status, grid.value(self.filled), grid.value(leaves), reason, self.order_type,
            self.price, self.trigger, self.side, self.parent_id,
        )  # fmt: skip


class OrderIndex:
    """Orders by client id and by the exchange's id. Closed ones are kept for late messages, as many as memory may hold."""

    def __init__(self) -> None:
        self._open: dict[str, TrackedOrder] = {}
        self._closed: OrderedDict[str, TrackedOrder] = OrderedDict()
        self._by_order_id: dict[str, TrackedOrder] = {}

    def __iter__(self) -> Iterator[TrackedOrder]:
        """Open orders, oldest first."""
        return iter(list(self._open.values()))

    def add(self, order: TrackedOrder) -> None:
        """Begin to follow an order."""
        self._open[order.client_order_id] = order

    def link(self, order: TrackedOrder, order_id: str) -> None:
        """Learn the exchange's own id of an order."""
        order.order_id = order_id
        self._by_order_id[order_id] = order

    @property
    def known_ids(self) -> Container[str]:
        """The exchange's ids of all orders that are followed or were."""
        return self._by_order_id.keys()

    def close(self, order: TrackedOrder) -> None:
        """Keep an ended order for what may still come of it."""
        self._open.pop(order.client_order_id, None)
        self._closed[order.client_order_id] = order
        while len(self._closed) > _KEEP_CLOSED:
            _, oldest = self._closed.popitem(last=False)
            if oldest.order_id is not None:
                self._by_order_id.pop(oldest.order_id, None)

    def get(self, client_order_id: str | None) -> TrackedOrder | None:
        """An order, open or closed, by our id."""
        if not client_order_id:
            return None
        return self._open.get(client_order_id) or self._closed.get(client_order_id)

    def find(self, client_order_id: str | None, order_id: str | None) -> TrackedOrder | None:
        """An order, open or closed, by our id or the exchange's."""
        return self.get(client_order_id) or (self._by_order_id.get(order_id) if order_id else None)
