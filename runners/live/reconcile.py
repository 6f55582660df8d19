"""Our books against the exchange's, to the last unit: positions by symbol (spot: its coin in the wallet), and cash.

A difference is explained, adopted or freezes.

Explained: the transaction log shows transfers, or trades in what the system does not trade, of just this amount; it is taken over.
Adopted: only when a journal begins. Everything else freezes the symbol (for cash: all of them) until it has gone away or is explained.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

import msgspec

from adapters.bybit.notices import Notice, Notify
from adapters.bybit.outcomes import ExchangeRefusal, PayloadError
from adapters.bybit.rest import RestClient
from adapters.bybit.venue import BybitVenue
from core.actors.portfolio import Line, Portfolio
from core.money import UNIT, to_text
from runners.live.books import Books
from runners.live.records import Adjusted
from runners.live.statement import OWN_TYPES, is_own, log_rows

_LOG_MS: Final = 7 * 86_400_000
"""How far back the transaction log is asked at once: as far as the exchange allows."""


class Difference(msgspec.Struct, frozen=True):
    """``symbol`` None: cash. Positions in steps of the book's grid, cash and coins (spot: ``coin`` says which) in 1e-8."""

    symbol: str | None
    ours: int
    theirs: int
    coin: str = ""

    @property
    def text(self) -> str:
        """For people."""
        if self.symbol is None:
            return f"cash: our books say {to_text(self.ours)}, the exchange {to_text(self.theirs)}"
        if self.coin:
            return f"{self.symbol}: our books hold {to_text(self.ours)} {self.coin}, the wallet {to_text(self.theirs)}"
        return f"{self.symbol}: our books hold {self.ours} steps, the exchange {self.theirs}"


def differences(portfolio: Portfolio, venue: BybitVenue, quote: str) -> list[Difference]:
    """What differs between the portfolio and what the exchange stated last."""
    found: list[Difference] = []
    for line in portfolio.lines.values():
        each = _position(line, venue) if line.is_linear else _coin(line, venue)
        if each.ours != each.theirs:
            found.append(each)
    balance = venue.fold.balances.get(quote)
    if balance is not None and balance.wallet != portfolio.cash:
        found.append(Difference(None, portfolio.cash, balance.wallet))
    return found


def pushed_differences(portfolio: Portfolio, venue: BybitVenue, quote: str) -> list[Difference]:
    """The same, between the portfolio and what the stream pushed last, of that to which nothing was booked later."""
    pushes = venue.fold.pushes
    found: list[Difference] = []
    for line in portfolio.lines.values():
        symbol = line.instrument.symbol
        if line.is_linear and (report := pushes.latest_position(symbol)) is not None:
            found.append(Difference(symbol, line.book.steps, line.instrument.qty_grid.count(report.qty)))
    if (balance := pushes.latest_balance(quote)) is not None:
        found.append(Difference(None, portfolio.cash, balance.wallet))
    return [each for each in found if each.ours != each.theirs]


def _position(line: Line, venue: BybitVenue) -> Difference:
    symbol = line.instrument.symbol
    report = venue.fold.positions.get((symbol, 0))
    return Difference(symbol, line.book.steps, 0 if report is None else line.instrument.qty_grid.count(report.qty))


def _coin(line: Line, venue: BybitVenue) -> Difference:
    """A spot pair's base coin, in 1e-8, rounded as the wallet is (half-even). A coin that the wallet does not list is none."""
    grid, coin = line.instrument.book_grid, line.instrument.base
    balance = venue.fold.balances.get(coin)
    ours = round(Fraction(line.book.steps * grid.num * UNIT, grid.den))
    return Difference(line.instrument.symbol, ours, 0 if balance is None else balance.wallet, coin)


class Reconciler:
    """Compares at the start, after each reconnection and on a cadence. A difference counts once it has been seen in two readings."""

    def __init__(
        self,
        books: Books,
        venue: BybitVenue,
        rest: RestClient,
        quote: str,
        notify: Notify,
        *,
        hear: Callable[[Any], None],
    ) -> None:
        self._books, self._venue, self._rest, self._quote = books, venue, rest, quote
        self._notify, self._hear = notify, hear
        self._seen: list[Difference] = []
        self._unsure: set[str | None] = set()
        self.frozen: dict[str | None, Difference] = {}
        self.last: list[Difference] = []
        """What the latest comparison found."""
        self.was_read = False
        """Whether the exchange could be read for it."""
        self._turn = asyncio.Lock()

    async def check(self, *, at_once: bool = False) -> list[Difference]:
        """Read and compare; returns what stands unexplained. at_once: no second reading is waited for. Raises nothing for a read that
        fails: it is told, and the next one comes."""
        async with self._turn:
            return await self._check(at_once=at_once)

    async def against(self, symbol: str) -> str:
        """What position and wallet show of a symbol, as pushed by the stream and as listed, that our books do not explain; "" for nothing.
        What was pushed counts as long as nothing was booked after it."""
        pushed = pushed_differences(self._books.portfolio, self._venue, self._quote)
        await self.check()
        if not self.was_read:
            return "position and wallet could not be read"
        return "; ".join(dict.fromkeys(each.text for each in (*self.last, *pushed) if each.symbol in (None, symbol)))

    async def _check(self, *, at_once: bool) -> list[Difference]:
        venue = self._venue
        self.was_read = False
        try:
            await venue.read_positions()
            await venue.read_wallet()
            found = differences(self._books.portfolio, venue, self._quote)
            if found:  # an execution that the stream lost explains most: the list has it
                await venue.read_executions()
                found = differences(self._books.portfolio, venue, self._quote)
        except (ExchangeRefusal, PayloadError) as error:
            self._tell("reconcile_failed", str(error))
            return self.last
        self.last, self.was_read = found, True
        standing = [each for each in found if at_once or each in self._seen]
        cash = next((each for each in standing if each.symbol is None), None)
        if cash is not None and await self._explain(cash):
            standing.remove(cash)
            found = self.last = [each for each in found if each is not cash]
        self._doubt([each for each in found if each not in standing])
        self._seen = found
        for each in standing:
            self._deal_with(each)
        self._release(found)
        return [each for each in standing if each.symbol in self.frozen]

    @property
    def is_unsure(self) -> bool:
        """Whether the next reading decides on a difference; until then nothing is added to its symbol."""
        return bool(self._unsure)

    def _doubt(self, new: list[Difference]) -> None:
        for symbol in self._unsure:
            self._venue.gate.open("being_compared", symbol)
        self._unsure = {each.symbol for each in new}
        for each in new:
            self._venue.gate.close("being_compared", each.text, each.symbol)

    async def _explain(self, found: Difference) -> bool:
        """Whether the transaction log shows just this change of cash, which is then taken over. Asked as long as the difference stands."""
        change, log_ms, why = await self._from_outside()
        if not change or change != found.theirs - found.ours:
            return False
        self._hear(Adjusted(self._books.clock.now_ms, "transfer", cash_change=change, log_ms=log_ms))
        self._tell("transfer", f"{to_text(change)} {self._quote} came from {why} (negative: went there); taken over", "info")
        return True

    def _deal_with(self, found: Difference) -> None:
        if found.symbol in self.frozen:
            return
        self.frozen[found.symbol] = found
        cause = "position_differs" if found.symbol is not None else "cash_differs"
        self._venue.gate.close(cause, found.text, found.symbol)
        self._notify(Notice(self._venue.stamp_ms(), cause, f"{found.text}: nothing is added until this is clear", found.symbol, "error"))

    def _release(self, found: list[Difference]) -> None:
        standing = {each.symbol for each in found}
        for symbol in [symbol for symbol in self.frozen if symbol not in standing]:
            del self.frozen[symbol]
            self._venue.gate.open("position_differs" if symbol is not None else "cash_differs", symbol)
            self._tell("resolved", f"{symbol or 'cash'}: our books and the exchange's agree again", "info")

    async def _from_outside(self) -> tuple[int, int, str]:
        """(sum of what the transaction log shows that is no trading of ours, since what was taken over of it last; time of its newest;
        where it came from)."""
        now, accounted = self._books.clock.now_ms + 60_000, self._books.history.log_ms
        since = max(accounted, now - _LOG_MS)
        lines = self._books.portfolio.lines
        try:
            rows = await log_rows(self._rest, self._quote, since, now)
            others = [row for row in rows if not is_own(row, lines) and row.ts > accounted]
            change = sum(row.units for row in others)
        except (ExchangeRefusal, PayloadError, ValueError) as error:
            self._tell("reconcile_failed", f"transaction log: {error}")
            return 0, 0, ""
        traded = sorted({f"{row.symbol} {row.category}".strip() for row in others if row.type in OWN_TYPES})
        places = [f"trading in {', '.join(traded)}, which this system does not trade"] if traded else []
        if any(row.type not in OWN_TYPES for row in others):
            places.append("outside")
        return change, max((row.ts for row in others), default=0), " and ".join(places)

    def _tell(self, code: str, text: str, severity: Any = "warning") -> None:
        self._notify(Notice(self._venue.stamp_ms(), code, text, None, severity))
