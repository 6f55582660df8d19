"""The ends of causes that the list of open orders decides: what was in the way rests no more, or is understood again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.unknown_orders import LIST_LAG_MS
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import OrderRow
from keel.core.risk.gate.gate import Entry, Gate

ENDED_BY_THE_LIST: Final = ("external_order", "order_returned", "unknown_status", "cancel_all_failed")


class OrderEndings:
    """Looks at each list of open orders. The list may lag behind the stream: absence counts once the cause has stood for that long."""

    def __init__(self, gate: Gate, tracker: OrderTracker) -> None:
        self._gate, self._tracker = gate, tracker
        self._since: dict[tuple[str | None, str, str], int] = {}

    @property
    def are_awaited(self) -> bool:
        """Whether a list would decide on anything."""
        return bool(self._gate.entries(*ENDED_BY_THE_LIST))

    def look(self, rows: Sequence[OrderRow], now_ms: int) -> None:
        """Take back what these rows (read since now_ms, monotonic) show to be over."""
        standing = self._gate.entries(*ENDED_BY_THE_LIST)
        places = [(entry.symbol, entry.cause, entry.key) for entry in standing]
        self._since = {place: self._since.get(place, now_ms) for place in places}
        for entry, place in zip(standing, places, strict=True):
            if now_ms - self._since[place] >= LIST_LAG_MS and not any(_is_held_by(entry, row) for row in rows):
                self._gate.open(entry.cause, entry.symbol, entry.key)
                if entry.cause == "external_order":
                    self._tracker.foreign.forget(entry.key)


def _is_held_by(entry: Entry, row: OrderRow) -> bool:
    if entry.cause == "external_order":
        return row.orderId == entry.key
    if entry.cause == "cancel_all_failed":
        return entry.symbol in (None, row.symbol)
    is_it = entry.key in (row.orderLinkId, row.orderId)
    return is_it and (entry.cause == "order_returned" or translate.order_status(row, 0) is None)
