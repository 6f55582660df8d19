"""What drives a session on: a market that waits for it (a sandbox in lock-step), or one that moves by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from keel.adapters.bybit.transport.streams import StreamBroken
from keel.runners.live.checks.health_checks import HealthChecks
from keel.runners.live.panic.panic_end import PanicEnd
from keel.runners.live.session.ending import Stop
from keel.runners.live.session.live import Live
from keel.runners.live.session.sandbox_end import SandboxEnd

TICK_S: Final = 0.25
CHECK_EVERY_STEPS: Final = 2_000


class BarCount:
    """The bars of a session, and how many it may have (None: no end)."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self.count = 0

    def start_at(self, count: int) -> None:
        """So many there were before."""
        self.count = count

    def add(self) -> None:
        """One more."""
        self.count += 1

    @property
    def is_reached(self) -> bool:
        """Whether no more are wanted."""
        return self._most is not None and self.count >= self._most


class Driver(Protocol):
    """Goes on until the session is asked to stop."""

    async def drive(self, live: Live, health_checks: HealthChecks) -> None:
        """Until it is asked."""

    def closed(self) -> None:
        """An instant has been closed."""


class LockStep:
    """Each step begins when everything that the one before caused has been heard, decided on, sent and answered."""

    def __init__(self, stop: Stop, bars: BarCount) -> None:
        self._stop, self._bars = stop, bars

    def closed(self) -> None:
        """Steps are what counts here."""

    async def drive(self, live: Live, health_checks: HealthChecks) -> None:
        """Step by step."""
        await self._flush(live)
        await self._close(live)  # what a restart found half done
        panic = PanicEnd(live)
        while not self._stop.is_asked and not self._bars.is_reached:
            await live.venue.idle()
            await self._until_ready(live)
            stepped = await live.connection.step()
            if not stepped.bars:
                self._stop.ask("the sandbox's history has ended")
                return
            self._bars.add()
            await health_checks.turn(only_awaited=True)
            await self._flush(live)
            await self._close(live)
            if panic.is_on:
                await asyncio.sleep(TICK_S)  # the market moves on only with us, and whoever closes needs it to
            if panic.has_come():
                self._stop.ask("panic")
            if self._bars.count % CHECK_EVERY_STEPS == 0:
                await live.reconciler.check(at_once=True)
        self._stop.ask("the number of bars is reached" if not self._stop.is_asked else self._stop.reason)

    async def _close(self, live: Live) -> None:
        """Let everything that is here be heard."""
        await live.inbox.settled()
        live.gate.look()
        if live.recorder.failure is None:
            live.intake.give_all()
            await live.inbox.settled()
            live.snapshots.consider()

    async def _flush(self, live: Live) -> None:
        """Wait until everything that the exchange has sent by now is heard; over a broken line, until lists have been read instead."""
        while not self._stop.is_asked:
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
        while not (live.venue.is_ready and live.market.stream.is_ready) and not self._stop.is_asked:
            await asyncio.sleep(0.01)


class RealTime:
    """Instants are heard as their bars come (``Intake``); this looks after everything else, several times a second. rest: called when no
    command is on its way and no bar waits."""

    def __init__(self, stop: Stop, bars: BarCount, rest: Callable[[], None]) -> None:
        self._stop, self._bars, self._rest = stop, bars, rest

    def closed(self) -> None:
        """One more instant."""
        self._bars.add()
        self._look_at_count()

    def _look_at_count(self) -> None:
        if self._bars.is_reached:
            self._stop.ask("the number of bars is reached")

    async def drive(self, live: Live, health_checks: HealthChecks) -> None:
        """Turn by turn."""
        end, panic = SandboxEnd(live), PanicEnd(live)
        self._look_at_count()
        while not self._stop.is_asked:
            live.gate.look()
            live.intake.give()
            await live.inbox.settled()
            self._look_at_count()
            await health_checks.turn()
            is_quiet = not live.venue.in_flight
            live.snapshots.consider(is_quiet=is_quiet)
            if is_quiet and live.intake.is_empty:
                self._rest()
            if panic.has_come():
                self._stop.ask("panic")
            if await end.has_come():
                self._stop.ask("the sandbox's history has ended")
            await self._stop.wait(TICK_S)
