"""May this order exist? The exchange's own codes and words ("Place Order", "Error Codes"). Every check answers "" or the reason."""

from __future__ import annotations

import math
from typing import Final

from keel.core.model.instrument import Instrument
from keel.core.model.messages import AmendOrder, Bracket, SubmitOrder
from keel.core.model.money import UNIT
from keel.sim.exchange.book import SOURCES, UNTRIGGERED, Position, SymbolBook, WorkingOrder

NOT_ENOUGH_MARGIN: Final = "110007 ab not enough for new order"
EXCEEDS_TIER: Final = "110090 order would exceed the position limit of this leverage"
WOULD_LIQUIDATE: Final = "110011 position would be liquidated immediately"
BALANCE_INSUFFICIENT: Final = "170131 Balance insufficient."
REDUCE_ONLY_FLAT: Final = "110017 current position is zero, cannot fix reduce-only order qty"
ORDER_UNKNOWN: Final = {
    False: "110001 order not exists or too late to cancel",
    True: "170213 Order does not exist.",
}
AMEND_UNKNOWN: Final = {
    False: "110001 order not exists or too late to replace",
    True: "170213 Order does not exist.",
}
QTY_TOO_SMALL: Final = {
    False: "10001 The number of contracts exceeds minimum limit allowed",
    True: "170136 Order quantity exceeded lower limit.",
}
VALUE_TOO_SMALL: Final = "170140 Order value exceeded lower limit."
QTY_TOO_LARGE: Final = {
    False: "10001 The number of contracts exceeds maximum limit allowed",
    True: "170135 Order quantity exceeded upper limit.",
}
POST_ONLY: Final = "EC_PostOnlyWillTakeLiquidity"
NO_LIQUIDITY: Final = "EC_NoImmediateQtyToFill"
NOT_WHOLE: Final = "EC_CancelForNoFullFill"
BY_USER: Final = "CancelByUser"
BY_REDUCE_ONLY: Final = "CancelByReduceOnly"
BY_EXIT: Final = "CancelByExit the rest of an entry ends when an exit of its position fires"
"""Our own word: on Bybit a market order has no rest that waits."""
BY_CLEAR: Final = "CancelByTpSlTsClear"
BEFORE_LIQUIDATION: Final = "CancelAllBeforeLiq"
TP_BY_SL: Final = "CancelByOCOTpCanceledBySlTriggered"
SL_BY_TP: Final = "CancelByOCOSlCanceledByTpTriggered"

MAX_ACTIVE: Final = 500
MAX_CONDITIONAL: Final = 10
MAX_PARTIAL: Final = 20
_LIMIT_TYPES: Final = ("limit", "stop_limit")
_STOP_TYPES: Final = ("stop_market", "stop_limit")


def check_submit(book: SymbolBook, command: SubmitOrder, order: WorkingOrder) -> str:
    """Why an order may not be taken on, by its own values and the position; margin is looked at when it opens or rests."""
    position = book.position(order.position_idx)
    if position is None:
        return "10001 position idx not match position mode"
    kind, side = order.order_type, order.side
    refusal = _check_qty(book, command, order)
    if not refusal and kind != "market":
        refusal = _check_prices(book, command)
    if refusal:
        return refusal
    if order.reduce_only:
        if order.bracket is not None:
            return "10001 take profit and stop loss cannot be set on a reduce-only order"
        closable = closable_steps(book, position, side)
        if not closable:
            return "" if kind in _STOP_TYPES else REDUCE_ONLY_FLAT
        return check_spot_value(
            book, command.trigger_price if kind == "stop_market" else command.price, min(order.leaves or closable, closable)
        )
    if order.position_idx and (side > 0) != (order.position_idx == 1):
        return "110017 Reduce-only rule not satisfied"
    base = command.price if kind in _LIMIT_TYPES else command.trigger_price if kind == "stop_market" else book.last
    if base is None:
        return "10001 Price invalid"
    refusal = _check_notional(book.instrument, order, base)
    if not refusal and order.bracket is not None:
        refusal = check_bracket(book.instrument, position, order.bracket, side, base)
    return refusal


def _check_qty(book: SymbolBook, command: SubmitOrder, order: WorkingOrder) -> str:
    qty, steps = command.qty, order.leaves
    if qty == 0.0 and command.reduce_only and command.close_on_trigger:
        return ""
    grid = book.instrument.qty_grid
    if not qty > 0.0 or steps * grid.num / grid.den != qty:
        return "170137 Order quantity has too many decimals." if book.is_spot else "10001 Qty invalid"
    if command.reduce_only:
        return ""
    if steps < book.min_steps:
        return QTY_TOO_SMALL[book.is_spot]
    instrument = book.instrument
    if qty > (instrument.max_qty if order.order_type in _LIMIT_TYPES else instrument.max_market_qty):
        return QTY_TOO_LARGE[book.is_spot]
    return ""


def _check_prices(book: SymbolBook, command: SubmitOrder) -> str:
    grid = book.instrument.price_grid
    if command.order_type in _LIMIT_TYPES:
        price = command.price
        if price is None or not math.isfinite(price) or price <= 0.0 or not grid.is_on(price):
            return "170134 Order price has too many decimals." if book.is_spot else "10001 Price invalid"
        if command.order_type == "limit" and len(book.orders) >= MAX_ACTIVE:
            return "110020 not allowed to have more than 500 active orders"
    if command.order_type in _STOP_TYPES:
        return _check_trigger(book, command)
    return ""


def _check_trigger(book: SymbolBook, command: SubmitOrder) -> str:
    trigger = command.trigger_price
    if trigger is None or not math.isfinite(trigger) or trigger <= 0.0 or not book.instrument.price_grid.is_on(trigger):
        return "10001 TriggerPrice invalid"
    current = book.price(SOURCES[command.trigger_by])
    if command.trigger_rising is True and trigger <= current:
        return f"110092 expect Rising, but trigger_price[{trigger}] <= current[{current}]"
    if command.trigger_rising is False and trigger >= current:
        return f"110093 expect Falling, but trigger_price[{trigger}] >= current[{current}]"
    if sum(1 for order in book.orders.values() if order.state == UNTRIGGERED and not order.role) >= MAX_CONDITIONAL:
        return "110009 the number of stop orders exceeds the maximum allowable limit"
    return ""


def _check_notional(instrument: Instrument, order: WorkingOrder, price: float) -> str:
    if instrument.notional(instrument.price_grid.count(price), order.leaves) >= instrument.min_notional:
        return ""
    if instrument.category == "spot":
        return VALUE_TOO_SMALL
    return f"110094 Order does not meet minimum order value {instrument.min_notional / UNIT:g}{instrument.quote}"


def check_spot_value(book: SymbolBook, price: float | None, steps: int) -> str:
    """Spot knows no order below the smallest value, whatever it is for: a reduce-only order, a stop or a target either. None: at market."""
    instrument = book.instrument
    ticks = instrument.price_grid.count(book.last if price is None else price)
    return VALUE_TOO_SMALL if book.is_spot and instrument.notional(ticks, steps) < instrument.min_notional else ""


def check_bracket(instrument: Instrument, position: Position, bracket: Bracket, side: int, base: float) -> str:
    """Exits must lie on their sides of ``base`` for a position of this side (+1 long)."""
    name = "Buy" if side > 0 else "Sell"
    for what, level, sign in (("StopLoss", bracket.stop_loss, -side), ("TakeProfit", bracket.take_profit, side)):
        if level is None:
            continue
        if not math.isfinite(level) or level <= 0.0:
            return f"10001 {what} invalid"
        if (level - base) * sign <= 0.0:
            return f"10001 {what}:{level:g} set for {name} position should be {'higher' if sign > 0 else 'lower'} than base_price:{base:g}"
    if bracket.trailing is not None and not (math.isfinite(bracket.trailing) and bracket.trailing > 0.0):
        return "10001 trailing stop invalid"
    if bracket.take_profit_limit is not None:
        if bracket.mode != "partial" or bracket.take_profit is None:
            return "10001 a limit take profit needs tpslMode Partial and a takeProfit"
        if not instrument.price_grid.is_on(bracket.take_profit_limit):
            return "10001 tpLimitPrice invalid"
    if bracket.mode == "partial" and sum(1 for child in position.children if not child.is_full) >= 2 * MAX_PARTIAL:
        return "110061 not allowed to have more than 20 TP/SLs under Partial tpSlMode"
    return ""


def closable_steps(book: SymbolBook, position: Position, side: int) -> int:
    """How many steps an order of this side (+1 buy) can close: the opposite position, or the floor of a spot holding."""
    if position.steps * side >= 0:
        return 0
    return abs(position.steps) // book.lot


def price_band(book: SymbolBook, side: int) -> float:
    """The highest price of a buy, the lowest of a sell; without a book to average the premium is 0 ("Get Order Price Limit")."""
    return band_edge(book.instrument, side, book.mark, book.index)


def band_edge(instrument: Instrument, side: int, mark: float, index: float) -> float:
    """``price_band`` at these prices: by the mark and index of a perpetual, by the index of spot."""
    x, y = instrument.price_limit_x / UNIT, instrument.price_limit_y / UNIT
    if instrument.category == "spot":
        return index * (1.0 + min(x, y)) if side > 0 else index * (1.0 - min(x, y))
    if side > 0:
        return min(mark * (1.0 + y), max(index, mark * (1.0 + x)))
    return max(mark * (1.0 - y), min(index, mark * (1.0 - x)))


def check_band(book: SymbolBook, order: WorkingOrder) -> str:
    """Keep a limit inside the price band: perpetuals are moved to its edge (the order changes), spot is refused."""
    if order.limit is None or not book.instrument.price_limit_y:
        return ""
    edge, grid = price_band(book, order.side), book.instrument.price_grid
    allowed = grid.floor(edge) if order.side > 0 else grid.ceil(edge)
    if (order.limit - allowed) * order.side <= 0:
        return ""
    if not book.is_spot:
        order.limit = allowed
        return ""
    if order.side > 0:
        return f"170193 Buy order price cannot be higher than {grid.text(allowed)}."
    return f"170194 Sell order price cannot be lower than {grid.text(allowed)}."


def check_amend(book: SymbolBook, order: WorkingOrder, command: AmendOrder) -> str:
    """Why an amendment may not be."""
    prices, grid = book.instrument.price_grid, book.instrument.qty_grid
    if command.qty is not None:
        if not math.isfinite(command.qty) or not grid.is_on(command.qty) or grid.count(command.qty) < book.min_steps:
            return "10001 Qty invalid"
        if grid.count(command.qty) <= order.filled:
            return "110064 the order quantity cannot be changed to what is filled or less"
        if order.is_full:
            return "10001 a full take profit or stop loss has no quantity of its own"
    if command.price is not None and (order.limit is None or command.price <= 0.0 or not prices.is_on(command.price)):
        return "10001 Price invalid"
    if command.trigger_price is not None and (
        order.state != UNTRIGGERED or command.trigger_price <= 0.0 or not prices.is_on(command.trigger_price) or order.distance
    ):
        return "10001 TriggerPrice invalid"
    return ""
