"""The account of a session, out of what it heard: positions, cash, marks.

The strategy is not asked: a session whose decisions would not be made again (other code, a look at the clock) is valued all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from keel.core.actors.portfolio import Portfolio
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bar, Fill, FundingPayment, MarkPrice, Message
from keel.runners.live.memory.records import Adjusted, Opened
from keel.runners.live.session.adjusting import adjust


class HeardAccount:
    """Books what a journal holds, in its order."""

    def __init__(self, opened: Opened, instruments: Mapping[str, Instrument]) -> None:
        self.portfolio = Portfolio(instruments.values(), opened.cash)
        for symbol, steps, cost in opened.positions:
            self.portfolio.seed(symbol, steps, cost)

    def receive(self, message: Message) -> None:
        """One message; what moves no account is passed over. Raises InvariantError where a fill does not fit the position."""
        portfolio = self.portfolio
        if isinstance(message, MarkPrice):
            portfolio.lines[message.symbol].on_mark(message)
        elif isinstance(message, Bar):
            portfolio.lines[message.symbol].on_bar(message)
        elif isinstance(message, Fill):
            portfolio.on_fill(message)
        elif isinstance(message, FundingPayment):
            portfolio.on_funding(message)
        elif isinstance(message, Adjusted):
            adjust(portfolio, message)
