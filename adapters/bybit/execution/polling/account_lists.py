"""The lists of an account, read and handed to the tracker: executions, what rests, what is held, the wallet; and all of them at once."""

from __future__ import annotations

from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.adapters.bybit.execution.polling.query_loop import QueryLoop
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.order_endings import OrderEndings
from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.stream_watch import StreamWatch
from keel.core.errors import VenueError
from keel.core.risk.gate.gate import Gate


class AccountLists:
    """Each method raises what the read raises (ExchangeRefusal, PayloadError)."""

    def __init__(
        self, tracker: OrderTracker, watch: StreamWatch, queries: QueryLoop, reader: AccountReader, gate: Gate, around: Surroundings
    ) -> None:
        self._tracker, self._watch, self._queries, self._reader, self._around = tracker, watch, queries, reader, around
        self._endings = OrderEndings(gate, tracker)

    @property
    def decide_on_causes(self) -> bool:
        """Whether a cause stands that the list of open orders ends."""
        return self._endings.are_awaited

    async def resync(self) -> None:
        """Read what may have been missed: executions since the last one, open orders, positions, wallet. What was sent before and was not
        heard of is unknown."""
        await self.executions()
        await self.open_orders(is_resync=True)
        await self.positions()
        await self.wallet()
        now = self._around.moment()
        for order in self._tracker.orders:
            if order.life.told == "pending_submit":
                self._tracker.answer_lost(order, "sent before this connection, not heard of since", now.monotonic_ms, now)
        self._watch.forget()

    async def executions(self) -> None:
        """Executions since a minute before the newest one that any list has given."""
        await self._queries.executions()

    async def open_orders(self, *, is_resync: bool = False) -> bool:
        """What rests; one of ours that rests no more is looked at. Returns whether one has ended unheard."""
        resting, asked_ms = self._watch.resting(), self._around.monotonic_ms
        rows = await self._reader.open_orders()
        unlisted = self._watch.unlisted(resting, rows, self._around.moment())
        self._endings.look(rows, asked_ms)
        has_ended = False
        for query in unlisted:
            if not self._tracker.is_still_wanted(query):
                continue
            view = await self._queries.order(query)
            if view is None and is_resync:
                raise VenueError(f"{query.symbol} {query.client_order_id} could not be looked at")  # not ready: the connection is made anew
            has_ended |= self._watch.unlisted_read(query, view, self._around.moment(), is_resync=is_resync)
        return has_ended

    async def positions(self) -> None:
        """Positions as the exchange states them; one that is no longer listed is flat."""
        market_ms = self._around.moment().market_ms
        self._tracker.stated.on_position_list(await self._reader.positions(), market_ms)

    async def wallet(self) -> None:
        """Balances as the exchange states them."""
        self._tracker.stated.on_wallet(await self._reader.wallet(), self._around.moment().market_ms)
