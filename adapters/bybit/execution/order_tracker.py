"""What the private topics and lists say, folded into the events of our orders and fills. Pure: no awaiting, no clock of its own.

Topics have no order among each other, and each may be doubled, late or lost. So: quantity comes from executions alone, each counted once
for good by its execution id; a status never makes quantity; an end that is told before its executions waits for them, and ``look`` is
asked to fetch what is missing. Whatever arrives in whatever order, the final state is the same.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, MutableSet
from typing import Final

import msgspec

from keel.adapters.bybit.execution.bracket_ids import BracketNames
from keel.adapters.bybit.execution.pushed_state import Pushes
from keel.adapters.bybit.execution.realized_pnl import RealizedBooks, tolerance
from keel.adapters.bybit.execution.tracked_order import OrderIndex, TrackedOrder
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import ExecutionRow, OrderRow, PositionRow, WalletRow
from keel.core.model.instrument import Instrument
from keel.core.model.messages import BalanceReport, Fill, FundingPayment, Message, OrderStatus, OrderUpdate, PositionReport, SubmitOrder
from keel.core.model.money import to_text
from keel.core.model.orders import TRANSITIONS, trading_stop_id

_MAX_FOREIGN: Final = 10_000
_ENDS: Final = ("filled", "cancelled", "rejected", "expired")
_PANIC_NAME: Final = "panic-"
"""How the names of the orders begin by which a panic closes positions."""
_KEEL_NAME: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]+-[0-9]+(?=-)")
"""How the names of a session's orders begin (``keel.runners.live.memory.history.session_prefix``)."""
_OF_A_LIQUIDATION: Final = ("CreateByLiq", "CreateByTakeOver")
"""Orders that the exchange makes to take a position over: nobody else's hand. Their executions tell what happened."""

Look = Callable[[str, str | None, str | None], None]
"""(symbol, client order id, exchange's order id): please find out about this order."""


def seen_key(message: Fill | FundingPayment) -> str:
    """The key under which an execution is remembered for good: a journal's fills and funding payments give back the whole set."""
    if isinstance(message, Fill):
        return f"{message.symbol}:{message.fill_id}"
    return f"{message.symbol}:funding:{message.ts}:{message.position_idx}"


def execution_key(row: ExecutionRow) -> str:
    """The key of ``seen_key`` for an execution row of the exchange."""
    return f"{row.symbol}:{row.execId}"


class OrderTracker:
    """The state of one account's orders and positions as told from outside; emits core messages.

    seen: keys of every execution ever applied (``seen_key``); it is added to before the event is emitted.
    opened_ms: what was executed before is in the balances that the books began with, whoever tells of it late.
    look, read_executions: called for what has to be read; they may be called often for the same.
    own_prefix: what the names of this journal's orders begin with ("": others that look like keel's are not told apart).
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        emit: Callable[[Message], None],
        seen: MutableSet[str],
        now_ms: Callable[[], int],
        *,
        notify: Notify,
        look: Look,
        opened_ms: int = 0,
        read_executions: Callable[[], None] = lambda: None,
        on_entry_filled: Callable[[TrackedOrder], None] = lambda order: None,
        own_prefix: str = "",
    ) -> None:
        self._instruments, self._emit, self._seen, self._now_ms = instruments, emit, seen, now_ms
        self._notify, self._look, self._on_entry_filled = notify, look, on_entry_filled
        self._read_executions, self._opened_ms = read_executions, opened_ms
        self._own_prefix, self._began_ms = own_prefix, now_ms()
        self.orders = OrderIndex()
        self.books = RealizedBooks(instruments)
        self.brackets = BracketNames()
        self.positions: dict[tuple[str, int], PositionReport] = {}
        self.balances: dict[str, BalanceReport] = {}
        self.pushes = Pushes()
        self.counts: dict[str, int] = dict.fromkeys(("duplicate", "stale", "foreign_symbol", "external", "orphan", "before_opening"), 0)
        self._orphans: dict[str, dict[str, ExecutionRow]] = {}
        self._waiting: dict[str, dict[str, tuple[ExecutionRow, TrackedOrder | None]]] = {}
        self._distrusted: set[str] = set()
        """Symbols whose book and the exchange's stated PnL do not agree, and no list could say why; until they are flat."""
        self._odd: set[str] = set()
        """Keys of executions that were told as a kind that we do not know."""
        self.owed: dict[str, str] = {}
        """Key -> symbol of executions that a list told first, and that the stream still owes us. Whoever watches the stream clears it."""
        self._foreign: OrderedDict[str, None] = OrderedDict()
        self._liquidation_price: dict[str, float] = {}

    # --- from ourselves ---

    def submitted(self, command: SubmitOrder) -> TrackedOrder:
        """Follow an order that is about to be sent."""
        instrument = self._instruments[command.symbol]
        order = TrackedOrder(command.client_order_id, instrument, command.side, instrument.qty_grid.count(command.qty), command=command)
        self.orders.add(order)
        return order

    def acknowledged(self, order: TrackedOrder, order_id: str | None) -> None:
        """The exchange took the command and named the order; that it exists is told by its status, not by this."""
        if order_id and order.order_id is None:
            self.orders.link(order, order_id)
            self._adopt_orphans(order_id, order)

    def end(self, order: TrackedOrder, status: OrderStatus, reason: str) -> None:
        """An end on positive evidence of our own: a definite no, or a proven absence."""
        self._say(order, status, self._now_ms(), reason)

    def reduces(self, order: TrackedOrder) -> bool:
        """Whether there is a position that this order would make smaller."""
        held = self.books.held(order.symbol, order.position_idx)
        return held != 0 and (held > 0) == (order.side == "SELL")

    def answer(self, client_order_id: str, symbol: str, status: OrderStatus, reason: str) -> None:
        """A no to a cancellation or amendment; the order goes on."""
        order = self.orders.get(client_order_id)
        if order is not None:
            order.life.follow(status)
            self._emit(order.update(status, self._now_ms(), reason))

    def exits_refused(self, symbol: str, reason: str) -> None:
        """A no to the exits of a position, under the id that stands for them."""
        self._emit(OrderUpdate(trading_stop_id(symbol), symbol, self._now_ms(), "rejected", reason=reason))

    # --- orders ---

    def on_order(self, row: OrderRow, *, is_pushed: bool = False) -> None:
        """A row of the order topic (pushed) or of a list. Raises PayloadError, with nothing changed, for one that cannot be read."""
        instrument = self._instruments.get(row.symbol)
        if instrument is None:
            self.counts["foreign_symbol"] += 1
            return
        ts = translate.time_ms(row.updatedTime, "updatedTime") if translate.number(row.updatedTime, "updatedTime") else self._now_ms()
        cumulative = translate.steps(instrument, row.cumExecQty, "cumExecQty")
        order = self.orders.find(row.orderLinkId, row.orderId)
        if order is None:
            order = self._adopt(row, instrument, ts, cumulative)
            if order is None:
                return
        told = translate.order_status(row, max(order.filled, cumulative))
        if told is None:
            text = f"{row.symbol} {order.client_order_id}: status {row.orderStatus!r} is not known"
            self._notify(Notice(ts, "unknown_status", text, row.symbol, "error", freezes=True, key=order.client_order_id))
            return
        order.told = max(order.told, cumulative)
        order.pushes += is_pushed
        is_changed = order.differs(row) if ts >= order.last_ms else False
        self.acknowledged(order, row.orderId)
        self._follow(order, told, cumulative, ts, is_changed=is_changed)

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
            self._look(order.symbol, order.client_order_id, order.order_id)
        if is_stale:
            self.counts["stale"] += 1
        elif status == "triggered" or (status == "accepted" and order.life.told in ("pending_submit", "triggered")):
            self._say(order, status, ts, reason)
        elif is_changed:
            self._say(order, "amended", ts, reason)

    def _try_to_end(self, order: TrackedOrder) -> None:
        if order.ending is None:
            return
        status, reason, quantity, ts = order.ending
        if order.filled < quantity:
            self._look(order.symbol, order.client_order_id, order.order_id)
            return
        if status == "rejected" and order.filled:
            status = "expired"
        self._say(order, status, ts, reason)

    def _check_zombie(self, order: TrackedOrder, status: OrderStatus, ts: int) -> None:
        """An order that ended for us and rests at the exchange: never silently."""
        if status in _ENDS or ts <= order.last_ms:
            self.counts["stale"] += 1
            return
        text = f"{order.symbol} {order.client_order_id} had ended as {order.state}, and the exchange now says {status}"
        self._notify(Notice(ts, "order_returned", text, order.symbol, "error", freezes=True, key=order.client_order_id))

    def _adopt(self, row: OrderRow, instrument: Instrument, ts: int, cumulative: int) -> TrackedOrder | None:
        """Take in what the exchange made out of a bracket of ours; everything else unknown is somebody else's."""
        if row.orderId in self._foreign:
            return None
        role = translate.ROLES.get(row.stopOrderType or "", "")
        side = translate.side_of(row.side)
        has_ended = row.orderStatus in ("Cancelled", "Deactivated", "Rejected") and not cumulative
        name = self.brackets.name_of(row, role, self.orders) if role and not has_ended else None
        if name is None:
            self._make_foreign(row, ts, has_ended=has_ended or bool(role) or (row.createType or "").startswith(_OF_A_LIQUIDATION))
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
        self._say(order, "accepted", ts, "")
        return order

    def _make_foreign(self, row: OrderRow, ts: int, *, has_ended: bool) -> None:
        self._foreign[row.orderId] = None
        while len(self._foreign) > _MAX_FOREIGN:
            self._foreign.popitem(last=False)
        self._look_for_another_writer(row, ts)
        if (
            not has_ended and row.orderStatus != "Filled" and not _is_of_a_panic(row.orderLinkId)
        ):  # what has filled rests no more: its execution tells
            text = f"{row.symbol}: order {row.orderLinkId or row.orderId} ({row.orderStatus}) is not ours"
            self._notify(Notice(ts, "external_order", text, row.symbol, freezes=True, key=row.orderId))
        self._adopt_orphans(row.orderId, None)

    def _look_for_another_writer(self, row: OrderRow, ts: int) -> None:
        """An order by the name of another keel session, made since we began: two sessions on one account undo each other."""
        found = _KEEL_NAME.match(row.orderLinkId or "")
        if not found or not self._own_prefix or found[0].startswith(self._own_prefix):
            return
        made_ms = translate.time_ms(row.createdTime) if translate.number(row.createdTime) else ts
        if made_ms > self._began_ms:
            text = f"{row.symbol}: order {row.orderLinkId} is another keel session's, which trades this account too: stop one of the two"
            self._notify(Notice(ts, "another_writer", text, None, "error", freezes=True, key=found[0]))

    def forget_foreign(self, order_id: str) -> None:
        """An order of somebody else rests no more; should it be told of again, it is news."""
        self._foreign.pop(order_id, None)

    # --- executions ---

    def on_execution(self, row: ExecutionRow, *, is_pushed: bool = False) -> bool:
        """A row of the execution topic (pushed) or list; returns whether it was new. Raises PayloadError, with nothing changed, for
        nonsense."""
        instrument = self._instruments.get(row.symbol)
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
            if key in self._odd:
                return False
            self._odd.add(key)  # it is not taken for booked: a list may tell it as a kind that we know
            text = f"{row.symbol}: an execution of unknown kind {row.execType!r} ({row.execId})"
            self._notify(Notice(ts, "unknown_execution", text, row.symbol, "error", freezes=True))
            return True
        translate.fill(row, instrument, "", "", 0)  # refuse nonsense now, not when its turn comes
        order = self.orders.find(row.orderLinkId, row.orderId)
        if order is None and row.execType == "Trade" and row.orderId and row.orderId not in self._foreign:
            return self._wait_for_order(row)
        if order is not None:
            order.pushes += is_pushed
        return self._take(row, order)

    def give_up_on(self, order_id: str) -> None:
        """Nobody knows the order of these executions: book them as somebody else's, for they did happen."""
        self._adopt_orphans(order_id, None)

    def write_off(self, order: TrackedOrder) -> None:
        """What the exchange counts of this order is in none of its lists: let other executions wait for it no longer."""
        order.is_written_off = True
        self._book_waiting(order.symbol)

    # PnL depends on the order of executions. So while one of a symbol is known to be missing (a status counted it, or its order is not
    # known yet), those that came after it wait, and are booked in the order of their times.

    def _is_here(self, row: ExecutionRow) -> bool:
        """Whether it has come, and only waits to be booked."""
        return row.execId in self._waiting.get(row.symbol, ()) or row.execId in self._orphans.get(row.orderId, ())

    def _take(self, row: ExecutionRow, order: TrackedOrder | None) -> bool:
        waiting = self._waiting.setdefault(row.symbol, {})
        known, _ = waiting.get(row.execId, (None, None))
        is_new = known is None
        waiting[row.execId] = (_richer(known, row), order)
        self._book_waiting(row.symbol)
        return is_new

    def _book_waiting(self, symbol: str) -> None:
        waiting = self._waiting.get(symbol)
        if not waiting or self._is_missing(symbol, waiting):
            return
        ordered = sorted(waiting.values(), key=lambda one: translate.execution_order(one[0]))
        if self._is_suspect(symbol, [row for row, _ in ordered]):
            self._read_executions()
            return
        del self._waiting[symbol]
        for row, order in ordered:
            if order is None:
                self._book_external(row, self._instruments[symbol])
            else:
                self._book(row, order.instrument, order)

    def _is_suspect(self, symbol: str, rows: Iterable[ExecutionRow]) -> bool:
        """Whether the exchange states a PnL that our book would not come to: an earlier execution has not been heard of."""
        instrument = self._instruments[symbol]
        if instrument.category != "linear" or symbol in self._distrusted:
            return False
        return self.books.would_differ((translate.fill(row, instrument, "", "", 0), _stated_pnl(row)) for row in rows)

    @property
    def is_waiting(self) -> bool:
        """Whether executions wait for earlier ones."""
        return bool(self._waiting)

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

    def _is_missing(self, symbol: str, waiting: Mapping[str, tuple[ExecutionRow, TrackedOrder | None]]) -> bool:
        if any(orphan.symbol == symbol for rows in self._orphans.values() for orphan in rows.values()):
            return True
        here: dict[str, int] = {}
        for row, order in waiting.values():
            if order is not None:
                quantity = translate.steps(order.instrument, row.execQty, "execQty")
                here[order.client_order_id] = here.get(order.client_order_id, 0) + quantity
        return any(
            order.missing > here.get(order.client_order_id, 0)
            for order in self.orders
            if order.symbol == symbol and not order.is_written_off
        )

    @property
    def orphans(self) -> list[tuple[str, str]]:
        """(symbol, order id) of executions that wait for their order."""
        return [(next(iter(rows.values())).symbol, order_id) for order_id, rows in self._orphans.items()]

    def _wait_for_order(self, row: ExecutionRow) -> bool:
        waiting = self._orphans.setdefault(row.orderId, {})
        is_new = row.execId not in waiting
        waiting[row.execId] = _richer(waiting.get(row.execId), row)
        self.counts["orphan"] += is_new
        self._look(row.symbol, row.orderLinkId or None, row.orderId)
        return is_new

    def _adopt_orphans(self, order_id: str, order: TrackedOrder | None) -> None:
        rows = self._orphans.pop(order_id, {})
        for row in rows.values():
            if execution_key(row) not in self._seen:
                self._take(row, order)
        for symbol in {row.symbol: None for row in rows.values()}:
            self._book_waiting(symbol)

    def _book(self, row: ExecutionRow, instrument: Instrument, order: TrackedOrder) -> None:
        fill = translate.fill(row, instrument, order.client_order_id, order.reason, 0, order.position_idx)
        ordered = translate.steps(instrument, row.orderQty, "orderQty")
        if order.order_id is None and row.orderId:
            self.orders.link(order, row.orderId)
        if not order.qty or (order.role and ordered):
            order.qty = ordered
        elif ordered > order.qty:  # amended upward, and the execution is here before the order's own news
            order.qty = ordered
            self._say(order, "amended", fill.ts, "")
        fill = self._realize(fill, row)
        order.filled += instrument.qty_grid.count(fill.qty)
        if 0 < order.qty < order.filled:
            text = f"{order.symbol} {order.client_order_id}: {order.filled} steps filled of {order.qty}"
            self._notify(Notice(fill.ts, "overfilled", text, order.symbol, "error", freezes=True))
        self._emit(fill)
        self._note_entry(order, fill)
        if order.ending is not None and order.filled >= order.ending[2]:
            self._try_to_end(order)
        elif order.is_open:
            self._say(order, "filled" if order.qty and order.filled >= order.qty else "partially_filled", fill.ts, "")

    def _note_entry(self, order: TrackedOrder, fill: Fill) -> None:
        """An order that opened is the parent of the position's exits; what an order cannot carry (trailing) is set now."""
        held = self.books.held(fill.symbol, fill.position_idx)
        if order.parent_id is None and held and (held > 0) == (fill.side == "BUY"):
            self.brackets.opened(fill.symbol, fill.position_idx, order.client_order_id)
            self._on_entry_filled(order)

    def _book_external(self, row: ExecutionRow, instrument: Instrument) -> None:
        """What happened to our position without an order of ours: a takeover, a reduction for others, a person's own trade."""
        is_takeover = row.execType == "BustTrade"
        kind = "liquidation" if is_takeover else {"AdlTrade": "adl", "Trade": "external"}.get(row.execType, row.execType)
        fill = translate.fill(row, instrument, f"{kind.lower()}-{row.execId}", kind, 0)
        fill = self._realize(fill, row)
        self.counts["external"] += 1
        text = f"{row.symbol}: {row.side} {row.execQty} at {row.execPrice} ({row.execType}) was no order of ours"
        code = "execution_liquidation" if is_takeover else "execution_adl" if kind == "adl" else "execution_external"
        if _is_of_a_panic(row.orderLinkId):  # the latch lets nothing leave any more: there is nothing to freeze
            text = f"{row.symbol}: {row.side} {row.execQty} at {row.execPrice} by a panic"
            self._notify(Notice(fill.ts, "execution_panic", text, row.symbol, key=row.orderLinkId or ""))
        else:
            self._notify(Notice(fill.ts, code, text, row.symbol, "error", freezes=not is_takeover))
        if is_takeover:
            self._emit(translate.liquidation(fill, row, self._liquidation_price.get(row.symbol, 0.0)))
        self._emit(fill)

    def _realize(self, fill: Fill, row: ExecutionRow) -> Fill:
        """Count the execution for good and give it its PnL: ours, or for a takeover the exchange's."""
        stated = _stated_pnl(row)
        linear = self._instruments[fill.symbol].category == "linear"
        fill = self._in_our_coins(fill)
        self._seen.add(seen_key(fill))
        self.pushes.booked(fill.symbol)
        own = self.books.apply(fill)
        if not self.books.held(fill.symbol, fill.position_idx):
            self._distrusted.discard(fill.symbol)
        if linear and stated is not None and fill.kind == "trade" and abs(stated - own) > tolerance(fill):
            text = f"{fill.symbol} {fill.fill_id}: the exchange states a PnL of {stated}, our book {own} (in 1e-8)"
            self._notify(Notice(fill.ts, "pnl_differs", text, fill.symbol))
        pnl = stated if fill.kind == "bust" and stated is not None else own
        return msgspec.structs.replace(fill, realized_pnl=pnl)

    def _in_our_coins(self, fill: Fill) -> Fill:
        """A fee in a coin in which no book is kept costs nothing here: cash stays the wallet's, and what it cost is told."""
        instrument = self._instruments[fill.symbol]
        known = (instrument.quote,) if instrument.category == "linear" else (instrument.quote, instrument.base)
        if not fill.fee or fill.fee_coin in known:
            return fill
        fee = to_text(fill.fee)
        text = f"{fill.symbol}: a fee of {fee} was taken in {fill.fee_coin}, of which no book is kept: switch paying fees in it off"
        self._notify(Notice(fill.ts, "fee_coin", text, fill.symbol, "error", freezes=True))
        return msgspec.structs.replace(fill, fee=0)

    def _on_funding(self, row: ExecutionRow, instrument: Instrument, key: str) -> bool:
        payment = translate.funding_payment(row, instrument, self.books.held(row.symbol))
        stamp_key = seen_key(payment)
        if stamp_key in self._seen:
            self._seen.add(key)
            self.counts["duplicate"] += 1
            return False
        self._seen.add(stamp_key)
        self._seen.add(key)
        self.pushes.booked(row.symbol)
        self._emit(payment)
        return True

    # --- position and wallet ---

    def on_position(self, row: PositionRow, ts: int, *, is_pushed: bool = False) -> None:
        """A position as stated (pushed: by the stream); said once until it changes. Raises PayloadError."""
        instrument = self._instruments.get(row.symbol)
        if instrument is None:
            self.counts["foreign_symbol"] += 1
            return
        report = translate.position_report(row, instrument, ts)
        liquidation_price = translate.number(row.liqPrice, "liqPrice")
        self._liquidation_price[row.symbol] = float(liquidation_price or 0)
        key = (row.symbol, report.position_idx)
        before = self.positions.get(key)
        if before is not None and report.ts < before.ts:
            self.counts["stale"] += 1
            return
        self.positions[key] = report
        if is_pushed:
            self.pushes.position(report)
        if report.position_idx and report.qty:
            text = f"{row.symbol}: a position of hedge mode appeared; this account was one-way"
            self._notify(Notice(ts, "position_mode", text, row.symbol, "error", freezes=True))
        if before is None or (before.qty, before.entry_price) != (report.qty, report.entry_price):
            self._emit(report)

    def flat(self, symbol: str, position_idx: int, ts: int) -> None:
        """A position that the exchange lists no more."""
        report = PositionReport(symbol, ts, 0.0, 0.0, position_idx)
        known = self.positions.get((symbol, position_idx), report)
        self.positions[symbol, position_idx] = msgspec.structs.replace(report, ts=known.ts)  # listed again, it is no old news
        self._emit(report)

    def on_wallet(self, row: WalletRow, ts: int, *, is_pushed: bool = False) -> None:
        """The wallet as stated (pushed: by the stream); each coin is said once until it changes. Raises PayloadError, with nothing changed,
        for one coin of it that cannot be read."""
        for report in [translate.balance_report(coin, ts) for coin in row.coin]:
            before = self.balances.get(report.coin)
            self.balances[report.coin] = report
            if is_pushed:
                self.pushes.balance(report)
            if before is None or before.wallet != report.wallet:
                self._emit(report)

    # --- inside ---

    def _say(self, order: TrackedOrder, status: OrderStatus, ts: int, reason: str) -> None:
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
        if order.life.has_ended:
            order.ending = None
            self.orders.close(order)
            self._book_waiting(order.symbol)


def _richer(known: ExecutionRow | None, row: ExecutionRow) -> ExecutionRow:
    """Of two tellings of an execution the one that states its PnL, which lists do not: what it differs by shows what is missing."""
    return row if known is None or _stated_pnl(known) is None else known


def _is_of_a_panic(client_order_id: str | None) -> bool:
    return (client_order_id or "").startswith(_PANIC_NAME)


def _stated_pnl(row: ExecutionRow) -> int | None:
    return translate.units(row.execPnl, "execPnl") if translate.number(row.execPnl, "execPnl") is not None else None


def seen_of(messages: Iterable[Message]) -> set[str]:
    """The keys of all executions among a journal's messages."""
    return {seen_key(message) for message in messages if isinstance(message, (Fill, FundingPayment))}
