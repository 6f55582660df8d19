"""One account: a simulated exchange of its own, and what its events mean in the exchange's words.

Orders, executions, positions and the transaction log are kept here from the engine's messages alone; the engine's ledger is never asked
for them. That both agree is checked by ``truth``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from core.clock import ReplayClock
from core.config import ExecutionConfig
from core.instrument import generic_tiers
from core.messages import Fill, FundingPayment, Liquidation, Message, OrderUpdate, Side
from core.money import UNIT, mul_div_floor, to_units
from sim.book import STOP_LOSS, TAKE_PROFIT, TRAILING, UNTRIGGERED, Order, SymbolBook
from sim.exchange import RiskProfileConfig, SimulatedExchange
from sim.ledger import FREE
from sim.margin import IsolatedMargin
from sim.sandbox import texts
from sim.sandbox.errors import ApiError
from sim.sandbox.ids import IdSource
from sim.sandbox.market import SymbolMarket
from sim.sandbox.records import NO_ERROR, ClosedPnl, OrderRecord, PositionState
from sim.sandbox.settings import AccountSettings

BY_CANCEL_TYPE: Final = (
    "CancelByUser", "CancelByReduceOnly", "CancelByTpSlTsClear", "CancelAllBeforeLiq", "CancelByOCOTpCanceledBySlTriggered",
    "CancelByOCOSlCanceledByTpTriggered",
)  # fmt: skip
_SOURCE_NAMES: Final = ("LastPrice", "MarkPrice", "IndexPrice")
SIDES: Final[dict[Side, str]] = {"BUY": "Buy", "SELL": "Sell"}


class Times(Protocol):
    """The wall clock, as an account needs it."""

    def wall_ms(self) -> int: ...


class Account:
    """Orders in, rows out. ``outbox`` collects (topic, row) for the private stream until the server takes them."""

    def __init__(
        self, number: int, settings: AccountSettings, markets: Mapping[str, SymbolMarket], execution: ExecutionConfig, clock: ReplayClock,
        seed: int, times: Times,
    ) -> None:  # fmt: skip
        self.uid = 100_000 + number
        self.settings = settings
        self.markets = markets
        self.clock, self._times = clock, times
        self.ids = IdSource(seed, str(self.uid))
        self.exchange = SimulatedExchange(
            list(markets), settings.usdt, execution, RiskProfileConfig(leverage=1.0, margin_mode=settings.margin_mode),
            instruments={name: _renamed(market) for name, market in markets.items()}, clock=clock, emit=self._hear,
        )  # fmt: skip
        self.is_hedge: dict[str, bool] = {}
        for name, market in markets.items():
            if market.is_linear:
                self._prepare(self.exchange.books[name], settings)
                self.is_hedge[name] = settings.hedge
        self.orders: dict[str, OrderRecord] = {}
        self.by_order_id: dict[str, OrderRecord] = {}
        self.by_link_id: dict[tuple[str, str], OrderRecord] = {}
        self.open_orders: dict[str, OrderRecord] = {}
        self.burnt: set[str] = set()
        """Names that the engine has seen on orders which were refused: it would call them used."""
        self.closed_orders: deque[OrderRecord] = deque(maxlen=100_000)
        self.recent_closed: deque[OrderRecord] = deque(maxlen=500)
        self.executions: list[dict[str, Any]] = []
        """Rows as the stream gives them, oldest first, each with ``_seen`` (wall time) and ``_number``."""
        self.log: list[dict[str, Any]] = []
        self.closed_pnl: list[ClosedPnl] = []
        self.positions: dict[tuple[str, int], PositionState] = {}
        self.wallet: dict[str, int] = {"USDT": to_units(settings.usdt)}
        self.realised: dict[str, int] = {}
        self.outbox: list[tuple[str, dict[str, Any]]] = []
        self.keeps_versions = False
        self.liquidations: list[tuple[SymbolMarket, Liquidation]] = []
        self.is_answering = False
        """Whether a request waits for the engine's answer: a refusal is then its error, not a push."""
        self._held: Fill | None = None
        self._dirty: dict[str, None] = {}
        self._balances: dict[str, tuple[int, ...]] = {}
        self._numbers = 0
        self._log_transfer(self.wallet["USDT"])
        self._remember_balances()

    @staticmethod
    def _prepare(book: SymbolBook, settings: AccountSettings) -> None:
        tiers = book.instrument.tiers or generic_tiers()
        book.margin = IsolatedMargin(to_units(settings.leverage), book.taker_fee, tiers)
        book.leverage = book.margin.leverage
        if settings.hedge:
            from sim.book import Position

            book.positions = [Position(book.instrument, idx) for idx in (1, 2)]

    # --- what others ask ---

    def next_number(self) -> int:
        """A number that rises with every order and execution."""
        self._numbers += 1
        return self._numbers

    def register(self, record: OrderRecord) -> None:
        """Take on an order before the engine has seen it."""
        self.orders[record.sim_id] = record
        self.by_order_id[record.order_id] = record
        if record.link_id:
            self.by_link_id[record.category, record.link_id] = record
        self.open_orders[record.sim_id] = record

    def forget(self, record: OrderRecord) -> None:
        """An order that was refused on the spot never existed (its client id stays free)."""
        self.orders.pop(record.sim_id, None)
        self.by_order_id.pop(record.order_id, None)
        self.by_link_id.pop((record.category, record.link_id), None)
        self.open_orders.pop(record.sim_id, None)
        self.burnt.add(record.sim_id)

    def position(self, name: str, idx: int) -> PositionState:
        """The state of a position; made when first asked for."""
        key = (name, idx)
        if key not in self.positions:
            self.positions[key] = PositionState(self.markets[name], idx)
        return self.positions[key]

    def touch(self, market: SymbolMarket) -> None:
        """A create, amend or cancel: the position is pushed even without change."""
        if market.is_linear:
            self._dirty[market.name] = None

    def finish(self, position_row: Callable[[str, int], dict[str, Any]], wallet_row: Callable[[], dict[str, Any]]) -> None:
        """After a batch of events: positions of what was touched, and the wallet where a balance has changed."""
        for name in self._dirty:
            for position in self.exchange.books[name].positions:
                self.outbox.append(("position", position_row(name, position.idx)))
        self._dirty.clear()
        if self._remember_balances():
            self.outbox.append(("wallet", wallet_row()))

    def _remember_balances(self) -> bool:
        now = {coin: tuple(accounts[:3]) for coin, accounts in self.exchange.ledger.coins.items()}
        has_changed = now != self._balances
        self._balances = now
        return has_changed

    # --- the engine's messages ---

    def _hear(self, message: Message) -> None:
        if isinstance(message, OrderUpdate):
            self._on_order(message)
        elif isinstance(message, Fill):
            if message.reason == "liquidation":
                self._on_takeover(message)
            else:
                self._held = message  # the order update that follows says what is left of the order
        elif isinstance(message, FundingPayment):
            self._on_funding(message)
        elif isinstance(message, Liquidation):
            self.liquidations.append((self.markets[message.symbol], message))

    def _on_order(self, update: OrderUpdate) -> None:
        record = self.orders.get(update.client_order_id)
        status = update.status
        if record is None:
            live = self.exchange.books[update.symbol].orders.get(update.client_order_id)
            if live is None:
                return  # the answer to a command about an order that nobody holds
            record = self._adopt(update, live)
        self.touch(record.market)
        if status in ("amend_rejected", "cancel_rejected"):
            self._on_refused_change(record, update)
            return
        record.updated = update.ts
        grid = record.market.instrument.qty_grid
        if self._held is not None and self._held.client_order_id == update.client_order_id:
            fill, self._held = self._held, None
            record.leaves = grid.count(update.leaves_qty)
            record.status = "Filled" if status == "filled" else "PartiallyFilled"
            self._set_price(record, update)
            self._execute(record, fill)
            return
        if status == "accepted":
            live = self.exchange.books[update.symbol].orders.get(update.client_order_id)
            record.leaves = grid.count(update.leaves_qty)
            record.status = "Untriggered" if live is not None and live.state == UNTRIGGERED else "New"
            self._set_price(record, update)
        elif status == "amended":
            self._on_amended(record, update)
        elif status == "triggered":
            self._on_triggered(record, update)
            return
        elif status == "rejected":
            record.refusal = update.reason
            if self.is_answering and not record.is_announced:
                record.status = "Rejected"
                return
            record.status, record.reject_reason, record.leaves = "Rejected", _reject_reason(update.reason), 0
        else:
            self._on_ended(record, update)
        self.say(record)

    def _on_refused_change(self, record: OrderRecord, update: OrderUpdate) -> None:
        record.refusal = update.reason
        if self.is_answering or update.status == "amend_rejected" or record.status != "Filled":
            return
        row = record.push()  # a cancel that lost the race: a second Filled
        row["cancelType"], row["rejectReason"] = "CancelByUser", "EC_OrigClOrdIDDoesNotExist"
        self.outbox.append(("order", row))

    def _on_amended(self, record: OrderRecord, update: OrderUpdate) -> None:
        grid = record.market.instrument.qty_grid
        record.leaves = grid.count(update.leaves_qty)
        record.steps = record.leaves + record.filled
        self._set_price(record, update)
        if update.trigger_price is not None:
            record.trigger_price = record.market.price(update.trigger_price)

    def _on_triggered(self, record: OrderRecord, update: OrderUpdate) -> None:
        grid = record.market.instrument.qty_grid
        record.leaves = grid.count(update.leaves_qty)
        record.steps = record.leaves + record.filled
        record.status = "Triggered"
        self._set_price(record, update)
        self.say(record)
        if update.order_type == "stop_limit":
            record.status = "New"
            self.say(record)

    def _on_ended(self, record: OrderRecord, update: OrderUpdate) -> None:
        reason = update.reason
        was_untriggered = record.status == "Untriggered"
        record.leaves = 0
        record.status = "Cancelled"
        if was_untriggered:
            record.status = "Deactivated"  # ASSUMED for linear
        elif record.category == "spot" and record.filled:
            record.status = "PartiallyFilledCanceled"
        if reason in BY_CANCEL_TYPE:
            record.cancel_type = reason
            record.reject_reason = "EC_PerCancelRequest" if reason == "CancelByUser" else NO_ERROR
        else:
            record.reject_reason = _reject_reason(reason)

    def say(self, record: OrderRecord) -> None:
        """Push an order as it is now, and file it where it belongs."""
        record.is_announced = True
        if self.keeps_versions:
            record.versions.append((self._times.wall_ms(), record.row()))
            del record.versions[:-8]
        if not record.is_open and self.open_orders.pop(record.sim_id, None) is not None:
            self.closed_orders.append(record)
            self.recent_closed.append(record)
        self.outbox.append(("order", record.push()))

    def _set_price(self, record: OrderRecord, update: OrderUpdate) -> None:
        if update.price is not None and record.order_type == "Limit":
            record.price = record.market.price(update.price)

    def _adopt(self, update: OrderUpdate, live: Order) -> OrderRecord:
        """An order that the venue made by itself: a bracket's exit."""
        market = self.markets[update.symbol]
        parent = self.orders.get(live.parent_id or "")
        role = {STOP_LOSS: "StopLoss", TAKE_PROFIT: "TakeProfit", TRAILING: "TrailingStop"}[live.role]
        if not live.is_full:
            role = f"Partial{role}"
        trigger = live.activation if live.activation is not None else live.trigger
        record = OrderRecord(
            self.next_number(), market, update.client_order_id, self.ids.next("order"), "", SIDES[live.side_name],
            "Market" if live.limit is None else "Limit", "IOC" if live.limit is None else "GTC", live.leaves,
            "" if update.price is None else market.price(update.price), update.ts, update.ts, position_idx=live.position_idx,
            reduce_only=True, close_on_trigger=True, trigger_price="" if trigger is None else market.price(trigger),
            trigger_direction=1 if live.rising else 2, trigger_by=_SOURCE_NAMES[live.source],
            tpsl_mode="Full" if live.is_full else "Partial",
            stop_order_type=role, create_type=f"CreateBy{role}", parent_link_id=parent.link_id if parent is not None else "",
            last_price=market.price(market.last), leaves=live.leaves,
        )  # fmt: skip
        self.register(record)
        return record

    # --- executions ---

    def _execute(self, record: OrderRecord, fill: Fill) -> None:
        """A trade: order, then execution, in one go."""
        market = record.market
        instrument = market.instrument
        steps = instrument.qty_grid.count(fill.qty)
        value = instrument.notional(instrument.price_grid.count(fill.price), steps)
        record.filled += steps
        record.steps = max(record.steps, record.filled + record.leaves)
        record.value += value
        record.fees[fill.fee_coin] = record.fees.get(fill.fee_coin, 0) + fill.fee
        row = self._execution_row(record, fill, steps, value, "Trade")
        if market.is_linear:
            self._book_linear(record, fill, steps, value, row)
        else:
            self._book_spot(record, fill, steps, value, row)
        self.say(record)
        self._file(row)

    def _on_takeover(self, fill: Fill) -> None:
        """A liquidation: an order of the exchange's own, filled at once at the bankruptcy price."""
        market = self.markets[fill.symbol]
        steps = market.instrument.qty_grid.count(fill.qty)
        price = market.price(fill.price)
        record = OrderRecord(
            self.next_number(), market, f"{fill.client_order_id}@{fill.fill_id}", self.ids.next("order"), "", SIDES[fill.side], "Market",
            "IOC",
            steps, price, fill.ts, fill.ts, status="Filled", position_idx=fill.position_idx, reduce_only=True,
            create_type="CreateByTakeOver_PassThrough", last_price=market.price(market.last),
        )  # fmt: skip
        self.register(record)
        self._dirty[market.name] = None
        value = market.instrument.notional(market.instrument.price_grid.count(fill.price), steps)
        record.filled, record.value, record.fees = steps, value, {fill.fee_coin: fill.fee}
        row = self._execution_row(record, fill, steps, value, "BustTrade")
        self._book_linear(record, fill, steps, value, row)
        self.say(record)
        self._file(row)

    def _book_linear(self, record: OrderRecord, fill: Fill, steps: int, value: int, row: dict[str, Any]) -> None:
        market = record.market
        state = self.position(market.name, fill.position_idx)
        closing = state.apply(1 if fill.side == "BUY" else -1, steps, value, fill.fee, fill.ts)
        closing.pnl = fill.realized_pnl  # as the engine states it: a takeover's is not that of its price
        state.book(fill.realized_pnl - fill.fee)
        state.seq = row["seq"]
        record.closed_pnl += closing.net if closing.steps else 0
        row["closedSize"] = market.qty(closing.steps)
        row["execPnl"] = texts.money(fill.realized_pnl)
        if closing.steps:
            self._book_closed(record, closing, fill, row["execType"])
        self._post(market, "USDT", fill.realized_pnl - fill.fee, {
            "type": "LIQUIDATION" if row["execType"] == "BustTrade" else "TRADE", "cashFlow": texts.money(fill.realized_pnl),
            "fee": texts.money(fill.fee), "funding": "", **_trade_fields(record, row, market.qty(abs(state.steps))),
        })  # fmt: skip
        self.realised["USDT"] = self.realised.get("USDT", 0) + fill.realized_pnl - fill.fee

    def _book_closed(self, record: OrderRecord, closing: Any, fill: Fill, exec_type: str) -> None:
        latest = self.closed_pnl[-1] if self.closed_pnl else None
        if latest is None or latest.record is not record:
            leverage = texts.money(self.exchange.books[record.market.name].leverage)
            latest = ClosedPnl(self.next_number(), record, leverage, exec_type)
            self.closed_pnl.append(latest)
        latest.add(closing, fill.ts, self._times.wall_ms())

    def _book_spot(self, record: OrderRecord, fill: Fill, steps: int, value: int, row: dict[str, Any]) -> None:
        """Two coins change: quote and base; the fee is taken in the coin that was received."""
        market, instrument = record.market, record.market.instrument
        book = self.exchange.books[market.name]
        side = 1 if fill.side == "BUY" else -1
        ticks = instrument.price_grid.count(fill.price)
        paid = instrument.notional(ticks, steps, up=side > 0)
        units = steps * book.lot
        is_base_fee = fill.fee_coin == instrument.base
        fields = _trade_fields(record, row, market.qty(steps))
        for coin, flow, unit in ((instrument.quote, -side * paid, UNIT), (instrument.base, side * units, instrument.base_unit)):
            fee = fill.fee if (coin == instrument.base) == is_base_fee else 0
            entry = {"type": "TRADE", "cashFlow": texts.coins(flow, unit), "fee": texts.coins(fee, unit), "funding": "", **fields}
            self._post(market, coin, flow - fee, entry, unit)

    def _on_funding(self, payment: FundingPayment) -> None:
        """An execution of type Funding, and a settlement in the log; positive execFee is paid, negative funding in the log, too."""
        market = self.markets[payment.symbol]
        state = self.position(market.name, payment.position_idx)
        state.book(-payment.amount)
        state.updated = payment.ts
        steps = market.instrument.qty_grid.count(abs(payment.qty))
        side = "Buy" if payment.qty > 0 else "Sell"
        mark = round(payment.mark_price * UNIT)
        value = mul_div_floor(mark, steps * market.instrument.qty_grid.num, market.instrument.qty_grid.den)
        number = self.next_number()
        market.seq += 1
        row = {
            "category": market.category, "symbol": market.symbol,
            "orderId": f"{payment.ts // 1000}-{market.symbol_id}-{self.uid}-{payment.position_idx}-2",
            "orderLinkId": "", "side": side, "orderPrice": "0", "orderQty": "0", "leavesQty": "0", "createType": "", "orderType": "UNKNOWN",
            "stopOrderType": "UNKNOWN", "execFee": texts.money(payment.amount), "execFeeV2": "", "execId": self.ids.next("execution"),
            "execPrice": texts.decimal(payment.mark_price), "execQty": market.qty(steps), "execType": "Funding",
            "execValue": texts.money(value),
            "execTime": str(payment.ts), "feeCurrency": "USDT", "isMaker": False, "feeRate": texts.rate(payment.rate), "tradeIv": "",
            "markIv": "",
            "markPrice": texts.decimal(payment.mark_price), "indexPrice": "", "underlyingPrice": "", "blockTradeId": "", "closedSize": "",
            "seq": market.seq, "extraFees": "", "isLeverage": "0", "execPnl": "0", "marketUnit": "", "_number": number,
        }  # fmt: skip
        self._dirty[market.name] = None
        self._post(market, "USDT", -payment.amount, {
            "type": "SETTLEMENT", "cashFlow": "0", "fee": "0", "funding": texts.money(-payment.amount), "symbol": market.symbol,
            "side": side,
            "orderLinkId": "", "orderId": row["orderId"], "feeRate": texts.rate(payment.rate if payment.qty > 0 else -payment.rate),
            "size": market.qty(steps), "qty": market.qty(steps), "tradePrice": texts.decimal(payment.mark_price), "tradeId": row["execId"],
            "ts": payment.ts,
        })  # fmt: skip
        self.realised["USDT"] = self.realised.get("USDT", 0) - payment.amount
        self._file(row)

    def _execution_row(self, record: OrderRecord, fill: Fill, steps: int, value: int, exec_type: str) -> dict[str, Any]:
        market = record.market
        market.seq += 1
        book = self.exchange.books[market.name]
        instrument = market.instrument
        unit = instrument.base_unit if fill.fee_coin == instrument.base and not market.is_linear else UNIT
        return {
            "category": market.category, "symbol": market.symbol, "orderId": record.order_id, "orderLinkId": record.link_id,
            "side": record.side,
            "orderPrice": record.price or "0", "orderQty": market.qty(record.steps), "leavesQty": market.qty(record.leaves),
            "createType": record.create_type, "orderType": record.order_type, "stopOrderType": record.stop_order_type or "UNKNOWN",
            "execFee": texts.coins(fill.fee, unit), "execFeeV2": "", "execId": self.ids.next("execution"),
            "execPrice": market.price(fill.price),
            "execQty": market.qty(steps), "execType": exec_type, "execValue": texts.money(value), "execTime": str(fill.ts),
            "feeCurrency": fill.fee_coin, "isMaker": fill.maker, "feeRate": texts.rate(book.maker_fee if fill.maker else book.taker_fee),
            "tradeIv": "", "markIv": "", "markPrice": texts.decimal(book.mark), "indexPrice": texts.decimal(book.index),
            "underlyingPrice": "",
            "blockTradeId": "", "closedSize": "", "seq": market.seq, "extraFees": "", "isLeverage": record.is_leverage or "0",
            "execPnl": "0",
            "marketUnit": record.market_unit, "_number": self.next_number(),
        }  # fmt: skip

    def _file(self, row: dict[str, Any]) -> None:
        row["_seen"] = self._times.wall_ms()
        self.executions.append(row)
        self.outbox.append(("execution", row))

    def _post(self, market: SymbolMarket, coin: str, change: int, fields: dict[str, Any], unit: int = UNIT) -> None:
        """A line of the transaction log; the running balance is its own sum, not the ledger's."""
        self.wallet[coin] = self.wallet.get(coin, 0) + change
        ts = fields.pop("ts", None) or self.exchange.books[market.name].ts
        number = self.next_number()
        self.log.append({
            "id": f"{self.uid}_{market.symbol}_{number}", "transSubType": "", "change": texts.coins(change, unit),
            "cashBalance": texts.coins(self.wallet[coin], unit), "currency": coin, "category": market.category, "transactionTime": str(ts),
            "bonusChange": "", "extraFees": "", "_number": number, **fields,
        })  # fmt: skip

    def transfer(self, coin: str, amount: float) -> None:
        """Cash from outside, or (negative) back there. Raises ApiError when it is not free."""
        units = to_units(amount)
        if self.exchange.ledger.accounts(coin)[FREE] + units < 0:
            raise ApiError(110012, "insufficient available balance")  # ASSUMED words
        self.exchange.ledger.deposit(coin, units)
        self.wallet[coin] = self.wallet.get(coin, 0) + units
        self._log_transfer(units)

    def _log_transfer(self, units: int) -> None:
        number = self.next_number()
        amount = texts.money(units)
        self.log.append({
            "id": f"{self.uid}_USDT_{number}", "transSubType": "", "change": amount, "cashBalance": texts.money(self.wallet["USDT"]),
            "currency": "USDT", "category": "", "transactionTime": str(self.clock.now_ms), "bonusChange": "", "extraFees": "",
            "_number": number, "type": "TRANSFER_IN" if units > 0 else "TRANSFER_OUT",
            "cashFlow": amount, "fee": "0", "funding": "", "symbol": "", "side": "None", "orderLinkId": "", "orderId": "", "feeRate": "",
            "size": "", "qty": "", "tradePrice": "", "tradeId": "",
        })  # fmt: skip


def _trade_fields(record: OrderRecord, row: dict[str, Any], size: str) -> dict[str, Any]:
    return {
        "symbol": record.market.symbol, "side": record.side, "orderLinkId": record.link_id, "orderId": record.order_id,
        "feeRate": row["feeRate"], "size": size, "qty": row["execQty"], "tradePrice": row["execPrice"], "tradeId": row["execId"],
        "ts": int(row["execTime"]),
    }  # fmt: skip


def _reject_reason(reason: str) -> str:
    """The engine's reason as one of the exchange's enum; a code of a late refusal has no word there (ASSUMED: EC_Others)."""
    return reason if reason.startswith("EC_") else "EC_Others"


def _renamed(market: SymbolMarket) -> Any:
    import msgspec

    return msgspec.structs.replace(market.instrument, symbol=market.name)
