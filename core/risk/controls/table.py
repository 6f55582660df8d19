"""Each control by itself, and the table of all in the order in which they are asked (core/risk/controls/controls.py asks them).

They trust nobody's intention, and have no way around. What only reduces passes all but the ones that are marked for everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

from keel.core.model.messages import SubmitOrder
from keel.core.model.money import UNIT
from keel.core.risk.controls.inputs import ControlInputs
from keel.core.risk.decision import ControlReason, Reason
from keel.core.risk.gate.causes import TradingState
from keel.core.risk.gate.gate import Entry

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

    control: Callable[[ControlInputs, SubmitOrder], Denial | None]
    codes: tuple[Reason | ControlReason, ...]
    of_reductions: bool = False
    of_amendments: bool = False
    of_fates: bool = False


def trading_state(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """What the gate says of the whole account; what only reduces passes while REDUCING."""
    found = [entry for entry in inputs.gate.against(order.symbol) if entry.symbol is None and entry.cause not in ASKED_BY_A_CONTROL]
    state = max((entry.row.state for entry in found), default=TradingState.ACTIVE)
    if state is TradingState.HALTED or (state is TradingState.REDUCING and not order.reduce_only):
        return Denial(f"trading_{state.name.lower()}", float(state), 0.0, _words(found))
    return None


def armed(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Nothing leaves an environment that nobody has armed."""
    return None if inputs.is_armed() else Denial("not_armed")


def symbol_allowed(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Only what the system trades."""
    return None if order.symbol in inputs.instruments else Denial("symbol_not_allowed")


def symbol_frozen(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """What the gate says of the symbol."""
    found = [entry for entry in inputs.gate.against(order.symbol) if entry.symbol is not None and entry.cause not in ASKED_BY_A_CONTROL]
    return Denial("symbol_frozen", why=_words(found)) if found else None


def on_grid(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Quantity, price and trigger price are whole steps and ticks."""
    instrument = inputs.instruments[order.symbol]
    if not instrument.qty_grid.is_on(order.qty) or order.qty < 0.0:
        return Denial("qty_off_grid", order.qty)
    for price in (order.price, order.trigger_price):
        if price is not None and not (instrument.price_grid.is_on(price) and price > 0.0):
            return Denial("price_off_grid", price)
    return None


def smallest(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """The exchange's least quantity (base units) and value (quote coins)."""
    instrument = inputs.instruments[order.symbol]
    if order.qty < instrument.min_qty:
        return Denial("below_min_qty", order.qty, instrument.min_qty)
    value = inputs.value(order)
    least = instrument.min_notional / UNIT
    return Denial("below_min_notional", value, least) if value and value < least else None


def stale_price(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Age of the symbol's latest price, ms of the computer's clock."""
    age = inputs.age_ms(order.symbol)
    if math.isinf(inputs.limits.stale_ms) or (age is not None and age <= inputs.limits.stale_ms):
        return None
    return Denial("price_stale", math.inf if age is None else age, inputs.limits.stale_ms)


def collar(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """How far a limit price lies beyond the mark on the side that fills at once, in percent."""
    mark, collar = inputs.account.mark(order.symbol), inputs.limits.price_collar_percent
    if order.order_type != "limit" or order.price is None or not mark > 0.0:
        return None
    beyond = order.price / mark - 1.0 if order.side == "BUY" else 1.0 - order.price / mark  # on the side that fills at once
    return Denial("price_collar_percent", 100.0 * beyond, collar) if 100.0 * beyond > collar else None


def largest(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """The exchange's most per order, in base units: another for market orders."""
    instrument = inputs.instruments[order.symbol]
    most = instrument.max_market_qty if order.order_type in ("market", "stop_market") else instrument.max_qty
    return Denial("max_qty", order.qty, most) if order.qty > most else None


def order_value(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """What the order alone is worth, in quote coins, at the dearest that it may fill at."""
    mark, price = inputs.account.mark(order.symbol), order.price or 0.0
    if not mark > 0.0 and not math.isinf(inputs.limits.max_order_usd):
        return Denial("no_price", mark)
    at = price if price and order.side == "BUY" else max(mark, price, order.trigger_price or 0.0)  # a sale fills at its price or better
    return _above("max_order_usd", order.qty * at, inputs.limits.max_order_usd)


def open_orders(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """How many orders rest, this one included."""
    own = every = 0
    for one in inputs.working.open_orders():
        if one.client_order_id != order.client_order_id:
            every += 1
            own += one.symbol == order.symbol
    return _above("max_open_orders_per_symbol", own + 1, inputs.limits.max_open_orders_per_symbol) or _above(
        "max_open_orders", every + 1, inputs.limits.max_open_orders
    )


def position(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """|position| of the symbol in the worst case, in quote coins at mark."""
    return _above("max_position_usd", inputs.worst_case(order).position, inputs.limits.max_position_usd)


def gross(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Sum of |position| over all symbols in the worst case, in quote coins at mark."""
    return _above("max_gross_usd", inputs.worst_case(order).gross, inputs.limits.max_gross_usd)


def net(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Long less short in the worst case of the order's side: everything that rests on it, of every symbol, is filled."""
    return _above("max_net_usd", inputs.worst_case(order).net, inputs.limits.max_net_usd)


def leverage(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Gross worst case per equity; no equity is above every limit."""
    equity = inputs.account.equity
    used = inputs.worst_case(order).gross / equity if equity > 0.0 else math.inf
    return _above("max_leverage", used, inputs.limits.most_exposure)


def margin(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Initial margin of everything in the worst case, and this order's fee, against the equity."""
    needed = inputs.worst_case(order).gross / inputs.limits.max_leverage
    needed += inputs.value(order) * max(0, inputs.instruments[order.symbol].taker_fee) / UNIT
    return _above("margin_headroom", needed, inputs.account.equity * 1.05)


def reduces(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """An order that only reduces must lie against a position, and be no larger."""
    if not order.reduce_only:
        return None
    held = inputs.account.position_qty(order.symbol)
    is_against = (held > 0) == (order.side == "SELL") and held != 0
    return None if is_against and order.qty <= abs(held) * (1.0 + 1e-12) else Denial("reduce_only_increases", order.qty, abs(held))


def duplicate(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """The same order again within so many ms of the market's clock."""
    for ts, other in reversed(inputs.counts.sent):
        if order.ts - ts > inputs.limits.duplicate_ms:
            break
        if other.symbol == order.symbol and _likeness(other) == _likeness(order):
            return Denial("duplicate_order", order.ts - ts, inputs.limits.duplicate_ms)
    return None


def rate(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Orders of the last minute, of the symbol and of all, this one included."""
    own = [other.symbol for _, other in inputs.counts.sent].count(order.symbol)
    return _above("max_orders_per_symbol_per_minute", own + 1, inputs.limits.max_orders_per_symbol_per_minute) or _above(
        "max_orders_per_minute", len(inputs.counts.sent) + 1, inputs.limits.max_orders_per_minute
    )


def cancel_ratio(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Cancels for each order."""
    return _above("cancel_ratio", inputs.counts.cancels_per_order, inputs.limits.max_cancels_per_order)


def account_stop(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Risk's own stop, by the name of its limit: a drawdown, which holds for good, before the day's loss."""
    return next((Denial(cause) for cause in ("max_drawdown_percent", "daily_loss_percent") if inputs.gate.has(cause)), None)


def reject_breaker(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Rejections of the symbol in a row."""
    rejections = inputs.rejections(order.symbol, order.ts)
    return Denial("reject_breaker", rejections, inputs.limits.max_rejects) if rejections else None


def repeats(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """Too many orders to one side within a minute: stops trading until a person allows it again."""
    own = [other for _, other in inputs.counts.sent if other.symbol == order.symbol]
    alike = sum(other.side == order.side and not other.reduce_only for other in own) + 1
    denial = _above("repeated_execution", alike, inputs.limits.max_repeats_per_minute)
    if denial is not None:
        text = f"{order.symbol}: {alike} orders to {order.side.lower()} within a minute; look why"
        inputs.gate.close("repeated_execution", text)
    return denial


def self_trade(inputs: ControlInputs, order: SubmitOrder) -> Denial | None:
    """An order that would meet our own resting one."""
    for other in inputs.working.open_orders(order.symbol):
        resting = other.command
        if resting is None or other.side == order.side or resting.order_type != "limit" or resting.price is None:
            continue
        if other.told not in ("accepted", "partially_filled") or other.is_being_cancelled:
            continue
        meets = order.price is None or (order.price >= resting.price if order.side == "BUY" else order.price <= resting.price)
        if meets:
            return Denial("self_trade", resting.price, order.price or 0.0)
    return None


TABLE: Final = (
    Row(trading_state, ("trading_halted", "trading_reducing"), of_reductions=True, of_amendments=True),
    Row(armed, ("not_armed",), of_reductions=True, of_amendments=True),
    Row(symbol_allowed, ("symbol_not_allowed",), of_reductions=True),
    Row(symbol_frozen, ("symbol_frozen",), of_amendments=True),
    Row(on_grid, ("qty_off_grid", "price_off_grid"), of_reductions=True, of_amendments=True),
    Row(smallest, ("below_min_qty", "below_min_notional")),
    Row(stale_price, ("price_stale",), of_amendments=True),
    Row(collar, ("price_collar_percent",), of_reductions=True, of_amendments=True),
    Row(largest, ("max_qty",), of_reductions=True, of_amendments=True),
    Row(order_value, ("no_price", "max_order_usd"), of_amendments=True),
    Row(open_orders, ("max_open_orders_per_symbol", "max_open_orders")),
    Row(position, ("max_position_usd",), of_amendments=True, of_fates=True),
    Row(gross, ("max_gross_usd",), of_amendments=True, of_fates=True),
    Row(net, ("max_net_usd",), of_amendments=True, of_fates=True),
    Row(leverage, ("max_leverage",), of_amendments=True, of_fates=True),
    Row(margin, ("margin_headroom",), of_amendments=True, of_fates=True),
    Row(reduces, ("reduce_only_increases",), of_reductions=True),
    Row(duplicate, ("duplicate_order",)),
    Row(rate, ("max_orders_per_symbol_per_minute", "max_orders_per_minute"), of_reductions=True),
    Row(cancel_ratio, ("cancel_ratio",)),
    Row(account_stop, ("daily_loss_percent", "max_drawdown_percent"), of_amendments=True),
    Row(reject_breaker, ("reject_breaker",)),
    Row(repeats, ("repeated_execution",)),
    Row(self_trade, ("self_trade",), of_amendments=True),
)
"""Every control, in the order in which they are asked."""


def _above(code: str, value: float, limit: float) -> Denial | None:
    return None if value <= limit else Denial(code, value, limit)  # what is no number is above every limit


def _words(entries: Iterable[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.cause for entry in entries))


def _likeness(order: SubmitOrder) -> tuple[object, ...]:
    return order.symbol, order.side, order.order_type, order.qty, order.price, order.trigger_price
