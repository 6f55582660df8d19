"""How a session ends: in order if that can be, and told in any case."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.journal import JournalError
from keel.core.errors import StrategyError
from keel.core.model.messages import CancelOrder, Fault, Halt
from keel.core.model.orders import OrderRecord
from keel.runners.live.checks.comparison import AccountDifference
from keel.runners.live.checks.reconcile import differences
from keel.runners.live.checks.watchdog import LoopHung
from keel.runners.live.memory.records import Stated
from keel.runners.live.reporting.holdings import held_quantities
from keel.runners.live.reporting.restrictions import Restriction, restrictions
from keel.runners.live.session.flatten import flatten
from keel.runners.live.session.live import Live

STOP_PATIENCE_S: Final = 15.0


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


class End:
    """Ends one session."""

    def __init__(self, live: Live, stop: Stop, notify: Notify) -> None:
        self._live, self._stop, self._notify = live, stop, notify

    async def somehow(self) -> Ending:
        """The end in order; where that breaks, what our books alone know of it."""
        live = self._live
        try:
            return await self._end()
        except Exception as error:  # noqa: BLE001  # whatever broke: the end is told
            self._stop.fail(error)
            live.gate.close("stopped", "the session has ended")
            executor = live.books.actors.executor
            unanswered = [one.client_order_id for one in executor.open_orders() if one.command is not None and not one.command.reduce_only]
            held = held_quantities(live.books.portfolio)
            reason, state = self._stop.reason or "fault", live.gate.state.name
            return Ending(reason, [], unanswered, _protective(live), held, [], False, self._stop.failure, state)

    def kept(self, ending: Ending) -> Ending:
        """``ending``, once the journal has all of it on the disk; where the disk refuses, the ending with that failure."""
        try:
            self._live.journal.sync()
        except JournalError as error:
            self._stop.fail(error)
            return msgspec.structs.replace(ending, failure=self._stop.failure)
        return ending

    async def _end(self) -> Ending:
        """Entries are cancelled, exits stay, positions stay (unless on_fault says flatten); then the books are compared."""
        live, failure, is_told = self._live, self._stop.failure, self._live.connection.pace.ends_are_told
        if failure is not None:
            await self._on_fault(failure)
        await live.inbox.settled()
        executor = live.books.actors.executor
        entries = [record for record in executor.open_orders() if record.command is not None and not record.command.reduce_only]
        entries = entries if live.plan.dry is None else []
        for record in entries:
            live.venue.cancel_order(CancelOrder(record.client_order_id, record.symbol, live.books.clock.now_ms))
        left: list[AccountDifference] = []
        stated: Stated | None = None
        is_compared = False
        try:
            async with asyncio.timeout(STOP_PATIENCE_S):
                await live.venue.idle()
                if is_told:
                    await self._wait_for_ends(entries)
                await live.reconciler.check(at_once=True)
                left = differences(live.books.portfolio, live.venue, live.quote)
                is_compared = live.reconciler.was_read
                if is_compared and failure is None and live.recorder.failure is None:
                    stated = await live.statement.make(live.connection.market_ms - 1)  # what comes at this very ms is the next session's
        except TimeoutError:
            self._notify(Notice(live.books.clock.now_ms, "stop_slow", "not everything was answered before the end; a restart looks again"))
        live.gate.look()
        state, left_over = live.gate.state.name, restrictions(live.gate, live.plan.system.system)
        live.gate.close("stopped", "the session has ended")
        if failure is None:
            live.snapshots.keep()
        held = held_quantities(live.books.portfolio)
        unsure = entries if not is_compared or is_told else []
        unanswered = [record.client_order_id for record in unsure if record.is_open]
        cancelled = [record.client_order_id for record in entries if record.client_order_id not in unanswered]
        unstated = live.statement.failed if stated is None else ""
        return Ending(
            self._stop.reason or "stopped", cancelled, unanswered, _protective(live), held, left, is_compared, failure, state, left_over,
            stated, unstated,
        )  # fmt: skip

    async def _wait_for_ends(self, entries: list[OrderRecord]) -> None:
        while any(record.is_open for record in entries) and self._live.recorder.failure is None:
            await asyncio.sleep(0.05)

    async def _on_fault(self, failure: BaseException) -> None:
        """on_fault halt: nothing is added; flatten: positions are closed, too, past actors that have failed."""
        live = self._live
        live.gate.close("fault", f"{type(failure).__name__}: {failure}")
        if live.journal.failed is None:
            live.recorder.append(Fault(live.books.clock.now_ms, "session", f"{type(failure).__name__}: {failure}"))
        if live.plan.system.on_fault != "flatten":
            return
        if live.recorder.failure is None:
            live.inbox.put(Halt(live.books.clock.now_ms, "fault", flatten=True))
        else:
            await flatten(live)


def _protective(live: Live) -> list[str]:
    executor = live.books.actors.executor
    exits = [record for record in executor.open_orders() if record.command is not None and record.command.reduce_only]
    return [record.client_order_id for record in (*executor.bracket_orders(), *exits)]


def what_stays(live: Live) -> str:
    """What rests at the exchange and what is held, as far as we know."""
    executor = live.books.executor
    names = [record.client_order_id for record in (*executor.open_orders(), *executor.bracket_orders())]
    held = ", ".join(f"{symbol} {qty:g}" for symbol, qty in held_quantities(live.books.portfolio).items())
    return f"positions stay: {held or 'none'}\norders that stay at the exchange, stops among them: {', '.join(names) or 'none'}"
