"""A session over such an exchange: the real adapter, gate, reconciler, statement, protection and health checks, over a portfolio and a
journal in memory. Only the strategy is missing: a script gives orders. A minute of it takes some milliseconds, and is the same every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Final, Literal, cast

import msgspec

from keel.adapters.bybit.execution.access import Access, Ports, VenueOptions
from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.adapters.bybit.execution.tracking.past import Past, seen_of
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.execution.venue import BybitVenue, RecoveredOrder
from keel.adapters.bybit.market.market_data import MarketReader
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.credentials import Credentials, Secret
from keel.adapters.bybit.transport.endpoints import Environment, endpoints
from keel.adapters.bybit.transport.exchange_clock import MarketClock, ServerClock
from keel.adapters.bybit.transport.rate_budget import Budget
from keel.adapters.bybit.transport.rest import Answer, RestClient
from keel.adapters.bybit.transport.send_stop import Durable, Written, durable_already, untold
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.parsing import units
from keel.adapters.bybit.wire.return_codes import Outcome
from keel.adapters.machine import monotonic_ms, wall_ms
from keel.core.actors.portfolio import Portfolio
from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.errors import VenueError
from keel.core.model.messages import Fill, FundingPayment, Message, OrderUpdate, SubmitOrder
from keel.core.model.orders import CLOSED, advance
from keel.core.risk.gate.gate import Gate
from keel.runners.live.checks.comparison import AccountDifference
from keel.runners.live.checks.health_checks import HealthChecks
from keel.runners.live.checks.protection import Protection
from keel.runners.live.checks.reconcile import Reconciler, differences
from keel.runners.live.checks.statement import Statement
from keel.runners.live.checks.transaction_log import log_rows
from keel.runners.live.memory.activity import ActivityRecorder
from keel.runners.live.memory.history import JournalHistory
from keel.runners.live.memory.records import Adjusted, CauseEnded, CauseRaised, ClosePosition, Opened, Stated
from tests.runners.live.socketless.exchange import START_MS, Exchange, S
from tests.sim.sandbox.conftest import KEY, SECRET
from tests.virtual.loop import run_virtual

LEVERAGE: Final = 10.0


class _Rest(RestClient):
    """Asks an Exchange by calls."""

    exchange: Exchange
    may_enter: Callable[[str], object]

    async def _once(
        self,
        method: str,
        path: str,
        fields: Mapping[str, Any],
        *,
        private: bool,
        amount: int = 1,
        written: Written = untold,
        durable: Durable = durable_already,
    ) -> Answer:
        if why := await durable():
            return Answer(Outcome.NOT_SENT, message=why)
        written()
        if path == "/v5/order/create" and not fields.get("reduceOnly"):
            self.may_enter(str(fields["orderLinkId"]))
        return self._understand(path, 200, {}, msgspec.json.encode(self.exchange.ask(method, path, fields)))


class Trader:
    """One life of a session. ``journal``: what the lives before wrote; ``session``: its number."""

    def __init__(self, exchange: Exchange, journal: Sequence[Message], session: int) -> None:
        self.exchange, self.session = exchange, session
        self.journal: list[Message] = []
        self.notices: list[Notice] = []
        self.instruments = {S: exchange.instruments()[S]}
        self._orders = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.bus, self.clock = Bus(), ReplayClock(exchange.now_ms)
        self._rest = self._client()
        self._past = list(journal)

    def _client(self) -> _Rest:
        where = endpoints(Environment.SANDBOX)
        credentials = Credentials(Environment.SANDBOX, Secret(KEY), Secret(SECRET))
        clock = ServerClock(wall_ms)
        rest = _Rest(cast(Any, None), where, credentials, clock, Budget(monotonic_ms, asyncio.sleep), notify=self.notices.append)
        rest.exchange, rest.may_enter = self.exchange, self._may_enter
        return rest

    # --- life ---

    async def start(self) -> None:
        """Hear the journal again, read everything, compare; then go on."""
        if not self._past:
            self._past = [await self._opened()]
        opened = self._past[0]
        assert isinstance(opened, Opened)
        self.portfolio = Portfolio(self.instruments.values(), opened.cash)
        writer, self.history = ActivityRecorder(self.portfolio, LEVERAGE, self.clock), JournalHistory.begun(opened)
        self.tape = writer.tape
        for kind, handler in writer.before_actors.items():
            self.bus.subscribe(kind, handler)
        self.bus.subscribe(Fill, self.portfolio.on_fill)
        self.bus.subscribe(FundingPayment, self.portfolio.on_funding)
        for message in self._past:
            self._take(message)
        self.gate = Gate([S], now_ms=lambda: self.exchange.now_ms)
        self.gate.listen(on_entry=self._on_entry)
        self.gate.close("starting", "the account is being read")
        for each in sorted(self.history.standing.values(), key=lambda cause: cause.ts):
            self.gate.close(each.cause, each.text, each.symbol or None, each.key)
        self._make_venue(opened)
        self.books: Any = SimpleNamespace(
            opened=opened, portfolio=self.portfolio, clock=self.clock, history=self.history, tape=self.tape, bus=self.bus
        )
        self.reconciler = Reconciler(self.books, self.venue, self._rest, "USDT", self._notify, hear=self.hear, settled=_settled)
        self.statement = Statement(self.books, self.venue, self._rest, "USDT", self._notify, write=self.hear, settled=_settled)
        self.protection = Protection(self.venue, "flatten", self._notify, hear=self._close_position, now_ms=lambda: self.exchange.now_ms)
        self.protection.listen(self.bus)
        self._tasks = [asyncio.create_task(self._venue_runs()), asyncio.create_task(self.protection.run())]
        self.exchange.hears = self._hear_push
        await self._connect()
        self.venue.private.stream._ready.set()
        await self.reconciler.check(at_once=True)
        self._make_health_checks()
        self.gate.open("starting")
        self._tasks.append(asyncio.create_task(self._look_after()))

    async def stop(self) -> None:
        """As kill -9 does it: whatever is under way is gone."""
        self.exchange.hears = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def check_alive(self) -> None:
        """Raises what ended one of the tasks."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _opened(self) -> Opened:
        reader, now = AccountReader(self._rest, "linear"), self.exchange.now_ms
        wallet, rows = await reader.wallet(), await log_rows(self._rest, "", now - 3_600_000, now + 60_000)
        (cash,) = [units(str(coin.walletBalance)) for coin in wallet.coin if coin.coin == "USDT"]
        return Opened(now, now, "account", "ab12cd34", cash, log_rows=tuple(row.key for row in rows))

    def _make_venue(self, opened: Opened) -> None:
        self.market = MarketClock(self._rest.clock)
        credentials = Credentials(Environment.SANDBOX, Secret(KEY), Secret(SECRET))
        access = Access(endpoints(Environment.SANDBOX), cast(Any, None), credentials, self._rest, "linear", self.market)
        past = Past(
            seen=seen_of([*self.tape.fills, *self.tape.payments]) | set(opened.executions),
            since_ms=max(opened.ts, self.history.last_execution_ms), opened_ms=opened.ts, evidence=dict(self.history.absent),
            own_prefix="ab12cd34-0-",
        )  # fmt: skip
        ports = Ports(
            publish=self.hear, journal=self.hear, notify=self._notify, note=self.hear,
            witness=lambda symbol: self.reconciler.against(symbol),
            on_unprotected=lambda symbol, why: self.protection.refused(symbol, why),
        )  # fmt: skip
        self.venue = BybitVenue(
            access, self.instruments, past, ports, gate=self.gate, options=VenueOptions(use_trade_stream=False, now_ms=monotonic_ms)
        )
        line = self.portfolio.lines[S]
        open_, brackets, names = self._recovered()
        holdings = {S: (line.book.steps, line.book.cost)} if line.book.steps else {}
        self.venue.recover(
            open_, used_names=names, open_brackets=[(one.parent_id or "", one.client_order_id) for one in brackets], holdings=holdings
        )
        for order in brackets:
            self.venue.tracker.orders.add(order)
        self.venue.private.stream.reconnect = self._reconnect  # type: ignore[method-assign]

    def _recovered(self) -> tuple[list[RecoveredOrder], list[TrackedOrder], list[str]]:
        """Orders that the journal holds open, exits of brackets that it holds open, and the names of all exits."""
        commands: dict[str, SubmitOrder] = {}
        latest: dict[str, OrderUpdate] = {}
        for message in self._past:
            if isinstance(message, SubmitOrder):
                commands.setdefault(message.client_order_id, message)
            elif isinstance(message, OrderUpdate) and message.status not in ("amended", "cancel_rejected", "amend_rejected"):
                latest[message.client_order_id] = message
        found = []
        for name, command in commands.items():
            update = latest.get(name)
            state = "pending_submit" if update is None else advance("pending_submit", update.status)
            if state not in CLOSED:
                found.append(RecoveredOrder(command, state, 0.0 if update is None else update.filled_qty))
        brackets = []
        for name, update in latest.items():
            if update.parent_id is not None and update.status not in CLOSED:
                role = name.rpartition("-")[2].rstrip("0123456789")
                order = TrackedOrder(name, self.instruments[S], update.side or "SELL", 0, parent_id=update.parent_id, role=role)
                order.life.told = "accepted"
                brackets.append(order)
        return found, brackets, [name for name, update in latest.items() if update.parent_id is not None]

    async def _venue_runs(self) -> None:
        async with asyncio.TaskGroup() as group:
            self.venue._group = group
            group.create_task(self.venue._poller.run())

    async def _connect(self) -> None:
        """A connection is made: everything is read, as often as it takes."""
        while True:
            await asyncio.sleep(0.1)
            with suppress(VenueError):
                await self.venue.resync()
                return

    async def _reconnect(self, why: str) -> None:
        stream = self.venue.private.stream
        stream._ready.clear()
        stream.connects += 1
        self.gate.close("private_stream", why)
        await self._connect()
        stream._ready.set()
        self.gate.open("private_stream")

    def _make_health_checks(self) -> None:
        live: Any = SimpleNamespace(
            venue=self.venue, books=self.books, gate=self.gate, reconciler=self.reconciler, statement=self.statement,
            instruments=self.instruments, plan=SimpleNamespace(
                system=SimpleNamespace(category="linear", risk=SimpleNamespace(leverage=LEVERAGE, margin_mode="isolated")),
                environment=Environment.SANDBOX, arming=None,
            ),
            connection=SimpleNamespace(
                market_ms=self.exchange.now_ms, account=self.venue.reader,
                reader=MarketReader(self._rest, "linear", self._notify, market=self.market),
            ),
        )  # fmt: skip
        self.live = live
        self.health_checks = HealthChecks(live, self._notify, now_ms=monotonic_ms)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self.live.connection.market_ms = self.exchange.now_ms
            await self.health_checks.turn()

    # --- messages ---

    def hear(self, message: Message) -> None:
        """Written down, and heard."""
        self._take(message)

    def _take(self, message: Message) -> None:
        self.journal.append(message)
        self.history.note(message)
        self.clock.now_ms = max(self.clock.now_ms, self.exchange.now_ms)
        if isinstance(message, Adjusted):
            if message.symbol:
                self.portfolio.seed(message.symbol, message.steps, message.cost)
            if message.cash_change:
                self.portfolio.transfer(message.cash_change)
        elif not isinstance(message, (SubmitOrder, Stated, CauseRaised, CauseEnded, Opened)):
            self.bus.deliver(message)

    def _on_entry(self, entry: Any, by: str | None) -> None:
        if by is None:
            self._take(CauseRaised(self.exchange.now_ms, entry.cause, entry.symbol or "", entry.key, entry.text))
        else:
            self._take(CauseEnded(self.exchange.now_ms, entry.cause, entry.symbol or "", entry.key, by))

    def _notify(self, notice: Notice) -> None:
        self.notices.append(notice)

    def _hear_push(self, topic: str, rows: list[dict[str, Any]]) -> None:
        frame = wire.WebSocketFrame(topic=topic, creationTime=self.exchange.now_ms, data=msgspec.Raw(msgspec.json.encode(rows)))
        self.venue.private._on_data(topic, frame)

    def _close_position(self, wanted: ClosePosition) -> None:
        held = self.venue.tracker.books.held(S)
        if held:
            side: Literal["BUY", "SELL"] = "SELL" if held > 0 else "BUY"
            self.order(side, abs(held), reduce_only=True)

    # --- what the script does ---

    def order(self, side: Literal["BUY", "SELL"], steps: int, **changes: Any) -> str:
        """An order of ours; its name."""
        self._orders += 1
        name = f"ab12cd34-0-{self.session}-{self._orders}"
        quantity = self.instruments[S].qty_grid.value(steps)
        self.venue.submit_order(SubmitOrder(name, S, side, changes.pop("order_type", "market"), quantity, self.exchange.now_ms, **changes))
        return name

    def price(self, factor: float) -> float:
        """So much of the present price, on the grid."""
        return float(round(self.exchange.account.markets[S].last * factor))

    def _may_enter(self, name: str) -> None:
        """Asked as an entry reaches the exchange: nothing may stand in its way."""
        assert not self.gate.against(S), (name, self.gate.frozen)
        self.exchange.entries.append(name)

    # --- what is asked ---

    def differences(self) -> list[AccountDifference]:
        """Between our books and what is really so."""
        wallet = self.exchange.truth()["wallet_units"]["USDT"]
        found = [AccountDifference(S, self.portfolio.lines[S].book.steps, self.exchange.held())]
        found.append(AccountDifference(None, self.portfolio.cash, wallet))
        return [each for each in found if each.ours != each.theirs]

    def stated_differences(self) -> list[AccountDifference]:
        """Between our books and what the exchange stated last."""
        return differences(self.portfolio, self.venue, "USDT")

    def resting(self) -> set[str]:
        """The exchange's ids of what rests for us, and is followed."""
        return {order.order_id or order.client_order_id for order in self.venue.tracker.orders}


async def _settled() -> None:
    """What is said here is heard at once."""


Script = Callable[[Exchange, Trader], Awaitable[None]]


async def pass_time(exchange: Exchange, seconds: float, each: Callable[[], None] = lambda: None) -> None:
    """The market moves on, once a second."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        await asyncio.sleep(1.0)
        exchange.move()
        each()


def over_exchange(script: Script) -> tuple[Exchange, Trader]:
    """A first session over a new exchange, and a script beside it."""

    async def work() -> tuple[Exchange, Trader]:
        exchange = Exchange()
        exchange.move()
        trader = Trader(exchange, [], 1)
        await trader.start()
        try:
            await script(exchange, trader)
            trader.check_alive()
        finally:
            await trader.stop()
        return exchange, trader

    return run_virtual(work(), start_ms=START_MS)
