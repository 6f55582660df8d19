"""Between the adapter's callbacks and the cycle: nothing that a handler raises gets lost in somebody else's loop."""

from __future__ import annotations

from collections.abc import Callable

from adapters.bybit.clock import monotonic_ms
from adapters.journal import Journal, JournalError
from core.messages import Bar, CancelAll, CancelOrder, FeedGap, FundingRate, MarkPrice, Message
from runners.live.cycle import Cycle
from runners.live.instants import Instants
from runners.live.prices import Prices


class Outbox:
    """Hands messages to the cycle until something has failed; from then on they are only written down, so that a restart knows them."""

    def __init__(self, cycle: Cycle, journal: Journal, fail: Callable[[BaseException], None]) -> None:
        self._cycle, self._journal, self._fail = cycle, journal, fail
        self.failure: BaseException | None = None
        self.wake: Callable[[], None] = lambda: None
        """Called when a bar has come."""

    def hear(self, message: Message) -> None:
        """From the exchange, or from our own controls."""
        if self.failure is not None:
            if self._journal.failed is None:
                self._journal.append(message)
            return
        try:
            self._cycle.hear(message)
        except BaseException as error:  # noqa: BLE001  # kept and told: the session stops for it, with the policy of its system
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Something of ours broke: the session stops."""
        if self.failure is None:
            self.failure = error
            self._fail(error)

    async def write(self, command: Message) -> None:
        """A command becomes durable. A cancel goes out even where the journal no longer takes anything; nothing else does."""
        try:
            await self._journal.wait_durable(self._journal.append(command))
        except JournalError as error:
            self.fail(error)
            if not isinstance(command, (CancelOrder, CancelAll)):
                raise

    def market(self, instants: Instants, prices: Prices) -> Callable[[Message], None]:
        """Takes market data: bars are gathered, prices and rates kept for their instant."""

        def take(message: Message) -> None:
            if isinstance(message, Bar):
                prices.last[message.symbol] = message.close
                if not instants.add(message, monotonic_ms()):
                    if self.failure is None:
                        self._guarded(lambda: self._cycle.late(message))
                    return
                self.wake()
            elif isinstance(message, MarkPrice):
                prices.mark[message.symbol] = message.price
            elif isinstance(message, FundingRate):
                prices.rates.append(message)
            elif isinstance(message, FeedGap):
                self.hear(message)

        return take

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # as above
            self.fail(error)
