"""Finding out. An order whose fate is unknown is looked for in everything that may know it, until there is positive evidence.

Absence is evidence only under all of these: open orders, closed orders, history and executions are empty, twice, at least ten seconds
apart, and the last time so late that a create that was still under way would have been refused as too old, and one that had arrived would
have been listed; and position and wallet, as listed and as pushed, show nothing that our books do not explain. Until then the order is
unknown and its symbol frozen. Nothing is ever sent again to find out.

What is proven absent has ended as rejected. Only an exit whose position still stands is sent once more, under its own name: getting out
was decided and is never stale, and reduce-only it can do no more than that. An entry is not: the price for which it was meant has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from keel.adapters.bybit.execution.tracking.order_query_records import AbsenceContradicted, OrderDoubted, OrderNotFound
from keel.adapters.bybit.execution.tracking.queries import AskOrder, AskWitness, Froze, Moment, OrderView, Output, SendAgain, Thawed
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.signing import RECV_WINDOW_MS
from keel.core.model.messages import OrderStatus

APART_MS: Final = 10_000
LIST_LAG_MS: Final = 5_000
LISTED_BY_MS: Final = RECV_WINDOW_MS + 1_000 + LIST_LAG_MS
"""How long after a create left it is refused as too old, or listed."""
_DELAYS_MS: Final = (300, 500, 1_000, 2_000, 3_000, 4_000)


class _Search(msgspec.Struct):
    key: str
    why: str
    sent_ms: int
    first_absent: int | None = None
    asked: int = 0


class UnknownOrders:
    """The searches. Times are monotonic ms. end: ends an order on evidence.  reduces: whether there is a position that an order would make
    smaller.  evidence: client id -> (when it was first looked for in vain, when its latest request may have left), of sessions before this
    one, in the exchange's ms: what is known outlives the process, so that a crash loop does not begin anew each time."""

    def __init__(
        self,
        emit: Callable[[Output], None],
        *,
        end: Callable[[TrackedOrder, OrderStatus, str], None],
        reduces: Callable[[TrackedOrder], bool],
        evidence: Mapping[str, tuple[int, int]],
    ) -> None:
        self._emit, self._end, self._reduces, self._evidence = emit, end, reduces, evidence
        self._searches: dict[str, _Search] = {}
        self._count = 0

    @property
    def reasons(self) -> Mapping[str, str]:
        """Client id -> why its fate is unknown."""
        return {name: search.why for name, search in self._searches.items()}

    def begin(self, order: TrackedOrder, why: str, sent_ms: int, now: Moment) -> None:
        """The fate of an order is unknown since it was sent: freeze its symbol and look for it."""
        name = order.client_order_id
        if name in self._searches or not order.is_open:
            return
        order.life.doubted()
        self._count += 1
        search = self._searches[name] = _Search(str(self._count), why, sent_ms)
        text = f"{order.symbol} {name}: {why}; whether the exchange has it is being found out"
        self._emit(Notice(now.exchange_ms, "order_unknown", text, order.symbol))
        self._emit(Froze("order_unknown", text, order.symbol, name))
        self._emit(OrderDoubted(now.exchange_ms, name, order.symbol, why))
        if name in self._evidence:
            first, sent = self._evidence[name]
            ago = now.monotonic_ms - now.exchange_ms
            search.first_absent, search.sent_ms = first + ago, min(sent_ms, sent + ago)
        self._ask(order, search)

    def is_wanted(self, query: AskOrder) -> bool:
        """Asked before each reading: whether it is still being looked for."""
        search = self._searches.get(query.client_order_id or "")
        return search is not None and search.key == query.key

    def read(self, query: AskOrder, order: TrackedOrder, view: OrderView | None, asked_ms: int, now: Moment) -> None:
        """Every list was read since asked_ms; what they hold has been taken in. view None: a list could not be read, or not understood."""
        if not self.is_wanted(query):
            return
        search = self._searches[order.client_order_id]
        if view is None:
            self._ask(order, search)
        elif not view.is_absent:
            self.known(order)
        else:
            waited_ms = asked_ms - search.sent_ms
            self._emit(OrderNotFound(now.exchange_ms, order.client_order_id, order.symbol, waited_ms))
            if search.first_absent is None:
                search.first_absent = asked_ms
            elif asked_ms - search.first_absent >= APART_MS and waited_ms >= LISTED_BY_MS:
                self._emit(AskWitness(order.symbol, order.client_order_id))
                return
            self._ask(order, search)

    def witnessed(self, order: TrackedOrder, against: str, now: Moment) -> None:
        """What position and wallet show that our books do not explain ("": nothing, and the absence is proven): the lists may be wrong, and
        the order there after all."""
        search = self._searches.get(order.client_order_id)
        if search is None:
            return
        if not against:
            self._prove_absent(order, now)
            return
        text = f"{order.symbol} {order.client_order_id}: no list has it, and that is not believed: {against}"
        if search.why != text:
            search.why = text
            self._emit(Notice(now.exchange_ms, "absence_contradicted", text, order.symbol, "error"))
            self._emit(AbsenceContradicted(now.exchange_ms, order.client_order_id, order.symbol, against))
        self._emit(Froze("order_unknown", text, order.symbol, order.client_order_id))
        self._ask(order, search)

    def known(self, order: TrackedOrder) -> None:
        """It is known again what became of it."""
        if self._searches.pop(order.client_order_id, None) is not None:
            order.life.found()
            self._emit(Thawed("order_unknown", order.symbol, order.client_order_id))

    def _ask(self, order: TrackedOrder, search: _Search) -> None:
        delay = _DELAYS_MS[min(search.asked, len(_DELAYS_MS) - 1)]
        search.asked += 1
        self._emit(AskOrder("fate", order.symbol, order.client_order_id, order.order_id, delay, search.key))

    def _prove_absent(self, order: TrackedOrder, now: Moment) -> None:
        """End what the exchange does not have; an exit that is still wanted goes on."""
        if order.order_id is not None or order.life.told != "pending_submit" or order.filled:
            self._end(order, "cancelled", "no longer known to the exchange")
        elif order.is_exit and order.command is not None and not (order.is_sent_again or order.is_unwanted) and self._reduces(order):
            text = f"{order.symbol} {order.client_order_id}: never placed; the position still stands, so that this exit is sent once more"
            self._emit(Notice(now.exchange_ms, "exit_sent_again", text, order.symbol))
            self.known(order)
            order.is_sent_again = True
            self._emit(SendAgain(order.command))
        else:
            self._end(order, "rejected", "not placed: the exchange has never heard of it")
        self.known(order)
