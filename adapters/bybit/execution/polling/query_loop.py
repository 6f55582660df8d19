"""Makes the tracker's queries: each when its time has come and if it is still wanted, and hands in what was read. Decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.queries import AskOrder, AskWitness, OrderView, Query
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError

_TROUBLE: Final = (ExchangeRefusal, PayloadError)


class QueryLoop:
    """witness: what position and wallet show of a symbol that our books do not explain; "" for
    nothing; it may raise what reads raise."""

    def __init__(
        self,
        tracker: OrderTracker,
        reader: AccountReader,
        around: Surroundings,
        *,
        witness: Callable[[str], Awaitable[str]],
        follows_stream: bool,
    ) -> None:
        self._tracker, self._reader, self._around = tracker, reader, around
        self._witness, self._follows_stream = witness, follows_stream

    def start(self, query: Query) -> None:
        """Make it in its time."""
        self._around.spawn(self._make(query))

    async def _make(self, query: Query) -> None:
        if isinstance(query, AskWitness):
            await self._ask_witness(query)
            return
        await self._around.sleep(query.after_ms / 1000)
        if not self._tracker.is_still_wanted(query):
            return
        if isinstance(query, AskOrder):
            await self.order(query)
            return
        try:
            await self.executions()
        except _TROUBLE as error:
            self._around.notify(Notice(self._around.moment().exchange_ms, "check_failed", str(error)))
        self._tracker.earlier_read()

    async def order(self, query: AskOrder) -> OrderView | None:
        """Read an order now, by everything that may know it; None when it could not be read."""
        asked_ms = self._around.moment().monotonic_ms
        view = await self._view(query)
        self._tracker.order_read(query, view, asked_ms, self._around.moment())
        return view

    async def once(self, order: TrackedOrder) -> OrderView | None:
        """Read an order for which nobody searches; None when it could not be read."""
        return await self.order(AskOrder("once", order.symbol, order.client_order_id, order.order_id))

    async def executions(self) -> None:
        """Read the list of executions from where lists were read to. Raises what the reads raise."""
        since, until = self._tracker.execution_window(self._around.moment(), follows_stream=self._follows_stream)
        rows = await self._reader.executions(since, until)
        self._tracker.on_execution_list(rows, self._around.moment())

    async def _ask_witness(self, query: AskWitness) -> None:
        try:
            against = await self._witness(query.symbol)
        except _TROUBLE as error:
            against = f"position and wallet could not be read ({error})"
        self._tracker.witnessed(query.client_order_id, against, self._around.moment())

    async def _view(self, query: AskOrder) -> OrderView | None:
        try:
            # A bracket's order has no client id at the exchange; ours has one, which outlives an id that the exchange may change.
            orders = self._tracker.orders
            name = None if query.purpose == "missing" and query.order_id is not None else query.client_order_id
            order = orders.get(name)
            if order is not None and order.parent_id is not None and order.order_id is None:
                view = await self._reader.exit(query.symbol, order.parent_id, order.role, orders.known_ids)
                if view.row is not None:
                    orders.link(order, view.row.orderId)
                return view
            order_id = query.order_id if order is None else order.order_id
            by_own_id = name is not None and (order is None or order.parent_id is None)
            return await self._reader.order(query.symbol, name, None if by_own_id else order_id)
        except _TROUBLE as error:
            text = f"{query.symbol} {query.client_order_id or query.order_id}: {error}"
            self._around.notify(Notice(self._around.moment().exchange_ms, "look_failed", text, query.symbol, "info"))
            return None
