"""The simulated exchange in this process, through the same bus and actors: what a backtest trades with."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from keel.core.errors import ConfigError
from keel.core.model.messages import Bar, FundingRate, Message
from keel.core.model.money import UNIT
from keel.core.model.timeframe import MINUTE_MS
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from tests.conformance.actors import Actors, ActorsClient, terms_text
from tests.conformance.market import Market
from tests.conformance.words import SYMBOL, Account, Question, Refused, plain


class ExchangeClient(ActorsClient):
    """One account. Its own commands wait for the next bar, as those of a backtest do."""

    def __init__(self, market: Market, account: Account) -> None:
        super().__init__()
        series = market.series(account.category)
        self.instrument, self._series = series.instrument, series
        self.actors = Actors(series.instrument, account)
        self._said: list[Message] = []
        leverage = float(account.leverage) if account.category == "linear" else 1.0
        try:
            self.venue = SimulatedExchange(
                SYMBOL, float(account.usdt), market.execution, RiskProfileConfig(leverage=leverage),
                instruments={SYMBOL: series.instrument}, clock=self.actors.clock, emit=self._said.append,
            )  # fmt: skip
        except ConfigError as error:
            raise Refused(str(error)) from error
        self.venue.set_funding(SYMBOL, *series.funding)
        self.actors.connect(self.venue)
        self._row = series.first

    def _step(self) -> None:
        row, series, exchange = self._row, self._series, self.venue
        self._row += 1
        ts = int(series.ts[row])
        end = ts + MINUTE_MS
        self.actors.clock.now_ms = end
        open_, high, low, close = (float(column[row]) for column in series.last)
        prices = (open_, high, low, close)
        exchange.step(exchange.books[SYMBOL], ts, end, *prices, float(series.volume[row]), *prices, *prices)
        for message in self._said:
            self.actors.hear(message)
        self._said.clear()
        stamps, rates, _ = series.funding
        due = [FundingRate(SYMBOL, stamp, rate / UNIT) for stamp, rate in zip(stamps, rates, strict=True) if ts <= stamp < end]
        bar = Bar(SYMBOL, "1m", ts, end, open_, high, low, close, float(series.volume[row]))
        self.actors.close(bar, due)

    def _resting(self) -> Iterable[tuple[str, str, str, float | None, float | None]]:
        prices, lots = self.instrument.price_grid, self.instrument.qty_grid
        for order in self.venue.books[SYMBOL].orders.values():
            limit = None if order.limit is None else prices.value(order.limit)
            qty = lots.text(order.leaves + order.filled)
            yield order.client_order_id, order.side_name, qty, limit, order.activation or order.trigger

    def _check_books(self) -> None:
        book, portfolio = self.venue.books[SYMBOL], self.actors.portfolio
        assert portfolio.cash == self.venue.balance("USDT")
        assert portfolio.lines[SYMBOL].book.steps == book.positions[0].steps
        assert portfolio.lines[SYMBOL].book.cost == book.positions[0].cost
        if self.instrument.category == "spot":
            assert self._holding() == plain(Decimal(self.venue.balance(self.instrument.base)) / self.instrument.base_unit)

    def ask(self, question: Question) -> list[str]:
        """A backtest's bars and rates are its own: it is asked for the instrument alone."""
        assert question == "instrument"
        return [terms_text(self.instrument)]

    def close(self) -> None:
        """Each coin's postings sum to zero."""
        self._check_books()
        assert not any(sum(accounts) for accounts in self.venue.ledger.coins.values())
