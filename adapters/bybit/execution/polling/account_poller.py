"""The cadence of looking: what was sent and not heard of, what rests, what was executed, what is held, the wallet, the clock.
docs/reconciliation.md has the times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from keel.adapters.bybit.execution.polling.account_lists import AccountLists
from keel.adapters.bybit.execution.polling.query_loop import QueryLoop
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.stream_watch import StreamWatch
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.core.risk.gate.gate import Gate

_TICK_S: Final = 1.0
PERIODS_MS: Final = {"orders": 10_000, "executions": 30_000, "positions": 30_000, "wallet": 60_000, "clock": 60_000}
"""How often each of them is looked at, by a monotonic clock."""
AWAITED_MS: Final = 5_000
"""How often it is looked at while a cause of the gate stands that ends by this look."""


class AccountPoller:
    """Runs the checks of one venue. is_ready: whether the account was read since the connection.  check_clock: measures it, and sees
    whether it is right.  reconnect: replaces the private stream."""

    def __init__(
        self,
        tracker: OrderTracker,
        watch: StreamWatch,
        queries: QueryLoop,
        lists: AccountLists,
        gate: Gate,
        around: Surroundings,
        *,
        is_ready: Callable[[], bool],
        check_clock: Callable[[], Awaitable[None]],
        reconnect: Callable[[str], Awaitable[None]],
    ) -> None:
        self._tracker, self._watch, self._queries, self._lists = tracker, watch, queries, lists
        self._gate, self._around = gate, around
        self._is_ready, self._check_clock, self._reconnect = is_ready, check_clock, reconnect
        self._due: dict[str, int] = {}
        self.stream_misses = 0
        """How often a list knew what the stream had not told within three seconds."""

    def hurry(self) -> None:
        """Read the lists at the next tick."""
        for name in ("orders", "executions", "positions", "wallet"):
            self._due[name] = 0

    async def run(self) -> None:
        """Tick until cancelled. A read that fails is told and tried again at its next turn."""
        begun = self._around.monotonic_ms
        self._due = {name: begun + period for name, period in PERIODS_MS.items()}
        while True:
            await self._around.sleep(_TICK_S)
            if self._gate.has("clock_off"):
                self._sooner("clock")
            if self._due["clock"] <= self._around.monotonic_ms:  # also while the stream is lost: a clock that is off may be why
                self._due["clock"] = self._around.monotonic_ms + PERIODS_MS["clock"]
                await self._check_clock()
            if not self._is_ready():
                continue  # the resync after the connection reads everything
            if self._lists.decide_on_causes:
                self._sooner("orders")
            try:
                await self._look_behind_the_stream()
                for name in [name for name, due in self._due.items() if due <= self._around.monotonic_ms]:
                    self._due[name] = self._around.monotonic_ms + PERIODS_MS[name]
                    await self._read(name)
            except (ExchangeRefusal, PayloadError) as error:
                self._report("check_failed", str(error))

    def _sooner(self, name: str) -> None:
        """Something ends by this reading: look at it every five seconds."""
        self._due[name] = min(self._due[name], self._around.monotonic_ms + AWAITED_MS)

    async def _read(self, name: str) -> None:
        if name == "orders":
            if await self._lists.open_orders():
                self._due["executions"] = self._around.monotonic_ms  # the stream kept an end to itself: what else?
        elif name == "executions":
            await self._lists.executions()
        elif name == "positions":
            await self._lists.positions()
        else:
            await self._lists.wallet()

    async def _look_behind_the_stream(self) -> None:
        """What was sent, and what only lists have told: the stream should have told of it within three seconds."""
        for query in self._watch.late(self._around.moment()):
            view = await self._queries.order(query) if self._tracker.is_still_wanted(query) else None
            self._watch.late_read(query, view, self._around.moment())
        if why := self._watch.behind:
            self.stream_misses += 1
            self._report("stream_behind", why)
            self._watch.forget()
            await self._reconnect("it keeps news to itself")

    def _report(self, code: str, text: str) -> None:
        self._around.notify(Notice(self._around.exchange_ms, code, text))
