"""The cadence of looking: what was sent and not heard of, what rests, what was executed, what is held, the wallet, the clock.

The stream tells first, the lists prove it. When a list has news that the stream kept to itself, the stream is replaced, however well it
answers pings. docs/reconciliation.md has the times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from keel.adapters.bybit.execution.order_endings import OrderEndings
from keel.adapters.bybit.execution.resolver import Resolver
from keel.adapters.bybit.execution.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.core.errors import VenueError

if TYPE_CHECKING:
    from keel.adapters.bybit.execution.venue import BybitVenue

IN_FLIGHT_MS: Final = 3_000
_TICK_S: Final = 1.0
PERIODS_MS: Final = {"orders": 10_000, "executions": 30_000, "positions": 30_000, "wallet": 60_000, "clock": 60_000}
"""How often each of them is looked at, by a monotonic clock."""
AWAITED_MS: Final = 5_000
"""How often it is looked at while a cause of the gate stands that ends by this look."""


class AccountPoller:
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
        self._awaited: dict[str, tuple[int, int, tuple[object, int]]] = {}
        """Name -> (since when, what the stream had told of it by then, what it was then)."""
        self._owed: dict[str, int] = {}
        """Key of an execution that only a list told -> since when the stream owes it."""
        self._missing: set[str] = set()
        self._endings = OrderEndings(venue.gate, venue.tracker)
        self._due: dict[str, int] = {}
        self.stream_misses = 0
        """How often a list knew what the stream had not told within three seconds."""

    def await_news(self, order: TrackedOrder) -> None:
        """The exchange took a command for this order: its news should come by the stream."""
        self._awaited[order.client_order_id] = (self._now_ms(), order.pushes, (order.life.told, order.filled))

    def hurry(self) -> None:
        """Read the lists at the next tick."""
        for name in ("orders", "executions", "positions", "wallet"):
            self._due[name] = 0

    async def run(self) -> None:
        """Tick until cancelled. A read that fails is told and tried again at its next turn."""
        begun = self._now_ms()
        self._due = {name: begun + period for name, period in PERIODS_MS.items()}
        while True:
            await self._sleep(_TICK_S)
            if self._venue.gate.has("clock_off"):
                self._sooner("clock")
            if self._due["clock"] <= self._now_ms():  # also while the stream is lost: a clock that is off may be why
                self._due["clock"] = self._now_ms() + PERIODS_MS["clock"]
                await self._check_clock()
            if not self._venue.is_ready:
                continue  # the resync after the connection reads everything
            if self._endings.are_awaited:
                self._sooner("orders")
            try:
                await self._check_in_flight()
                for name in [name for name, due in self._due.items() if due <= self._now_ms()]:
                    self._due[name] = self._now_ms() + PERIODS_MS[name]
                    await self._read(name)
            except (ExchangeRefusal, PayloadError) as error:
                self._tell("check_failed", str(error))

    def _sooner(self, name: str) -> None:
        """Something ends by this reading: look at it every five seconds."""
        self._due[name] = min(self._due[name], self._now_ms() + AWAITED_MS)

    async def _read(self, name: str) -> None:
        venue = self._venue
        if name == "orders":
            await self.read_open_orders()
        elif name == "executions":
            await venue.read_executions()
        elif name == "positions":
            await venue.read_positions()
        else:
            await venue.read_wallet()

    async def read_open_orders(self, *, is_resync: bool = False) -> None:
        """Take in what rests. One of ours that rests no more is looked at; when nobody has it (after a connection at once, else when it was
        missing before), its fate is unknown."""
        tracker = self._venue.tracker
        known = [order.client_order_id for order in tracker.orders if order.life.told != "pending_submit"]
        asked = self._now_ms()
        rows = await self._venue.reader.open_orders()
        for row in rows:
            tracker.on_order(row)
        self._endings.look(rows, asked)
        resting = {found.client_order_id for row in rows if (found := tracker.orders.find(row.orderLinkId, row.orderId)) is not None}
        missing = [name for name in known if name not in resting]  # in the order in which they were sent, and not a set's
        for name in missing:
            order = tracker.orders.get(name)
            if order is None or not order.is_open:
                continue
            view = await self._resolver.once(order)
            if view is None and is_resync:
                raise VenueError(f"{order.symbol} {name} could not be looked at")  # not ready yet: the connection is made anew
            if view is not None and view.is_absent and (is_resync or name in self._missing):
                self._resolver.doubt(order, "it rests no more, and no list has it", self._now_ms())
            if order.life.has_ended and not is_resync:
                self._due["executions"] = self._now_ms()  # the stream kept its end to itself: what else?
        self._missing = {*missing}

    async def _check_in_flight(self) -> None:
        """What was sent, and what only lists have told: the stream should have told of it within three seconds."""
        now, tracker = self._now_ms(), self._venue.tracker
        for name, (since, pushes, was) in list(self._awaited.items()):
            order = tracker.orders.get(name)
            if order is None or order.pushes != pushes:
                del self._awaited[name]
            elif now - since >= IN_FLIGHT_MS:
                del self._awaited[name]
                await self._look_behind_the_stream(order, was)
        self._owed = {key: self._owed.get(key, now) for key in tracker.owed}
        late = [key for key, since in self._owed.items() if now - since >= IN_FLIGHT_MS]
        if late:
            await self._replace_stream(f"the list had executions that the private stream had not told: {', '.join(late[:3])}")

    async def _look_behind_the_stream(self, order: TrackedOrder, was: tuple[object, int]) -> None:
        view = await self._resolver.once(order) if order.is_open else None
        if order.is_open and view is None:
            self.await_news(order)
        elif view is not None and view.is_absent:
            self._resolver.doubt(order, "taken by the exchange, and no list has it", self._now_ms())
        elif (order.life.told, order.filled) != was:
            await self._replace_stream(f"{order.symbol} {order.client_order_id}: the lists knew what the private stream had not told")

    async def _replace_stream(self, why: str) -> None:
        self.stream_misses += 1
        self._tell("stream_behind", why)
        self.forget()
        await self._venue.private.stream.reconnect("it keeps news to itself")

    def forget(self) -> None:
        """A new connection: it owes us nothing of what was before it."""
        self._owed.clear()
        self._venue.tracker.owed.clear()

    async def _check_clock(self) -> None:
        await self._venue.measure_clock()
        self._venue.check_clock()

    def _tell(self, code: str, text: str) -> None:
        self._notify(Notice(self._venue.stamp_ms(), code, text))
