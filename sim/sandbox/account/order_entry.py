"""From the parameters of a create to the order that the engine is given: what can be refused by looking at the request alone is."""

from __future__ import annotations

from typing import Any, Final

from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bracket, PriceSource, SubmitOrder, TimeInForce
from keel.core.model.money import UNIT
from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.account.records import TRIGGER_NAMES, SandboxOrder
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.http.errors import ApiError, bad_params, params_error
from keel.sim.sandbox.http.parameters import Params, flag, link_id, number, text, whole
from keel.sim.sandbox.market.symbol_market import SymbolMarket

_TIF: Final[dict[str, TimeInForce]] = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK", "PostOnly": "POST_ONLY"}
SOURCE_OF: Final[dict[str, PriceSource]] = {"": "last", "LastPrice": "last", "MarkPrice": "mark", "IndexPrice": "index"}
_QTY_INVALID: Final = {"linear": (10001, "Qty invalid"), "spot": (170130, "Data sent for paramter 'qty' is not valid.")}
_PRICE_INVALID: Final = {"linear": (10001, "Price invalid"), "spot": (170130, "Data sent for paramter 'price' is not valid.")}
TRIGGER_INVALID: Final = bad_params("triggerPrice invalid")
_EXIT_INVALID: Final = bad_params("takeProfit or stopLoss invalid")
BOUND: Final = 0.05
"""How far a market order's protective price lies from the mark (recorded: about 5 %)."""


class Draft:
    """An order that was read: its command for the engine, and its record."""

    def __init__(self, account: SimulatedAccount, market: SymbolMarket, params: Params) -> None:
        self._params, self._market = params, market
        self.side = _one_of(params, "side", ("Buy", "Sell"))
        self.order_type = _one_of(params, "orderType", ("Market", "Limit"))
        self.link_id = link_id(params)
        self.position_idx = _position_idx(account, market, params)
        self.order_filter = text(params, "orderFilter", "Order")
        self.trigger = number(params, "triggerPrice", TRIGGER_INVALID) or None
        self.reduce_only = flag(params, "reduceOnly") and market.is_linear
        self.close_on_trigger = flag(params, "closeOnTrigger") and market.is_linear
        self._read_amounts(account.exchange.execution_config)
        self.time_in_force = self._read_time_in_force()
        self.bracket = read_bracket(params, market)

    def command(self, sim_id: str, ts: int) -> SubmitOrder:
        """For the engine."""
        is_bounded = self.order_type == "Market" and self.price is not None
        has_limit = self.order_type == "Limit" or is_bounded
        kind: Any = ("stop_limit" if has_limit else "stop_market") if self.trigger is not None else ("limit" if has_limit else "market")
        direction = whole(self._params, "triggerDirection", 0, low=0, high=2) if self._market.is_linear else 0
        return SubmitOrder(
            sim_id, self._market.name, "BUY" if self.side == "Buy" else "SELL", kind, self.qty, ts, self.price, self.trigger,
            self._source(), {1: True, 2: False}.get(direction), "IOC" if is_bounded else self.time_in_force, self.reduce_only,
            self.close_on_trigger, self.position_idx, self.bracket,
        )  # fmt: skip

    def record(self, account: SimulatedAccount, sim_id: str, order_id: str, ts: int) -> SandboxOrder:
        """For the lists."""
        market, params = self._market, self._params
        steps = market.instrument.qty_grid.count(self.qty)
        direction = text(params, "triggerDirection", "0")
        record = SandboxOrder(
            account.next_number(), market, sim_id, order_id, self.link_id, self.side, self.order_type,
            "IOC" if self.order_type == "Market" else text(params, "timeInForce") or "GTC", steps, self._price_text(), ts, ts,
            position_idx=self.position_idx, reduce_only=self.reduce_only, close_on_trigger=self.close_on_trigger,
            trigger_direction=int(direction) if direction.isdigit() else 0, smp_type=text(params, "smpType", "None"),
            slippage_type=text(params, "slippageToleranceType", "UNKNOWN"), slippage=text(params, "slippageTolerance"),
            last_price=market.price(market.last), leaves=steps,
        )  # fmt: skip
        if self.trigger is not None:
            record.status, record.stop_order_type = "Untriggered", "tpslOrder" if self.order_filter == "tpslOrder" else "Stop"
            record.trigger_price = market.price(self.trigger)
            record.trigger_by = TRIGGER_NAMES[self._source()] if market.is_linear else ""
        if self.bracket is not None:
            self._record_bracket(record, self.bracket)
        if not market.is_linear:
            record.is_leverage, record.market_unit = text(params, "isLeverage", "0"), text(params, "marketUnit")
        return record

    def _record_bracket(self, record: SandboxOrder, bracket: Bracket) -> None:
        market = self._market
        record.take_profit, record.stop_loss = _text_of(market, bracket.take_profit), _text_of(market, bracket.stop_loss)
        record.tp_limit_price = _text_of(market, bracket.take_profit_limit)
        record.exit_trigger_by, record.tpsl_mode = TRIGGER_NAMES[bracket.trigger], bracket.mode.capitalize()

    def _source(self) -> PriceSource:
        given = text(self._params, "triggerBy")
        if given not in SOURCE_OF:
            raise params_error("triggerBy invalid")
        return SOURCE_OF[given]

    def _read_time_in_force(self) -> TimeInForce:
        given = text(self._params, "timeInForce") or "GTC"
        if given == "RPI":
            raise ApiError(110119, "RPI orders are for assigned market makers")  # ASSUMED words
        if given not in _TIF:
            raise params_error("timeInForce invalid")
        if self.order_type == "Market":
            return "FOK" if given == "FOK" else "IOC"
        return _TIF[given]

    def _read_amounts(self, config: ExecutionConfig) -> None:
        params, market = self._params, self._market
        qty = number(params, "qty", _QTY_INVALID[market.category])
        if qty is None:
            raise ApiError(*_QTY_INVALID[market.category])
        price = number(params, "price", _PRICE_INVALID[market.category])
        if self.order_type == "Limit":
            if price is None:
                raise ApiError(*_PRICE_INVALID[market.category])
            self.price: float | None = price
        else:
            self.price = slippage_bound(params, market, self.side) if self.trigger is None else None
        is_quote = self.order_type == "Market" and not market.is_linear
        if is_quote and text(params, "marketUnit", "quoteCoin" if self.side == "Buy" else "baseCoin") == "quoteCoin":
            cost = (config.slippage_rate + config.half_spread_rate) / UNIT if self.side == "Buy" else 0.0
            qty = _from_quote(market.instrument, qty, market.last, cost)
        self.qty = qty

    def _price_text(self) -> str:
        market = self._market
        if self.order_type == "Limit":
            return market.price(self.price or 0.0)
        grid, out = market.instrument.price_grid, 1.0 + BOUND if self.side == "Buy" else 1.0 - BOUND
        return grid.text(grid.count(self.price if self.price is not None else market.mark * out))


def read_bracket(params: Params, market: SymbolMarket) -> Bracket | None:
    """The exits that come with an order; None without. Both legs share one trigger price source (ASSUMED limit of the sandbox)."""
    bad = _EXIT_INVALID
    take_profit, stop_loss = number(params, "takeProfit", bad) or None, number(params, "stopLoss", bad) or None
    if take_profit is None and stop_loss is None:
        return None
    mode = text(params, "tpslMode") or "Full"
    if mode not in ("Full", "Partial"):
        raise params_error("tpslMode invalid")
    limit = number(params, "tpLimitPrice", bad) or None
    if text(params, "slOrderType") == "Limit" or number(params, "slLimitPrice", bad):
        raise ApiError(10001, "sandbox: a stop loss with a limit price is not simulated")
    if text(params, "tpOrderType") == "Limit" and (limit is None or mode != "Partial"):
        raise ApiError(10001, "tpOrderType Limit needs tpslMode Partial and tpLimitPrice")  # ASSUMED words
    return Bracket(stop_loss, take_profit, trigger=exit_source(params, take_profit, stop_loss), mode=mode.lower(), take_profit_limit=limit)  # type: ignore[arg-type]  # checked above


def exit_source(params: Params, take_profit: float | None, stop_loss: float | None) -> PriceSource:
    """The price by which both exits are triggered."""
    names = {text(params, "tpTriggerBy") if take_profit else None, text(params, "slTriggerBy") if stop_loss else None} - {None}
    sources = {SOURCE_OF.get(name or "", "bad") for name in names}
    if "bad" in sources:
        raise params_error("tpTriggerBy or slTriggerBy invalid")
    if len(sources) > 1:
        raise ApiError(10001, "sandbox: tpTriggerBy and slTriggerBy must be the same")
    return SOURCE_OF[names.pop() or ""] if names else "last"


def slippage_bound(params: Params, market: SymbolMarket, side: str) -> float | None:
    """The worst price of a market order with a slippage tolerance; None without one."""
    kind = text(params, "slippageToleranceType")
    if not kind:
        return None
    value = number(params, "slippageTolerance", (110108, "slippageTolerance invalid")) or 0.0
    bids, asks = market.book(1)
    best, out = (asks[0][0], 1) if side == "Buy" else (bids[0][0], -1)
    grid = market.instrument.price_grid
    if kind == "TickSize":
        if not 1 <= value <= 10_000 or value != int(value):
            raise ApiError(110108, "The slippage tolerance is out of range")  # ASSUMED words
        return grid.value(max(1, best + out * int(value)))
    if kind == "Percent":
        if not 0.01 <= value <= 10 or round(value, 2) != value:
            raise ApiError(110109, "The slippage tolerance is out of range")  # ASSUMED words
        return grid.value(max(1, round(best * (1.0 + out * value / 100.0))))
    raise params_error("slippageToleranceType invalid")


def _from_quote(instrument: Instrument, quote: float, last: float, cost: float) -> float:
    """How many base units so much quote buys at the last price and the taker's cost, on the step."""
    if not last > 0.0:
        return 0.0
    grid = instrument.qty_grid
    worst = instrument.price_grid.value(instrument.price_grid.ceil(last * (1.0 + cost)))
    steps = grid.floor(quote / worst)
    while steps > 0 and instrument.notional(instrument.price_grid.count(worst), steps, up=True) > quote * UNIT:
        steps -= 1
    return grid.value(max(0, steps))


def _one_of(params: Params, name: str, allowed: tuple[str, ...]) -> str:
    given = text(params, name)
    if given not in allowed:
        raise params_error(f"{name} invalid")
    return given


def _position_idx(account: SimulatedAccount, market: SymbolMarket, params: Params) -> int:
    if not market.is_linear:
        return 0
    idx = whole(params, "positionIdx", 0, low=0, high=2)
    if (idx != 0) != account.is_hedge[market.name]:
        raise ApiError(10001, "position idx not match position mode")
    return idx


def _text_of(market: SymbolMarket, price: float | None) -> str:
    return "" if price is None else market.price(price)
