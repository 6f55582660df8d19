"""Our books against the exchange's, to the last unit: positions by symbol (spot: its coin in the wallet), and cash.

Here both are read, and what ``comparison`` decides is done. A difference is gone by the next reading, explained or freezes.

Explained: the transaction log shows transfers, or trades in what the system does not trade, or another profit of executions that our
books have, of just this amount; it is taken over, as an ``Adjusted`` record. (The exchange rounds a profit in its own way; and an execution
that is heard of after a younger one has another profit in its own place.) Everything else freezes the symbol (for cash: all of them) until
it has gone away, is explained, or a person adopts it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.wire.parsing import number, required, units
from keel.adapters.bybit.wire.parsing import steps as steps_of
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.core.actors.portfolio import Line, Portfolio
from keel.core.model.money import UNIT, to_text
from keel.core.model.timeframe import HOUR_MS, MINUTE_MS, WEEK_MS
from keel.runners.live.checks.comparison import (
    AccountDifference,
    Action,
    Comparison,
    ComparisonOver,
    Doubt,
    Freeze,
    Release,
    TakeOver,
    Unbooked,
    cause_of,
    places,
)
from keel.runners.live.checks.transaction_log import OWN_TYPES, cash_of, is_own, log_rows
from keel.runners.live.memory.records import Adjusted
from keel.runners.live.session.books import Books
from keel.runners.live.startup.opening import coin_units

_LOG_MS: Final = WEEK_MS
"""How far back the transaction log is asked at once: as far as the exchange allows."""
_LATE_MS: Final = HOUR_MS
"""How much later than others of its time a row may appear in the log."""


def differences(
    portfolio: Portfolio, venue: BybitVenue, quote: str, counts: Mapping[str | None, int] | None = None
) -> list[AccountDifference]:
    """What differs between the portfolio and what the exchange stated last. counts: executions by symbol (None: all of them), each of which
    may have been rounded."""
    counts = counts or {}
    lines = portfolio.lines.values()
    stated = (_position(line, venue) if line.is_linear else _coin(line, venue, counts.get(line.instrument.symbol, 0)) for line in lines)
    found = [each for each in stated if each.ours != each.theirs]
    balance = venue.tracker.stated.balances.get(quote)
    if balance is not None and balance.wallet != portfolio.cash:
        found.append(AccountDifference(None, portfolio.cash, balance.wallet, rounding=counts.get(None, 0)))
    return found


def pushed_differences(portfolio: Portfolio, venue: BybitVenue, quote: str) -> list[AccountDifference]:
    """What differs between the portfolio and what the stream pushed last, where nothing was booked later."""
    pushes = venue.tracker.stated.pushes
    found: list[AccountDifference] = []
    for line in portfolio.lines.values():
        symbol = line.instrument.symbol
        if line.is_linear and (report := pushes.latest_position(symbol)) is not None:
            found.append(AccountDifference(symbol, line.book.steps, line.instrument.qty_grid.count(report.qty)))
    if (balance := pushes.latest_balance(quote)) is not None:
        found.append(AccountDifference(None, portfolio.cash, balance.wallet))
    return [each for each in found if each.ours != each.theirs]


def _position(line: Line, venue: BybitVenue) -> AccountDifference:
    symbol = line.instrument.symbol
    report = venue.tracker.stated.positions.get((symbol, 0))
    return AccountDifference(symbol, line.book.steps, 0 if report is None else line.instrument.qty_grid.count(report.qty))


def _coin(line: Line, venue: BybitVenue, executions: int = 0) -> AccountDifference:
    """A spot pair's base coin, in 1e-8, rounded as the wallet is (half-even). A coin that the wallet does not list is none. Rounding is
    less than a step, of which orders are made."""
    grid, coin = line.instrument.book_grid, line.instrument.base
    balance = venue.tracker.stated.balances.get(coin)
    ours = round(Fraction(line.book.steps * grid.num * UNIT, grid.den))
    step = line.instrument.qty_grid
    rounding = min(executions, (step.num * UNIT - 1) // step.den)
    return AccountDifference(line.instrument.symbol, ours, 0 if balance is None else balance.wallet, coin, rounding)


class Reconciler:
    """Compares at the start, after each reconnection and on a cadence; does what ``Comparison`` decides. hear: takes what the actors are to
    hear; settled: returns when they have heard all that has come, which is when books may be compared and changed."""

    def __init__(
        self,
        books: Books,
        venue: BybitVenue,
        rest: RestClient,
        quote: str,
        notify: Notify,
        *,
        hear: Callable[[Any], None],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        self._books, self._venue, self._rest, self._quote = books, venue, rest, quote
        self._notify, self._hear, self._settled = notify, hear, settled
        self._comparison = Comparison(venue.gate)
        self.last: list[AccountDifference] = []
        """What the latest comparison found, and left."""
        self.was_read = False
        """Whether the exchange could be read for it."""
        self._turn = asyncio.Lock()

    @property
    def is_unsure(self) -> bool:
        """Whether the next reading decides on a difference; until then nothing is added to its symbol."""
        return bool(self._venue.gate.entries("being_compared"))

    async def check(self, *, at_once: bool = False) -> list[AccountDifference]:
        """Read and compare; returns what stands unexplained. at_once: no second reading is waited for. Raises nothing for a read that
        fails: it is told, and the next one comes."""
        async with self._turn:
            return await self._check(at_once=at_once)

    async def against(self, symbol: str) -> str:
        """What position and wallet show of a symbol, as pushed by the stream and as listed, that our books do not explain; "" for nothing.
        What was pushed counts as long as nothing was booked after it."""
        await self._settled()
        pushed = pushed_differences(self._books.portfolio, self._venue, self._quote)
        await self.check()
        if not self.was_read:
            return "position and wallet could not be read"
        return "; ".join(dict.fromkeys(each.text for each in (*self.last, *pushed) if each.symbol in (None, symbol)))

    async def _check(self, *, at_once: bool) -> list[AccountDifference]:
        venue, comparison = self._venue, self._comparison
        self.was_read = False
        try:
            await venue.read_positions()
            await venue.read_wallet()
            found = await self._differences()
            if found:  # an execution that the stream lost explains most: the list has it
                await venue.read_executions()
                found = await self._differences()
        except (ExchangeRefusal, PayloadError) as error:
            self._report("reconcile_failed", str(error))
            return self.last
        self.was_read = True
        unbooked = {each.symbol: await self._unbooked(each, found) for each in comparison.to_explain(found, at_once=at_once)}
        actions = comparison.read(found, unbooked, at_once=at_once)
        taken = [action.difference for action in actions if isinstance(action, TakeOver)]
        self.last = [each for each in found if each not in taken]
        for action in actions:
            await self._do(action)
        return [each for each in self.last if comparison.is_frozen(each.symbol)]

    async def _differences(self) -> list[AccountDifference]:
        """Those of the latest reading, with what rounding may explain of them."""
        await self._settled()
        if not (found := differences(self._books.portfolio, self._venue, self._quote)):
            return found
        tape = self._books.tape
        counts: Counter[str | None] = Counter(fill.symbol for fill in tape.fills)
        counts[None] = len(tape.fills) + len(tape.payments)
        return differences(self._books.portfolio, self._venue, self._quote, counts)

    async def adopt(self, symbol: str | None) -> str:
        """A person says that the exchange's number is right (symbol None: cash): our books take it. Returns why they do not, "" when they
        do. Raises ExchangeRefusal, PayloadError."""
        async with self._turn:  # nobody else takes the same difference over meanwhile
            return await self._adopt(symbol)

    async def _adopt(self, symbol: str | None) -> str:
        await self._check(at_once=True)
        if not self.was_read:
            return "the exchange could not be read, so that nobody can say what it has"
        found = next((each for each in self.last if each.symbol == symbol and self._comparison.is_frozen(symbol)), None)
        if found is None:
            return "they agree by now"
        unread = ""
        try:  # rows that the log has of it explain nothing later
            rows, at_ms = await self._rows_of(found, self.last) if found.is_money else [], 0
        except (ExchangeRefusal, PayloadError) as error:
            rows, at_ms = [], self._venue.market_ms
            unread = f"; the transaction log could not be read ({error}): all its rows up to now count as taken over"
        if symbol is None:
            await self._settled()
            await self._adjust("adopted", rows, cash_change=found.theirs - found.ours, log_ms=at_ms)
        else:
            line = self._books.portfolio.lines[symbol]
            steps, cost = await self._stated(symbol) if line.is_linear else _coins_after(line, await self._coins(line, found))
            await self._adjust("adopted", rows, symbol=symbol, steps=steps, cost=cost, log_ms=at_ms)
        self._comparison.settle(symbol)
        self.last = [each for each in self.last if each.symbol != symbol]
        hint = "; no stop is set for it: look whether it has one" if symbol is not None and not found.is_money and found.theirs else ""
        self._report("adopted", f"{found.text}: a person adopted what the exchange has{hint}{unread}", "warning", symbol)
        return ""

    async def _stated(self, symbol: str) -> tuple[int, int]:
        """(signed steps, cost in 1e-8) of a perpetual's position, as the exchange states it now."""
        instrument = self._books.portfolio.lines[symbol].instrument
        for row in await self._venue.reader.position_rows(symbol):
            if count := steps_of(instrument, row.size, "size"):
                cost = units(row.positionValue) or round(Fraction(str(required(row.avgPrice, "avgPrice"))) * Fraction(str(row.size)) * UNIT)
                return (count if row.side == "Buy" else -count), cost
        return 0, 0

    async def _coins(self, line: Line, found: AccountDifference) -> int:
        """A coin in steps of the book, to the last digit that the wallet states; as compared where the wallet has moved on since."""
        instrument = line.instrument
        rows = [row for row in (await self._venue.reader.wallet()).coin if row.coin == instrument.base]
        steps = coin_units(rows[0], instrument) if rows else 0
        await self._settled()
        compared = line.book.steps + _in_steps(line, found.theirs - found.ours)
        return steps if abs(steps - compared) <= _in_steps(line, 1) else compared

    # --- doing ---

    async def _do(self, action: Action) -> None:
        gate = self._venue.gate
        if isinstance(action, Doubt):
            gate.close("being_compared", action.difference.text, action.difference.symbol)
        elif isinstance(action, ComparisonOver):
            gate.open("being_compared", action.symbol)
        elif isinstance(action, Freeze):
            self._freeze(action)
        elif isinstance(action, Release):
            gate.open(cause_of(action.symbol), action.symbol)
            self._report("resolved", f"{action.symbol or 'cash'}: our books and the exchange's agree again", "info")
        else:
            await self._take_over(action)

    def _freeze(self, action: Freeze) -> None:
        found = action.difference
        self._venue.gate.close(cause_of(found.symbol), found.text, found.symbol)
        text = f"{found.text}: nothing is added until this is clear" if action.is_new else f"{found.text} now"
        severity = "error" if action.is_new else "warning"
        self._report(cause_of(found.symbol), text, severity, found.symbol)

    async def _take_over(self, action: TakeOver) -> None:
        """Our books take the exchange's number, by records that name the rows of the log and what they change."""
        found, coin = action.difference, action.difference.coin or self._quote
        if not action.rows:
            await self._round(found)
        outside = [each for each in action.rows if not each.is_own]
        if outside:
            await self._settled()
            change, where = sum(each.units for each in outside), places([each.row for each in outside], OWN_TYPES)
            if found.symbol is None:
                await self._adjust("transfer", outside, cash_change=change)
            else:
                line = self._books.portfolio.lines[found.symbol]
                steps, cost = _coins_after(line, line.book.steps + _in_steps(line, change))
                await self._adjust("transfer", outside, symbol=found.symbol, steps=steps, cost=cost)
            self._report("transfer", f"{to_text(change)} {coin} came from {where} (negative: went there); taken over", "info", found.symbol)
        for symbol in dict.fromkeys(each.row.symbol for each in action.rows if each.is_own):
            await self._take_profit_over(symbol, [each for each in action.rows if each.is_own and each.row.symbol == symbol])

    async def _round(self, found: AccountDifference) -> None:
        """Our books take the exchange's last digits."""
        change, symbol = found.theirs - found.ours, found.symbol
        if symbol is None:
            await self._adjust("rounding", (), cash_change=change)
        else:
            line = self._books.portfolio.lines[symbol]
            steps, cost = _coins_after(line, await self._coins(line, found))
            await self._adjust("rounding", (), symbol=symbol, steps=steps, cost=cost)
        self._report("rounded", f"{found.text}: no more than rounding explains; taken over", "info", symbol)

    async def _take_profit_over(self, symbol: str, rows: list[Unbooked]) -> None:
        """The exchange has realised another profit of these executions: its profit, and its cost of what is held, are ours from now on."""
        book, change = self._books.portfolio.lines[symbol].book, sum(each.units for each in rows)
        stated = [units(row.positionValue) for row in await self._venue.reader.position_rows(symbol) if number(row.size)]
        await self._settled()
        cost = stated[0] if stated and book.steps else book.cost
        await self._adjust("realized_pnl", rows, symbol=symbol, steps=book.steps, cost=cost, cash_change=change)
        names = ", ".join(each.row.tradeId for each in rows[:5])
        text = f"{symbol}: the exchange realised {to_text(change)} {self._quote} more than our books, of {len(rows)} executions ({names})"
        self._report("pnl_taken_over", f"{text}; taken over", "info", symbol)

    async def _adjust(
        self,
        reason: str,
        rows: Sequence[Unbooked],
        *,
        symbol: str = "",
        steps: int = 0,
        cost: int = 0,
        cash_change: int = 0,
        log_ms: int = 0,
    ) -> None:
        """Returns when the books have it. log_ms: up to here every row of the log is contained, where the rows are not known."""
        keys, log_ms = tuple(each.row.key for each in rows), max((each.row.ts for each in rows), default=log_ms)
        if symbol:
            self._venue.tracker.books.seed(symbol, steps, cost)
        self._hear(Adjusted(self._books.clock.now_ms, reason, symbol, steps, cost, cash_change, log_ms, keys))
        await self._settled()

    # --- reading ---

    async def _unbooked(self, found: AccountDifference, all_found: Sequence[AccountDifference]) -> list[Unbooked]:
        """``_rows_of``, or nothing (with a notice) where the log cannot be read."""
        try:
            return await self._rows_of(found, all_found)
        except (ExchangeRefusal, PayloadError) as error:
            self._report("reconcile_failed", f"transaction log: {error}")
            return []

    async def _rows_of(self, found: AccountDifference, all_found: Sequence[AccountDifference]) -> list[Unbooked]:
        """What the log shows of this coin that our books have not, or otherwise, and that was not taken over yet; oldest first. Raises
        ExchangeRefusal, PayloadError."""
        history, lines = self._books.history, self._books.portfolio.lines
        now = self._books.clock.now_ms + MINUTE_MS
        rows = await log_rows(self._rest, found.coin or self._quote, max(history.log_from_ms(_LATE_MS), now - _LOG_MS), now)
        differing = {each.symbol for each in all_found}
        booked = {fill.fill_id: cash_of(fill, lines) for fill in self._books.tape.fills} if found.symbol is None else {}
        unbooked: list[Unbooked] = []
        for row in sorted(rows, key=lambda row: row.ts):
            if history.has_taken(row):
                continue
            if not is_own(row, lines):
                unbooked.append(Unbooked(row, row.units))
            elif row.tradeId in booked and row.symbol not in differing and row.units != booked[row.tradeId]:
                unbooked.append(Unbooked(row, row.units - booked[row.tradeId], is_own=True))
        return unbooked

    def _report(self, code: str, text: str, severity: Any = "warning", symbol: str | None = None) -> None:
        self._notify(Notice(self._venue.stamp_ms(), code, text, symbol, severity))


def _in_steps(line: Line, units: int) -> int:
    """An amount of a coin (1e-8) in steps of its book, which are finer: a wallet has digits that no comparison sees, and they stay."""
    grid = line.instrument.book_grid
    return round(Fraction(units * grid.den, UNIT * grid.num))


def _coins_after(line: Line, steps: int) -> tuple[int, int]:
    """(steps, cost in 1e-8) of a coin of which there are so many now: of what we had the cost stays, and what came is worth its latest
    price."""
    grid, book = line.instrument.book_grid, line.book
    if steps <= book.steps:
        return steps, book.cost * steps // book.steps if book.steps else 0
    return steps, book.cost + round(Fraction(line.last) * Fraction(grid.value(steps - book.steps)) * UNIT)
