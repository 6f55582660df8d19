"""What the private topics and lists say, made into the events of our orders and fills. Pure: it takes rows, answers and the time, and
emits events, and the queries that have to be made for what is missing; it awaits nothing and knows no socket, clock or task.

Topics have no order among each other, and each may be doubled, late or lost. So: quantity comes from executions alone, each counted once
for good by its execution id; a status never makes quantity; an end that is told before its executions waits for them, and they are asked
for. Whatever arrives in whatever order, the final state is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from keel.adapters.bybit.execution.tracking.executions import ExecutionTracker
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.tracking.queries import AskExecutions, AskOrder, Moment, OrderView, Output, Query
from keel.adapters.bybit.execution.tracking.searches import LostAmendments
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.execution.tracking.unknown_orders import UnknownOrders
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.adapters.bybit.wire.shapes import ExecutionRow, OrderRow
from keel.core.model.instrument import Instrument
from keel.core.model.messages import AmendOrder, OrderStatus, OrderUpdate, SubmitOrder
from keel.core.model.orders import trading_stop_id
from keel.core.model.timeframe import DAY_MS, MINUTE_MS

_ENDS: Final = ("filled", "cancelled", "rejected", "expired")


class OrderTracker(ExecutionTracker):
    """The state of one account's orders and positions as told from outside. emit: takes what comes out, in order (a list's ``append`` will
    do); a query is answered by ``order_read``, ``on_execution_list`` and ``witnessed``, by whoever makes it, when its time has come and
    ``is_still_wanted`` says so."""

    def __init__(self, instruments: Mapping[str, Instrument], emit: Callable[[Output], None], past: Past, now: Moment) -> None:
        super().__init__(instruments, emit, past, now)
        self.listed_until_ms = past.since_ms
        """Time of the newest execution that a list gave: everything before it has been read. Where the next session may begin."""
        self._unknown = UnknownOrders(emit, end=self._end, reduces=self.reduces, evidence=past.evidence)
        self._amendments = LostAmendments(emit, self._refuse_amendment)

    # --- from ourselves ---

    def submitted(self, command: SubmitOrder) -> TrackedOrder:
        """Follow an order that is about to be sent."""
        instrument = self.instruments[command.symbol]
        order = TrackedOrder(command.client_order_id, instrument, command.side, instrument.qty_grid.count(command.qty), command=command)
        self.orders.add(order)
        return order

    def acknowledged(self, order: TrackedOrder, order_id: str | None, now: Moment) -> None:
        """The exchange took the command and named the order; that it exists is told by its status, not by this."""
        self._now = now
        self._link(order, order_id)

    def end(self, order: TrackedOrder, status: OrderStatus, reason: str, now: Moment) -> None:
        """An end on positive evidence of our own: a definite refusal."""
        self._now = now
        self._end(order, status, reason)

    def answer(self, client_order_id: str, symbol: str, status: OrderStatus, reason: str, now: Moment) -> None:
        """The refusal of a cancellation or amendment; the order goes on."""
        order = self.orders.get(client_order_id)
        if order is not None:
            order.life.follow(status)
            self._emit(order.update(status, now.market_ms, reason))

    def answer_lost(self, order: TrackedOrder, why: str, sent_ms: int, now: Moment) -> None:
        """Nobody knows what became of a command for this order, sent before sent_ms (monotonic): its fate is unknown, and is found out."""
        self._now = now
        self._unknown.begin(order, why, sent_ms, now)

    def amendment_lost(self, command: AmendOrder, order: TrackedOrder, reason: str) -> None:
        """The answer to an amendment was lost, and the order is known: whether it was changed is found out."""
        self._amendments.begin(command, order, reason)

    def exits_refused(self, symbol: str, reason: str, now: Moment) -> None:
        """The refusal of the exits of a position, under the id that stands for them."""
        self._emit(OrderUpdate(trading_stop_id(symbol), symbol, now.market_ms, "rejected", reason=reason))

    def reduces(self, order: TrackedOrder) -> bool:
        """Whether there is a position that this order would make smaller."""
        held = self.books.held(order.symbol, order.position_idx)
        return held != 0 and (held > 0) == (order.side == "SELL")

    @property
    def unknown(self) -> Mapping[str, str]:
        """Client id -> why, of orders whose fate is being found out."""
        return self._unknown.reasons

    # --- answers to queries ---

    def is_still_wanted(self, query: Query) -> bool:
        """Asked when a query's time has come: what was missing may be here."""
        if isinstance(query, AskExecutions):
            return self._earlier.is_still_wanted(is_waiting=self.is_waiting)
        if not isinstance(query, AskOrder):
            return True
        if query.purpose == "fate":
            return self._unknown.is_wanted(query)
        if query.purpose == "missing":
            return self._missing.is_still_wanted(query)
        order = self.orders.get(query.client_order_id)
        if query.purpose == "amendment":
            return order is not None and self._amendments.is_still_wanted(query, order)
        return order is not None and order.is_open

    def order_read(self, query: AskOrder, view: OrderView | None, asked_ms: int, now: Moment) -> None:
        """What lists that were read since asked_ms (monotonic) say of an order; None: one of them could not be read."""
        self._now = now
        if view is not None and not view.is_absent and not self._take_in(view, now):
            view = None
        order = self.orders.get(query.client_order_id)
        if query.purpose == "missing":
            self._missing.read(query)
        elif order is not None and query.purpose == "fate":
            self._unknown.read(query, order, view, asked_ms, now)
        elif order is not None and query.purpose == "amendment":
            self._amendments.read(query, order)

    def witnessed(self, client_order_id: str, against: str, now: Moment) -> None:
        """What position and wallet show that our books do not explain; "": nothing."""
        self._now = now
        order = self.orders.get(client_order_id)
        if order is not None:
            self._unknown.witnessed(order, against, now)

    def execution_window(self, now: Moment, *, follows_stream: bool) -> tuple[int, int]:
        """(since, until) of the list to read, both inclusive, in the market's ms: from a minute before the newest one that any list has
        given, since what the stream lost may be older than what it told. follows_stream: the market's time may have run on unseen."""
        since = self.listed_until_ms - MINUTE_MS
        until = max(since, now.market_ms) + MINUTE_MS
        return since, max(until, since + DAY_MS) if follows_stream else until

    def on_execution_list(self, rows: list[ExecutionRow], now: Moment) -> None:
        """The whole list of a window, oldest first. Raises PayloadError."""
        for row in rows:
            self.on_execution(row, now)
        self.heard_list(rows)
        if rows:
            self.listed_until_ms = max(self.listed_until_ms, translate.time_ms(rows[-1].execTime))

    def earlier_read(self) -> None:
        """The list was read for an earlier execution (or could not be): what still waits is waited for a little longer, and then booked."""
        if self._earlier.read(is_waiting=self.is_waiting):
            self.stop_waiting()

    def _take_in(self, view: OrderView, now: Moment) -> bool:
        """The order first where it is not known yet (its executions need it), else its executions first. Returns whether all of it could be
        understood."""
        is_known = view.row is not None and self.orders.find(view.row.orderLinkId, view.row.orderId) is not None
        try:
            if view.row is not None and not is_known:
                self.on_order(view.row, now)
            for row in view.executions:
                self.on_execution(row, now)
            if view.row is not None and is_known:
                self.on_order(view.row, now)
        except PayloadError as error:
            self._emit(Notice(now.exchange_ms, "bad_message", f"lists: {str(error)[:300]}"))
            return False
        return True

    # --- orders ---

    def on_order(self, row: OrderRow, now: Moment, *, is_pushed: bool = False) -> None:
        """A row of the order topic (pushed) or of a list. Raises PayloadError, with nothing changed, for one that cannot be read."""
        self._now = now
        instrument = self.instruments.get(row.symbol)
        if instrument is None:
            self.counts["foreign_symbol"] += 1
            return
        ts = translate.time_ms(row.updatedTime, "updatedTime") if translate.number(row.updatedTime, "updatedTime") else now.market_ms
        cumulative = translate.steps(instrument, row.cumExecQty, "cumExecQty")
        order = self.orders.find(row.orderLinkId, row.orderId)
        if order is None:
            order = self._adopt(row, instrument, ts, cumulative)
            if order is None:
                return
        told = translate.order_status(row, max(order.filled, cumulative))
        if told is None:
            text = f"{row.symbol} {order.client_order_id}: status {row.orderStatus!r} is not known"
            self._emit(Notice(ts, "unknown_status", text, row.symbol, "error", freezes=True, key=order.client_order_id))
            return
        order.told = max(order.told, cumulative)
        order.pushes += is_pushed
        is_changed = order.differs(row) if ts >= order.last_ms else False
        self._link(order, row.orderId)
        self._follow(order, told, cumulative, ts, is_changed=is_changed)

    def on_open_orders(self, rows: Iterable[OrderRow], now: Moment) -> None:
        """Everything that rests, as listed. Raises PayloadError."""
        for row in rows:
            self.on_order(row, now)

    def _follow(self, order: TrackedOrder, told: tuple[OrderStatus, str], cumulative: int, ts: int, *, is_changed: bool) -> None:
        status, reason = told
        if not order.is_open:
            self._check_zombie(order, status, ts)
            return
        is_stale = ts < order.last_ms
        order.last_ms = max(order.last_ms, ts)
        if status in _ENDS:
            quantity = cumulative or (order.qty if status == "filled" else 0)
            order.ending = (status, reason, quantity, ts)
            self._try_to_end(order)
            return
        if cumulative > order.filled:
            self._missing.look(order.symbol, (order.client_order_id, order.order_id))
        if is_stale:
            self.counts["stale"] += 1
        elif status == "triggered" or (status == "accepted" and order.life.told in ("pending_submit", "triggered")):
            self._emit_update(order, status, ts, reason)
        elif is_changed:
            self._emit_update(order, "amended", ts, reason)

    def _check_zombie(self, order: TrackedOrder, status: OrderStatus, ts: int) -> None:
        """An order that ended for us and rests at the exchange: never silently."""
        if status in _ENDS or ts <= order.last_ms:
            self.counts["stale"] += 1
            return
        text = f"{order.symbol} {order.client_order_id} had ended as {order.state}, and the exchange now says {status}"
        self._emit(Notice(ts, "order_returned", text, order.symbol, "error", freezes=True, key=order.client_order_id))

    def _adopt(self, row: OrderRow, instrument: Instrument, ts: int, cumulative: int) -> TrackedOrder | None:
        """Take in what the exchange made out of a bracket of ours; everything else unknown is somebody else's."""
        if row.orderId in self.foreign:
            return None
        role = translate.ROLES.get(row.stopOrderType or "", "")
        side = translate.side_of(row.side)
        has_ended = row.orderStatus in ("Cancelled", "Deactivated", "Rejected") and not cumulative
        name = self.brackets.name_of(row, role, self.orders) if role and not has_ended else None
        if name is None:
            self.foreign.add(row, ts, has_ended=has_ended or bool(role))
            self._adopt_orphans(row.orderId, None)
            return None
        parent_id, client_order_id = name
        recovered = self.orders.get(client_order_id)
        if recovered is not None and recovered.order_id is None:  # followed since the restart, and told of for the first time
            self.orders.link(recovered, row.orderId)
            recovered.differs(row)
            return recovered
        order = TrackedOrder(client_order_id, instrument, side, 0, parent_id=parent_id, role=role)
        order.order_type = "stop_limit" if row.orderType == "Limit" else "stop_market"
        order.differs(row)
        order.last_ms = ts
        self.orders.add(order)
        self._emit_update(order, "accepted", ts, "")
        return order

    # --- inside ---

    def _link(self, order: TrackedOrder, order_id: str | None) -> None:
        if order_id and order.order_id is None:
            self.orders.link(order, order_id)
            self._adopt_orphans(order_id, order)

    def _end(self, order: TrackedOrder, status: OrderStatus, reason: str) -> None:
        self._emit_update(order, status, self._now.market_ms, reason)

    def _moved(self, order: TrackedOrder) -> None:
        self._unknown.known(order)

    def _refuse_amendment(self, command: AmendOrder, reason: str) -> None:
        self.answer(command.client_order_id, command.symbol, "amend_rejected", reason, self._now)
