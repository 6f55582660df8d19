"""Our own adapter over the sandbox, through the same bus and actors as a session.

Its loop runs while the client waits for something, in lock-step: a step begins when everything that the one before caused has been heard
and answered. The venue's pauses are shortened; nothing else is changed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from keel.adapters.bybit.execution.access import Access, Ports, VenueOptions
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.market.market_stream import MarketStream
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.bybit.wire import parsing as translate
from keel.core.errors import ConfigError, SafetyError
from keel.core.model.messages import BalanceReport, Bar, FundingRate, MarkPrice, Message, PositionReport
from keel.core.model.money import to_text
from keel.runners.live.startup.connection import Connection, connect
from tests.conformance.actors import Actors, ActorsClient, terms_text
from tests.conformance.market import Market
from tests.conformance.sandboxed import check_truth, sandbox_of, why
from tests.conformance.words import SYMBOL, Account, Act, CancelAll, Question, Refused, candle_text, plain, position_text
from tests.sim.sandbox.conftest import START, Sandbox

T = TypeVar("T")
SPEED = 20


async def fast_sleep(seconds: float) -> None:
    """A pause of a venue that has less time."""
    await asyncio.sleep(seconds / SPEED)


class AdapterClient(ActorsClient):
    """Orders by REST, as the demo account wants it; with ``use_trade_stream`` by the trade WebSocket."""

    use_trade_stream = False

    def __init__(self, market: Market, account: Account) -> None:
        super().__init__()
        self._account = account
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self._notices: list[Notice] = []
        self._journal: list[Message] = []
        self._bars: list[Bar] = []
        self._rates: list[FundingRate] = []
        self._last: dict[str, float] = {}
        self._mark: float | None = None
        self._reports: dict[str, Message] = {}
        self._is_sweeping = False
        self._sandbox: Sandbox = self._stack.enter_context(sandbox_of(market, account, ack_ms=0))
        try:
            self._run(self._open(account))
        except BaseException:
            self._leave()
            raise

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(work, 20.0))

    # --- the way there ---

    async def _open(self, account: Account) -> None:
        connection: Connection = await self._stack.enter_async_context(
            connect(Environment.SANDBOX, account.category, self._notices.append, sandbox_url=self._sandbox.url)
        )
        self._connection = connection
        try:
            await self._check_settings(account)
            instruments = await connection.reader.instruments([SYMBOL])
        except (SafetyError, ConfigError) as error:
            raise Refused(str(error)) from error
        self.instrument = instruments[SYMBOL]
        self.actors = Actors(self.instrument, account)
        self.actors.bus.subscribe(PositionReport, self._note)
        self.actors.bus.subscribe(BalanceReport, self._note)
        self.venue = BybitVenue(
            Access(
                connection.where, connection.session, connection.credentials, connection.rest, account.category, connection.market
            ),
            instruments, Past(since_ms=START),
            Ports(
                publish=self.actors.hear, journal=self._journal.append, notify=self._notices.append, current_price=self._last.get
            ),
            options=VenueOptions(use_trade_stream=self.use_trade_stream, sleep=fast_sleep, streams={"rng": random.Random(1)}),
        )  # fmt: skip
        self.actors.connect(self.venue)
        self._market = MarketStream(
            connection.where, connection.session, connection.clock, account.category, [(SYMBOL, "1m")], connection.reader,
            self._take, notify=self._notices.append, next_open={(SYMBOL, "1m"): START}, freshness_ms={},
        )  # fmt: skip
        self._tasks = [asyncio.create_task(self.venue.run()), asyncio.create_task(self._market.run())]
        await self.venue.wait_ready(60.0)
        await self._market.stream.wait_ready(60.0)
        if self.venue.trade is not None:
            await self.venue.trade.stream.wait_ready(60.0)

    async def _check_settings(self, account: Account) -> None:
        if account.category == "linear":
            await self._connection.account.ensure_one_way(SYMBOL)
            await self._connection.account.ensure_margin_mode("isolated")
            await self._connection.account.ensure_leverage(SYMBOL, float(account.leverage))

    def _note(self, report: PositionReport | BalanceReport) -> None:
        self._reports[report.symbol if isinstance(report, PositionReport) else report.coin] = report

    def _take(self, message: Message) -> None:
        if isinstance(message, Bar):
            self._last[message.symbol] = message.close
            self._bars.append(message)
        elif isinstance(message, MarkPrice):
            self._mark = message.price
        elif isinstance(message, FundingRate):
            self._rates.append(message)

    # --- acts ---

    def _say(self, message: Message) -> None:
        async def say() -> None:  # the venue makes tasks, which need the running loop
            self.actors.hear(message)

        self._run(say())

    def _after(self, act: Act) -> None:
        if isinstance(act, CancelAll):
            self._run(self._until_swept())
        elif not self._is_sweeping:
            self._run(self.venue.idle())

    async def _until_swept(self) -> None:
        """The exchange has been asked; the adapter asks again until nothing rests, which in lock-step is after the next bar."""
        self._is_sweeping = True
        name = next(name for name in self._sandbox.truth()["books"] if name.startswith(SYMBOL))
        while self.venue.in_flight and not self._sandbox.truth()["books"][name]["pending"]:
            await asyncio.sleep(0.005)

    def _step(self) -> None:
        self._run(self._one_step())

    async def _one_step(self) -> None:
        if not self._is_sweeping:
            await self.venue.idle()
        await self._connection.step()
        self._is_sweeping = False
        await asyncio.gather(self.venue.private.stream.flush(), self._market.stream.flush())
        await self._market.settle()
        bars, rates, self._bars, self._rates = self._bars, self._rates, [], []
        for bar in bars:
            self.actors.close(bar, [rate for rate in rates if rate.ts <= bar.ts_close], self._mark)
        await self.venue.idle()
        self._check_tasks()

    def _check_tasks(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()
        assert self.actors.bus.failed is None or self.has_stopped

    # --- what is seen ---

    def _resting(self) -> Iterable[tuple[str, str, str, float | None, float | None]]:
        """What the adapter follows; the exchange's own list must have the same."""
        rows = self._run(self.venue.reader.open_orders())
        assert {row.orderId for row in rows} == {order.order_id for order in self.venue.tracker.orders}
        for order in self.venue.tracker.orders:
            yield order.client_order_id, order.side, order.instrument.qty_grid.text(order.qty), order.price, order.trigger

    def _check_books(self) -> None:
        """Wallet and position as the exchange pushes them are what our own fills add up to."""
        portfolio, wallet = self.actors.portfolio, self._reports.get("USDT")
        assert not isinstance(wallet, BalanceReport) or wallet.wallet == portfolio.cash
        stated = self._reports.get(SYMBOL)
        if isinstance(stated, PositionReport):
            held, book = portfolio.position_qty(SYMBOL), portfolio.lines[SYMBOL].book
            assert position_text(stated.qty, stated.entry_price) == position_text(held, f"{book.entry_price:.8f}")
        if self.instrument.category == "spot" and isinstance(report := self._reports.get(self.instrument.base), BalanceReport):
            assert plain(report.wallet / 1e8) == self._holding()

    def _why(self, client_order_id: str, reason: str) -> str:
        return why(self._sandbox, client_order_id, reason)

    def ask(self, question: Question) -> list[str]:
        return self._run(self._ask(question))

    async def _ask(self, question: Question) -> list[str]:
        reader, end = self._connection.reader, self._connection.market_ms
        if question == "instrument":
            return [terms_text(self.instrument)]
        if question == "orders":
            return [await self._found(name) for name in self._labels]
        if question == "funding rates":
            return [plain(rate.rate) for rate in await reader.funding_rates(SYMBOL, START, end)]
        bars = await reader.bars(SYMBOL, "1m", START, end)
        return [candle_text((bar.open, bar.high, bar.low, bar.close, bar.volume)) for bar in bars]

    async def _found(self, client_order_id: str) -> str:
        """What the lists say of an order: its row, and executions that add up to it."""
        view = await self.venue.reader.order(SYMBOL, client_order_id)
        assert view.row is not None
        filled = self.instrument.qty_grid.text(sum(translate.steps(self.instrument, one.execQty, "execQty") for one in view.executions))
        told = translate.order_status(view.row, translate.steps(self.instrument, view.row.cumExecQty, "cumExecQty"))
        assert told is not None and plain(view.row.cumExecQty or "0") == plain(filled)
        return f"{self._labels[client_order_id]} {told[0]} {plain(filled)}"

    @property
    def alarms(self) -> list[str]:
        """Codes of notices that froze a symbol or the account."""
        return [notice.code for notice in self._notices if notice.freezes]

    def close(self) -> None:
        """Nothing is unknown, nothing was frozen, and the sandbox's ledger says what the portfolio says."""
        try:
            self._check_books()
            self._check_tasks()
            self._run(self._check_executions())
            assert not self.venue.unknown and not self.venue.gate.frozen and not self.alarms
            doubts = [notice for notice in self._notices if notice.code in ("pnl_differs", "stream_behind", "bad_message")]
            assert not doubts
            check_truth(self._sandbox, to_text(self.actors.portfolio.cash), self.actors.portfolio.lines[SYMBOL].book.steps)
        finally:
            self._leave()

    async def _check_executions(self) -> None:
        """The exchange's list has what was heard, each once."""
        rows = await self.venue.reader.executions(START, self._connection.market_ms)
        heard = [fill.fill_id for fill in self.actors.fills]
        assert [row.execId for row in rows if row.execType != "Funding"] == heard
        assert len(rows) == len(heard) + len(self.actors.funding)

    def _leave(self) -> None:
        async def leave() -> None:
            for task in getattr(self, "_tasks", []):
                task.cancel()
            await asyncio.gather(*getattr(self, "_tasks", []), return_exceptions=True)
            await self._stack.aclose()

        try:
            self._run(leave())
        finally:
            self._loop.close()


class TradeStreamAdapterClient(AdapterClient):
    """The same with order entry by the trade WebSocket."""

    use_trade_stream = True
