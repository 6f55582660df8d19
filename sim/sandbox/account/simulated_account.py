"""One account: a simulated exchange of its own, and what its events mean in the exchange's words.

Orders are kept here, and executions, positions and the transaction log in its ``statement``, from the engine's messages alone; the engine's
ledger is never asked for them. That both agree is checked by ``truth``.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from keel.core.engine.clock import ReplayClock
from keel.core.errors import ConfigError
from keel.core.model.instrument import Instrument, generic_tiers
from keel.core.model.messages import Fill, FundingPayment, Liquidation, Message, OrderUpdate, Side
from keel.core.model.money import UNIT, to_units
from keel.core.system.config import ExecutionConfig, MarginMode
from keel.sim.exchange.book import STOP_LOSS, TAKE_PROFIT, TRAILING, UNTRIGGERED, Position, SymbolBook, WorkingOrder
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.sim.margin.isolated import IsolatedMargin
from keel.sim.margin.ledger import FREE
from keel.sim.sandbox import texts
from keel.sim.sandbox.account.ids import IdSource
from keel.sim.sandbox.account.records import ADL, NO_ERROR, OPEN, SandboxOrder
from keel.sim.sandbox.account.statement import QUOTE, SETTLED_IN, Statement, Times
from keel.sim.sandbox.http.auth import keyed
from keel.sim.sandbox.http.errors import ApiError
from keel.sim.sandbox.market.symbol_market import SymbolMarket
from keel.sim.sandbox.settings import AccountSettings

BY_CANCEL_TYPE: Final = (
    "CancelByUser", "CancelByReduceOnly", "CancelByTpSlTsClear", "CancelAllBeforeLiq", "CancelByOCOTpCanceledBySlTriggered",
    "CancelByOCOSlCanceledByTpTriggered",
)  # fmt: skip
STORY_KEPT: Final = 200_000
ACCOUNT_UIDS: Final = 100_000
"""The account numbered n has the user id that lies n above."""
CLOSED_KEPT: Final = 100_000
_SOURCE_NAMES: Final = ("LastPrice", "MarkPrice", "IndexPrice")
SIDES: Final[dict[Side, str]] = {"BUY": "Buy", "SELL": "Sell"}


class SimulatedAccount:
    """Orders in, rows out. ``outbox`` collects (topic, row) for the private stream until the server takes them."""

    def __init__(
        self, number: int, settings: AccountSettings, markets: Mapping[str, SymbolMarket], execution: ExecutionConfig, clock: ReplayClock,
        ids: IdSource, times: Times, first_number: int = 0,
    ) -> None:  # fmt: skip
        self.uid = ACCOUNT_UIDS + number
        self._numbers = first_number
        self.settings = settings
        self.signer = keyed(settings.secret)
        self.margin_mode: MarginMode = settings.margin_mode or "isolated"
        self.markets = markets
        foreign = [market.symbol for market in markets.values() if market.instrument.quote not in SETTLED_IN]
        if foreign:
            raise ConfigError(
                f"the sandbox's accounts hold {' and '.join(SETTLED_IN)}, and {', '.join(foreign)} is quoted in neither: leave it out"
            )
        self.quotes = tuple(coin for coin in SETTLED_IN if any(market.instrument.quote == coin for market in markets.values()))
        """The coins in which its markets settle. It begins with the same amount of each."""
        self.clock, self._times = clock, times
        self.ids = ids
        self.exchange = SimulatedExchange(
            list(markets), settings.usdt, execution, RiskProfileConfig(leverage=1.0, margin_mode=self.margin_mode),
            instruments={name: _renamed(market) for name, market in markets.items()}, clock=clock, emit=self._receive,
        )  # fmt: skip
        self.is_hedge: dict[str, bool] = {}
        self.adds_margin: set[str] = set()
        """Perpetuals with auto-add-margin switched on: the setting alone, nothing is added here."""
        self.fee_coin: tuple[str, float] | None = None
        """(coin, USDT a coin) in which fees of perpetuals are taken; None: in USDT."""
        for name, market in markets.items():
            if market.is_linear:
                self._prepare(self.exchange.books[name], settings)
                self.is_hedge[name] = settings.hedge
        self.orders: dict[str, SandboxOrder] = {}
        self.by_order_id: dict[str, SandboxOrder] = {}
        self.by_link_id: dict[tuple[str, str], SandboxOrder] = {}
        self.open_orders: dict[str, SandboxOrder] = {}
        self.consumed: set[str] = set()
        """Names that the engine has seen on orders which were refused: it would call them used."""
        self.closed_orders: list[SandboxOrder] = []
        """By their number."""
        self.recent_closed: deque[SandboxOrder] = deque(maxlen=500)
        self.statement = Statement(self.uid, self.exchange, self.ids, self.next_number, times)
        self.creates: list[dict[str, Any]] = []
        """Every create that was looked at, refused or not: its names, the wall time it was received, and the code of its answer."""
        self.story: deque[tuple[Any, ...]] = deque(maxlen=STORY_KEPT)
        """What became of orders, in its order: (time, "order", order id, client id, symbol, side, reduces, status, steps open, price) and
        (time, "trade", order id, client id, symbol, side, reduces, steps, price). Times are the wall clock's."""
        self.outbox: list[tuple[str, dict[str, Any]]] = []
        self.is_heard = True
        """Whether anybody listens to the private stream: the rows of one that nobody hears stay empty, and are counted only."""
        self.keeps_versions = False
        self.liquidations: list[tuple[SymbolMarket, Liquidation]] = []
        self.is_answering = False
        """Whether a request waits for the engine's answer: a refusal is then its error, not a push."""
        self._held: Fill | None = None
        self._dirty: dict[str, None] = {}
        self._balances: list[list[int]] = []
        for coin in self.quotes:
            self.statement.transfer(coin, to_units(settings.usdt), clock.now_ms)
        self._remember_balances()

    @staticmethod
    def _prepare(book: SymbolBook, settings: AccountSettings) -> None:
        tiers = book.instrument.tiers or generic_tiers()
        book.margin = IsolatedMargin(to_units(settings.leverage), book.taker_fee, tiers)
        book.leverage = book.margin.leverage
        if settings.hedge:
            book.positions = [Position(book.instrument, idx) for idx in (1, 2)]

    # --- what others ask ---

    def next_number(self) -> int:
        """A number that rises with every order and execution."""
        self._numbers += 1
        return self._numbers

    def note_create(self, link_id: str, order_id: str, code: int) -> None:
        """A create has been answered."""
        self.creates.append({"orderLinkId": link_id, "orderId": order_id, "code": code, "received": self._times.wall_ms()})

    def register(self, record: SandboxOrder) -> None:
        """Take on an order before the engine has seen it."""
        self.orders[record.sim_id] = record
        self.by_order_id[record.order_id] = record
        if record.link_id:
            self.by_link_id[record.category, record.link_id] = record
        self.open_orders[record.sim_id] = record
        self.push_history(record)

    def forget(self, record: SandboxOrder) -> None:
        """An order that was refused on the spot never existed (its client id stays free)."""
        self.orders.pop(record.sim_id, None)
        self.by_order_id.pop(record.order_id, None)
        self.by_link_id.pop((record.category, record.link_id), None)
        self.open_orders.pop(record.sim_id, None)
        self.consumed.add(record.sim_id)
        record.status, record.leaves = "Rejected", 0
        self.push_history(record)

    def touch(self, market: SymbolMarket) -> None:
        """A create, amend or cancel: the position is pushed even without change."""
        if market.is_linear:
            self._dirty[market.name] = None

    def finish(self, position_row: Callable[[str, int], dict[str, Any]], wallet_row: Callable[[], dict[str, Any]]) -> None:
        """After a batch of events: positions of what was touched, and the wallet where a balance has changed."""
        for name in self._dirty:
            for position in self.exchange.books[name].positions:
                self.outbox.append(("position", position_row(name, position.idx) if self.is_heard else {}))
        self._dirty.clear()
        if self._remember_balances():
            self.outbox.append(("wallet", wallet_row() if self.is_heard else {}))

    def _remember_balances(self) -> bool:
        now = [accounts[:3] for accounts in self.exchange.ledger.coins.values()]
        has_changed = now != self._balances
        self._balances = now
        return has_changed

    # --- the engine's messages ---

    def _receive(self, message: Message) -> None:
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
        self.push_order(record)

    def _on_refused_change(self, record: SandboxOrder, update: OrderUpdate) -> None:
        record.refusal = update.reason
        if self.is_answering or update.status == "amend_rejected" or record.status != "Filled":
            return
        row = record.push()  # a cancel that lost the race: a second Filled
        row["cancelType"], row["rejectReason"] = "CancelByUser", "EC_OrigClOrdIDDoesNotExist"
        self.outbox.append(("order", row))

    def _on_amended(self, record: SandboxOrder, update: OrderUpdate) -> None:
        grid = record.market.instrument.qty_grid
        record.leaves = grid.count(update.leaves_qty)
        record.steps = record.leaves + record.filled
        self._set_price(record, update)
        if update.trigger_price is not None:
            record.trigger_price = record.market.price(update.trigger_price)

    def _on_triggered(self, record: SandboxOrder, update: OrderUpdate) -> None:
        grid = record.market.instrument.qty_grid
        record.leaves = grid.count(update.leaves_qty)
        record.steps = record.leaves + record.filled
        record.status = "Triggered"
        self._set_price(record, update)
        self.push_order(record)
        if update.order_type == "stop_limit":
            record.status = "New"
            self.push_order(record)

    def _on_ended(self, record: SandboxOrder, update: OrderUpdate) -> None:
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

    def push_order(self, record: SandboxOrder) -> None:
        """Push an order as it is now, and file it where it belongs. One by which the exchange deleverages is never seen resting."""
        if record.create_type == ADL and record.is_open:
            return
        record.is_announced = True
        self.push_history(record)
        if self.keeps_versions:
            record.versions.append((self._times.wall_ms(), record.row()))
            del record.versions[:-8]
        if not record.is_open and self.open_orders.pop(record.sim_id, None) is not None:
            insort(self.closed_orders, record, key=lambda each: each.number)
            del self.closed_orders[:-CLOSED_KEPT]
            self.recent_closed.append(record)
        self.outbox.append(("order", record.push() if self.is_heard else {}))

    def push_history(self, record: SandboxOrder, status: str = "") -> None:
        """Note what an order is now. One that nobody has looked at yet may fill whole."""
        rest = (record.leaves or record.steps - record.filled) if record.status in OPEN else 0
        self.story.append((
            self._times.wall_ms(), "order", record.order_id, record.link_id, record.market.symbol, record.side, record.reduce_only,
            status or record.status, rest, record.price,
        ))  # fmt: skip

    def _push_trade(self, record: SandboxOrder, row: Mapping[str, Any]) -> None:
        steps = record.market.instrument.qty_grid.count(float(row["execQty"]))
        self.story.append((
            self._times.wall_ms(), "trade", record.order_id, record.link_id, record.market.symbol, record.side, record.reduce_only, steps,
            row["execPrice"],
        ))  # fmt: skip

    def _set_price(self, record: SandboxOrder, update: OrderUpdate) -> None:
        if update.price is not None and record.order_type == "Limit":
            record.price = record.market.price(update.price)

    def _adopt(self, update: OrderUpdate, live: WorkingOrder) -> SandboxOrder:
        """An order that the venue made by itself: a bracket's exit."""
        market = self.markets[update.symbol]
        parent = self.orders.get(live.parent_id or "")
        role = {STOP_LOSS: "StopLoss", TAKE_PROFIT: "TakeProfit", TRAILING: "TrailingStop"}[live.role]
        if not live.is_full:
            role = f"Partial{role}"
        trigger = live.activation if live.activation is not None else live.trigger
        record = SandboxOrder(
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

    def _execute(self, record: SandboxOrder, fill: Fill) -> None:
        """A trade: order, then execution."""
        row = self._in_fee_coin(record, fill)
        self._push_trade(record, row)
        self.push_order(record)
        self.outbox.append(("execution", row))

    def _in_fee_coin(self, record: SandboxOrder, fill: Fill) -> dict[str, Any]:
        """The execution, with its fee in the coin in which fees are taken. That coin's own wallet is not simulated."""
        exec_type = "AdlTrade" if record.create_type == ADL else "Trade"
        if self.fee_coin is None or not record.market.is_linear or not fill.fee:
            return self.statement.trade(record, fill, exec_type)
        coin, price = self.fee_coin
        row = self.statement.trade(record, msgspec.structs.replace(fill, fee=0), exec_type)
        self.exchange.ledger.deposit(record.market.instrument.quote, fill.fee)
        fee = round(fill.fee / price)
        record.fees[coin] = record.fees.get(coin, 0) + fee
        row["execFee"], row["feeCurrency"] = texts.money(fee), coin
        return row

    def _on_takeover(self, fill: Fill) -> None:
        """A liquidation: an order of the exchange's own, filled at once at the bankruptcy price (cross margin: at the mark)."""
        market = self.markets[fill.symbol]
        name = f"{fill.client_order_id}@{fill.fill_id}"
        record = SandboxOrder(
            self.next_number(), market, name, self.ids.next("order"), "", SIDES[fill.side], "Market", "IOC",
            market.instrument.qty_grid.count(fill.qty), market.price(fill.price), fill.ts, fill.ts, status="Filled",
            position_idx=fill.position_idx, reduce_only=True, create_type="CreateByTakeOver_PassThrough",
            last_price=market.price(market.last),
        )  # fmt: skip
        self.register(record)
        self.touch(market)
        row = self.statement.trade(record, fill, "BustTrade")
        self._push_trade(record, row)
        self.push_order(record)
        self.outbox.append(("execution", row))

    def _on_funding(self, payment: FundingPayment) -> None:
        market = self.markets[payment.symbol]
        self.touch(market)
        self.outbox.append(("execution", self.statement.funding(market, payment)))

    def available(self, coin: str) -> int:
        """What there is of USDT or USDC for new orders, in 1e-8: free cash, or under cross margin what of the margin balance no order and
        no position needs (below zero when there is too little)."""
        cross = self.exchange.cross_accounts.get(coin)
        return self.exchange.ledger.accounts(coin)[FREE] if cross is None else cross.available()

    def unit_of(self, coin: str) -> int:
        """In how many parts a coin is counted: 1e8, or the finer unit of a spot pair's base coin."""
        pairs = (market.instrument for market in self.markets.values() if not market.is_linear)
        return next((instrument.base_unit for instrument in pairs if instrument.base == coin), UNIT)

    def transfer(self, units: int, kind: str = "", coin: str = QUOTE) -> None:
        """USDT or USDC (1e-8) from outside, or (negative) back there, as a row of this type in the log ("": TRANSFER_IN or TRANSFER_OUT).
        Raises ApiError when it is not free: unrealised profit cannot leave."""
        if units < 0 and min(self.exchange.ledger.accounts(coin)[FREE], self.available(coin)) + units < 0:
            raise ApiError(110012, "insufficient available balance")  # ASSUMED words
        self.exchange.ledger.deposit(coin, units)
        self.statement.transfer(coin, units, self.clock.now_ms, kind)

    def transfer_coins(self, market: SymbolMarket, units: int, kind: str = "") -> None:
        """Transfer a spot pair's base coin, in its own unit. What comes in is valued at its latest price. Raises ApiError when it is not
        free."""
        instrument, position = market.instrument, self.exchange.books[market.name].positions[0]
        if self.exchange.ledger.accounts(instrument.base)[FREE] + units < 0:
            raise ApiError(110012, "insufficient available balance")  # ASSUMED words
        value = round(abs(units) * market.last * UNIT / instrument.base_unit)
        if units > 0:
            position.increase(units, value)
        else:
            position.reduce(min(-units, position.steps), value)
        self.exchange.ledger.deposit(instrument.base, units)
        self.statement.transfer(instrument.base, units, self.clock.now_ms, kind, instrument.base_unit)


def _reject_reason(reason: str) -> str:
    """The engine's reason as one of the exchange's enum; a code of a late refusal has no word there (ASSUMED: EC_Others)."""
    return reason if reason.startswith("EC_") else "EC_Others"


def _renamed(market: SymbolMarket) -> Instrument:
    return msgspec.structs.replace(market.instrument, symbol=market.name)
