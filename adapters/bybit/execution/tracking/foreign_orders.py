"""Orders on our account that are not ours: other hands' (a cause of the gate), a panic's, another keel session's."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from keel.adapters.bybit.execution.tracking.queries import Output
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import OrderRow

_MAX_KNOWN: Final = 10_000
_PANIC_NAME: Final = "panic-"
"""How the names of the orders begin by which a panic closes positions."""
_KEEL_NAME: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]+-[0-9]+(?=-)")
"""How the names of a session's orders begin (``keel.runners.live.memory.history.session_prefix``)."""
_OF_A_LIQUIDATION: Final = ("CreateByLiq", "CreateByTakeOver")
"""Orders that the exchange makes to take a position over: nobody else's hand. Their executions tell what happened."""


class ForeignOrders:
    """Those that were told of. own_prefix: what the names of this journal's orders begin with ("": others that look like keel's are not
    told apart).  began_ms: when we began, in the market's time."""

    def __init__(self, emit: Callable[[Output], None], own_prefix: str, began_ms: int) -> None:
        self._emit, self._own_prefix, self._began_ms = emit, own_prefix, began_ms
        self._known: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._known

    def __len__(self) -> int:
        return len(self._known)

    def add(self, row: OrderRow, ts: int, *, has_ended: bool) -> None:
        """An order of somebody else was told of for the first time (has_ended: nothing may become of it, or it is an exit)."""
        self._known[row.orderId] = None
        while len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        self._look_for_another_writer(row, ts)
        if has_ended or (row.createType or "").startswith(_OF_A_LIQUIDATION) or is_of_a_panic(row.orderLinkId):
            return
        if row.orderStatus != "Filled":  # what has filled rests no more: its execution tells
            text = f"{row.symbol}: order {row.orderLinkId or row.orderId} ({row.orderStatus}) is not ours"
            self._emit(Notice(ts, "external_order", text, row.symbol, freezes=True, key=row.orderId))

    def forget(self, order_id: str) -> None:
        """It rests no more; should it be told of again, it is news."""
        self._known.pop(order_id, None)

    def _look_for_another_writer(self, row: OrderRow, ts: int) -> None:
        """An order by the name of another keel session, made since we began: two sessions on one account undo each other."""
        found = _KEEL_NAME.match(row.orderLinkId or "")
        if not found or not self._own_prefix or found[0].startswith(self._own_prefix):
            return
        made_ms = translate.time_ms(row.createdTime) if translate.number(row.createdTime) else ts
        if made_ms > self._began_ms:
            text = f"{row.symbol}: order {row.orderLinkId} is another keel session's, which trades this account too: stop one of the two"
            self._emit(Notice(ts, "another_writer", text, None, "error", freezes=True, key=found[0]))


def is_of_a_panic(client_order_id: str | None) -> bool:
    """Whether a panic's order closed a position by this name."""
    return (client_order_id or "").startswith(_PANIC_NAME)
