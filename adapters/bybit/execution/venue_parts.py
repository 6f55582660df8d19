"""A venue's parts, put together: what reads, what tracks, what sends, and what carries the tracker's wishes between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from keel.adapters.bybit.execution.access import Access, Ports, VenueOptions
from keel.adapters.bybit.execution.polling.account_lists import AccountLists
from keel.adapters.bybit.execution.polling.account_poller import AccountPoller
from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.adapters.bybit.execution.polling.private_stream import PrivateStream
from keel.adapters.bybit.execution.polling.query_loop import QueryLoop
from keel.adapters.bybit.execution.sending.command_queue import CommandQueue
from keel.adapters.bybit.execution.sending.order_sender import OrderSender
from keel.adapters.bybit.execution.sending.permission import Permission
from keel.adapters.bybit.execution.sending.position_exits import PositionExits
from keel.adapters.bybit.execution.sending.road import Road, Sender
from keel.adapters.bybit.execution.sending.trade_stream import OPERATIONS, TradeStream
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.order_query_records import EVIDENCE
from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.tracking.queries import (
    AskExecutions,
    AskOrder,
    AskWitness,
    Froze,
    Moment,
    Output,
    SendAgain,
    Thawed,
    TrailingWanted,
)
from keel.adapters.bybit.execution.tracking.stream_watch import StreamWatch
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.core.errors import InvariantError, SafetyError
from keel.core.model.instrument import Instrument
from keel.core.risk.gate.gate import Gate

BATCH: Final = 10
"""How many commands leave together at most."""


class VenueParts:
    """Of one account of one category. past: what was known before (a journal gives it back).  gate: what else may stand in the way (None:
    one of its own)."""

    def __init__(
        self,
        access: Access,
        instruments: Mapping[str, Instrument],
        past: Past,
        ports: Ports,
        *,
        gate: Gate | None = None,
        options: VenueOptions = VenueOptions(),  # noqa: B008  # it is frozen
    ) -> None:
        self._access, self._instruments, self._ports, self._since_ms = access, instruments, ports, past.since_ms
        self._sleep, self._now_ms = options.sleep, options.now_ms
        self.right_of_way = RightOfWay()
        """Commands take it until they are written: streams of prices that give way wait for them."""
        self._group: asyncio.TaskGroup | None = None
        self._synced = asyncio.Event()
        self._setting_exits = 0
        self.gate = Gate(instruments, now_ms=self.stamp_ms) if gate is None else gate
        """What keeps orders that add exposure from leaving."""
        self._around = Surroundings(self._moment, options.sleep, self._spawn, self._notify)
        self._hands = self._make_hands()
        self._make_reading(past, options)
        self._make_sending(options)

    def _make_reading(self, past: Past, options: VenueOptions) -> None:
        """The tracker, and what reads for it."""
        access, around = self._access, self._around
        self.reader = AccountReader(access.rest, access.category, around.notify, settle_coin=access.settle_coin)
        self.tracker = OrderTracker(self._instruments, self._deal, past, self._moment())
        self._queries = QueryLoop(
            self.tracker, self.reader, around, witness=self._ports.witness, follows_stream=access.market.follows_stream
        )
        self._watch = StreamWatch(self.tracker)
        self._lists = AccountLists(self.tracker, self._watch, self._queries, self.reader, self.gate, around)
        self._poller = AccountPoller(
            self.tracker, self._watch, self._queries, self._lists, self.gate, around,
            is_ready=lambda: self.is_ready, check_clock=self._look_at_clock, reconnect=lambda why: self.private.stream.reconnect(why),
        )  # fmt: skip
        self.private = PrivateStream(
            access, self.tracker, around, resync=self.resync, on_row_lost=self._poller.hurry,
            on_up=lambda: self._ports.on_ready(True), on_lost=self._lost, **self._stream_options(options),
        )  # fmt: skip

    def _make_sending(self, options: VenueOptions) -> None:
        """What carries commands."""
        access, around = self._access, self._around
        url = access.where.trade_url() if options.use_trade_stream else None
        self.trade = (
            None
            if url is None
            else TradeStream(
                access.where.check_url(url, private=True), access.session, access.credentials, access.rest.clock, access.rest.budget,
                notify=around.notify, stop=access.rest.stop, **self._stream_options(options),
            )
        )  # fmt: skip
        road = Road(self._sender, around, self.right_of_way, self._look_at_clock)
        self._exits = PositionExits(self.tracker, road, around, self._ports.current_price, self._notify_unprotected)
        permission = Permission(self.tracker.orders, self.gate, around, self._why_not_ready, self._ports.last_look)
        sender = OrderSender(
            self.tracker, self._queries, self.reader, road, self._exits, around,
            journal=self._ports.journal, hold=permission.hold, current_price=self._ports.current_price,
            awaited=lambda order: self._watch.await_news(order, self._moment()),
        )  # fmt: skip
        self._queue = CommandQueue(sender.send, self._spawn, self._batch_size, self.right_of_way)

    def _stream_options(self, options: VenueOptions) -> dict[str, Any]:
        rest = self._access.rest
        circuit = {"banned_ms": lambda: rest.budget.banned_for_ms, "on_forbidden": rest.measure_clock}
        return {"sleep": options.sleep, "now_ms": options.now_ms, **circuit, **options.streams}

    # --- reading everything ---

    @property
    def is_ready(self) -> bool:
        """Whether orders that add exposure may leave (frozen symbols apart)."""
        return self.private.stream.is_ready and self._synced.is_set()

    async def resync(self) -> None:
        """Read what may have been missed: executions since the last one, open orders, positions, wallet. Raises what the reads raise."""
        self._synced.clear()
        await self._lists.resync()
        self._synced.set()

    async def read_executions(self) -> None:
        """Executions since a minute before the newest one that any list has given."""
        await self._lists.executions()

    async def read_positions(self) -> None:
        """Positions as the exchange states them; one that is no longer listed is flat."""
        await self._lists.positions()

    async def read_wallet(self) -> None:
        """Balances as the exchange states them."""
        await self._lists.wallet()

    @property
    def listed_until_ms(self) -> int:
        """Time of the newest execution that a list gave: everything before it has been read. Where the next session may begin."""
        return self.tracker.listed_until_ms

    @property
    def market_ms(self) -> int:
        """The time of the market's data, in which lists of the account are stamped, too."""
        return self._stamp()

    def stamp_ms(self) -> int:
        """The exchange's time, for notices."""
        return self._access.rest.clock.now_ms

    async def measure_clock(self) -> int:
        """Measure the offset to the exchange's clock; see ServerClock."""
        return await self._access.rest.measure_clock()

    def check_clock(self) -> None:
        """A clock that is too far off freezes everything, and one that is right again takes that back."""
        try:
            self._access.rest.clock.check()
        except SafetyError as error:
            self._notify(Notice(self.stamp_ms(), "clock_off", str(error), severity="error", freezes=True))
        else:
            self.gate.open("clock_off")

    # --- what the tracker wants done ---

    def _make_hands(self) -> dict[type, Callable[[Any], None]]:
        hands: dict[type, Callable[[Any], None]] = {
            Notice: self._notify,
            Froze: self._freeze,
            Thawed: self._thaw,
            SendAgain: lambda out: self._queue.put(out.command),
            TrailingWanted: self._set_trailing_soon,
        }
        hands |= dict.fromkeys((AskOrder, AskExecutions, AskWitness), lambda query: self._queries.start(query))
        return hands | dict.fromkeys(EVIDENCE, self._ports.note)

    def _freeze(self, out: Froze) -> None:
        self.gate.close(out.cause, out.text, out.symbol, out.key)

    def _thaw(self, out: Thawed) -> None:
        self.gate.open(out.cause, out.symbol, out.key)

    def _deal(self, output: Output) -> None:
        self._hands.get(type(output), self._ports.publish)(output)

    def _set_trailing_soon(self, wanted: TrailingWanted) -> None:
        self._setting_exits += 1
        self._spawn(self._set_trailing(wanted.client_order_id))

    async def _set_trailing(self, client_order_id: str) -> None:
        try:
            order = self.tracker.orders.get(client_order_id)
            if order is not None:
                await self._exits.set_trailing(order)
        finally:
            self._setting_exits -= 1

    # --- inside ---

    def _stamp(self) -> int:
        return self._access.market.now_ms or self._since_ms

    def _moment(self) -> Moment:
        return Moment(self._now_ms(), self._stamp(), self.stamp_ms())

    def _lost(self) -> None:
        self._synced.clear()
        self._ports.on_ready(False)

    def _why_not_ready(self) -> str:
        return "" if self.is_ready else self.private.stream.problem or "the account is being read"

    def _sender(self, path: str) -> Sender:
        if self.trade is not None and self.trade.is_ready and path in OPERATIONS:
            return self.trade
        return self._access.rest

    def _batch_size(self, kind: str) -> int:
        """Batches exist for creates, amendments and cancels; the demo account has none for spot."""
        if kind not in ("create", "amend", "cancel"):
            return 1
        return 1 if self._access.category == "spot" and self._access.where.environment.value == "demo" else BATCH

    def _notify_unprotected(self, symbol: str, reason: str) -> None:
        if self._ports.on_unprotected is not None:
            self._ports.on_unprotected(symbol, reason)
            return
        text = f"{symbol}: the exits of the position were not set ({reason}): it may be unprotected"
        self._notify(Notice(self.stamp_ms(), "unprotected", text, symbol, "error", freezes=True))

    async def _look_at_clock(self) -> None:
        """The exchange refused a timestamp: measure anew, and trade on only with a clock that is right."""
        await self.measure_clock()
        self.check_clock()

    def _notify(self, notice: Notice) -> None:
        if notice.freezes and not self.gate.close(notice.code, notice.text, notice.symbol, notice.key):
            return  # it stands, and has been told
        self._ports.notify(notice)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()
            raise InvariantError("the venue is not running: start run() before commands are given")
        try:
            self._group.create_task(work)
        except RuntimeError:  # it has ended
            work.close()
            raise
