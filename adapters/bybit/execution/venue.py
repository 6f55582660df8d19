"""The exchange as the bus sees it: commands in, events out, and everything between them awaited in tasks of its own.

Implements ``keel.core.engine.ports.Venue``. Ready means: the private stream is authenticated and acknowledged, and since its connection all
lists have been read. Nothing that adds exposure leaves before that, nor for a frozen symbol; what reduces, and cancels, always may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableSet
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import msgspec

from keel.adapters.bybit.execution.account_poller import AccountPoller
from keel.adapters.bybit.execution.account_reader import AccountReader
from keel.adapters.bybit.execution.command_queue import CommandQueue
from keel.adapters.bybit.execution.order_sender import Journal, OrderSender, Sender
from keel.adapters.bybit.execution.order_tracker import OrderTracker
from keel.adapters.bybit.execution.private_stream import PrivateStream
from keel.adapters.bybit.execution.resolver import Resolver
from keel.adapters.bybit.execution.tracked_order import TrackedOrder
from keel.adapters.bybit.execution.trade_stream import OPERATIONS, TradeStream
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.credentials import Credentials
from keel.adapters.bybit.transport.endpoints import Endpoints
from keel.adapters.bybit.transport.exchange_clock import MarketClock
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.adapters.machine import monotonic_ms
from keel.core.errors import ConfigError, InvariantError, SafetyError
from keel.core.model.instrument import Category, Instrument
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, Message, SetTradingStop, SubmitOrder
from keel.core.model.orders import OrderState
from keel.core.model.timeframe import DAY_MS, MINUTE_MS
from keel.core.model.words import check_again
from keel.core.risk.gate.gate import Gate
from keel.core.strategy.order_calls import OrderCalls

BATCH: Final = 10
READY_WAIT_MS: Final = 5_000
REPLACED_WAIT_MS: Final = 5_000
_OWN_WAIT: Final = ("private_stream", "starting")
"""Causes that are over when the venue is ready, for which an order waits a moment instead."""


LastLook = Callable[[SubmitOrder, Callable[[str], float | None]], str | None]
"""(order, what another order was filled by: None while more may come)."""


def leaves_at_once(command: SubmitOrder, fate: Callable[[str], float | None]) -> str:
    """Where nothing is asked again before an order leaves."""
    return ""


async def _no_witness(symbol: str) -> str:
    """Where nobody keeps books beside this adapter, the lists are all there is."""
    return ""


class RecoveredOrder(msgspec.Struct, frozen=True):
    """An order that a journal holds open: its command, what became of it so far, and what was filled."""

    command: SubmitOrder
    told: OrderState = "pending_submit"
    filled_qty: float = 0.0
    is_being_cancelled: bool = False


class BybitVenue(OrderCalls):
    """One account of one category, with the calls of ``OrderCalls``.

    publish: takes the events, in order.  journal: makes a command durable; it is awaited before the command's first byte leaves.
    seen: keys (``order_tracker.seen_key``) of every execution that was ever applied.  since_ms: executions from here on are read at the
    first connection (market time).  opened_ms: everything before is in the opening balances.  current_price: last price of a symbol, where
    known.
    evidence: what earlier sessions found of orders that were looked for in vain (``Resolver``).
    note: takes evidence on orders whose fate was unknown.  gate: what else may stand in the way (None: one of its own).
    own_prefix: what the names of all our orders begin with, where others' are to be told apart.  witness: see ``Resolver``.
    on_ready: hears whether it is ready, at each change.  on_unprotected: (symbol, why) takes a position whose exits were not set (None: it
    is told, and its symbol frozen).  last_look: asked when an order that may add could leave: "" it may, None not yet; else why it may not.
    """

    def __init__(
        self,
        where: Endpoints,
        session: aiohttp.ClientSession,
        credentials: Credentials,
        rest: RestClient,
        category: Category,
        instruments: Mapping[str, Instrument],
        publish: Callable[[Message], None],
        *,
        journal: Journal,
        seen: MutableSet[str],
        since_ms: int,
        opened_ms: int = 0,
        evidence: Mapping[str, tuple[int, int]] = MappingProxyType({}),
        notify: Notify = lambda notice: None,
        note: Callable[[Message], None] = lambda message: None,
        gate: Gate | None = None,
        own_prefix: str = "",
        witness: Callable[[str], Awaitable[str]] = _no_witness,
        on_ready: Callable[[bool], None] = lambda is_ready: None,
        on_unprotected: Callable[[str, str], None] | None = None,
        last_look: LastLook = leaves_at_once,
        market: MarketClock | None = None,
        current_price: Callable[[str], float | None] = lambda symbol: None,
        use_trade_stream: bool = True,
        settle_coin: str = "USDT",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_ms: Callable[[], int] = monotonic_ms,
        **stream_options: Any,
    ) -> None:
        self._where, self._category, self._rest = where, category, rest
        self._instruments, self._current_price = instruments, current_price
        self._user_notify, self._on_ready, self._sleep, self._now_ms = notify, on_ready, sleep, now_ms
        self._market = market if market is not None else MarketClock(rest.clock)
        self._since_ms = self.listed_until_ms = since_ms
        """Time of the newest execution that a list gave: everything before it has been read. Where the next session may begin."""
        self.right_of_way = RightOfWay()
        """Commands take it until they are written: streams of prices that give way wait for them."""
        self._group: asyncio.TaskGroup | None = None
        self._synced = asyncio.Event()
        self._is_catching_up = False
        self._setting_exits = 0
        self.gate = Gate(instruments, now_ms=lambda: rest.clock.now_ms) if gate is None else gate
        """What keeps orders that add exposure from leaving."""
        self._on_unprotected, self._last_look = on_unprotected, last_look
        self.reader = AccountReader(rest, category, self._notify, settle_coin=settle_coin)
        self._resolver = Resolver(
            self.reader,
            lambda: self.tracker,
            notify=self._notify,
            gate=self.gate,
            spawn=self._spawn,
            note=note,
            send_again=lambda command: self._queue.put(command),
            witness=witness,
            sleep=sleep,
            now_ms=now_ms,
            stamp_ms=lambda: rest.clock.now_ms,
            evidence=evidence,
        )
        self.tracker = OrderTracker(
            instruments,
            publish,
            seen,
            lambda: self._market.now_ms or since_ms,
            notify=self._notify,
            look=self._resolver.look,
            opened_ms=opened_ms,
            read_executions=self._catch_up_soon,
            on_entry_filled=self._on_entry_filled,
            own_prefix=own_prefix,
        )
        circuit = {"banned_ms": lambda: rest.budget.banned_for_ms, "on_forbidden": rest.measure_clock}
        options: dict[str, Any] = {"sleep": sleep, "now_ms": now_ms, **circuit, **stream_options}
        self.private = PrivateStream(
            where, session, credentials, rest.clock, category, self.tracker,
            notify=self._notify, resync=self.resync, on_doubt=self._read_again_soon, on_up=self._up, on_lost=self._lost,
            **options,
        )  # fmt: skip
        url = where.trade_url() if use_trade_stream else None
        self.trade = (
            None
            if url is None
            else TradeStream(
                where.check_url(url, private=True),
                session,
                credentials,
                rest.clock,
                rest.budget,
                notify=self._notify,
                stop=rest.stop,
                **options,
            )
        )
        self._poller = AccountPoller(self, self._resolver, self._notify, sleep=sleep, now_ms=now_ms)
        self._order_sender = OrderSender(
            instruments,
            self.tracker,
            self.reader,
            self._resolver,
            journal=journal,
            sender=self._sender,
            hold=self._hold,
            spawn=self._spawn,
            awaited=self._poller.await_news,
            measure_clock=self._look_at_clock,
            current_price=current_price,
            unprotected=self._tell_unprotected,
            right_of_way=self.right_of_way,
            notify=self._notify,
            sleep=sleep,
            now_ms=now_ms,
            stamp_ms=lambda: rest.clock.now_ms,
        )
        self._queue = CommandQueue(self._order_sender.send, self._spawn, self._batch_size, self.right_of_way)

    # --- keel.core.engine.ports.Venue ---

    def submit_order(self, command: SubmitOrder) -> None:
        """Place an order: it is followed from now on, journalled, and sent. This and the next raise FieldError for what a command must
        not hold; nothing is sent then."""
        check_again(command, SubmitOrder)
        self.tracker.submitted(command)
        self._queue.put(command)

    def amend_order(self, command: AmendOrder) -> None:
        """Change a resting order."""
        check_again(command, AmendOrder)
        order = self.tracker.orders.get(command.client_order_id)
        if order is not None:
            order.life.amending()
        self._queue.put(command)

    def cancel_order(self, command: CancelOrder) -> None:
        """Cancel one order, once what was sent of it before is answered."""
        check_again(command, CancelOrder)
        order = self.tracker.orders.get(command.client_order_id)
        if order is not None:
            order.life.cancelling()
        self._queue.put(command)

    def _cancel_all(self, command: CancelAll) -> None:
        """Cancel every resting order of a symbol or of the category."""
        check_again(command, CancelAll)
        for order in self.tracker.orders:
            if command.symbol in (None, order.symbol):
                order.life.cancelling()
        self._queue.put(command)

    def set_trading_stop(self, command: SetTradingStop) -> None:
        """Set or remove the exits of a position."""
        check_again(command, SetTradingStop)
        self._queue.put(command)

    # --- what orders by hand ask ---

    def _traded(self, symbol: str) -> Instrument:
        try:
            return self._instruments[symbol]
        except KeyError:
            raise ConfigError(f"this venue does not trade {symbol}; it has {', '.join(self._instruments)}") from None

    def _latest_price(self, symbol: str) -> float | None:
        return self._current_price(symbol)

    def _held(self, symbol: str, position_idx: int) -> int:
        instrument = self._traded(symbol)
        steps = self.tracker.books.held(symbol, position_idx)
        units = instrument.qty_grid.floor(instrument.book_grid.value(abs(steps)))
        return units if steps > 0 else -units

    def _has_order(self, client_order_id: str) -> bool:
        return self.tracker.orders.get(client_order_id) is not None

    def _stamp(self) -> int:
        return self._market.now_ms or self._since_ms

    # --- life ---

    def recover(
        self,
        orders: Iterable[RecoveredOrder],
        *,
        used_names: Iterable[str] = (),
        open_brackets: Iterable[tuple[str, str]] = (),
        holdings: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        """Before ``run``: what a journal says was open. Orders in flight are looked for at the first connection, by I-7's rule.

        used_names: every name ever given to a bracket's order; open_brackets: (parent id, name) of those still open;
        holdings: symbol -> (signed steps of the book's grid, cost in 1e-8) held at ``since_ms``.
        """
        for symbol, (steps, cost) in (holdings or {}).items():
            self.tracker.books.seed(symbol, steps, cost)
        self.tracker.brackets.restore(used_names, open_brackets)
        for known in orders:
            order = self.tracker.submitted(known.command)
            order.life.told = known.told
            if known.is_being_cancelled:
                order.life.cancelling()
            order.filled = order.instrument.qty_grid.count(known.filled_qty)

    async def run(self) -> None:
        """Keep streams, tasks and the cadence of checks, until cancelled. An error of ours ends it with an exception group."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.private.run())
            if self.trade is not None:
                group.create_task(self.trade.run())
            group.create_task(self._poller.run())

    async def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Raises VenueError with the reason when it is not ready in time. ``run`` must be running."""
        await self.private.stream.wait_ready(timeout_s)

    @property
    def is_ready(self) -> bool:
        """Whether orders that add exposure may leave (frozen symbols apart)."""
        return self.private.stream.is_ready and self._synced.is_set()

    @property
    def in_flight(self) -> int:
        """Commands that are not answered yet."""
        return self._queue.pending

    @property
    def stream_misses(self) -> int:
        """How often a list knew what the private stream had not told."""
        return self._poller.stream_misses

    @property
    def unknown(self) -> Mapping[str, str]:
        """Client id -> why, of orders whose fate is being found out."""
        return self._resolver.unknown

    async def idle(self) -> None:
        """Wait until every command that was given so far has been answered, no order's fate is unknown, and no execution waits for an
        earlier one that lists may still bring."""
        while True:
            await self._queue.idle()
            if not (self._resolver.unknown or self._setting_exits or self._queue.pending or self._is_catching_up):
                return
            await self._sleep(0.01 if self._setting_exits else 0.05)

    # --- reading everything ---

    async def resync(self) -> None:
        """Read what may have been missed: executions since the last one, open orders, positions, wallet. Raises what the reads raise."""
        self._synced.clear()
        await self.read_executions()
        await self._poller.read_open_orders(is_resync=True)
        await self.read_positions()
        await self.read_wallet()
        for order in self.tracker.orders:
            if order.life.told == "pending_submit":
                self._resolver.doubt(order, "sent before this connection, not heard of since", self._now_ms())
        self._poller.forget()
        self._synced.set()

    async def read_executions(self) -> None:
        """Executions since a minute before the newest one that any list has given: what the stream lost may be older than what it told."""
        since = self.listed_until_ms - MINUTE_MS
        until = max(since, self._market.now_ms) + MINUTE_MS
        if self._market.follows_stream:
            until = max(until, since + DAY_MS)  # its own time may have run on unseen
        rows = await self.reader.executions(since, until)
        for row in rows:
            self.tracker.on_execution(row)
        self.tracker.heard_list(rows)
        if rows:
            self.listed_until_ms = max(self.listed_until_ms, translate.time_ms(rows[-1].execTime))

    async def read_positions(self) -> None:
        """Positions as the exchange states them; one that is no longer listed is flat."""
        now = self._market.now_ms or self._since_ms
        rows = await self.reader.positions()
        for row in rows:
            self.tracker.on_position(row, now)
        listed = {(row.symbol, row.positionIdx or 0) for row in rows}
        for key, known in list(self.tracker.positions.items()):
            if known.qty and key not in listed:
                self.tracker.flat(*key, now)

    async def read_wallet(self) -> None:
        """Balances as the exchange states them."""
        self.tracker.on_wallet(await self.reader.wallet(), self._market.now_ms or self._since_ms)

    @property
    def market_ms(self) -> int:
        """The time of the market's data, in which lists of the account are stamped, too."""
        return self._stamp()

    def stamp_ms(self) -> int:
        """The exchange's time, for notices."""
        return self._rest.clock.now_ms

    async def measure_clock(self) -> int:
        """Measure the offset to the exchange's clock; see ServerClock."""
        return await self._rest.measure_clock()

    def check_clock(self) -> None:
        """A clock that is too far off freezes everything, and one that is right again takes that back."""
        try:
            self._rest.clock.check()
        except SafetyError as error:
            self._notify(Notice(self.stamp_ms(), "clock_off", str(error), severity="error", freezes=True))
        else:
            self.gate.open("clock_off")

    # --- inside ---

    def _up(self) -> None:
        self._on_ready(True)

    def _lost(self) -> None:
        self._synced.clear()
        self._on_ready(False)

    def _sender(self, path: str) -> Sender:
        if self.trade is not None and self.trade.is_ready and path in OPERATIONS:
            return self.trade
        return self._rest

    def _batch_size(self, kind: str) -> int:
        """Batches exist for creates, amendments and cancels; the demo account has none for spot."""
        if kind not in ("create", "amend", "cancel"):
            return 1
        return 1 if self._category == "spot" and self._where.environment.value == "demo" else BATCH

    async def _hold(self, command: SubmitOrder) -> str:
        """Why an order may not leave; "" when it may. What only reduces always may."""
        if command.reduce_only:
            return ""
        patient_until = self._now_ms() + READY_WAIT_MS
        while not self.is_ready:
            if self._now_ms() >= patient_until:
                return f"not ready: {self.private.stream.problem or 'the account is being read'}"
            await self._sleep(0.05)
        for entry in self.gate.against(command.symbol, is_allowed=True):
            if entry.cause not in _OWN_WAIT:
                return f"frozen: {entry.text}"
        patient_until = self._now_ms() + REPLACED_WAIT_MS
        while (reason := self._last_look(command, self._fate)) is None:
            if self._now_ms() >= patient_until:
                return "denied: an order that it replaces has not ended"
            await self._sleep(0.02)
        return reason

    def _fate(self, client_order_id: str) -> float | None:
        """What an order was filled by, None while more may come."""
        order = self.tracker.orders.get(client_order_id)
        if order is None:
            return 0.0
        return None if order.is_open else order.instrument.qty_grid.value(order.filled)

    def _on_entry_filled(self, order: TrackedOrder) -> None:
        bracket = order.command.bracket if order.command is not None else None
        if bracket is not None and bracket.trailing is not None and not order.trailing_set:
            order.trailing_set = True
            self._setting_exits += 1
            self._spawn(self._set_trailing(order))

    async def _set_trailing(self, order: TrackedOrder) -> None:
        try:
            await self._order_sender.set_trailing(order)
        finally:
            self._setting_exits -= 1

    def _tell_unprotected(self, symbol: str, reason: str) -> None:
        if self._on_unprotected is not None:
            self._on_unprotected(symbol, reason)
            return
        text = f"{symbol}: the exits of the position were not set ({reason}): it may be unprotected"
        self._notify(Notice(self.stamp_ms(), "unprotected", text, symbol, "error", freezes=True))

    async def _look_at_clock(self) -> None:
        """The exchange refused a timestamp: measure anew, and trade on only with a clock that is right."""
        await self.measure_clock()
        self.check_clock()

    def _catch_up_soon(self) -> None:
        if not self._is_catching_up:
            self._is_catching_up = True
            self._spawn(self._catch_up())

    async def _catch_up(self) -> None:
        """An earlier execution is missing: read the list until what waits for it can be booked. The list may lag by some seconds."""
        try:
            for delay in (0.25, 0.5, 1.0, 2.0, 4.0):
                await self._sleep(delay)
                if not self.tracker.is_waiting:
                    return
                try:
                    await self.read_executions()
                except (ExchangeRefusal, PayloadError) as error:
                    self._notify(Notice(self.stamp_ms(), "check_failed", str(error)))
            self.tracker.stop_waiting()
        finally:
            self._is_catching_up = False

    def _read_again_soon(self) -> None:
        """A message was lost to us: read the lists instead."""
        self._poller.hurry()

    def _notify(self, notice: Notice) -> None:
        if notice.freezes and not self.gate.close(notice.code, notice.text, notice.symbol, notice.key):
            return  # it stands, and has been told
        self._user_notify(notice)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()
            raise InvariantError("the venue is not running: start run() before commands are given")
        try:
            self._group.create_task(work)
        except RuntimeError:  # it has ended
            work.close()
            raise
