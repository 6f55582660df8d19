"""Executions, each counted once for good by its id, in the order of their times: quantity and PnL come from them alone.

PnL depends on the order of executions. So while one of a symbol is known to be missing (a status counted it, or its order is not known
yet), those that came after it wait, and what is missing is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from keel.adapters.bybit.execution.tracking.bracket_ids import BracketNames
from keel.adapters.bybit.execution.tracking.foreign_orders import ForeignOrders, is_of_a_panic
from keel.adapters.bybit.execution.tracking.past import Past, execution_key, seen_key
from keel.adapters.bybit.execution.tracking.queries import Moment, Output, TrailingWanted
from keel.adapters.bybit.execution.tracking.realized_pnl import RealizedBooks, richer, stated_pnl, tolerance
from keel.adapters.bybit.execution.tracking.searches import EarlierExecutions, MissingExecutions, Place
from keel.adapters.bybit.execution.tracking.stated_account import StatedAccount
from keel.adapters.bybit.execution.tracking.tracked_order import OrderIndex, TrackedOrder
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import ExecutionRow
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill, OrderStatus
from keel.core.model.money import to_text
from keel.core.model.orders import TRANSITIONS

_COUNTED: Final = ("duplicate", "stale", "foreign_symbol", "external", "orphan", "before_opening")


class ExecutionTracker:
    """The part of the tracker that books executions; orders change with them."""

    def __init__(self, instruments: Mapping[str, Instrument], emit: Callable[[Output], None], past: Past, now: Moment) -> None:
        self.instruments, self._emit, self._now = instruments, emit, now
        self._seen, self._opened_ms = past.seen, past.opened_ms
        self.orders = OrderIndex()
        self.books = RealizedBooks(instruments)
        self.brackets = BracketNames()
        self.counts: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        self.stated = StatedAccount(instruments, emit, self.counts)
        self.foreign = ForeignOrders(emit, past.own_prefix, now.market_ms)
        self.owed: dict[str, str] = {}
        """Key -> symbol of executions that a list told first, and that the stream still owes us. Whoever watches the stream clears it."""
        self._missing = MissingExecutions(emit, is_wanted=self._is_wanted, give_up=self._give_up)
        self._earlier = EarlierExecutions(emit)
        self._orphans: dict[str, dict[str, ExecutionRow]] = {}
        self._waiting: dict[str, dict[str, tuple[ExecutionRow, TrackedOrder | None]]] = {}
        self._distrusted: set[str] = set()
        """Symbols whose book and the exchange's stated PnL do not agree, and no list could say why; until they are flat."""
        self._odd: set[str] = set()
        """Keys of executions that were told as a kind that we do not know."""

    # --- rows ---

    def on_execution(self, row: ExecutionRow, now: Moment, *, is_pushed: bool = False) -> bool:
        """A row of the execution topic (pushed) or list; returns whether it was new. Raises PayloadError, with nothing changed, for
        nonsense."""
        self._now = now
        instrument = self.instruments.get(row.symbol)
        if instrument is None:
            self.counts["foreign_symbol"] += 1
            return False
        key = execution_key(row)
        ts = translate.time_ms(row.execTime, "execTime")
        if ts < self._opened_ms and key not in self._seen:
            self.counts["before_opening"] += 1
            self._seen.add(key)
            return False
        if is_pushed:
            self.owed.pop(key, None)
        elif key not in self._seen and key not in self._odd and not self._is_here(row):
            self.owed.setdefault(key, row.symbol)
        if key in self._seen:
            self.counts["duplicate"] += 1
            return False
        if row.execType == "Funding":
            return self._on_funding(row, instrument, key)
        if row.execType not in translate.MOVES_QUANTITY:
            return self._on_unknown_kind(row, key, ts)
        translate.fill(row, instrument, "", "", 0)  # refuse nonsense now, not when its turn comes
        order = self.orders.find(row.orderLinkId, row.orderId)
        if order is None and row.execType == "Trade" and row.orderId and row.orderId not in self.foreign:
            return self._wait_for_order(row)
        if order is not None:
            order.pushes += is_pushed
        return self._take(row, order)

    def _on_unknown_kind(self, row: ExecutionRow, key: str, ts: int) -> bool:
        if key in self._odd:
            return False
        self._odd.add(key)  # it is not taken for booked: a list may tell it as a kind that we know
        text = f"{row.symbol}: an execution of unknown kind {row.execType!r} ({row.execId})"
        self._emit(Notice(ts, "unknown_execution", text, row.symbol, "error", freezes=True))
        return True

    def _on_funding(self, row: ExecutionRow, instrument: Instrument, key: str) -> bool:
        payment = translate.funding_payment(row, instrument, self.books.held(row.symbol))
        stamp_key = seen_key(payment)
        is_new = stamp_key not in self._seen
        self._seen.add(stamp_key)
        self._seen.add(key)
        if not is_new:
            self.counts["duplicate"] += 1
            return False
        self.stated.pushes.booked(row.symbol)
        self._emit(payment)
        return True

    # --- waiting for each other ---

    @property
    def is_waiting(self) -> bool:
        """Whether executions wait for earlier ones."""
        return bool(self._waiting)

    @property
    def is_catching_up(self) -> bool:
        """Whether the list is being read for an earlier execution."""
        return self._earlier.is_running

    @property
    def orphans(self) -> list[tuple[str, str]]:
        """(symbol, order id) of executions that wait for their order."""
        return [(next(iter(rows.values())).symbol, order_id) for order_id, rows in self._orphans.items()]

    def _is_here(self, row: ExecutionRow) -> bool:
        """Whether it has come, and only waits to be booked."""
        return row.execId in self._waiting.get(row.symbol, ()) or row.execId in self._orphans.get(row.orderId, ())

    def _take(self, row: ExecutionRow, order: TrackedOrder | None) -> bool:
        waiting = self._waiting.setdefault(row.symbol, {})
        known, _ = waiting.get(row.execId, (None, None))
        waiting[row.execId] = (richer(known, row), order)
        self._book_waiting(row.symbol)
        return known is None

    def _wait_for_order(self, row: ExecutionRow) -> bool:
        waiting = self._orphans.setdefault(row.orderId, {})
        is_new = row.execId not in waiting
        waiting[row.execId] = richer(waiting.get(row.execId), row)
        self.counts["orphan"] += is_new
        self._missing.look(row.symbol, (row.orderLinkId or None, row.orderId))
        return is_new

    def _adopt_orphans(self, order_id: str, order: TrackedOrder | None) -> None:
        rows = self._orphans.pop(order_id, {})
        for row in rows.values():
            if execution_key(row) not in self._seen:
                self._take(row, order)
        for symbol in {row.symbol: None for row in rows.values()}:
            self._book_waiting(symbol)

    def _book_waiting(self, symbol: str) -> None:
        waiting = self._waiting.get(symbol)
        if not waiting or self._is_missing(symbol, waiting):
            return
        ordered = sorted(waiting.values(), key=lambda one: translate.execution_order(one[0]))
        if self._is_suspect(symbol, [row for row, _ in ordered]):
            self._earlier.look()
            return
        del self._waiting[symbol]
        for row, order in ordered:
            if order is None:
                self._book_external(row, self.instruments[symbol])
            else:
                self._book(row, order.instrument, order)

    def _is_suspect(self, symbol: str, rows: Iterable[ExecutionRow]) -> bool:
        """Whether the exchange states a PnL that our book would not come to: an earlier execution has not been heard of."""
        instrument = self.instruments[symbol]
        if instrument.category != "linear" or symbol in self._distrusted:
            return False
        return self.books.would_differ((translate.fill(row, instrument, "", "", 0), stated_pnl(row)) for row in rows)

    def _is_missing(self, symbol: str, waiting: Mapping[str, tuple[ExecutionRow, TrackedOrder | None]]) -> bool:
        if any(orphan.symbol == symbol for rows in self._orphans.values() for orphan in rows.values()):
            return True
        here: dict[str, int] = {}
        for row, order in waiting.values():
            if order is not None:
                quantity = translate.steps(order.instrument, row.execQty, "execQty")
                here[order.client_order_id] = here.get(order.client_order_id, 0) + quantity
        of_symbol = (order for order in self.orders if order.symbol == symbol and not order.is_written_off)
        return any(order.missing > here.get(order.client_order_id, 0) for order in of_symbol)

    def stop_waiting(self) -> None:
        """The lists were read often enough: book what waits, as it is; a PnL that differs is told."""
        for symbol in list(self._waiting):
            self._distrusted.add(symbol)
            self._book_waiting(symbol)

    def heard_list(self, rows: Iterable[ExecutionRow]) -> None:
        """The whole list of executions was read, and these rows were taken in. Of a symbol whose waiting ones it has all, nothing that came
        before them is missing any more: they are booked, and a PnL that differs is told."""
        listed = {row.execId for row in rows}
        for symbol, waiting in list(self._waiting.items()):
            if listed.issuperset(waiting):
                self._distrusted.add(symbol)
                self._book_waiting(symbol)

    def _is_wanted(self, place: Place) -> bool:
        """Whether an execution of this order is missing, or the order of executions."""
        client_order_id, order_id = place
        if order_id is not None and order_id in self._orphans:
            return True
        order = self.orders.find(client_order_id, order_id)
        return order is not None and order.is_open and not order.is_written_off and order.missing > 0

    def _give_up(self, symbol: str, place: Place) -> None:
        """What is missing is in none of the lists, read often enough."""
        client_order_id, order_id = place
        if order_id is not None and order_id in self._orphans:
            self.give_up_on(order_id)
            return
        order = self.orders.find(client_order_id, order_id)
        if order is not None:
            self.write_off(order)
        key = client_order_id or order_id or ""
        text = f"{symbol} {key}: executions that the exchange counts are in none of its lists"
        self._emit(Notice(self._now.exchange_ms, "executions_missing", text, symbol, "error", freezes=True, key=key))

    def give_up_on(self, order_id: str) -> None:
        """Nobody knows the order of these executions: book them as somebody else's, for they did happen."""
        self._adopt_orphans(order_id, None)

    def write_off(self, order: TrackedOrder) -> None:
        """What the exchange counts of this order is in none of its lists: let other executions wait for it no longer."""
        order.is_written_off = True
        self._book_waiting(order.symbol)

    # --- booking ---

    def _book(self, row: ExecutionRow, instrument: Instrument, order: TrackedOrder) -> None:
        fill = translate.fill(row, instrument, order.client_order_id, order.reason, 0, order.position_idx)
        ordered = translate.steps(instrument, row.orderQty, "orderQty")
        if order.order_id is None and row.orderId:
            self.orders.link(order, row.orderId)
        if not order.qty or (order.role and ordered):
            order.qty = ordered
        elif ordered > order.qty:  # amended upward, and the execution is here before the order's own news
            order.qty = ordered
            self._emit_update(order, "amended", fill.ts, "")
        fill = self._realize(fill, row)
        order.filled += instrument.qty_grid.count(fill.qty)
        if 0 < order.qty < order.filled:
            text = f"{order.symbol} {order.client_order_id}: {order.filled} steps filled of {order.qty}"
            self._emit(Notice(fill.ts, "overfilled", text, order.symbol, "error", freezes=True))
        self._emit(fill)
        self._note_entry(order, fill)
        if order.ending is not None and order.filled >= order.ending[2]:
            self._try_to_end(order)
        elif order.is_open:
            self._emit_update(order, "filled" if order.qty and order.filled >= order.qty else "partially_filled", fill.ts, "")

    def _note_entry(self, order: TrackedOrder, fill: Fill) -> None:
        """An order that opened is the parent of the position's exits; what an order cannot carry (trailing) is wanted now."""
        held = self.books.held(fill.symbol, fill.position_idx)
        if order.parent_id is not None or not held or (held > 0) != (fill.side == "BUY"):
            return
        self.brackets.opened(fill.symbol, fill.position_idx, order.client_order_id)
        bracket = order.command.bracket if order.command is not None else None
        if bracket is not None and bracket.trailing is not None and not order.trailing_set:
            order.trailing_set = True
            self._emit(TrailingWanted(order.client_order_id))

    def _book_external(self, row: ExecutionRow, instrument: Instrument) -> None:
        """What happened to our position without an order of ours: a takeover, a reduction for others, a person's own trade."""
        is_takeover = row.execType == "BustTrade"
        kind = "liquidation" if is_takeover else {"AdlTrade": "adl", "Trade": "external"}.get(row.execType, row.execType)
        fill = translate.fill(row, instrument, f"{kind.lower()}-{row.execId}", kind, 0)
        fill = self._realize(fill, row)
        self.counts["external"] += 1
        text = f"{row.symbol}: {row.side} {row.execQty} at {row.execPrice} ({row.execType}) was no order of ours"
        code = "execution_liquidation" if is_takeover else "execution_adl" if kind == "adl" else "execution_external"
        if is_of_a_panic(row.orderLinkId):  # the latch lets nothing leave any more: there is nothing to freeze
            text = f"{row.symbol}: {row.side} {row.execQty} at {row.execPrice} by a panic"
            self._emit(Notice(fill.ts, "execution_panic", text, row.symbol, key=row.orderLinkId or ""))
        else:
            self._emit(Notice(fill.ts, code, text, row.symbol, "error", freezes=not is_takeover))
        if is_takeover:
            self._emit(translate.liquidation(fill, row, self.stated.liquidation_price.get(row.symbol, 0.0)))
        self._emit(fill)

    def _realize(self, fill: Fill, row: ExecutionRow) -> Fill:
        """Count the execution for good and give it its PnL: ours, or for a takeover the exchange's."""
        stated = stated_pnl(row)
        linear = self.instruments[fill.symbol].category == "linear"
        fill = self._in_our_coins(fill)
        self._seen.add(seen_key(fill))
        self.stated.pushes.booked(fill.symbol)
        own = self.books.apply(fill)
        if not self.books.held(fill.symbol, fill.position_idx):
            self._distrusted.discard(fill.symbol)
        if linear and stated is not None and fill.kind == "trade" and abs(stated - own) > tolerance(fill):
            text = f"{fill.symbol} {fill.fill_id}: the exchange states a PnL of {stated}, our book {own} (in 1e-8)"
            self._emit(Notice(fill.ts, "pnl_differs", text, fill.symbol))
        pnl = stated if fill.kind == "bust" and stated is not None else own
        return msgspec.structs.replace(fill, realized_pnl=pnl)

    def _in_our_coins(self, fill: Fill) -> Fill:
        """A fee in a coin in which no book is kept costs nothing here: cash stays the wallet's, and what it cost is told."""
        instrument = self.instruments[fill.symbol]
        known = (instrument.quote,) if instrument.category == "linear" else (instrument.quote, instrument.base)
        if not fill.fee or fill.fee_coin in known:
            return fill
        fee = to_text(fill.fee)
        text = f"{fill.symbol}: a fee of {fee} was taken in {fill.fee_coin}, of which no book is kept: switch paying fees in it off"
        self._emit(Notice(fill.ts, "fee_coin", text, fill.symbol, "error", freezes=True))
        return msgspec.structs.replace(fill, fee=0)

    # --- what orders say ---

    def _try_to_end(self, order: TrackedOrder) -> None:
        if order.ending is None:
            return
        status, reason, quantity, ts = order.ending
        if order.filled < quantity:
            self._missing.look(order.symbol, (order.client_order_id, order.order_id))
            return
        if status == "rejected" and order.filled:
            status = "expired"
        self._emit_update(order, status, ts, reason)

    def _emit_update(self, order: TrackedOrder, status: OrderStatus, ts: int, reason: str) -> None:
        """Emit an update that the table of states allows; what it does not allow was told before, in another order."""
        told = order.life.told
        target = {"amended": "accepted"}.get(status, status)
        if not order.is_open or (target not in TRANSITIONS[told] and target != told):
            self.counts["stale"] += 1
            return
        if target == told and status not in ("amended", "partially_filled"):
            return
        order.life.follow(status)
        order.last_ms = max(order.last_ms, ts)
        self._emit(order.update(status, ts, reason))
        if order.life.told != told:
            self._moved(order)
        if order.life.has_ended:
            order.ending = None
            self.orders.close(order)
            self._book_waiting(order.symbol)

    def _moved(self, order: TrackedOrder) -> None:
        """Another state was told of it: whoever looks for it has found it."""
