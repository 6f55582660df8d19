"""Keeps a session going: starts it, lets instants be heard, looks after the account, and stops cleanly."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from keel.adapters.bybit.notices import Notice
from keel.core.engine.instant import InstantClosed
from keel.core.risk.gate.gate import Gate
from keel.runners.live.checks.health_checks import HealthChecks
from keel.runners.live.checks.watchdog import Watchdog
from keel.runners.live.panic.panic_heard import PanicHeard
from keel.runners.live.reporting.event_log import Watch, nobody_watches
from keel.runners.live.session.driving import BarCount, Driver, LockStep, RealTime
from keel.runners.live.session.ending import End, Ending, Stop, what_stays
from keel.runners.live.session.live import Live
from keel.runners.live.startup.assembly import Outside
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.start import start


class Session:
    """One run of a plan. ``live`` is there once the start is through; ``watch`` is given the bus when what is new begins to pass on it,
    and what takes work that can wait until orders have left; ``rest`` is called in moments in which no command is on its way and no bar
    waits."""

    def __init__(
        self,
        plan: Plan,
        notify: Callable[[Notice], None],
        *,
        max_bars: int | None = None,
        watch: Watch = nobody_watches,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        self._plan, self._user_notify, self._watch, self._rest = plan, notify, watch, rest
        self.stop = Stop()
        self.live: Live | None = None
        self.ending: Ending | None = None
        """There as soon as trading has ended, whatever breaks after that."""
        self.notices: deque[Notice] = deque(maxlen=50)
        self.watchdog = Watchdog(self._what_stays)
        self.bars = BarCount(max_bars)
        self._goes_on = False
        self._panic = PanicHeard(plan)

    def notify(self, notice: Notice) -> None:
        """Keep a notice for the display, and pass it on."""
        self.notices.append(notice)
        self._panic.hear(notice)
        self._user_notify(notice)

    async def run(self, beside: Callable[[Live, Stop], AsyncIterator[None]] | None = None) -> tuple[Live, Ending]:
        """Start, trade, stop. Raises what the start raises; what breaks later is in the Ending."""
        outside = Outside(self.notify, self.notices, self.stop.fail, self._watch, self._look_first, self._takes_instants)
        async with start(self._plan, outside) as live:
            self.live = live
            self._panic.begin(live)
            async with asynccontextmanager(beside)(live, self.stop) if beside is not None else _nothing():
                health_checks, end = HealthChecks(live, self.notify), End(live, self.stop, self.notify)
                beating = self._watch_loop(live)
                try:
                    await self._go_on(live, health_checks)
                    self.ending = end.kept(await end.somehow())
                finally:
                    beating.cancel()
        return live, self.ending

    async def _go_on(self, live: Live, health_checks: HealthChecks) -> None:
        """Until it is asked to stop, by the market, a person or what broke."""
        lockstep, stop, bars = live.connection.pace.is_lockstep, self.stop, self.bars
        driver: Driver = LockStep(stop, bars) if lockstep else RealTime(stop, bars, self._rest)

        def closed(instant: InstantClosed) -> None:
            driver.closed()
            for note in live.books.new_notes():
                self.notify(Notice(instant.ts, "not_screened", note))

        live.books.bus.subscribe(InstantClosed, closed)
        self._goes_on = True
        try:
            await driver.drive(live, health_checks)
        except Exception as error:  # noqa: BLE001  # whatever broke: what rests is cancelled, and the end is told
            self.stop.fail(error)
        finally:
            self._goes_on = False

    def _takes_instants(self) -> bool:
        return self._goes_on and not self.stop.is_asked

    def _look_first(self, gate: Gate) -> None:
        if self.live is not None and self.live.connection.pace.judges_loop:
            self.watchdog.look(gate)

    def _what_stays(self) -> str:
        return "nothing is known of what rests at the exchange" if self.live is None else what_stays(self.live)

    def _watch_loop(self, live: Live) -> asyncio.Task[None]:
        """Let the loop beat."""
        beating = asyncio.create_task(self.watchdog.beat(live, self.notify))
        beating.add_done_callback(lambda done: None if done.cancelled() or (broke := done.exception()) is None else self.stop.fail(broke))
        return beating


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
