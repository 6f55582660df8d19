"""The exchange as the bus sees it: commands in, events out, and everything between them awaited in tasks of its own.

Implements ``keel.core.engine.ports.Venue``. Ready means: the private stream is authenticated and acknowledged, and since its connection all
lists have been read. Nothing that adds exposure leaves before that, nor for a frozen symbol; what reduces, and cancels, always may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from keel.adapters.bybit.execution.venue_parts import VenueParts
from keel.core.errors import ConfigError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, SetTradingStop, SubmitOrder
from keel.core.model.orders import OrderState
from keel.core.model.words import check_again
from keel.core.strategy.order_calls import OrderCalls


class RecoveredOrder(msgspec.Struct, frozen=True):
    """An order that a journal holds open: its command, what became of it so far, and what was filled."""

    command: SubmitOrder
    told: OrderState = "pending_submit"
    filled_qty: float = 0.0
    is_being_cancelled: bool = False


class BybitVenue(VenueParts, OrderCalls):
    """One account of one category, with the calls of ``OrderCalls``."""

    # --- keel.core.engine.ports.Venue ---

    def submit_order(self, command: SubmitOrder) -> None:
        """Place an order: it is followed from now on, journalled, and sent. This and the next raise FieldError for what a command must
        not hold; nothing is sent then."""
        check_again(command, SubmitOrder)
        self.tracker.submitted(command)
        self._queue.put(command)

    def amend_order(self, command: AmendOrder) -> None:
        """Change a resting order."""
        check_again(command, AmendOrder)
        order = self.tracker.orders.get(command.client_order_id)
        if order is not None:
            order.life.amending()
        self._queue.put(command)

    def cancel_order(self, command: CancelOrder) -> None:
        """Cancel one order, once what was sent of it before is answered."""
        check_again(command, CancelOrder)
        order = self.tracker.orders.get(command.client_order_id)
        if order is not None:
            order.life.cancelling()
        self._queue.put(command)

    def _cancel_all(self, command: CancelAll) -> None:
        """Cancel every resting order of a symbol or of the category."""
        check_again(command, CancelAll)
        for order in self.tracker.orders:
            if command.symbol in (None, order.symbol):
                order.life.cancelling()
        self._queue.put(command)

    def set_trading_stop(self, command: SetTradingStop) -> None:
        """Set or remove the exits of a position."""
        check_again(command, SetTradingStop)
        self._queue.put(command)

    # --- what orders by hand ask ---

    def _traded(self, symbol: str) -> Instrument:
        try:
            return self._instruments[symbol]
        except KeyError:
            raise ConfigError(f"this venue does not trade {symbol}; it has {', '.join(self._instruments)}") from None

    def _latest_price(self, symbol: str) -> float | None:
        return self._ports.current_price(symbol)

    def _held(self, symbol: str, position_idx: int) -> int:
        instrument = self._traded(symbol)
        steps = self.tracker.books.held(symbol, position_idx)
        units = instrument.qty_grid.floor(instrument.book_grid.value(abs(steps)))
        return units if steps > 0 else -units

    def _has_order(self, client_order_id: str) -> bool:
        return self.tracker.orders.get(client_order_id) is not None

    # --- life ---

    def recover(
        self,
        orders: Iterable[RecoveredOrder],
        *,
        used_names: Iterable[str] = (),
        open_brackets: Iterable[tuple[str, str]] = (),
        holdings: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """Before ``run``: what a journal says was open. Orders in flight are looked for at the first connection, by I-7's rule.

        used_names: every name ever given to a bracket's order; open_brackets: (parent id, name) of those still open;
        holdings: symbol -> (signed steps of the book's grid, cost in 1e-8) held at ``since_ms``.
        """
        for symbol, (steps, cost) in (holdings or {}).items():
            self.tracker.books.seed(symbol, steps, cost)
        self.tracker.brackets.restore(used_names, open_brackets)
        for known in orders:
            order = self.tracker.submitted(known.command)
            order.life.told = known.told
            if known.is_being_cancelled:
                order.life.cancelling()
            order.filled = order.instrument.qty_grid.count(known.filled_qty)

    async def run(self) -> None:
        """Keep streams, tasks and the cadence of checks, until cancelled. An error of ours ends it with an exception group."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.private.run())
            if self.trade is not None:
                group.create_task(self.trade.run())
            group.create_task(self._poller.run())

    async def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Raises VenueError with the reason when it is not ready in time. ``run`` must be running."""
        await self.private.stream.wait_ready(timeout_s)

    @property
    def in_flight(self) -> int:
        """Commands that are not answered yet."""
        return self._queue.pending

    @property
    def stream_misses(self) -> int:
        """How often a list knew what the private stream had not told."""
        return self._poller.stream_misses

    @property
    def unknown(self) -> Mapping[str, str]:
        """Client id -> why, of orders whose fate is being found out."""
        return self.tracker.unknown

    async def idle(self) -> None:
        """Wait until every command that was given so far has been answered, no order's fate is unknown, and no execution waits for an
        earlier one that lists may still bring."""
        while True:
            await self._queue.idle()
            if not (self.tracker.unknown or self._setting_exits or self._queue.pending or self.tracker.is_catching_up):
                return
            await self._sleep(0.01 if self._setting_exits else 0.05)
