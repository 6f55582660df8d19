"""What the controls count: orders and cancels that left, rejections in a row, how often each said no."""

from __future__ import annotations

from collections import deque

import msgspec

from keel.core.model.messages import OrderDenied, SubmitOrder
from keel.core.model.timeframe import MINUTE_MS
from keel.core.risk.decision import RENAMED


class CountsState(msgspec.Struct, frozen=True):
    """What was counted, as plain data."""

    sent: list[tuple[int, SubmitOrder]]
    orders: int
    cancels: int
    rejects: dict[str, tuple[int, int]]
    denials: dict[str, int]


class OrderCounts:
    """Times in ms of the session's clock. ``sent``: (when, order) of the last minute; ``orders``, ``cancels``: since they were last counted
    anew; ``rejects``: symbol -> (how many in a row, when the latest); ``denials``: reason -> how often; ``replaces``: new order -> the
    orders that were being cancelled when it was allowed."""

    def __init__(self) -> None:
        self.sent: deque[tuple[int, SubmitOrder]] = deque()
        self.orders = self.cancels = 0
        self.rejects: dict[str, tuple[int, int]] = {}
        self.denials: dict[str, int] = {}
        self.replaces: dict[str, frozenset[str]] = {}

    # --- what happened ---

    def note_sent(self, order: SubmitOrder) -> None:
        """An order leaves: it counts at once, whatever becomes of it."""
        self.sent.append((order.ts, order))
        self.orders += 1

    def note_unsent(self, client_order_id: str) -> None:
        """It did not leave after all (we said no, or the program ended before): known only afterwards where a journal is heard again."""
        kept = deque(entry for entry in self.sent if entry[1].client_order_id != client_order_id)
        self.orders -= len(self.sent) - len(kept)
        self.sent = kept
        self.replaces.pop(client_order_id, None)

    def note_cancel(self) -> None:
        """A cancel leaves."""
        self.cancels += 1

    def note_end(self, symbol: str, status: str, ts: int) -> None:
        """The exchange answered: rejections in a row are counted by symbol."""
        if status == "rejected":
            self.rejects[symbol] = (self.rejects.get(symbol, (0, 0))[0] + 1, ts)
        elif status in ("accepted", "filled", "partially_filled"):
            self.rejects.pop(symbol, None)

    def note_denied(self, denial: OrderDenied) -> None:
        """An order was denied, now or in a journal that is replayed."""
        reason = RENAMED.get(denial.reason, denial.reason)
        self.denials[reason] = self.denials.get(reason, 0) + 1

    def note_gone(self, client_order_id: str) -> None:
        """The order has ended."""
        self.replaces.pop(client_order_id, None)

    def count_anew(self) -> None:
        """A person has looked at the cancels: orders and cancels are counted from here on."""
        self.orders = self.cancels = 0

    def forget(self, now_ms: int) -> None:
        """Keep the last minute only."""
        while self.sent and now_ms - self.sent[0][0] >= MINUTE_MS:
            self.sent.popleft()

    # --- questions ---

    @property
    def cancels_per_order(self) -> float:
        """Of at least ten orders, so that the first few cancels are no ratio."""
        return self.cancels / max(10, self.orders)

    def repeats(self, now_ms: int) -> int:
        """The most entries to one side of one symbol that left within the last minute."""
        self.forget(now_ms)
        sides = [(order.symbol, order.side) for _, order in self.sent if not order.reduce_only]
        return max((sides.count(side) for side in sides), default=0)

    # --- memory ---

    def state(self, now_ms: int) -> CountsState:
        """What was counted, to be written at once."""
        self.forget(now_ms)
        return CountsState(list(self.sent), self.orders, self.cancels, self.rejects, self.denials)

    def restore(self, state: CountsState) -> None:
        """Go on from a ``state()``."""
        self.sent = deque(state.sent)
        self.orders, self.cancels = state.orders, state.cancels
        self.rejects, self.denials = dict(state.rejects), dict(state.denials)
