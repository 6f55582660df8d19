"""The cadence of looking: what was sent and not heard of, what rests, what was executed, what is held, the wallet, the clock.

The stream tells first, the lists prove it. When a list has news that the stream kept to itself, the stream is replaced, however well it
answers pings. Times: BAR 3.8.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from adapters.bybit.notices import Notice, Notify
from adapters.bybit.outcomes import ExchangeRefusal, PayloadError
from adapters.bybit.resolver import Resolver
from adapters.bybit.tracked import TrackedOrder
from core.errors import SafetyError

if TYPE_CHECKING:
    from adapters.bybit.venue import BybitVenue

IN_FLIGHT_MS: Final = 3_000
_TICK_S: Final = 1.0
_PERIODS_MS: Final = {"orders": 10_000, "executions": 30_000, "positions": 30_000, "wallet": 60_000, "clock": 60_000}


class Watch:
    """Runs the checks of one venue."""

    def __init__(
        self,
        venue: BybitVenue,
        resolver: Resolver,
        notify: Notify,
        *,
        sleep: Callable[[float], Awaitable[None]],
        now_ms: Callable[[], int],
    ) -> None:
        self._venue, self._resolver, self._notify = venue, resolver, notify
        self._sleep, self._now_ms = sleep, now_ms
        self._awaited: dict[str, tuple[int, object]] = {}
        self._missing: set[str] = set()
        self._due: dict[str, int] = {}
        self.stream_misses = 0
        """How often a list knew what the stream had not told within three seconds."""

    def await_news(self, order: TrackedOrder) -> None:
        """The exchange took a command for this order: its news should come by the stream."""
        self._awaited[order.client_order_id] = (self._now_ms(), (order.state, order.last_ms))

    def hurry(self) -> None:
        """Read the lists at the next tick."""
        for name in ("orders", "executions", "positions", "wallet"):
            self._due[name] = 0

    async def run(self) -> None:
        """Tick until cancelled. A read that fails is told and tried again at its next turn."""
        begun = self._now_ms()
        self._due = {name: begun + period for name, period in _PERIODS_MS.items()}
        while True:
            await self._sleep(_TICK_S)
            if not self._venue.is_ready:
                continue  # the resync after the connection reads everything
            try:
                await self._check_in_flight()
                for name in [name for name, due in self._due.items() if due <= self._now_ms()]:
                    self._due[name] = self._now_ms() + _PERIODS_MS[name]
                    await self._read(name)
            except (ExchangeRefusal, PayloadError) as error:
                self._tell("check_failed", str(error))

    async def _read(self, name: str) -> None:
        venue = self._venue
        if name == "orders":
            await self.read_open_orders()
        elif name == "executions":
            await venue.read_executions()
        elif name == "positions":
            await venue.read_positions()
        elif name == "wallet":
            await venue.read_wallet()
        else:
            await self._check_clock()

    async def read_open_orders(self, *, is_resync: bool = False) -> None:
        """Take in what rests. One of ours that rests no more is looked at: at once after a connection, else when missing twice."""
        fold = self._venue.fold
        known = {order.client_order_id for order in fold.orders if order.state != "submitted"}
        rows = await self._venue.reader.open_orders()
        for row in rows:
            fold.on_order(row)
        resting = {found.client_order_id for row in rows if (found := fold.orders.find(row.orderLinkId, row.orderId)) is not None}
        missing = known - resting
        for name in missing if is_resync else missing & self._missing:
            order = fold.orders.get(name)
            if order is None or not order.is_open:
                continue
            view = await self._resolver.once(order)
            if view is not None and view.is_absent:
                self._resolver.doubt(order, "it rests no more, and no list has it", self._now_ms())
        self._missing = missing

    async def _check_in_flight(self) -> None:
        now, fold = self._now_ms(), self._venue.fold
        for name, (since, was) in list(self._awaited.items()):
            order = fold.orders.get(name)
            if order is None or not order.is_open or (order.state, order.last_ms) != was:
                del self._awaited[name]
            elif now - since >= IN_FLIGHT_MS:
                del self._awaited[name]
                await self._look_behind_the_stream(order)

    async def _look_behind_the_stream(self, order: TrackedOrder) -> None:
        before = (order.state, order.filled)
        view = await self._resolver.once(order)
        if view is None:
            self.await_news(order)
        elif view.is_absent:
            self._resolver.doubt(order, "taken by the exchange, and no list has it", self._now_ms())
        elif (order.state, order.filled) != before:
            self.stream_misses += 1
            self._tell("stream_behind", f"{order.symbol} {order.client_order_id}: the lists knew what the private stream had not told")
            await self._venue.private.stream.reconnect("it keeps news to itself")

    async def _check_clock(self) -> None:
        await self._venue.measure_clock()
        try:
            self._venue.check_clock()
        except SafetyError as error:
            self._notify(Notice(self._venue.stamp_ms(), "clock_off", str(error), severity="error", freezes=True))

    def _tell(self, code: str, text: str) -> None:
        self._notify(Notice(self._venue.stamp_ms(), code, text))
