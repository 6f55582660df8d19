"""The only way in: everything that the actors hear passes here, is written into the journal first, and moves the session's clock.

Order within an instant, as in a backtest: what the exchange did before it closed; then funding rates, marks and bars, finest timeframe
first, symbols in the order of the system; then the account is marked, risk looks at its limits, the strategy decides, and what follows
from that is drained.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.errors import InvariantError
from keel.core.model.messages import Bar, FundingRate, MarkPrice, Message
from keel.runners.actors import Actors
from keel.runners.live.market.bar_synchronizer import Instant
from keel.runners.live.market.inputs import Inputs
from keel.runners.live.memory.bar_tape import BarTape
from keel.runners.live.session.adjusting import adjust
from keel.runners.live.session.records import Adjusted, BarsTooLate, ClosePosition, InputsKnown, InstantClosed


class Recorder(Protocol):
    """The journal, as far as it is written here."""

    def append(self, message: Message) -> int: ...


class Cycle:
    """Closes instants and hands on messages, one after the other. Not reentrant: what comes meanwhile waits for its turn."""

    def __init__(self, actors: Actors, bus: Bus, clock: ReplayClock, inputs: Inputs, instant: ReplayClock) -> None:
        self.actors, self.bus, self.clock, self.inputs = actors, bus, clock, inputs
        self.instant = instant
        """Stands at the latest closed instant: a portfolio strategy's present. ``clock`` is of the latest message, which may be younger."""
        self.journal: Recorder | None = None
        """Where what is heard is written before it is heard; None while a journal is heard again."""
        self.closes = array("q")
        """The times of the closed instants: those of the portfolio's equity_values."""
        self.bars = BarTape()
        self._waiting: deque[Message] = deque()
        self._is_busy = False

    # --- in ---

    def hear(self, message: Message) -> None:
        """A message from outside (or of our own controls): journal first, then everybody who listens."""
        self._waiting.append(message)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._waiting:
                self._take(self._waiting.popleft())
        finally:
            self._is_busy = False

    def close(
        self,
        instant: Instant,
        marks: Mapping[str, float],
        rates: Iterable[FundingRate],
        *,
        decides: bool,
        inputs: Sequence[InputsKnown] = (),
    ) -> None:
        """All that belongs to an instant, in order, and its end. marks: latest mark prices by symbol; inputs: of its decision bars."""
        for known in inputs:
            self.hear(known)
        for rate in rates:
            self.hear(rate)
        marked: set[str] = set()
        for bar in instant.bars:
            if bar.symbol not in marked and bar.symbol in marks:
                self.hear(MarkPrice(bar.symbol, instant.ts, marks[bar.symbol]))
            marked.add(bar.symbol)
            self.hear(bar)
        self.hear(InstantClosed(instant.ts, decides))

    def late(self, bar: Bar, inputs: InputsKnown | None = None) -> None:
        """A bar whose instant is over: it counts in its series, and nobody decides on it."""
        if inputs is not None:
            self.hear(inputs)
        self.hear(bar)
        self.hear(BarsTooLate(bar.ts_close))

    # --- inside ---

    def _take(self, message: Message) -> None:
        if self.journal is not None:
            self.journal.append(message)
        self.apply(message)

    def apply(self, message: Message) -> None:
        """What a message does, without writing it down: for messages that come out of a journal."""
        ts = getattr(message, "ts", None)
        ts = message.ts_close if isinstance(message, Bar) else ts
        if isinstance(ts, int) and ts > self.clock.now_ms:
            self.clock.now_ms = ts
        if isinstance(message, InstantClosed):
            self._close(message)
        elif isinstance(message, BarsTooLate):
            self.actors.market_data.fresh.clear()
        elif isinstance(message, Adjusted):
            adjust(self.actors.portfolio, message)
            self.bus.deliver(message)
        elif isinstance(message, ClosePosition):
            self._close_position(message)
        elif isinstance(message, InputsKnown):
            self.inputs.take(message)
        else:
            if isinstance(message, Bar):
                self.bars.add(message)
            self.bus.deliver(message)

    def _close(self, closed: InstantClosed) -> None:
        if self.closes and closed.ts <= self.closes[-1]:
            raise InvariantError(f"the instant {closed.ts} is closed after {self.closes[-1]}")
        actors = self.actors
        actors.portfolio.on_instant(closed.ts)
        self.closes.append(closed.ts)
        self.instant.now_ms = closed.ts
        try:
            actors.risk.on_instant(closed.ts)
            if closed.decides:
                actors.market_data.on_instant(closed.ts)
            else:
                actors.market_data.fresh.clear()
        except BaseException as error:
            self.bus.fail("instant", error)
            raise
        self.bus.drain()

    def _close_position(self, wanted: ClosePosition) -> None:
        try:
            self.actors.risk.close_position(wanted.symbol, max(wanted.ts, self.clock.now_ms), wanted.reason)
        except BaseException as error:
            self.bus.fail("close_position", error)
            raise
        self.bus.drain()
