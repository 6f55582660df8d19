"""The exchange's statement: its transaction log against what our books took in, row by row. A difference of 0, or items with a name.

The wallet alone (``reconcile``) would not show two mistakes that cancel out, nor say which row is missing. Fills and rows are matched by
the execution's id, funding by its hour; transfers count as explained when they were taken over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.rest import RestClient
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.core.model.money import to_text
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import HOUR_MS, MINUTE_MS
from keel.runners.live.checks.transaction_log import LogRow, cash_of, is_own, log_rows
from keel.runners.live.memory.records import Stated
from keel.runners.live.session.books import Books

_SLACK_MS: Final = MINUTE_MS
"""By how much an execution's time in the log may be another than its own."""
_KEPT: Final = 1_000
"""So many statements of a session are remembered for its artifacts; the journal has all of them."""
_NAMED: Final = 20
"""So many items are written down; the sums count all."""


class Item(msgspec.Struct, frozen=True):
    """A row that one side has otherwise, or has not; amounts in 1e-8."""

    what: str
    ours: int
    theirs: int

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.what}: our books {to_text(self.ours)}, the log {to_text(self.theirs)}"


class Statement:
    """States what has not been stated yet, from the journal's beginning on: once a day, and at the end of a session. settled: see
    ``Reconciler``."""

    def __init__(
        self,
        books: Books,
        venue: BybitVenue,
        rest: RestClient,
        quote: str,
        notify: Notify,
        *,
        write: Callable[[Stated], object],
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        self._books, self._venue, self._rest, self._quote = books, venue, rest, quote
        self._notify, self._write, self._settled = notify, write, settled
        self.made: deque[Stated] = deque(maxlen=_KEPT)
        """Those of this session, oldest first."""
        self.failed = ""
        """Why the latest look could not be made; "" when it was."""

    @property
    def last(self) -> Stated | None:
        """The latest of this session."""
        return self.made[-1] if self.made else None

    async def make(self, until_ms: int) -> Stated | None:
        """State what lies after the last statement, up to ``until_ms``; None where nothing does, or a read has failed (which is told, and
        the next one covers the same time)."""
        since = self._books.history.stated_ms
        if until_ms <= since:
            return None
        self.failed = ""
        try:
            rows, items = await self._compare(since, until_ms)
            if items:  # what the stream lost the executions' list has; what is only late is there now
                await self._venue.read_executions()
                rows, items = await self._compare(since, until_ms)
        except (ExchangeRefusal, PayloadError, ValueError) as error:
            self.failed = str(error)
            self._report("statement_failed", f"the transaction log was not read: {error}", is_error=False)
            return None
        stated = Stated(
            self._books.clock.now_ms, since, until_ms, len(rows), sum(row.units for row in rows),
            sum(item.theirs - item.ours for item in items), tuple(item.text for item in items[:_NAMED]),
        )  # fmt: skip
        self._write(stated)
        self.made.append(stated)
        for item in items[:_NAMED]:
            self._report("statement_differs", item.text, is_error=True)
        self._report("statement", text_of(stated, self._quote), is_error=False, is_info=True)
        return stated

    async def _compare(self, since_ms: int, until_ms: int) -> tuple[list[LogRow], list[Item]]:
        """(rows in (since, until], what they say otherwise than our books)."""
        around = await log_rows(self._rest, self._quote, since_ms + 1 - _SLACK_MS, until_ms + _SLACK_MS)
        await self._settled()
        opening = set(self._books.opened.executions)
        rows = [row for row in around if since_ms < row.ts <= until_ms and f"{row.symbol}:{row.tradeId}" not in opening]
        return rows, [*self._of_log(rows), *self._of_books(around, since_ms, until_ms)]

    def _of_log(self, rows: Iterable[LogRow]) -> Iterator[Item]:
        """What the log has, and our books have otherwise or not at all."""
        fills, payments = self._fills(), self._payments()
        for row in rows:
            if self._books.history.has_taken(row):
                continue
            when = f"{row.type.lower()} of {to_iso(row.ts)}"
            if not is_own(row, self._books.portfolio.lines):
                if row.units:
                    yield Item(f"{when}, which is not taken over", 0, row.units)
                continue
            is_funding = row.type == "SETTLEMENT"
            ours = payments.get(_hour(row.symbol, row.ts), 0) if is_funding else fills.get(row.tradeId, 0)
            if ours != row.units:
                name = "funding" if is_funding else f"execution {row.tradeId}"
                yield Item(f"{row.symbol} {name}, {when}", ours, row.units)

    def _of_books(self, around: Iterable[LogRow], since_ms: int, until_ms: int) -> Iterator[Item]:
        """What our books have, and the log has not."""
        traded = {row.tradeId for row in around}
        settled = {_hour(row.symbol, row.ts) for row in around if row.type == "SETTLEMENT"}
        for fill in self._books.tape.fills:
            if since_ms < fill.ts <= until_ms and fill.fill_id not in traded:
                yield Item(
                    f"{fill.symbol} execution {fill.fill_id} of {to_iso(fill.ts)}, which the log has not",
                    cash_of(fill, self._books.portfolio.lines),
                    0,
                )
        for payment in self._books.tape.payments:
            if since_ms < payment.ts <= until_ms and _hour(payment.symbol, payment.ts) not in settled:
                yield Item(f"{payment.symbol} funding of {to_iso(payment.ts)}, which the log has not", -payment.amount, 0)

    def _fills(self) -> dict[str, int]:
        return {fill.fill_id: cash_of(fill, self._books.portfolio.lines) for fill in self._books.tape.fills}

    def _payments(self) -> dict[tuple[str, int], int]:
        found: dict[tuple[str, int], int] = {}
        for payment in self._books.tape.payments:
            key = _hour(payment.symbol, payment.ts)
            found[key] = found.get(key, 0) - payment.amount
        return found

    def _report(self, code: str, text: str, *, is_error: bool, is_info: bool = False) -> None:
        severity: Any = "error" if is_error else "info" if is_info else "warning"
        self._notify(Notice(self._venue.stamp_ms(), code, text, None, severity))


def text_of(stated: Stated, quote: str) -> str:
    """A statement in one line."""
    span = f"{to_iso(stated.since_ms)} to {to_iso(stated.until_ms)}"
    found = f"difference {to_text(stated.difference)}" + (f" in {len(stated.items)} items" if stated.items else "")
    return f"transaction log {span}: {stated.rows} rows, {to_text(stated.change)} {quote}; {found}"


def _hour(symbol: str, ts: int) -> tuple[str, int]:
    """Funding is settled on the hour; the log may say some moments later."""
    return symbol, (ts + HOUR_MS // 2) // HOUR_MS
