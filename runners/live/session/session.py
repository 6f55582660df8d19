"""Keeps a session going: closes instants as their bars come, looks after the account, and stops cleanly.

In lock-step the sandbox's market waits for us: each step begins when everything that the one before caused has been heard, decided on,
sent and answered. In real time instants close when their bars are in, or when the grace is over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.streams import StreamBroken
from keel.adapters.journal import JournalError
from keel.adapters.machine import monotonic_ms
from keel.core.errors import StrategyError
from keel.core.model.messages import CancelOrder, Fault, Halt
from keel.core.model.orders import OrderRecord
from keel.runners.live.checks.comparison import AccountDifference
from keel.runners.live.checks.health_checks import Upkeep
from keel.runners.live.checks.reconcile import differences
from keel.runners.live.checks.watchdog import LoopHung, Watchdog
from keel.runners.live.market.bar_synchronizer import Instant
from keel.runners.live.panic.panic_end import PanicEnd
from keel.runners.live.panic.panic_heard import PanicHeard
from keel.runners.live.session.event_log import Watch, nobody_watches
from keel.runners.live.session.holdings import held_quantities
from keel.runners.live.session.records import Stated
from keel.runners.live.session.restrictions import Restriction, restrictions
from keel.runners.live.session.sandbox_end import SandboxEnd
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.start import Live, start

TICK_S: Final = 0.25
STOP_PATIENCE_S: Final = 15.0
OLD_MS: Final = 10_000
"""A bar that closed so long ago brings no decision: what it says is no longer so."""
CHECK_EVERY_STEPS: Final = 2_000
_INSTANT: Final = "instant"
"""Under which name an instant that is whole has the right of way."""


class Ending(msgspec.Struct, frozen=True):
    """How a session ended."""

    reason: str
    cancelled: list[str]
    unanswered: list[str]
    """Entries whose cancel was sent, and nobody has said that they have ended. A restart cancels them again."""
    protective: list[str]
    """Resting exits that stay at the exchange."""
    positions: dict[str, float]
    differences: list[AccountDifference]
    """Between our books and the exchange's, when all was quiet."""
    is_compared: bool
    """Whether the exchange could be read for that."""
    failure: BaseException | None = None
    state: str = "ACTIVE"
    """The gate's, when all was quiet: not ACTIVE where no order that adds could have been sent any more."""
    restrictions: list[Restriction] = []
    """What stood in the way then."""
    statement: Stated | None = None
    """The transaction log since the last statement, against our books; None where there was no time, or something broke."""
    unstated: str = ""
    """Why the transaction log could not be read for it."""

    @property
    def agrees(self) -> bool:
        """Whether the exchange was asked, and nothing differs from what it says."""
        is_stated = not self.unstated and not (self.statement is not None and self.statement.items)
        return self.is_compared and not self.differences and is_stated

    @property
    def exit_code(self) -> int:
        """Of a session that ended in order: 5 where the books differ or could not be compared, 4 where nothing that adds could be sent."""
        return 5 if not self.agrees else 0 if self.state == "ACTIVE" else 4


class Stop:
    """Asked to stop, from a signal handler or by a failure."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason = ""
        self.failure: BaseException | None = None

    def ask(self, reason: str) -> None:
        """The first reason stands."""
        self.reason = self.reason or reason
        self._event.set()

    def fail(self, error: BaseException) -> None:
        """Something broke."""
        if isinstance(error, LoopHung):
            error = StrategyError(f"it hung, and was broken off so that the session could end: {error}")
        self.failure = self.failure or error
        self.ask("fault")

    @property
    def is_asked(self) -> bool:
        """Whether it is time."""
        return self._event.is_set()

    async def wait(self, timeout_s: float) -> None:
        """Until it is asked, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return


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
        self._plan, self._user_notify, self._max_bars, self._watch, self._rest = plan, notify, max_bars, watch, rest
        self.stop = Stop()
        self.live: Live | None = None
        self.ending: Ending | None = None
        """There as soon as trading has ended, whatever breaks after that."""
        self.notices: deque[Notice] = deque(maxlen=50)
        self.watchdog = Watchdog()
        self.steps = 0
        self._panic = PanicHeard(plan)

    def notify(self, notice: Notice) -> None:
        """Keep a notice for the display, and pass it on."""
        self.notices.append(notice)
        self._panic.hear(notice)
        self._user_notify(notice)

    async def run(self, beside: Callable[[Live, Stop], AsyncIterator[None]] | None = None) -> tuple[Live, Ending]:
        """Start, trade, stop. Raises what the start raises; what breaks later is in the Ending."""
        async with start(self._plan, self.notify, self.stop.fail, self._watch) as live:
            self.live, live.notices = live, self.notices
            self._panic.begin(live)
            async with asynccontextmanager(beside)(live, self.stop) if beside is not None else _nothing():
                upkeep = Upkeep(live, self.notify)
                beating = self._watch_loop(live)
                try:
                    try:
                        await (self._lockstep(live, upkeep) if live.connection.is_lockstep else self._real_time(live, upkeep))
                    except Exception as error:  # noqa: BLE001  # whatever broke: what rests is cancelled, and the end is told
                        self.stop.fail(error)
                    self.ending = self._kept(live, await self._end_somehow(live))
                finally:
                    beating.cancel()
        return live, self.ending

    def _watch_loop(self, live: Live) -> asyncio.Task[None]:
        """Let the loop beat, and every order be preceded by a look at it."""
        look = live.gate.look

        def look_first() -> None:
            if not live.connection.is_lockstep:
                self.watchdog.look(live.gate)
            look()

        live.gate.look = look_first
        self.watchdog.left = lambda: _what_stays(live)
        beating = asyncio.create_task(self.watchdog.beat(live, self.notify))
        beating.add_done_callback(lambda done: None if done.cancelled() or (broke := done.exception()) is None else self.stop.fail(broke))
        return beating

    # --- lock-step ---

    async def _lockstep(self, live: Live, upkeep: Upkeep) -> None:
        await self._flush(live)
        self._close_ready(live)  # what a restart found half done
        panic = PanicEnd(live)
        while not self.stop.is_asked and (self._max_bars is None or self.steps < self._max_bars):
            await live.venue.idle()
            await self._until_ready(live)
            stepped = await live.connection.step()
            if not stepped.bars:
                self.stop.ask("the sandbox's history has ended")
                return
            self.steps += 1
            await upkeep.turn(only_awaited=True)
            await self._flush(live)
            live.gate.look()
            self._close_ready(live)
            if panic.is_on:
                await asyncio.sleep(TICK_S)  # the market moves on only with us, and whoever closes needs it to
            if panic.has_come():
                self.stop.ask("panic")
            if self.steps % CHECK_EVERY_STEPS == 0:
                await live.reconciler.check(at_once=True)
        self.stop.ask("the number of bars is reached" if not self.stop.is_asked else self.stop.reason)

    async def _flush(self, live: Live) -> None:
        """Wait until everything that the exchange has sent by now is heard; over a broken line, until lists have been read instead."""
        while not self.stop.is_asked:
            streams = (live.venue.private.stream, live.market.stream)
            heard = await asyncio.gather(*(stream.flush() for stream in streams), return_exceptions=True)
            broken = [error for error in heard if isinstance(error, BaseException)]
            if not broken:
                break
            if not all(isinstance(error, StreamBroken) for error in broken):
                raise broken[0]
            await self._until_ready(live)
        live.market.fetch_due()
        await live.market.settle()
        await self._until_ready(live)
        if live.inputs is not None:
            await live.inputs.settle()

    async def _until_ready(self, live: Live) -> None:
        while not (live.venue.is_ready and live.market.stream.is_ready) and not self.stop.is_asked:
            await asyncio.sleep(0.01)

    # --- real time ---

    async def _real_time(self, live: Live, upkeep: Upkeep) -> None:
        woken, right_of_way = asyncio.Event(), live.venue.right_of_way

        def wake() -> None:
            right_of_way.take(_INSTANT)
            woken.set()

        live.inbox.wake = wake
        end, panic = SandboxEnd(live), PanicEnd(live)
        while not self.stop.is_asked:
            try:
                async with asyncio.timeout(TICK_S):
                    await woken.wait()
            except TimeoutError:
                pass
            woken.clear()
            live.gate.look()
            self._close_ready(live)
            right_of_way.give_back(_INSTANT)
            if self._max_bars is not None and self.steps >= self._max_bars:
                self.stop.ask("the number of bars is reached")
            await upkeep.turn()
            is_quiet = not live.venue.in_flight
            live.snapshots.consider(is_quiet=is_quiet)
            if is_quiet and live.instants.is_empty:
                self._rest()
            if panic.has_come():
                self.stop.ask("panic")
            if await end.has_come():
                self.stop.ask("the sandbox's history has ended")

    # --- instants ---

    def _close_ready(self, live: Live) -> None:
        if live.inbox.failure is not None:
            return
        lockstep = live.connection.is_lockstep
        now = monotonic_ms()
        instants = live.instants.give_all() if lockstep else live.instants.ready(now)
        for instant in instants:
            if instant.missing:
                names = ", ".join(f"{symbol} {timeframe}" for symbol, timeframe in instant.missing)
                self.notify(Notice(instant.ts, "bars_late", f"without {names}, which get no decision now"))
            is_news, prices = self._is_news(live, instant), live.prices
            marks = prices.marks_of(instant, live.books.portfolio, is_news=is_news)
            decides = is_news and instant.ts > live.starting_instant
            try:
                live.cycle.close(instant, marks, prices.due_rates(instant.ts), decides=decides, inputs=prices.inputs_of(instant))
            except BaseException as error:  # noqa: BLE001  # kept and told: the session stops for it
                live.inbox.fail(error)
                return
            for note in live.books.new_notes():
                self.notify(Notice(instant.ts, "not_screened", note))
            if lockstep:
                live.snapshots.consider()
            else:
                self.steps += 1

    def _is_news(self, live: Live, instant: Instant) -> bool:
        """Whether it closed so lately that prices are its own and a decision on it is worth something."""
        if live.connection.is_lockstep:
            return True
        sandbox = live.connection.sandbox
        age_ms = (live.connection.market_ms - instant.ts) / (1.0 if sandbox is None else sandbox.factor)
        return age_ms <= OLD_MS + live.plan.grace_ms

    # --- the end ---

    async def _end_somehow(self, live: Live) -> Ending:
        """The end in order; where that breaks, what our books alone know of it."""
        try:
            return await self._end(live)
        except Exception as error:  # noqa: BLE001  # as above
            self.stop.fail(error)
            live.gate.close("stopped", "the session has ended")
            executor = live.cycle.actors.executor
            unanswered = [one.client_order_id for one in executor.open_orders() if one.command is not None and not one.command.reduce_only]
            held = held_quantities(live.books.portfolio)
            reason, state = self.stop.reason or "fault", live.gate.state.name
            return Ending(reason, [], unanswered, _protective(live), held, [], False, self.stop.failure, state)

    def _kept(self, live: Live, ending: Ending) -> Ending:
        """``ending``, once the journal has all of it on the disk; where the disk refuses, the ending with that failure."""
        try:
            live.journal.sync()
        except JournalError as error:
            self.stop.fail(error)
            return msgspec.structs.replace(ending, failure=self.stop.failure)
        return ending

    async def _end(self, live: Live) -> Ending:
        """Entries are cancelled, exits stay, positions stay (unless on_fault says flatten); then the books are compared."""
        failure = self.stop.failure
        if failure is not None:
            await self._on_fault(live, failure)
        executor = live.cycle.actors.executor
        entries = [record for record in executor.open_orders() if record.command is not None and not record.command.reduce_only]
        entries = entries if live.plan.dry is None else []
        for record in entries:
            live.venue.cancel_order(CancelOrder(record.client_order_id, record.symbol, live.cycle.clock.now_ms))
        left: list[AccountDifference] = []
        stated: Stated | None = None
        is_compared = False
        try:
            async with asyncio.timeout(STOP_PATIENCE_S):
                await live.venue.idle()
                if not live.connection.is_lockstep:
                    await self._wait_for_ends(live, entries)
                await live.reconciler.check(at_once=True)
                left = differences(live.books.portfolio, live.venue, live.quote)
                is_compared = live.reconciler.was_read
                if is_compared and failure is None and live.inbox.failure is None:
                    stated = await live.statement.make(live.connection.market_ms - 1)  # what comes at this very ms is the next session's
        except TimeoutError:
            self.notify(Notice(live.cycle.clock.now_ms, "stop_slow", "not everything was answered before the end; a restart looks again"))
        live.gate.look()
        state, left_over = live.gate.state.name, restrictions(live.gate, live.plan.system.system)
        live.gate.close("stopped", "the session has ended")
        if failure is None:
            live.snapshots.keep()
        held = held_quantities(live.books.portfolio)
        unsure = entries if not is_compared or not live.connection.is_lockstep else []  # in lock-step a cancel acts with the next bar
        unanswered = [record.client_order_id for record in unsure if record.is_open]
        cancelled = [record.client_order_id for record in entries if record.client_order_id not in unanswered]
        unstated = live.statement.failed if stated is None else ""
        return Ending(
            self.stop.reason or "stopped", cancelled, unanswered, _protective(live), held, left, is_compared, failure, state, left_over,
            stated, unstated,
        )  # fmt: skip

    async def _wait_for_ends(self, live: Live, entries: list[OrderRecord]) -> None:
        while any(record.is_open for record in entries) and live.inbox.failure is None:
            await asyncio.sleep(0.05)

    async def _on_fault(self, live: Live, failure: BaseException) -> None:
        """on_fault halt: nothing is added; flatten: positions are closed, too, past actors that have failed."""
        live.gate.close("fault", f"{type(failure).__name__}: {failure}")
        if live.journal.failed is None:
            live.inbox.append(Fault(live.cycle.clock.now_ms, "session", f"{type(failure).__name__}: {failure}"))
        if live.plan.system.on_fault != "flatten":
            return
        if live.cycle.bus.failed is None:
            live.cycle.hear(Halt(live.cycle.clock.now_ms, "fault", flatten=True))
        else:
            from keel.runners.live.session.flatten import flatten

            await flatten(live)


def _protective(live: Live) -> list[str]:
    executor = live.cycle.actors.executor
    exits = [record for record in executor.open_orders() if record.command is not None and record.command.reduce_only]
    return [record.client_order_id for record in (*executor.bracket_orders(), *exits)]


def _what_stays(live: Live) -> str:
    """What rests at the exchange and what is held, as far as we know."""
    executor = live.books.executor
    names = [record.client_order_id for record in (*executor.open_orders(), *executor.bracket_orders())]
    held = ", ".join(f"{symbol} {qty:g}" for symbol, qty in held_quantities(live.books.portfolio).items())
    return f"positions stay: {held or 'none'}\norders that stay at the exchange, stops among them: {', '.join(names) or 'none'}"


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield
