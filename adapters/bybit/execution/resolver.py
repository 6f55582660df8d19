"""Finding out. An order whose fate is unknown is looked for in everything that may know it, until there is positive evidence.

Absence is evidence only under all of these: open orders, closed orders, history and executions are empty, twice, at least ten seconds
apart, and the last time so late that a create that was still under way would have been refused as too old, and one that had arrived would
have been listed; and position and wallet, as listed and as pushed, show nothing that our books do not explain. Until then the order is
unknown and its symbol frozen. Nothing is ever sent again to find out.

What is proven absent has ended as rejected. Only an exit whose position still stands is sent once more, under its own name: getting out
was decided and is never stale, and reduce-only it can do no more than that. An entry is not: the price for which it was meant has gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from keel.adapters.bybit.execution.account_reader import AccountReader, OrderView
from keel.adapters.bybit.execution.order_query_records import AbsenceContradicted, OrderDoubted, OrderNotFound
from keel.adapters.bybit.execution.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.rest import RECV_WINDOW_MS
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.core.model.messages import Message, SubmitOrder
from keel.core.risk.gate.gate import Gate

APART_MS: Final = 10_000
LIST_LAG_MS: Final = 5_000
LISTED_BY_MS: Final = RECV_WINDOW_MS + 1_000 + LIST_LAG_MS
"""How long after a create left it is refused as too old, or listed."""
_DELAYS_S: Final = (0.3, 0.5, 1.0, 2.0, 3.0, 4.0)
_LOOK_DELAYS_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


class Resolver:
    """Looks at orders. The gate is closed for a symbol while one of its orders is unknown. Times are monotonic ms.

    note: takes the evidence (``keel.adapters.bybit.execution.order_query_records``).  send_again: takes an exit that is proven absent.
    witness: what position and wallet show of a symbol that our books do not explain; "" for nothing. It may raise what reads raise.
    """

    def __init__(
        self,
        reader: AccountReader,
        tracker: Callable[[], OrderTracker],
        *,
        notify: Notify,
        gate: Gate,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        note: Callable[[Message], None],
        send_again: Callable[[SubmitOrder], None],
        witness: Callable[[str], Awaitable[str]],
        sleep: Callable[[float], Awaitable[None]],
        now_ms: Callable[[], int],
        stamp_ms: Callable[[], int],
        evidence: Mapping[str, tuple[int, int]],
    ) -> None:
        self._reader, self._tracker, self._notify = reader, tracker, notify
        self._gate, self._spawn = gate, spawn
        self._note, self._send_again, self._witness = note, send_again, witness
        self._sleep, self._now_ms, self._stamp_ms = sleep, now_ms, stamp_ms
        self.unknown: dict[str, str] = {}
        """Client id -> why its fate is unknown, of orders that are being looked for."""
        self._evidence = evidence
        """Client id -> (when it was first looked for in vain, when its latest request may have left), of sessions before this one."""
        self._looking: set[tuple[str | None, str | None]] = set()

    # --- unknown orders ---

    def doubt(self, order: TrackedOrder, why: str, sent_ms: int) -> None:
        """The fate of an order is unknown since it was sent (monotonic ms): freeze its symbol and find out."""
        if order.client_order_id in self.unknown or not order.is_open:
            return
        self.unknown[order.client_order_id] = why
        order.life.doubted()
        text = f"{order.symbol} {order.client_order_id}: {why}; whether the exchange has it is being found out"
        self._notify(Notice(self._stamp_ms(), "order_unknown", text, order.symbol))
        self._gate.close("order_unknown", text, order.symbol, order.client_order_id)
        self._note(OrderDoubted(self._stamp_ms(), order.client_order_id, order.symbol, why))
        self._spawn(self._find_out(order, sent_ms))

    async def _find_out(self, order: TrackedOrder, sent_ms: int) -> None:
        first_absent: int | None = None
        is_wanted_again = False
        was, attempt = order.life.told, 0
        if order.client_order_id in self._evidence:  # what is known outlives the process: a crash loop does not begin anew each time
            first, sent = self._evidence[order.client_order_id]
            ago = self._now_ms() - self._stamp_ms()
            first_absent, sent_ms = first + ago, min(sent_ms, sent + ago)
        while order.is_open and order.life.told == was:
            await self._sleep(_DELAYS_S[min(attempt, len(_DELAYS_S) - 1)])
            attempt += 1
            asked = self._now_ms()
            view = await self._view(order.symbol, order.client_order_id, order.order_id)
            if view is None:
                continue
            if not view.is_absent:
                if self.apply(view):
                    break
                continue
            self._note(OrderNotFound(self._stamp_ms(), order.client_order_id, order.symbol, asked - sent_ms))
            if first_absent is None:
                first_absent = asked
            elif asked - first_absent >= APART_MS and asked - sent_ms >= LISTED_BY_MS:
                if await self._is_contradicted(order):
                    continue
                is_wanted_again = self._prove_absent(order)
                break
        self.unknown.pop(order.client_order_id, None)
        order.life.found()
        self._gate.open("order_unknown", order.symbol, order.client_order_id)
        if is_wanted_again and order.command is not None:
            order.is_sent_again = True
            self._send_again(order.command)

    async def _is_contradicted(self, order: TrackedOrder) -> bool:
        """Whether position or wallet show what our books do not explain: the lists may be wrong, and the order there after all."""
        try:
            against = await self._witness(order.symbol)
        except (ExchangeRefusal, PayloadError) as error:
            against = f"position and wallet could not be read ({error})"
        if not against or not order.is_open:
            return False
        text = f"{order.symbol} {order.client_order_id}: no list has it, and that is not believed: {against}"
        if self.unknown[order.client_order_id] != text:
            self.unknown[order.client_order_id] = text
            self._notify(Notice(self._stamp_ms(), "absence_contradicted", text, order.symbol, "error"))
            self._note(AbsenceContradicted(self._stamp_ms(), order.client_order_id, order.symbol, against))
        self._gate.close("order_unknown", text, order.symbol, order.client_order_id)
        return True

    def _prove_absent(self, order: TrackedOrder) -> bool:
        """End what the exchange does not have; True: it is an exit that is still wanted, and goes on."""
        if order.order_id is not None or order.life.told != "pending_submit" or order.filled:
            self._tracker().end(order, "cancelled", "no longer known to the exchange")
            return False
        if order.is_exit and not (order.is_sent_again or order.is_unwanted) and self._tracker().reduces(order):
            text = f"{order.symbol} {order.client_order_id}: never placed; the position still stands, so that this exit is sent once more"
            self._notify(Notice(self._stamp_ms(), "exit_sent_again", text, order.symbol))
            return True
        self._tracker().end(order, "rejected", "not placed: the exchange has never heard of it")
        return False

    # --- single looks ---

    def look(self, symbol: str, client_order_id: str | None, order_id: str | None) -> None:
        """Read one order soon, again and again until what was missing is here. Asked twice, it is done once."""
        key = (client_order_id, order_id)
        if key not in self._looking:
            self._looking.add(key)
            self._spawn(self._look(symbol, client_order_id, order_id))

    async def _look(self, symbol: str, client_order_id: str | None, order_id: str | None) -> None:
        tracker = self._tracker()
        try:
            for delay in _LOOK_DELAYS_S:
                await self._sleep(delay)
                if not self._is_wanted(client_order_id, order_id):
                    return
                view = await self._view(symbol, client_order_id if order_id is None else None, order_id)
                if view is not None and not view.is_absent:
                    self.apply(view)
            if not self._is_wanted(client_order_id, order_id):
                return
            if order_id is not None and any(waiting == order_id for _, waiting in tracker.orphans):
                tracker.give_up_on(order_id)
                return
            order = tracker.orders.find(client_order_id, order_id)
            if order is not None:
                tracker.write_off(order)
            text = f"{symbol} {client_order_id or order_id}: executions that the exchange counts are in none of its lists"
            self._notify(
                Notice(self._stamp_ms(), "executions_missing", text, symbol, "error", freezes=True, key=client_order_id or order_id or "")
            )
        finally:
            self._looking.discard((client_order_id, order_id))

    def _is_wanted(self, client_order_id: str | None, order_id: str | None) -> bool:
        tracker = self._tracker()
        if order_id is not None and any(waiting == order_id for _, waiting in tracker.orphans):
            return True
        order = tracker.orders.find(client_order_id, order_id)
        return order is not None and order.is_open and not order.is_written_off and order.missing > 0

    async def once(self, order: TrackedOrder) -> OrderView | None:
        """Read an order now and take in what is said; None when it could not be read."""
        view = await self._view(order.symbol, order.client_order_id, order.order_id)
        if view is not None and not view.is_absent:
            self.apply(view)
        return view

    def apply(self, view: OrderView) -> bool:
        """Take in what the lists say: the order first where it is not known yet (its executions need it), else its executions first.
        Returns whether all of it could be understood."""
        tracker = self._tracker()
        is_known = view.row is not None and tracker.orders.find(view.row.orderLinkId, view.row.orderId) is not None
        try:
            if view.row is not None and not is_known:
                tracker.on_order(view.row)
            for row in view.executions:
                tracker.on_execution(row)
            if view.row is not None and is_known:
                tracker.on_order(view.row)
        except PayloadError as error:
            self._notify(Notice(self._stamp_ms(), "bad_message", f"lists: {str(error)[:300]}"))
            return False
        return True

    async def _view(self, symbol: str, client_order_id: str | None, order_id: str | None) -> OrderView | None:
        try:
            # A bracket's order has no client id at the exchange; ours has one, which outlives an id that the exchange may change.
            orders = self._tracker().orders
            order = orders.get(client_order_id)
            if order is not None and order.parent_id is not None and order.order_id is None:
                view = await self._reader.exit(symbol, order.parent_id, order.role, orders.known_ids)
                if view.row is not None:
                    orders.link(order, view.row.orderId)
                return view
            by_own_id = client_order_id is not None and (order is None or order.parent_id is None)
            return await self._reader.order(symbol, client_order_id, None if by_own_id else order_id)
        except (ExchangeRefusal, PayloadError) as error:
            self._notify(Notice(self._stamp_ms(), "look_failed", f"{symbol} {client_order_id or order_id}: {error}", symbol, "info"))
            return None
