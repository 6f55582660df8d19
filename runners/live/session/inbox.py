"""Between the adapter's callbacks and the cycle: nothing that a handler raises gets lost in somebody else's loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from keel.adapters.bybit.execution.order_query_records import EVIDENCE
from keel.adapters.journal import Journal, JournalError
from keel.adapters.machine import monotonic_ms
from keel.core.model.messages import Bar, CancelAll, CancelOrder, FeedGap, FundingRate, MarkPrice, Message
from keel.runners.live.market.bar_synchronizer import Instants
from keel.runners.live.market.input_wait import InputWait
from keel.runners.live.market.prices import Prices
from keel.runners.live.session.books import Books
from keel.runners.live.session.records import HearingStopped, InputsKnown


class Gather(Protocol):
    """Takes a bar, and what features read beside it."""

    def __call__(self, bar: Bar, known: InputsKnown | None = None) -> None: ...


class Inbox:
    """Hands messages to the cycle until something has failed; from then on they are only written down, so that a restart knows them."""

    def __init__(self, journal: Journal, fail: Callable[[BaseException], None]) -> None:
        self._journal, self._fail = journal, fail
        self._books: Books
        self._is_open = False
        self.failure: BaseException | None = None
        self.wake: Callable[[], None] = lambda: None
        """Called when an instant has all its bars."""

    def open(self, books: Books) -> None:
        """Write down what these books hear from now on. Nothing comes before that."""
        self._books, self._is_open = books, True
        books.cycle.journal = self
        books.decisions.write = self.note

    def append(self, message: Message) -> int:
        """A record, and what is remembered of it."""
        seq = self._journal.append(message)
        self._books.history.note(message)
        return seq

    def hear(self, message: Message) -> None:
        """From the exchange, or from our own controls."""
        if self.failure is not None:
            if self._journal.failed is None:
                self.append(message)
            return
        try:
            self._books.cycle.hear(message)
        except BaseException as error:  # noqa: BLE001  # kept and told: the session stops for it, with the policy of its system
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Something of ours broke: the session stops."""
        if self.failure is None:
            self.failure = error
            if self._is_open and self._journal.failed is None:
                self._stopped(error)
            self._fail(error)

    def _stopped(self, error: BaseException) -> None:
        try:
            self.append(HearingStopped(self._books.clock.now_ms, f"{type(error).__name__}: {error}"))
        except JournalError:
            return  # the journal says so itself, and whoever asks it next is told

    def note(self, message: Message) -> None:
        """Something for whoever reads the journal; the actors hear nothing of it. Evidence outlives the process: a restart builds on it."""
        if self._journal.failed is not None:
            return
        self.append(message)
        if isinstance(message, EVIDENCE):
            try:
                self._journal.flush()
            except JournalError as error:
                self.fail(error)

    def write(self, command: Message) -> Awaitable[None]:
        """Write a command down at once, and begin to put it on the medium; what is returned ends when it is there. A cancel goes out even
        where the journal no longer takes anything; nothing else does."""
        seq: int | JournalError
        try:
            seq = self.append(command)
            self._journal.begin_sync()
        except JournalError as error:
            seq = error
        return self._on_medium(command, seq)

    async def _on_medium(self, command: Message, seq: int | JournalError) -> None:
        try:
            if isinstance(seq, JournalError):
                raise seq
            await self._journal.wait_durable(seq)
        except JournalError as error:
            self.fail(error)
            if not isinstance(command, (CancelOrder, CancelAll)):
                raise

    def market(self, instants: Instants, prices: Prices, waits: InputWait | None, timeframe: str) -> Callable[[Message], None]:
        """Takes market data: bars are gathered (decision bars by way of ``waits``), prices and rates kept for their instant."""
        gather = self.gather(instants, prices)

        def take(message: Message) -> None:
            if isinstance(message, Bar):
                prices.last[message.symbol] = message.close
                if waits is not None and message.tf == timeframe:
                    waits.put(message)
                else:
                    gather(message)
            elif isinstance(message, MarkPrice):
                prices.mark[message.symbol] = message.price
            elif isinstance(message, FundingRate):
                prices.rates.append(message)
            elif isinstance(message, FeedGap):
                self.hear(message)

        return take

    def gather(self, instants: Instants, prices: Prices) -> Gather:
        """Takes bars, with what features read beside them; one whose instant is over goes to its series alone."""

        def take(bar: Bar, known: InputsKnown | None = None) -> None:
            if not instants.add(bar, monotonic_ms()):
                if self.failure is None:
                    self.guarded(lambda: self._books.cycle.late(bar, known))
                return
            if known is not None:
                prices.inputs[bar.symbol, bar.ts_close] = known
            if instants.is_whole:
                self.wake()

        return take

    def guarded(self, work: Callable[[], None]) -> None:
        """Do something of the session's own; what it raises stops the session."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # as above
            self.fail(error)
