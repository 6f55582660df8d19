"""Takes what the market stream tells: bars are gathered into instants, prices and rates kept for theirs; whole instants go to the actors.

This is where market data conflates: of the mark prices between two instants the latest of each symbol is heard (``replaced`` counts the
others). Bars, rates and gaps are all heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.machine import monotonic_ms
from keel.core.engine.instant import Instant, LateBar
from keel.core.model.messages import Bar, FeedGap, FundingRate, MarkPrice, Message
from keel.runners.live.market.bar_synchronizer import Gathered, Instants, Line
from keel.runners.live.market.prices import Prices, Valued
from keel.runners.live.memory.records import InputsKnown

Put = Callable[[Message | Instant | LateBar], None]
"""Into the inbox."""


class Wait(Protocol):
    """Where decision bars wait for what features read beside them."""

    def put(self, bar: Bar) -> None: ...


class Intake:
    """put: takes what the actors hear; account: its own prices, for instants that lie back; is_news: whether an instant (its time, ms)
    closed so lately that the latest prices are its own and a decision on it is worth something; decides_after: up to this time nobody
    decides; first: called before an instant is put; is_due: whether an instant that is whole goes on at once, or waits for ``give_all``.
    """

    def __init__(
        self,
        instants: Instants,
        prices: Prices,
        put: Put,
        account: Valued,
        notify: Notify,
        *,
        is_news: Callable[[int], bool],
        decides_after: Callable[[], int],
        first: Callable[[], None],
        is_due: Callable[[], bool],
    ) -> None:
        self._instants, self._prices, self._put, self._account, self._notify = instants, prices, put, account, notify
        self._is_news, self._decides_after, self._first, self._is_due = is_news, decides_after, first, is_due
        self.replaced = 0
        """Mark prices in whose place a newer one was heard."""

    @property
    def lines(self) -> list[Line]:
        """The series whose bars are gathered."""
        return self._instants.lines

    @property
    def is_empty(self) -> bool:
        """Whether no bar waits for others of its instant."""
        return self._instants.is_empty

    # --- in ---

    def market(self, waits: Wait | None, timeframe: str) -> Callable[[Message], None]:
        """Takes market data; decision bars (of ``timeframe``) go by way of ``waits``."""
        prices, fresh = self._prices, self._prices.unheard

        def take(message: Message) -> None:
            if isinstance(message, MarkPrice):
                prices.mark[message.symbol] = message.price
                self.replaced += message.symbol in fresh
                fresh.add(message.symbol)
            elif isinstance(message, Bar):
                prices.last[message.symbol] = message.close
                if waits is not None and message.tf == timeframe:
                    waits.put(message)
                else:
                    self.bar(message)
            elif isinstance(message, FundingRate):
                prices.rates.append(message)
            elif isinstance(message, FeedGap):
                self._put(message)

        return take

    def bar(self, bar: Bar, known: InputsKnown | None = None) -> None:
        """A bar, with what features read beside it; one whose instant is over goes to its series alone."""
        if not self._instants.add(bar, monotonic_ms()):
            self._put(LateBar(bar, () if known is None else (known,)))
            return
        if known is not None:
            self._prices.inputs[bar.symbol, bar.ts_close] = known
        if self._instants.is_whole:
            self.give()

    # --- out ---

    def give(self) -> None:
        """Let the actors hear instants that are whole, or whose grace is over, if it is time for any."""
        if self._is_due():
            for gathered in self._instants.ready(monotonic_ms()):
                self._give(gathered)

    def give_all(self) -> None:
        """Let the actors hear everything that is here, whole or not."""
        for gathered in self._instants.give_all():
            self._give(gathered)

    def _give(self, gathered: Gathered) -> None:
        if gathered.missing:
            names = ", ".join(f"{symbol} {timeframe}" for symbol, timeframe in gathered.missing)
            self._notify(Notice(gathered.ts, "bars_late", f"without {names}, which get no decision now"))
        self._first()
        ts, prices, is_news = gathered.ts, self._prices, self._is_news(gathered.ts)
        marks = dict(prices.marks_of(gathered, self._account, is_news=is_news))
        prices.unheard.clear()
        decides = is_news and ts > self._decides_after()
        self._put(Instant(ts, prices.due_rates(ts), marks, gathered.bars, decides, prices.inputs_of(gathered)))
