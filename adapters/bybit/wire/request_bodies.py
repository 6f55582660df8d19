"""Commands become request bodies. Every number is the exact decimal text of a count on the instrument's grid, never a float's own text."""

from __future__ import annotations

from typing import Any, Final

from keel.core.model.instrument import Instrument
from keel.core.model.messages import (
    AmendOrder,
    Bracket,
    CancelOrder,
    ExitMode,
    OrderType,
    PriceSource,
    SetTradingStop,
    Side,
    SubmitOrder,
    TimeInForce,
)
from keel.core.model.orders import fires_when_rising

Body = dict[str, Any]

_SIDES: Final[dict[Side, str]] = {"BUY": "Buy", "SELL": "Sell"}
_ORDER_TYPES: Final[dict[OrderType, str]] = {"market": "Market", "limit": "Limit", "stop_market": "Market", "stop_limit": "Limit"}
_EXIT_MODES: Final[dict[ExitMode, str]] = {"full": "Full", "partial": "Partial"}
_TIME_IN_FORCE: Final[dict[TimeInForce, str]] = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK", "POST_ONLY": "PostOnly"}
_TRIGGERS: Final[dict[PriceSource, str]] = {"last": "LastPrice", "mark": "MarkPrice", "index": "IndexPrice"}


def create_body(command: SubmitOrder, instrument: Instrument, current: float | None = None) -> Body:
    """A new order. ``current`` is the trigger's source price as we know it: it tells from which side a stop is met."""
    is_linear = instrument.category == "linear"
    order_type = _ORDER_TYPES[command.order_type]
    has_limit = order_type == "Limit"
    body: Body = {
        "category": instrument.category,
        "symbol": command.symbol,
        "side": _SIDES[command.side],
        "orderType": order_type,
        "qty": instrument.format_qty(command.qty),
        "timeInForce": _TIME_IN_FORCE[command.time_in_force] if has_limit else "IOC",
        "orderLinkId": command.client_order_id,
    }
    if has_limit and command.price is not None:
        body["price"] = instrument.format_price(command.price)
    if is_linear:
        body["positionIdx"] = command.position_idx
        if command.reduce_only:
            body["reduceOnly"] = True
        if command.close_on_trigger:
            body["closeOnTrigger"] = True
    else:
        body["isLeverage"] = 0
        if not has_limit:
            body["marketUnit"] = "baseCoin"
    if command.trigger_price is not None:
        body["triggerPrice"] = instrument.format_price(command.trigger_price)
        body |= _conditional(command, current) if is_linear else {"orderFilter": "StopOrder"}
    if command.bracket is not None:
        body |= _bracket(command.bracket, instrument)
    return body


def off_grid(command: SubmitOrder | AmendOrder, instrument: Instrument) -> str:
    """Why a command cannot be written down as it is, in the exchange's words; "" when it can. The text of a number is that of a count on
    the grid: what lies between would be sent as another number than was asked for."""
    is_spot = instrument.category == "spot"
    if command.qty is not None and not instrument.qty_grid.is_on(command.qty):
        return "170137 Order quantity has too many decimals." if is_spot else "10001 Qty invalid"
    if command.price is not None and not instrument.price_grid.is_on(command.price):
        return "170134 Order price has too many decimals." if is_spot else "10001 Price invalid"
    if command.trigger_price is not None and not instrument.price_grid.is_on(command.trigger_price):
        return "10001 TriggerPrice invalid"
    return ""


def amend_body(command: AmendOrder, instrument: Instrument, order_id: str | None = None) -> Body:
    """A change of a resting order; what is not to change is left out. ``order_id`` names one that has no client id (a bracket's)."""
    body = _address(command.symbol, command.client_order_id, instrument, order_id)
    if command.qty is not None:
        body["qty"] = instrument.format_qty(command.qty)
    if command.price is not None:
        body["price"] = instrument.format_price(command.price)
    if command.trigger_price is not None:
        body["triggerPrice"] = instrument.format_price(command.trigger_price)
    return body


def cancel_body(command: CancelOrder, instrument: Instrument, order_id: str | None = None) -> Body:
    """The end of one order."""
    return _address(command.symbol, command.client_order_id, instrument, order_id)


def trading_stop_bodies(command: SetTradingStop, instrument: Instrument, held: float) -> list[Body]:
    """The exits of an open position as a whole; "0" removes. A partial set is sized by what is held, and its trailing stop is a request
    of its own, since that is always the whole position's."""
    bracket = command.bracket
    base = {"category": instrument.category, "symbol": command.symbol, "positionIdx": command.position_idx}
    trailing = {
        "trailingStop": "0" if bracket.trailing is None else instrument.format_price(bracket.trailing),
        **({} if bracket.activation is None else {"activePrice": instrument.format_price(bracket.activation)}),
    }
    if bracket.mode == "full":
        levels = {
            "takeProfit": "0" if bracket.take_profit is None else instrument.format_price(bracket.take_profit),
            "stopLoss": "0" if bracket.stop_loss is None else instrument.format_price(bracket.stop_loss),
            "tpTriggerBy": _TRIGGERS[bracket.trigger],
            "slTriggerBy": _TRIGGERS[bracket.trigger],
        }
        return [base | {"tpslMode": "Full"} | levels | trailing]
    size = instrument.format_qty(abs(held))
    bodies = [base | {"tpslMode": "Full"} | trailing]
    if bracket.take_profit is not None or bracket.stop_loss is not None:
        bodies.insert(0, base | _bracket(bracket, instrument) | {"tpSize": size, "slSize": size})
    return bodies


def trailing_body(symbol: str, bracket: Bracket, instrument: Instrument, position_idx: int) -> Body:
    """The trailing stop of a bracket: an order cannot carry it, it is set on the position after the fill."""
    body: Body = {"category": instrument.category, "symbol": symbol, "positionIdx": position_idx, "tpslMode": "Full"}
    body["trailingStop"] = instrument.format_price(bracket.trailing or 0.0)
    if bracket.activation is not None:
        body["activePrice"] = instrument.format_price(bracket.activation)
    return body


def _address(symbol: str, client_order_id: str, instrument: Instrument, order_id: str | None) -> Body:
    body: Body = {"category": instrument.category, "symbol": symbol}
    return body | ({"orderLinkId": client_order_id} if order_id is None else {"orderId": order_id})


def _conditional(command: SubmitOrder, current: float | None) -> Body:
    rising = command.trigger_rising
    if rising is None:
        rising = fires_when_rising(command.side == "BUY", command.trigger_price or 0.0, current)
    return {"triggerDirection": 1 if rising else 2, "triggerBy": _TRIGGERS[command.trigger_by]}


def _bracket(bracket: Bracket, instrument: Instrument) -> Body:
    body: Body = {}
    if bracket.take_profit is not None:
        body["takeProfit"] = instrument.format_price(bracket.take_profit)
        body["tpTriggerBy"] = _TRIGGERS[bracket.trigger]
    if bracket.stop_loss is not None:
        body["stopLoss"] = instrument.format_price(bracket.stop_loss)
        body["slTriggerBy"] = _TRIGGERS[bracket.trigger]
    if body:
        body["tpslMode"] = _EXIT_MODES[bracket.mode]
    if bracket.take_profit_limit is not None and bracket.take_profit is not None:
        body |= {"tpOrderType": "Limit", "tpLimitPrice": instrument.format_price(bracket.take_profit_limit)}
    return body
