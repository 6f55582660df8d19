"""Our books against the exchange's, to the last unit: positions by symbol, cash by coin. A difference is explained, adopted or freezes.

Explained: the transaction log shows a transfer of just this amount; it is taken over. Adopted: only when a journal begins. Everything else
freezes the symbol (for cash: all of them) until it has gone away or a person has looked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from adapters.bybit import translate, wire
from adapters.bybit.notices import Notice, Notify
from adapters.bybit.outcomes import ExchangeRefusal, PayloadError
from adapters.bybit.rest import RestClient
from adapters.bybit.venue import BybitVenue
from core.actors.portfolio import Portfolio
from core.money import to_text
from runners.live.cycle import Cycle
from runners.live.records import Adjusted

_LOG_MS: Final = 7 * 86_400_000
"""How far back the transaction log is asked at once: as far as the exchange allows."""
_OWN_TYPES: Final = frozenset({"TRADE", "SETTLEMENT", "LIQUIDATION"})


class Difference(msgspec.Struct, frozen=True):
    """``symbol`` None: cash. Positions in steps of the book's grid, cash in 1e-8."""

    symbol: str | None
    ours: int
    theirs: int

    @property
    def text(self) -> str:
        """For people."""
        if self.symbol is None:
            return f"cash: our books say {to_text(self.ours)}, the exchange {to_text(self.theirs)}"
        return f"{self.symbol}: our books hold {self.ours} steps, the exchange {self.theirs}"


def differences(portfolio: Portfolio, venue: BybitVenue, quote: str) -> list[Difference]:
    """What differs between the portfolio and what the exchange stated last."""
    found: list[Difference] = []
    for symbol, line in portfolio.lines.items():
        if not line.is_linear:
            continue
        report = venue.fold.positions.get((symbol, 0))
        theirs = 0 if report is None else line.instrument.qty_grid.count(report.qty)
        if theirs != line.book.steps:
            found.append(Difference(symbol, line.book.steps, theirs))
    balance = venue.fold.balances.get(quote)
    if balance is not None and balance.wallet != portfolio.cash:
        found.append(Difference(None, portfolio.cash, balance.wallet))
    return found


class Reconciler:
    """Compares at the start, after each reconnection and on a cadence. A difference counts once it has been seen in two readings."""

    def __init__(
        self, cycle: Cycle, venue: BybitVenue, rest: RestClient, quote: str, notify: Notify, *, hear: Callable[[Any], None], since_ms: int
    ) -> None:
        self._cycle, self._venue, self._rest, self._quote = cycle, venue, rest, quote
        self._notify, self._hear, self._since_ms = notify, hear, since_ms
        self._seen: list[Difference] = []
        self.frozen: dict[str | None, Difference] = {}
        self.last: list[Difference] = []
        """What the latest comparison found."""

    async def check(self, *, at_once: bool = False) -> list[Difference]:
        """Read and compare; returns what stands unexplained. at_once: no second reading is waited for. Raises nothing for a read that
        fails: it is told, and the next one comes."""
        venue = self._venue
        try:
            await venue.read_positions()
            await venue.read_wallet()
        except (ExchangeRefusal, PayloadError) as error:
            self._tell("reconcile_failed", str(error))
            return self.last
        found = differences(self._cycle.actors.portfolio, venue, self._quote)
        self.last = found
        standing = [each for each in found if at_once or each in self._seen]
        self._seen = found
        for each in standing:
            await self._deal_with(each)
        self._release(found)
        return [each for each in standing if each.symbol in self.frozen]

    async def _deal_with(self, found: Difference) -> None:
        if found.symbol in self.frozen:
            return
        if found.symbol is None:
            change = await self._transfers()
            if change and change == found.theirs - found.ours:
                self._hear(Adjusted(self._cycle.clock.now_ms, "transfer", cash_change=change))
                self._tell("transfer", f"{to_text(change)} {self._quote} came from outside (negative: went there); taken over", "info")
                return
        self.frozen[found.symbol] = found
        cause = "position_differs" if found.symbol is not None else "cash_differs"
        self._venue.freeze(found.symbol, cause, found.text)
        self._notify(Notice(self._venue.stamp_ms(), cause, f"{found.text}: nothing is added until this is clear", found.symbol, "error"))

    def _release(self, found: list[Difference]) -> None:
        standing = {each.symbol for each in found}
        for symbol in [symbol for symbol in self.frozen if symbol not in standing]:
            del self.frozen[symbol]
            self._venue.release(symbol, "position_differs" if symbol is not None else "cash_differs")
            self._tell("resolved", f"{symbol or 'cash'}: our books and the exchange's agree again", "info")

    async def _transfers(self) -> int:
        """The sum of what the transaction log shows that is no trading of ours, since the last look; the log moves on when it is used."""
        now = self._cycle.clock.now_ms + 60_000
        since = max(self._since_ms, now - _LOG_MS)
        params = {"accountType": "UNIFIED", "currency": self._quote, "startTime": since, "endTime": now, "limit": 50}
        try:
            rows: list[dict[str, Any]] = []
            async for page in self._rest.pages("/v5/account/transaction-log", params):
                rows += [msgspec.json.decode(raw) for raw in page.rows]
            others = [row for row in rows if row.get("type") not in _OWN_TYPES and int(row["transactionTime"]) > self._since_ms]
            change = sum(translate.units(str(row["change"])) for row in others)
        except (ExchangeRefusal, PayloadError, msgspec.MsgspecError, KeyError, ValueError) as error:
            self._tell("reconcile_failed", f"transaction log: {error}")
            return 0
        if others:
            self._since_ms = max(int(row["transactionTime"]) for row in others)
        return change

    def _tell(self, code: str, text: str, severity: Any = "warning") -> None:
        self._notify(Notice(self._venue.stamp_ms(), code, text, None, severity))


def held_positions(rows: list[wire.PositionRow], portfolio: Portfolio) -> list[tuple[str, int, int]]:
    """(symbol, signed steps, cost in 1e-8) of listed positions in our symbols: how a journal begins on an account that holds something."""
    found = []
    for row in rows:
        line = portfolio.lines.get(row.symbol)
        steps = 0 if line is None else translate.steps(line.instrument, row.size, "size")
        if line is None or not steps:
            continue
        price = translate.required(row.avgPrice, "avgPrice")
        size = translate.required(row.size, "size")
        sign = 1 if translate.side_of(row.side) == "BUY" else -1
        found.append((row.symbol, sign * steps, translate.units(str(round(price * size, 8)))))
    return found
