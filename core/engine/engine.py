"""The engine: what the actors hear, and in which order. A backtest, a session and a journal that is heard again go through this one.

Order within an instant: what the exchange did before it closed; then funding rates, marks and bars (``Instant.messages``); then the account
is marked, risk looks at its limits, the strategy decides, and what follows from that is drained (``make_conclude``).
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterable, Callable
from typing import Protocol

from keel.core.actors.market_data import MarketData
from keel.core.actors.portfolio import Portfolio
from keel.core.actors.risk import RiskActor
from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.engine.instant import BarsTooLate, Instant, InstantClosed, LateBar
from keel.core.engine.limit_watch import LimitWatch
from keel.core.errors import InvariantError
from keel.core.model.messages import Bar, Message

Conclude = Callable[[int, int, bool], None]
"""(row of a history, ts, whether the strategy is asked): the end of an instant."""


class Journal(Protocol):
    """Where a session writes what its actors hear. ``failure``: what has broken; from then on messages are only kept."""

    failure: BaseException | None

    def append(self, message: Message) -> object:
        """Write a message down before it is heard."""

    def keep(self, message: Message) -> None:
        """Write a message down that nobody hears any more."""

    def fail(self, error: BaseException) -> None:
        """Something of ours broke while a message was heard: told, and the session stops."""


class Engine:
    """Moves the clock, hands messages to the actors, closes instants. It awaits nothing and writes nothing, but for ``run``.

    present: a portfolio strategy's clock, which stands at the latest closed instant; ``clock`` is of the latest message, which may be
    younger. None: the same clock.
    """

    def __init__(
        self,
        bus: Bus,
        clock: ReplayClock,
        portfolio: Portfolio,
        risk: RiskActor,
        market_data: MarketData,
        *,
        present: ReplayClock | None = None,
    ) -> None:
        self.bus, self.clock, self.present = bus, clock, clock if present is None else present
        self.portfolio, self.risk, self.market_data = portfolio, risk, market_data
        self.closes = array("q")
        """The times of the instants that were closed one by one: those of the portfolio's equity_values."""
        self._conclude = make_conclude(portfolio, risk, market_data, bus)

    async def run(self, inbox: AsyncIterable[Message | Instant | LateBar], journal: Journal) -> None:
        """Hear what comes, one after the other: each message is written down, then heard. The only consumer; it ends with the inbox.

        What a handler raises goes to the journal's ``fail``; from then on messages are kept, nobody hears them, and bars are left out: a
        restart asks for them again.
        """
        async for each in inbox:
            self.take(each, journal)

    def take(self, each: Message | Instant | LateBar, journal: Journal) -> None:
        """One that has come: written down, then heard."""
        if journal.failure is not None:
            if isinstance(each, Message):
                journal.keep(each)
            return
        try:
            if isinstance(each, Message):
                journal.append(each)
                self.receive(each)
            else:
                self.process(each, journal.append)
        except BaseException as error:  # noqa: BLE001  # kept and told: the session stops for it, with the policy of its system
            journal.fail(error)

    def process(self, instant: Instant | LateBar, write: Callable[[Message], object] | None = None) -> None:
        """All that belongs to an instant, in order, and its end. write: takes each message before it is heard."""
        for message in instant.messages():
            if write is not None:
                write(message)
            self.receive(message)

    def receive(self, message: Message) -> None:
        """One message, and all that follows from it. It is also how the messages of an instant come out of a journal."""
        ts = message.ts_close if isinstance(message, Bar) else getattr(message, "ts", None)
        if isinstance(ts, int) and ts > self.clock.now_ms:
            self.clock.now_ms = ts
        if isinstance(message, InstantClosed):
            self._close(message)
        elif isinstance(message, BarsTooLate):
            self.market_data.fresh.clear()
        self.bus.deliver(message)

    def restore(self, closes: bytes) -> None:
        """Go on from the bytes of ``closes`` that a snapshot has; nothing has been closed yet."""
        self.closes.frombytes(closes)
        if self.closes:
            self.present.now_ms = self.closes[-1]

    def _close(self, closed: InstantClosed) -> None:
        if self.closes and closed.ts <= self.closes[-1]:
            raise InvariantError(f"the instant {closed.ts} is closed after {self.closes[-1]}")
        self.closes.append(closed.ts)
        self.present.now_ms = closed.ts
        try:
            self._conclude(-1, closed.ts, closed.decides)
        except BaseException as error:
            if self.bus.failed is None:
                self.bus.fail("instant", error)
            raise


def make_conclude(portfolio: Portfolio, risk: RiskActor, market_data: MarketData, bus: Bus, watch: LimitWatch | None = None) -> Conclude:
    """The end of an instant over these parts, which it holds as its own names: it is on the hot path of a backtest.

    watch: where the account follows the columns of a history, whose rows it knows.
    """
    limits, fresh, queue, drain = risk.limits, market_data.fresh, bus.queue, bus.drain

    def conclude(row: int, ts: int, decides: bool) -> None:
        # The account is marked, and risk looks at it.
        if watch is None:
            equity = portfolio.on_instant(ts)
            if equity <= limits.floor or equity > limits.peak or ts >= limits.day_end or ts >= risk.next_due:
                risk.on_instant(ts)
        elif watch.is_near or watch.rows.is_changed or ts >= limits.day_end or ts >= risk.next_due:
            watch.close(row, ts)
        # Decisions, and the orders that they lead to.
        if fresh:
            if decides:
                market_data.on_instant(ts)
            else:
                fresh.clear()
        if queue:
            drain()

    return conclude
