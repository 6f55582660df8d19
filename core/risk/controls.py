"""The controls that every order passes on its way out, in this order; each has a code, and its no is an OrderDenied with value and limit.

They are the last look, not the plan: risk has sized the order already. They trust nobody's intention, count every order that is sent, and
have no way around. What only reduces passes all but the ones that are marked for everything. Cancels are never asked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from keel.core.instrument import Instrument
from keel.core.messages import AmendOrder, SubmitOrder
from keel.core.money import UNIT
from keel.core.orders import OrderRecord
from keel.core.risk.causes import TradingState
from keel.core.risk.control_limits import ControlLimits
from keel.core.risk.decision import ControlReason, Reason
from keel.core.risk.exposure import WorstCase, worst_case
from keel.core.risk.gate import Entry, Gate
from keel.core.risk.order_counts import OrderCounts

REPLACED_RESTS: Final = "replaced_rests"
"""Code of ``last_look``'s no while an order that is to be replaced has not ended."""

ASKED_BY_A_CONTROL: Final = frozenset(
    {
        "price_stale",
        "reject_breaker",
        "daily_loss_percent",
        "max_drawdown_percent",
        "max_orders_per_minute",
        "max_orders_per_symbol_per_minute",
        "cancel_ratio",
        "max_open_orders",
        "max_open_orders_per_symbol",
    }
)
"""Causes of the gate that a control of its own says no for, with value and limit."""


class Denial(msgspec.Struct, frozen=True):
    """A control's no: its code, what was found, and what is allowed; ``why``: the causes of the gate, where it is the gate's no."""

    code: str
    value: float = 0.0
    limit: float = 0.0
    why: str = ""


class Row(NamedTuple):
    """A control, its codes, and what it is asked of beside an order that adds. of_fates: of one again, when those that it replaces have
    ended."""

    control: Callable[[Controls, SubmitOrder], Denial | None]
    codes: tuple[Reason | ControlReason, ...]
    of_reductions: bool = False
    of_amendments: bool = False
    of_fates: bool = False


class Account(Protocol):
    """The account as controls read it (the portfolio)."""

    equity: float

    def position_qty(self, symbol: str) -> float: ...
    def mark(self, symbol: str) -> float: ...


class Working(Protocol):
    """Open orders (the executor)."""

    def open_orders(self, symbol: str | None = None) -> Iterable[OrderRecord]: ...


class Controls:
    """Asks every control about an order. ``age_ms``: how old a symbol's latest price is, None where that is not known."""

    def __init__(
        self,
        limits: ControlLimits,
        instruments: Mapping[str, Instrument],
        account: Account,
        working: Working,
        gate: Gate,
        *,
        environment_is_armed: Callable[[], bool],
        age_ms: Callable[[str], float | None] = lambda symbol: None,
    ) -> None:
        self.limits = limits
        self._instruments, self._account, self._working, self._gate = instruments, account, working, gate
        self._is_armed = environment_is_armed
        self.age_ms = age_ms
        self.counts = OrderCounts()
        self._worst: tuple[SubmitOrder, WorstCase] | None = None
        """Of the order that is being asked about."""

    # --- what stands in the way of every entry now ---

    def pauses(self, now_ms: int) -> dict[tuple[str, str | None], str]:
        """(cause, symbol or None: all) -> words, of what would deny any entry at this time of the session's clock."""
        self.counts.forget(now_ms)
        limits, counts, found = self.limits, self.counts, dict[tuple[str, str | None], str]()
        if len(counts.sent) >= limits.max_orders_per_minute:
            found["max_orders_per_minute", None] = f"{len(counts.sent)} orders within a minute, at most {limits.max_orders_per_minute}"
        if counts.cancels_per_order > limits.max_cancels_per_order:
            found["cancel_ratio", None] = f"{counts.cancels} cancels for {counts.orders} orders"
        if not self._account.equity > 0.0:
            found["no_equity", None] = f"the equity is {self._account.equity:g}"
        resting = Counter(record.symbol for record in self._working.open_orders())
        if resting.total() >= limits.max_open_orders:
            found["max_open_orders", None] = f"{resting.total()} orders rest, at most {limits.max_open_orders}"
        sent = Counter(order.symbol for _, order in counts.sent)
        for symbol in self._instruments:
            if resting[symbol] >= limits.max_open_orders_per_symbol:
                text = f"{resting[symbol]} orders rest, at most {limits.max_open_orders_per_symbol}"
                found["max_open_orders_per_symbol", symbol] = text
            own = sent[symbol]
            if own >= limits.max_orders_per_symbol_per_minute:
                found["max_orders_per_symbol_per_minute", symbol] = (
                    f"{own} orders within a minute, at most {limits.max_orders_per_symbol_per_minute}"
                )
            if rejections := self._rejections(symbol, now_ms):
                found["reject_breaker", symbol] = f"{rejections} rejections in a row"
            age = self.age_ms(symbol)
            if not math.isinf(limits.stale_ms) and (age is None or age > limits.stale_ms):
                found["price_stale", symbol] = "no price has come yet" if age is None else f"the latest price is {age / 1000:.0f} s old"
        return found

    # --- the question ---

    def check(self, order: SubmitOrder) -> Denial | None:
        """The first no, or None."""
        self._gate.look()
        self.counts.forget(order.ts)
        self._worst = None
        for row in TABLE:
            if order.reduce_only and not row.of_reductions:
                continue
            denial = row.control(self, order)
            if denial is not None:
                return denial
        if self.limits.is_hard and not order.reduce_only and (replaced := self._replaced(order.symbol)):
            self.counts.replaces[order.client_order_id] = replaced
        return None

    def last_look(self, order: SubmitOrder, fate: Callable[[str], float | None]) -> Denial | None:
        """Asked again in the moment in which an allowed order could leave: it was allowed as if the orders that it replaces were gone.
        Until they have ended it waits (``REPLACED_RESTS``); and one of them may have been filled in place of being cancelled. fate: what
        an order was filled by, None while it may still be: the venue knows that before the actors hear it."""
        replaced = self.counts.replaces.get(order.client_order_id)
        if replaced is None:
            return None
        fates = {name: fate(name) for name in replaced}
        if waits := sum(filled is None for filled in fates.values()):
            return Denial(REPLACED_RESTS, float(waits))
        del self.counts.replaces[order.client_order_id]
        unheard = 0.0
        for record in self._working.open_orders(order.symbol):
            if record.client_order_id in fates and record.side == order.side:
                unheard += max(0.0, (fates[record.client_order_id] or 0.0) - record.filled_qty)
        return self._order_value(order) or self._sums(msgspec.structs.replace(order, qty=order.qty + unheard) if unheard else order)

    def check_amend(self, command: AmendOrder) -> Denial | None:
        """The no to a change of a resting order: what it would become is asked as a new one is, unless it only becomes smaller."""
        record = next((one for one in self._working.open_orders(command.symbol) if one.client_order_id == command.client_order_id), None)
        if record is None or record.command is None or record.command.reduce_only:
            return None
        before = record.command
        given = {"qty": command.qty, "price": command.price, "trigger_price": command.trigger_price}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        after = msgspec.structs.replace(before, ts=command.ts, **changes)
        if after.qty <= before.qty and (after.price, after.trigger_price) == (before.price, before.trigger_price):
            return None
        self._gate.look()
        self._worst = None
        denials = (row.control(self, after) for row in TABLE if row.of_amendments)
        return next((denial for denial in denials if denial is not None), None)

    def _replaced(self, symbol: str) -> frozenset[str]:
        """Orders of a symbol that rest, and whose cancel has been sent."""
        names = (record.client_order_id for record in self._working.open_orders(symbol))
        return frozenset(name for name in names if name in self.counts.being_cancelled)

    def _sums(self, order: SubmitOrder) -> Denial | None:
        """What an order may lead to, as things stand now."""
        self._worst = None
        denials = (row.control(self, order) for row in TABLE if row.of_fates)
        return next((denial for denial in denials if denial is not None), None)

    # --- one control each ---

    def _trading_state(self, order: SubmitOrder) -> Denial | None:
        found = [entry for entry in self._gate.against(order.symbol) if entry.symbol is None and entry.cause not in ASKED_BY_A_CONTROL]
        state = max((entry.row.state for entry in found), default=TradingState.ACTIVE)
        if state is TradingState.HALTED or (state is TradingState.REDUCING and not order.reduce_only):
            return Denial(f"trading_{state.name.lower()}", float(state), 0.0, _words(found))
        return None

    def _armed(self, order: SubmitOrder) -> Denial | None:
        return None if self._is_armed() else Denial("not_armed")

    def _symbol_allowed(self, order: SubmitOrder) -> Denial | None:
        return None if order.symbol in self._instruments else Denial("symbol_not_allowed")

    def _symbol_frozen(self, order: SubmitOrder) -> Denial | None:
        found = [entry for entry in self._gate.against(order.symbol) if entry.symbol is not None and entry.cause not in ASKED_BY_A_CONTROL]
        return Denial("symbol_frozen", why=_words(found)) if found else None

    def _on_grid(self, order: SubmitOrder) -> Denial | None:
        instrument = self._instruments[order.symbol]
        if not instrument.qty_grid.is_on(order.qty) or order.qty < 0.0:
            return Denial("qty_off_grid", order.qty)
        for price in (order.price, order.trigger_price):
            if price is not None and not (instrument.price_grid.is_on(price) and price > 0.0):
                return Denial("price_off_grid", price)
        return None

    def _smallest(self, order: SubmitOrder) -> Denial | None:
        instrument = self._instruments[order.symbol]
        if order.qty < instrument.min_qty:
            return Denial("below_min_qty", order.qty, instrument.min_qty)
        value = self._value(order)
        least = instrument.min_notional / UNIT
        return Denial("below_min_notional", value, least) if value and value < least else None

    def _stale_price(self, order: SubmitOrder) -> Denial | None:
        age = self.age_ms(order.symbol)
        if math.isinf(self.limits.stale_ms) or (age is not None and age <= self.limits.stale_ms):
            return None
        return Denial("price_stale", math.inf if age is None else age, self.limits.stale_ms)

    def _collar(self, order: SubmitOrder) -> Denial | None:
        mark, collar = self._account.mark(order.symbol), self.limits.price_collar_percent
        if order.order_type != "limit" or order.price is None or not mark > 0.0:
            return None
        beyond = order.price / mark - 1.0 if order.side == "BUY" else 1.0 - order.price / mark  # on the side that fills at once
        return Denial("price_collar_percent", 100.0 * beyond, collar) if 100.0 * beyond > collar else None

    def _largest(self, order: SubmitOrder) -> Denial | None:
        instrument = self._instruments[order.symbol]
        most = instrument.max_market_qty if order.order_type in ("market", "stop_market") else instrument.max_qty
        return Denial("max_qty", order.qty, most) if order.qty > most else None

    def _order_value(self, order: SubmitOrder) -> Denial | None:
        mark, price = self._account.mark(order.symbol), order.price or 0.0
        if not mark > 0.0 and not math.isinf(self.limits.max_order_usd):
            return Denial("no_price", mark)
        at = price if price and order.side == "BUY" else max(mark, price, order.trigger_price or 0.0)  # a sale fills at its price or better
        return _above("max_order_usd", order.qty * at, self.limits.max_order_usd)

    def _open_orders(self, order: SubmitOrder) -> Denial | None:
        others = [one for one in self._working.open_orders() if one.client_order_id != order.client_order_id]
        own = sum(one.symbol == order.symbol for one in others)
        return _above("max_open_orders_per_symbol", own + 1, self.limits.max_open_orders_per_symbol) or _above(
            "max_open_orders", len(others) + 1, self.limits.max_open_orders
        )

    def _position(self, order: SubmitOrder) -> Denial | None:
        return _above("max_position_usd", self._worst_case(order).position, self.limits.max_position_usd)

    def _gross(self, order: SubmitOrder) -> Denial | None:
        return _above("max_gross_usd", self._worst_case(order).gross, self.limits.max_gross_usd)

    def _net(self, order: SubmitOrder) -> Denial | None:
        """Long less short in the worst case of the order's side: everything that rests on it, of every symbol, is filled."""
        return _above("max_net_usd", self._worst_case(order).net, self.limits.max_net_usd)

    def _leverage(self, order: SubmitOrder) -> Denial | None:
        equity = self._account.equity
        used = self._worst_case(order).gross / equity if equity > 0.0 else math.inf
        return _above("max_leverage", used, self.limits.most_exposure)

    def _margin(self, order: SubmitOrder) -> Denial | None:
        """Initial margin of everything in the worst case, and this order's fee, against the equity."""
        needed = self._worst_case(order).gross / self.limits.max_leverage
        needed += self._value(order) * max(0, self._instruments[order.symbol].taker_fee) / UNIT
        return _above("margin_headroom", needed, self._account.equity * 1.05)

    def _reduces(self, order: SubmitOrder) -> Denial | None:
        if not order.reduce_only:
            return None
        held = self._account.position_qty(order.symbol)
        is_against = (held > 0) == (order.side == "SELL") and held != 0
        return None if is_against and order.qty <= abs(held) * (1.0 + 1e-12) else Denial("reduce_only_increases", order.qty, abs(held))

    def _duplicate(self, order: SubmitOrder) -> Denial | None:
        for ts, other in reversed(self.counts.sent):
            if order.ts - ts > self.limits.duplicate_ms:
                break
            if _likeness(other) == _likeness(order):
                return Denial("duplicate_order", order.ts - ts, self.limits.duplicate_ms)
        return None

    def _rate(self, order: SubmitOrder) -> Denial | None:
        own = sum(other.symbol == order.symbol for _, other in self.counts.sent)
        return _above("max_orders_per_symbol_per_minute", own + 1, self.limits.max_orders_per_symbol_per_minute) or _above(
            "max_orders_per_minute", len(self.counts.sent) + 1, self.limits.max_orders_per_minute
        )

    def _cancel_ratio(self, order: SubmitOrder) -> Denial | None:
        return _above("cancel_ratio", self.counts.cancels_per_order, self.limits.max_cancels_per_order)

    def _account_stop(self, order: SubmitOrder) -> Denial | None:
        return next((Denial(cause) for cause in ("max_drawdown_percent", "daily_loss_percent") if self._gate.has(cause)), None)

    def _reject_breaker(self, order: SubmitOrder) -> Denial | None:
        rejections = self._rejections(order.symbol, order.ts)
        return Denial("reject_breaker", rejections, self.limits.max_rejects) if rejections else None

    def _repeats(self, order: SubmitOrder) -> Denial | None:
        """The same thing over and over: stops trading until a person allows it again."""
        entries = [other for _, other in self.counts.sent if not other.reduce_only]
        alike = sum(other.symbol == order.symbol and other.side == order.side for other in entries) + 1
        denial = _above("repeated_execution", alike, self.limits.max_repeats_per_minute)
        if denial is not None:
            text = f"{order.symbol}: {alike} orders to {order.side.lower()} within a minute; look why"
            self._gate.close("repeated_execution", text)
        return denial

    def _self_trade(self, order: SubmitOrder) -> Denial | None:
        """An order that would meet our own resting one."""
        for other in self._working.open_orders(order.symbol):
            resting = other.command
            if resting is None or other.side == order.side or resting.order_type != "limit" or resting.price is None:
                continue
            if other.state not in ("accepted", "partially_filled") or other.client_order_id in self.counts.being_cancelled:
                continue
            meets = order.price is None or (order.price >= resting.price if order.side == "BUY" else order.price <= resting.price)
            if meets:
                return Denial("self_trade", resting.price, order.price or 0.0)
        return None

    # --- sums ---

    def _value(self, order: SubmitOrder) -> float:
        return order.qty * (order.price or self._account.mark(order.symbol))

    def _worst_case(self, order: SubmitOrder) -> WorstCase:
        """Worked out once for each question, since four controls ask for it."""
        if self._worst is None or self._worst[0] is not order:
            case = worst_case(
                order, self._instruments, self._account, self._working.open_orders(), lambda record: self._is_going(record, order)
            )
            self._worst = order, case
        return self._worst[1]

    def _is_going(self, record: OrderRecord, order: SubmitOrder) -> bool:
        """Whether a resting order's cancel is believed: of the order's own symbol, where last_look asks again; of another symbol nothing
        waits for its end, so that a hard limit counts it."""
        return record.client_order_id in self.counts.being_cancelled and (record.symbol == order.symbol or not self.limits.is_hard)

    def _rejections(self, symbol: str, now_ms: int) -> int:
        """How many in a row, where they pause the symbol; else 0."""
        count, since = self.counts.rejects.get(symbol, (0, 0))
        return count if count >= self.limits.max_rejects and now_ms - since < self.limits.reject_pause_ms else 0


TABLE: Final = (
    Row(Controls._trading_state, ("trading_halted", "trading_reducing"), of_reductions=True, of_amendments=True),
    Row(Controls._armed, ("not_armed",), of_reductions=True, of_amendments=True),
    Row(Controls._symbol_allowed, ("symbol_not_allowed",), of_reductions=True),
    Row(Controls._symbol_frozen, ("symbol_frozen",), of_amendments=True),
    Row(Controls._on_grid, ("qty_off_grid", "price_off_grid"), of_reductions=True, of_amendments=True),
    Row(Controls._smallest, ("below_min_qty", "below_min_notional")),
    Row(Controls._stale_price, ("price_stale",), of_amendments=True),
    Row(Controls._collar, ("price_collar_percent",), of_reductions=True, of_amendments=True),
    Row(Controls._largest, ("max_qty",), of_reductions=True, of_amendments=True),
    Row(Controls._order_value, ("no_price", "max_order_usd"), of_amendments=True),
    Row(Controls._open_orders, ("max_open_orders_per_symbol", "max_open_orders")),
    Row(Controls._position, ("max_position_usd",), of_amendments=True, of_fates=True),
    Row(Controls._gross, ("max_gross_usd",), of_amendments=True, of_fates=True),
    Row(Controls._net, ("max_net_usd",), of_amendments=True, of_fates=True),
    Row(Controls._leverage, ("max_leverage",), of_amendments=True, of_fates=True),
    Row(Controls._margin, ("margin_headroom",), of_amendments=True, of_fates=True),
    Row(Controls._reduces, ("reduce_only_increases",), of_reductions=True),
    Row(Controls._duplicate, ("duplicate_order",)),
    Row(Controls._rate, ("max_orders_per_symbol_per_minute", "max_orders_per_minute"), of_reductions=True),
    Row(Controls._cancel_ratio, ("cancel_ratio",)),
    Row(Controls._account_stop, ("daily_loss_percent", "max_drawdown_percent"), of_amendments=True),
    Row(Controls._reject_breaker, ("reject_breaker",)),
    Row(Controls._repeats, ("repeated_execution",)),
    Row(Controls._self_trade, ("self_trade",), of_amendments=True),
)
"""Every control, in the order in which they are asked."""


def _above(code: str, value: float, limit: float) -> Denial | None:
    return None if value <= limit else Denial(code, value, limit)  # what is no number is above every limit


def _words(entries: Iterable[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.cause for entry in entries))


def _likeness(order: SubmitOrder) -> tuple[object, ...]:
    return order.symbol, order.side, order.order_type, order.qty, order.price, order.trigger_price
