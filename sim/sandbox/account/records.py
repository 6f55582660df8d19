"""What the sandbox keeps of orders and positions, in the exchange's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from keel.core.model.money import UNIT, mul_div_floor
from keel.sim.sandbox import texts
from keel.sim.sandbox.market.symbol_market import SymbolMarket

OPEN: Final = ("New", "PartiallyFilled", "Untriggered", "Triggered")
TRIGGER_NAMES: Final = {"last": "LastPrice", "mark": "MarkPrice", "index": "IndexPrice"}
NO_ERROR: Final = "EC_NoError"
ADL: Final = "CreateByAdl_PassThrough"
"""createType of the order by which the exchange deleverages a position."""


class SandboxOrder(msgspec.Struct, eq=False):
    """One order. Quantities in steps, value in 1e-8 of the quote coin; prices are texts as they were given, or as the engine set them."""

    number: int
    """Rises with each order of the account: pages and lists go by it."""
    market: SymbolMarket
    sim_id: str
    order_id: str
    link_id: str
    side: str
    order_type: str
    time_in_force: str
    steps: int
    price: str
    created: int
    updated: int
    status: str = "New"
    position_idx: int = 0
    reduce_only: bool = False
    close_on_trigger: bool = False
    trigger_price: str = ""
    trigger_direction: int = 0
    trigger_by: str = ""
    take_profit: str = ""
    stop_loss: str = ""
    tp_limit_price: str = ""
    exit_trigger_by: str = ""
    tpsl_mode: str = ""
    stop_order_type: str = ""
    create_type: str = "CreateByUser"
    parent_link_id: str = ""
    is_leverage: str = ""
    market_unit: str = ""
    slippage_type: str = "UNKNOWN"
    slippage: str = ""
    last_price: str = ""
    smp_type: str = "None"
    leaves: int = 0
    filled: int = 0
    value: int = 0
    fees: dict[str, int] = {}
    cancel_type: str = "UNKNOWN"
    reject_reason: str = NO_ERROR
    refusal: str = ""
    """The engine's own reason of a rejection."""
    closed_pnl: int = 0
    is_announced: bool = False
    """Whether the private stream has told of it."""
    versions: list[tuple[int, dict[str, Any]]] = []
    """(wall time, row) of earlier states, kept only while lists lag."""

    @property
    def is_open(self) -> bool:
        """Whether anything may still become of it."""
        return self.status in OPEN

    @property
    def category(self) -> str:
        """linear or spot."""
        return self.market.category

    def row(self) -> dict[str, Any]:
        """The order as REST gives it. A spot order without exits has no ``tpslMode`` (recorded): clients know contracts by that key."""
        instrument = self.market.instrument
        lots = instrument.qty_grid
        average = ""
        if self.filled:
            average = texts.decimal(self.value / UNIT / lots.value(self.filled), max(instrument.price_grid.decimals, 8))
        leaves_value = "0"
        if self.leaves and self.price:
            leaves_value = texts.decimal(float(self.price) * lots.value(self.leaves))
        quote_fee = self.fees.get(instrument.quote if self.category == "linear" else next(iter(self.fees), ""), 0)
        last_price = (
            {"lastPriceOnCreated": self.last_price}
            if self.category == "linear"
            else {"lastPriceOnCreated": "", "basePrice": self.last_price}
        )
        return {
            "orderId": self.order_id, "orderLinkId": self.link_id, "parentOrderLinkId": self.parent_link_id, "blockTradeId": "",
            "symbol": self.market.symbol, "price": self.price or "0", "qty": lots.text(self.steps), "side": self.side,
            "isLeverage": self.is_leverage, "positionIdx": self.position_idx, "orderStatus": self.status, "createType": self.create_type,
            "cancelType": self.cancel_type, "rejectReason": self.reject_reason, "avgPrice": average, "leavesQty": lots.text(self.leaves),
            "leavesValue": leaves_value, "cumExecQty": lots.text(self.filled), "cumExecValue": texts.money(self.value),
            "cumExecFee": self._fee_text(quote_fee), "cumFeeDetail": {coin: self._fee_text(fee, coin) for coin, fee in self.fees.items()},
            "timeInForce": self.time_in_force, "orderType": self.order_type, "stopOrderType": self.stop_order_type, "orderIv": "",
            "marketUnit": self.market_unit, "slippageToleranceType": self.slippage_type, "slippageTolerance": self.slippage,
            "triggerPrice": self.trigger_price, "takeProfit": self.take_profit, "stopLoss": self.stop_loss,
            **({"tpslMode": self.tpsl_mode} if self.category == "linear" or self.tpsl_mode else {}),
            "ocoTriggerBy": "", "tpLimitPrice": self.tp_limit_price, "slLimitPrice": "",
            "tpTriggerBy": self.exit_trigger_by if self.take_profit else "", "slTriggerBy": self.exit_trigger_by if self.stop_loss else "",
            "triggerDirection": self.trigger_direction, "triggerBy": self.trigger_by, **last_price, "reduceOnly": self.reduce_only,
            "closeOnTrigger": self.close_on_trigger, "placeType": "", "smpType": self.smp_type, "smpGroup": 0, "smpOrderId": "",
            "createdTime": str(self.created), "updatedTime": str(self.updated), "extraFees": "", "rpiTakerAccess": False,
            "rpiMatchedQty": "0",
        }  # fmt: skip

    def push(self) -> dict[str, Any]:
        """The order as the private stream gives it."""
        return {
            "category": self.category, **self.row(), "feeCurrency": self.market.instrument.quote if self.category == "linear" else "",
            "closedPnl": texts.money(self.closed_pnl),
        }  # fmt: skip

    def _fee_text(self, units: int, coin: str = "") -> str:
        instrument = self.market.instrument
        is_base = self.category == "spot" and (coin or next(iter(self.fees), "")) == instrument.base
        return texts.coins(units, instrument.base_unit if is_base else UNIT)


@dataclass(slots=True)
class Closing:
    """What a fill closed: steps, PnL at prices, and the closed PnL net of both fees, money in 1e-8."""

    steps: int
    opened: int
    entry_value: int
    exit_value: int
    open_fee: int
    close_fee: int
    pnl: int

    @property
    def net(self) -> int:
        """closedPnl: (exit value - entry value) x direction - open fee share - close fee."""
        return self.pnl - self.open_fee - self.close_fee


@dataclass(slots=True)
class PositionState:
    """One position (symbol, index) as executions tell it: an independent book beside the engine's. Signed steps; money in 1e-8."""

    market: SymbolMarket
    idx: int
    steps: int = 0
    cost: int = 0
    open_fees: int = 0
    realised: int = 0
    current: int = 0
    created: int = 0
    updated: int = 0
    open_time: int = 0
    seq: int = 0

    def apply(self, side: int, steps: int, value: int, fee: int, ts: int) -> Closing:
        """Book one execution: ``side`` +1 buys, ``steps`` unsigned, ``value`` its notional."""
        closing = min(steps, -self.steps * side) if self.steps * side < 0 else 0
        opening = steps - closing
        closing_value = value * closing // steps if opening else value
        close_fee = mul_div_floor(fee, closing, steps)
        pnl = entry = open_fee = 0
        if closing:
            held = abs(self.steps)
            entry = self.cost if closing == held else mul_div_floor(self.cost, closing, held)
            open_fee = self.open_fees if closing == held else mul_div_floor(self.open_fees, closing, held)
            pnl = (closing_value - entry) if self.steps > 0 else (entry - closing_value)
            self.steps += side * closing
            self.cost -= entry
            self.open_fees -= open_fee
        if opening:
            if not self.steps:
                self.open_time, self.current = ts, 0
            self.steps += side * opening
            self.cost += value - closing_value
            self.open_fees += fee - close_fee
        self.created = self.created or ts
        self.updated = ts
        return Closing(closing, opening, entry, closing_value if closing else 0, open_fee, close_fee, pnl)

    def book(self, change: int) -> None:
        """Money that this position made or cost: PnL less fees and funding."""
        self.realised += change
        self.current += change


@dataclass(slots=True)
class ClosedPnl:
    """Realised PnL of one closing order, added up over its fills; money in 1e-8."""

    number: int
    record: SandboxOrder
    leverage: str
    exec_type: str
    steps: int = 0
    entry_value: int = 0
    exit_value: int = 0
    open_fee: int = 0
    close_fee: int = 0
    net: int = 0
    fills: int = 0
    created: int = 0
    updated: int = 0
    seen: int = 0
    """Wall time of the latest change."""

    def add(self, closing: Closing, ts: int, wall: int) -> None:
        """One more fill."""
        self.steps += closing.steps
        self.entry_value += closing.entry_value
        self.exit_value += closing.exit_value
        self.open_fee += closing.open_fee
        self.close_fee += closing.close_fee
        self.net += closing.net
        self.fills += 1
        self.created = self.created or ts
        self.updated, self.seen = ts, wall

    def row(self) -> dict[str, Any]:
        """As REST gives it."""
        record = self.record
        lots = record.market.instrument.qty_grid
        size = lots.value(self.steps)
        return {
            "symbol": record.market.symbol, "orderId": record.order_id, "side": record.side, "qty": lots.text(record.steps),
            "orderPrice": record.price or "0", "orderType": record.order_type, "execType": self.exec_type,
            "closedSize": lots.text(self.steps),
            "cumEntryValue": texts.money(self.entry_value), "avgEntryPrice": texts.decimal(self.entry_value / UNIT / size),
            "cumExitValue": texts.money(self.exit_value), "avgExitPrice": texts.decimal(self.exit_value / UNIT / size),
            "closedPnl": texts.money(self.net), "fillCount": str(self.fills), "leverage": self.leverage,
            "openFee": texts.money(self.open_fee), "closeFee": texts.money(self.close_fee), "createdTime": str(self.created),
            "updatedTime": str(self.updated),
        }  # fmt: skip
