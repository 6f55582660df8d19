"""Our books against the exchange's, to the last unit: positions by symbol (spot: its coin in the wallet), and cash.

Here both are read, and what ``comparison`` decides is done. A difference is gone by the next reading, explained or freezes.

Explained: the transaction log shows transfers, or trades in what the system does not trade, of just this amount; it is taken over, as an
``Adjusted`` record. Everything else freezes the symbol (for cash: all of them) until it has gone away, is explained, or a person adopts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final

from adapters.bybit.notices import Notice, Notify
from adapters.bybit.outcomes import ExchangeRefusal, PayloadError
from adapters.bybit.rest import RestClient
from adapters.bybit.venue import BybitVenue
from core.actors.portfolio import Line, Portfolio
from core.money import UNIT, to_text
from runners.live.books import Books
from runners.live.comparison import Action, Comparison, Difference, Doubt, Freeze, Release, TakeOver, Trust, places
from runners.live.records import Adjusted
from runners.live.transaction_log import OWN_TYPES, LogRow, is_own, log_rows

_LOG_MS: Final = 7 * 86_400_000
"""How far back the transaction log is asked at once: as far as the exchange allows."""
_LATE_MS: Final = 3_600_000
"""How much later than others of its time a row may appear in the log."""


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
    """Compares at the start, after each reconnection and on a cadence; does what ``Comparison`` decides."""

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
        self._comparison = Comparison()
        self.last: list[Difference] = []
        """What the latest comparison found, and left."""
        self.was_read = False
        """Whether the exchange could be read for it."""
        self._turn = asyncio.Lock()

    @property
    def frozen(self) -> dict[str | None, Difference]:
        """What stands unexplained, by symbol (None: cash)."""
        return self._comparison.frozen

    @property
    def is_unsure(self) -> bool:
        """Whether the next reading decides on a difference; until then nothing is added to its symbol."""
        return bool(self._comparison.doubted)

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
        venue, comparison = self._venue, self._comparison
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
        self.was_read = True
        outside = {each.symbol: await self._from_outside(each) for each in comparison.to_explain(found, at_once=at_once)}
        actions = comparison.read(found, outside, at_once=at_once)
        taken = [action.difference for action in actions if isinstance(action, TakeOver)]
        self.last = [each for each in found if each not in taken]
        for action in actions:
            self._do(action)
        return [each for each in self.last if each.symbol in self.frozen]

    # --- doing ---

    def _do(self, action: Action) -> None:
        gate = self._venue.gate
        if isinstance(action, Doubt):
            gate.close("being_compared", action.difference.text, action.difference.symbol)
        elif isinstance(action, Trust):
            gate.open("being_compared", action.symbol)
        elif isinstance(action, Freeze):
            self._freeze(action)
        elif isinstance(action, Release):
            gate.open(_cause(action.symbol), action.symbol)
            self._tell("resolved", f"{action.symbol or 'cash'}: our books and the exchange's agree again", "info")
        else:
            self._take_over(action)

    def _freeze(self, action: Freeze) -> None:
        found = action.difference
        self._venue.gate.close(_cause(found.symbol), found.text, found.symbol)
        text = f"{found.text}: nothing is added until this is clear" if action.is_new else f"{found.text} now"
        severity = "error" if action.is_new else "warning"
        self._tell(_cause(found.symbol), text, severity, found.symbol)

    def _take_over(self, action: TakeOver) -> None:
        found, rows = action.difference, action.rows
        change, coin = found.theirs - found.ours, found.coin or self._quote
        self._adjust("transfer", found, rows)
        where = places(rows, OWN_TYPES)
        self._tell("transfer", f"{to_text(change)} {coin} came from {where} (negative: went there); taken over", "info", found.symbol)

    def _adjust(self, reason: str, found: Difference, rows: Sequence[LogRow] = ()) -> None:
        """Our books take the exchange's number, by a record that names the difference."""
        now = self._books.clock.now_ms
        keys, log_ms = tuple(row.key for row in rows), max((row.ts for row in rows), default=0)
        if found.symbol is None:
            self._hear(Adjusted(now, reason, cash_change=found.theirs - found.ours, log_ms=log_ms, log_rows=keys))
            return
        line = self._books.portfolio.lines[found.symbol]
        steps, cost = _taken_over(line, found, self._venue)
        self._venue.fold.books.seed(found.symbol, steps, cost)
        self._hear(Adjusted(now, reason, found.symbol, steps, cost, log_ms=log_ms, log_rows=keys))

    # --- reading ---

    async def _from_outside(self, found: Difference) -> list[LogRow]:
        """What the log shows of this coin that is no trading of ours and was not taken over yet, oldest first."""
        history, lines = self._books.history, self._books.portfolio.lines
        now = self._books.clock.now_ms + 60_000
        try:
            rows = await log_rows(self._rest, found.coin or self._quote, max(history.log_from_ms(_LATE_MS), now - _LOG_MS), now)
        except (ExchangeRefusal, PayloadError) as error:
            self._tell("reconcile_failed", f"transaction log: {error}")
            return []
        others = [row for row in rows if not is_own(row, lines) and not history.has_taken(row)]
        return sorted(others, key=lambda row: row.ts)

    def _tell(self, code: str, text: str, severity: Any = "warning", symbol: str | None = None) -> None:
        self._notify(Notice(self._venue.stamp_ms(), code, text, symbol, severity))


def _cause(symbol: str | None) -> str:
    return "cash_differs" if symbol is None else "position_differs"


def _taken_over(line: Line, found: Difference, venue: BybitVenue) -> tuple[int, int]:
    """(steps, cost in 1e-8) of a position that our books take from the exchange. A perpetual's cost is that of the stated entry price;
    of a coin the cost of what we had stays, and what came is worth its latest price."""
    if line.is_linear:
        report = venue.fold.positions.get((line.instrument.symbol, 0))
        entry = 0.0 if report is None else report.entry_price
        quantity = abs(line.instrument.qty_grid.value(found.theirs))
        return found.theirs, round(Fraction(entry) * Fraction(quantity) * UNIT)
    grid, book = line.instrument.book_grid, line.book
    steps = round(Fraction(found.theirs * grid.den, UNIT * grid.num))
    if steps <= book.steps:
        return steps, book.cost * steps // book.steps if book.steps else 0
    return steps, book.cost + round(Fraction(line.last) * Fraction(grid.value(steps - book.steps)) * UNIT)
