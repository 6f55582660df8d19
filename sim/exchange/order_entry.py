"""Commands as they arrive at the venue: each is accepted or refused at its moment; what takes or rests follows from the price point, which
comes before the next command (sim/matching/walk.py)."""

from __future__ import annotations

from collections.abc import Callable

from keel.core.model.instrument import Grid
from keel.core.model.messages import AmendOrder, CancelOrder, SetTradingStop, SubmitOrder
from keel.core.model.orders import fires_when_rising, trading_stop_id
from keel.sim.exchange import order_validation
from keel.sim.exchange.book import FRESH, RESTING, SOURCES, UNTRIGGERED, Command, SymbolBook, WorkingOrder
from keel.sim.exchange.events import Outbox, UsedIds
from keel.sim.exchange.metrics import ExchangeMetrics
from keel.sim.exchange.order_validation import check_amend, check_band, check_bracket, check_spot_value, check_submit
from keel.sim.matching.matching import Matching


class OrderEntry:
    """Turns commands into orders of a book."""

    __slots__ = ("_matching", "_metrics", "_next_sequence", "_outbox", "_used_ids")

    def __init__(
        self, matching: Matching, outbox: Outbox, metrics: ExchangeMetrics, used_ids: UsedIds, next_sequence: Callable[[], int]
    ) -> None:
        self._matching, self._outbox, self._metrics = matching, outbox, metrics
        self._used_ids, self._next_sequence = used_ids, next_sequence

    def handle(self, book: SymbolBook, command: Command) -> None:
        """One command that has arrived."""
        if isinstance(command, SubmitOrder):
            self._submit(book, command)
        elif isinstance(command, AmendOrder):
            self._amend(book, command)
        elif isinstance(command, CancelOrder):
            self._cancel(book, command)
        elif isinstance(command, SetTradingStop):
            self._set_trading_stop(book, command)
        else:
            for order in list(book.orders.values()):
                self._drop(book, order)

    def _submit(self, book: SymbolBook, command: SubmitOrder) -> None:
        self._metrics.orders += 1
        order = self._make(book, command)
        if order.client_order_id in self._used_ids:
            reason = "170141 Duplicate clientOrderId." if book.is_spot else "110072 OrderLinkedID is duplicate"
        else:
            reason = check_submit(book, command, order)
        limit = order.limit
        if limit is not None and order.trigger is None and not reason:  # a stop-limit meets the band when it fires
            reason = check_band(book, order)
            self._metrics.moved_to_band += limit != order.limit
        if reason:
            self._metrics.rejected += 1
            self._outbox.refused(command, book.ts, reason)
            return
        self._used_ids[order.client_order_id] = None
        if order.trigger is not None:
            order.state = UNTRIGGERED
            self._matching.announce(book, order)
            return
        if limit is not None:
            book.orders[order.client_order_id] = order
        book.fresh.append(order)

    def _make(self, book: SymbolBook, command: SubmitOrder) -> WorkingOrder:
        """The order of a command whose values are not checked yet (what is no number counts as 0)."""
        side, kind = command.side, command.order_type
        order = WorkingOrder(
            command.client_order_id,
            side,
            1 if side == "BUY" else -1,
            kind,
            count_or_zero(book.instrument.qty_grid, command.qty),
            self._next_sequence(),
            None,
            command.time_in_force,
            command.reduce_only,
            command.close_on_trigger,
            command.position_idx,
            command.bracket,
            command.reason,
        )
        if kind == "market":
            position = book.position(command.position_idx) if order.leaves == 0 else None
            if position is not None:
                order.leaves = abs(position.steps) // book.lot
        else:
            self._set_prices(book, order, command)
        return order

    @staticmethod
    def _set_prices(book: SymbolBook, order: WorkingOrder, command: SubmitOrder) -> None:
        if order.order_type != "stop_market":
            order.limit = count_or_zero(book.instrument.price_grid, command.price)
        if order.order_type != "limit":
            order.source, trigger = SOURCES[command.trigger_by], command.trigger_price
            order.trigger = 0.0 if trigger is None else trigger
            rises = command.trigger_rising
            order.rising = fires_when_rising(order.side > 0, order.trigger, book.price(order.source)) if rises is None else rises

    def _cancel(self, book: SymbolBook, command: CancelOrder) -> None:
        order = book.orders.get(command.client_order_id)
        if order is None:
            reason = order_validation.ORDER_UNKNOWN[book.is_spot]
            self._outbox.answer(book.symbol, command.client_order_id, book.ts, "cancel_rejected", reason)
            return
        self._drop(book, order)

    def _drop(self, book: SymbolBook, order: WorkingOrder) -> None:
        if order in book.fresh:
            book.fresh.remove(order)
        self._matching.cancel(book, order, order_validation.BY_USER)

    def _amend(self, book: SymbolBook, command: AmendOrder) -> None:
        order = book.orders.get(command.client_order_id)
        reason = order_validation.AMEND_UNKNOWN[book.is_spot] if order is None else check_amend(book, order, command)
        if order is None or reason:
            self._outbox.answer(book.symbol, command.client_order_id, book.ts, "amend_rejected", reason)
            return
        saved = (order.leaves, order.limit, order.trigger, order.sequence, order.rising)
        self._change(book, order, command)
        price = book.instrument.price_grid.value(order.limit) if order.limit is not None else order.trigger
        if not order.is_full:
            reason = check_spot_value(book, price, order.leaves + order.filled)
        if not reason and order.state in (RESTING, FRESH):
            reason = check_band(book, order) or self._reserve_again(book, order)
        if reason:
            order.leaves, order.limit, order.trigger, order.sequence, order.rising = saved
            if order.state in (RESTING, FRESH):
                self._reserve_again(book, order)
            self._outbox.answer(book.symbol, command.client_order_id, book.ts, "amend_rejected", reason)
            return
        self._outbox.order(book, order, "amended")
        if order.state == RESTING:
            order.state = FRESH  # it may cross at its new price
            book.fresh.append(order)

    def _change(self, book: SymbolBook, order: WorkingOrder, command: AmendOrder) -> None:
        prices = book.instrument.price_grid
        if command.qty is not None:
            leaves = book.instrument.qty_grid.count(command.qty) - order.filled
            if leaves > order.leaves:
                order.sequence = self._next_sequence()
            order.leaves = leaves
        if command.price is not None:
            order.limit, order.sequence = prices.count(command.price), self._next_sequence()
        if command.trigger_price is not None:
            order.trigger = command.trigger_price
            if not order.role:
                order.rising = fires_when_rising(order.side > 0, order.trigger, book.price(order.source))

    def _reserve_again(self, book: SymbolBook, order: WorkingOrder) -> str:
        """Hold what the order needs as it is now; "" or the reason why it cannot be held."""
        settlement, position = self._matching.settlement(book), book.position(order.position_idx)
        settlement.release(book, order)
        return settlement.reserve(book, position, order) if position is not None else ""

    def _set_trading_stop(self, book: SymbolBook, command: SetTradingStop) -> None:
        position = book.position(command.position_idx)
        if position is None:
            reason = "10001 position idx not match position mode"
        elif not position.steps // book.lot:
            reason = "10001 can not set tp/sl/ts for zero position"
        else:
            base = book.price(SOURCES[command.bracket.trigger])
            reason = check_bracket(book.instrument, position, command.bracket, 1 if position.steps > 0 else -1, base)
        if position is None or reason:
            self._outbox.answer(book.symbol, trading_stop_id(book.symbol), book.ts, "rejected", reason)
            return
        self._matching.brackets.replace(book, position, command.bracket)


def count_or_zero(grid: Grid, value: float | None) -> int:
    """The nearest count of a finite value, else 0."""
    if value is None or not -1e15 < value < 1e15:
        return 0
    return round(value * grid.den / grid.num)
