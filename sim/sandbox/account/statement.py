"""An account's statement: executions, positions, closed PnL and the transaction log, written from the engine's fills and payments alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from keel.core.model.messages import Fill, FundingPayment
from keel.core.model.money import UNIT, mul_div_floor
from keel.sim.exchange.exchange import SimulatedExchange
from keel.sim.sandbox import texts
from keel.sim.sandbox.account.ids import IdSource
from keel.sim.sandbox.account.records import ClosedPnl, Closing, PositionState, SandboxOrder
from keel.sim.sandbox.market.symbol_market import SymbolMarket

QUOTE: Final = "USDT"
"""What accounts are held in."""
SETTLED_IN: Final = (QUOTE, "USDC")
"""In what contracts and pairs may be quoted and settled: each coin has a wallet of its own, and none stands for the other."""


_LOG_TYPES: Final = {"BustTrade": "LIQUIDATION", "AdlTrade": "ADL"}


class Times(Protocol):
    """The wall clock, as an account needs it."""

    def wall_ms(self) -> int: ...


class Statement:
    """Money in 1e-8 of its coin (of spot base coins: in their own unit)."""

    def __init__(self, uid: int, exchange: SimulatedExchange, ids: IdSource, next_number: Callable[[], int], times: Times) -> None:
        self._uid, self._exchange, self._ids, self._next_number, self._times = uid, exchange, ids, next_number, times
        self.executions: list[dict[str, Any]] = []
        """Rows as the stream gives them, oldest first, each with ``_seen`` (wall time) and ``_number``."""
        self.executions_of: dict[str, list[dict[str, Any]]] = {}
        """Rows by the order's id."""
        self.log: list[dict[str, Any]] = []
        self.closed_pnl: list[ClosedPnl] = []
        self.positions: dict[tuple[str, int], PositionState] = {}
        self.wallet: dict[str, int] = {}
        """What the log adds up to, by coin."""
        self.realised: dict[str, int] = {}

    def position(self, market: SymbolMarket, idx: int) -> PositionState:
        """The state of a position; made when first asked for."""
        key = (market.name, idx)
        if key not in self.positions:
            self.positions[key] = PositionState(market, idx)
        return self.positions[key]

    def trade(self, record: SandboxOrder, fill: Fill, exec_type: str) -> dict[str, Any]:
        """A fill of an order: the order's sums, the position, the log; returns the execution."""
        market = record.market
        instrument = market.instrument
        steps = instrument.qty_grid.count(fill.qty)
        value = instrument.notional(instrument.price_grid.count(fill.price), steps)
        record.filled += steps
        record.steps = max(record.steps, record.filled + record.leaves)
        record.value += value
        record.fees[fill.fee_coin] = record.fees.get(fill.fee_coin, 0) + fill.fee
        row = self._execution_row(record, fill, steps, value, exec_type)
        if market.is_linear:
            self._book_linear(record, fill, steps, value, row)
        else:
            self._book_spot(record, fill, steps, row)
        return self._file(row)

    def funding(self, market: SymbolMarket, payment: FundingPayment) -> dict[str, Any]:
        """An execution of type Funding, and a settlement in the log; positive execFee is paid, negative funding in the log, too."""
        coin = market.instrument.quote
        state = self.position(market, payment.position_idx)
        state.book(-payment.amount)
        state.updated = payment.ts
        steps = market.instrument.qty_grid.count(abs(payment.qty))
        side = "Buy" if payment.qty > 0 else "Sell"
        mark = round(payment.mark_price * UNIT)
        value = mul_div_floor(mark, steps * market.instrument.qty_grid.num, market.instrument.qty_grid.den)
        number = self._next_number()
        market.seq += 1
        row = {
            "category": market.category, "symbol": market.symbol,
            "orderId": f"{payment.ts // 1000}-{market.symbol_id}-{self._uid}-{payment.position_idx}-2",
            "orderLinkId": "", "side": side, "orderPrice": "0", "orderQty": "0", "leavesQty": "0", "createType": "", "orderType": "UNKNOWN",
            "stopOrderType": "UNKNOWN", "execFee": texts.money(payment.amount), "execFeeV2": "", "execId": self._ids.next("execution"),
            "execPrice": texts.decimal(payment.mark_price), "execQty": market.qty(steps), "execType": "Funding",
            "execValue": texts.money(value),
            "execTime": str(payment.ts), "feeCurrency": coin, "isMaker": False, "feeRate": texts.rate(payment.rate), "tradeIv": "",
            "markIv": "",
            "markPrice": texts.decimal(payment.mark_price), "indexPrice": "", "underlyingPrice": "", "blockTradeId": "", "closedSize": "",
            "seq": market.seq, "extraFees": "", "isLeverage": "0", "execPnl": "0", "marketUnit": "", "_number": number,
        }  # fmt: skip
        self._post(market, coin, -payment.amount, {
            "type": "SETTLEMENT", "cashFlow": "0", "fee": "0", "funding": texts.money(-payment.amount), "symbol": market.symbol,
            "side": side,
            "orderLinkId": "", "orderId": row["orderId"], "feeRate": texts.rate(payment.rate if payment.qty > 0 else -payment.rate),
            "size": market.qty(steps), "qty": market.qty(steps), "tradePrice": texts.decimal(payment.mark_price), "tradeId": row["execId"],
            "ts": payment.ts,
        })  # fmt: skip
        self.realised[coin] = self.realised.get(coin, 0) - payment.amount
        return self._file(row)

    def transfer(self, coin: str, units: int, ts: int, kind: str = "", unit: int = UNIT) -> None:
        """Money from outside, or (negative) back there, in 1/unit; ``kind``: its type in the log, where it is no transfer."""
        self.wallet[coin] = self.wallet.get(coin, 0) + units
        number = self._next_number()
        amount = texts.coins(units, unit)
        self.log.append({
            "id": f"{self._uid}_{coin}_{number}", "transSubType": "", "change": amount,
            "cashBalance": texts.coins(self.wallet[coin], unit),
            "currency": coin, "category": "", "transactionTime": str(ts), "bonusChange": "", "extraFees": "",
            "_number": number, "type": kind or ("TRANSFER_IN" if units > 0 else "TRANSFER_OUT"),
            "cashFlow": amount, "fee": "0", "funding": "", "symbol": "", "side": "None", "orderLinkId": "", "orderId": "", "feeRate": "",
            "size": "", "qty": "", "tradePrice": "", "tradeId": "",
        })  # fmt: skip

    def _book_linear(self, record: SandboxOrder, fill: Fill, steps: int, value: int, row: dict[str, Any]) -> None:
        market = record.market
        state = self.position(market, fill.position_idx)
        closing = state.apply(1 if fill.side == "BUY" else -1, steps, value, fill.fee, fill.ts)
        closing.pnl = fill.realized_pnl  # as the engine states it: a takeover's is not that of its price
        state.book(fill.realized_pnl - fill.fee)
        state.seq = row["seq"]
        record.closed_pnl += closing.net if closing.steps else 0
        row["closedSize"] = market.qty(closing.steps)
        row["execPnl"] = texts.money(fill.realized_pnl)
        if closing.steps:
            self._book_closed(record, closing, fill, row["execType"])
        coin = market.instrument.quote
        self._post(market, coin, fill.realized_pnl - fill.fee, {
            "type": _LOG_TYPES.get(row["execType"], "TRADE"), "cashFlow": texts.money(fill.realized_pnl),
            "fee": texts.money(fill.fee), "funding": "", **_trade_fields(record, row, market.qty(abs(state.steps))),
        })  # fmt: skip
        self.realised[coin] = self.realised.get(coin, 0) + fill.realized_pnl - fill.fee

    def _book_closed(self, record: SandboxOrder, closing: Closing, fill: Fill, exec_type: str) -> None:
        latest = self.closed_pnl[-1] if self.closed_pnl else None
        if latest is None or latest.record is not record:
            leverage = texts.money(self._exchange.books[record.market.name].leverage)
            latest = ClosedPnl(self._next_number(), record, leverage, exec_type)
            self.closed_pnl.append(latest)
        latest.add(closing, fill.ts, self._times.wall_ms())

    def _book_spot(self, record: SandboxOrder, fill: Fill, steps: int, row: dict[str, Any]) -> None:
        """Two coins change: quote and base; the fee is taken in the coin that was received."""
        market, instrument = record.market, record.market.instrument
        book = self._exchange.books[market.name]
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

    def _execution_row(self, record: SandboxOrder, fill: Fill, steps: int, value: int, exec_type: str) -> dict[str, Any]:
        market = record.market
        market.seq += 1
        book = self._exchange.books[market.name]
        instrument = market.instrument
        unit = instrument.base_unit if fill.fee_coin == instrument.base and not market.is_linear else UNIT
        return {
            "category": market.category, "symbol": market.symbol, "orderId": record.order_id, "orderLinkId": record.link_id,
            "side": record.side,
            "orderPrice": record.price or "0", "orderQty": market.qty(record.steps), "leavesQty": market.qty(record.leaves),
            "createType": record.create_type, "orderType": record.order_type, "stopOrderType": record.stop_order_type or "UNKNOWN",
            "execFee": texts.coins(fill.fee, unit), "execFeeV2": "", "execId": self._ids.next("execution"),
            "execPrice": market.price(fill.price),
            "execQty": market.qty(steps), "execType": exec_type, "execValue": texts.money(value), "execTime": str(fill.ts),
            "feeCurrency": fill.fee_coin, "isMaker": fill.maker, "feeRate": texts.rate(book.maker_fee if fill.maker else book.taker_fee),
            "tradeIv": "", "markIv": "", "markPrice": texts.decimal(book.mark), "indexPrice": texts.decimal(book.index),
            "underlyingPrice": "",
            "blockTradeId": "", "closedSize": "", "seq": market.seq, "extraFees": "", "isLeverage": record.is_leverage or "0",
            "execPnl": "0",
            "marketUnit": record.market_unit, "_number": self._next_number(),
        }  # fmt: skip

    def _file(self, row: dict[str, Any]) -> dict[str, Any]:
        row["_seen"] = self._times.wall_ms()
        self.executions.append(row)
        self.executions_of.setdefault(row["orderId"], []).append(row)
        return row

    def _post(self, market: SymbolMarket, coin: str, change: int, fields: dict[str, Any], unit: int = UNIT) -> None:
        """A line of the transaction log; the running balance is its own sum, not the ledger's."""
        self.wallet[coin] = self.wallet.get(coin, 0) + change
        ts = fields.pop("ts", None) or self._exchange.books[market.name].ts
        number = self._next_number()
        self.log.append({
            "id": f"{self._uid}_{market.symbol}_{number}", "transSubType": "", "change": texts.coins(change, unit),
            "cashBalance": texts.coins(self.wallet[coin], unit), "currency": coin, "category": market.category, "transactionTime": str(ts),
            "bonusChange": "", "extraFees": "", "_number": number, **fields,
        })  # fmt: skip


def _trade_fields(record: SandboxOrder, row: dict[str, Any], size: str) -> dict[str, Any]:
    return {
        "symbol": record.market.symbol, "side": record.side, "orderLinkId": record.link_id, "orderId": record.order_id,
        "feeRate": row["feeRate"], "size": size, "qty": row["execQty"], "tradePrice": row["execPrice"], "tradeId": row["execId"],
        "ts": int(row["execTime"]),
    }  # fmt: skip
