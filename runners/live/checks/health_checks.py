"""What a session looks after while the market moves by itself: its books, its instruments, its key, its streams; and sooner, what a cause
of the gate ends by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from keel.adapters.bybit.execution.polling.settings_drift import SETTINGS, drift, elsewhere
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, Outcome, PayloadError
from keel.adapters.machine import monotonic_ms
from keel.core.errors import ConfigError, SafetyError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import FundingPayment, OrderUpdate
from keel.core.model.timeframe import DAY_MS, MINUTE_MS
from keel.runners.live.checks.schedule import AWAITED_MS, CheckSchedule
from keel.runners.live.startup.left_out import what_is_there

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live

COMPARED: Final = (
    "price_grid", "qty_grid", "min_qty", "max_qty", "max_market_qty", "min_notional", "max_leverage", "tiers", "base", "quote",
)  # fmt: skip
"""What of an instrument orders are made by. A change of it freezes the symbol until a restart has read it anew."""

STATEMENT_LAG_MS: Final = MINUTE_MS
"""What is younger is left to the next statement: lists lag behind the stream."""
SUSPECT_MS: Final = MINUTE_MS
"""So often at most a symbol is looked at out of turn: when an order of it was rejected, or its price stands still."""
OUR_DENIALS: Final = ("denied: ", "not ready: ", "frozen: ")
"""How reasons of orders begin that were not rejected by the exchange."""
ENDED_BY_BOOKS: Final = ("execution_adl", "unknown_execution", "executions_missing")
"""Causes that are over when our books agree with the exchange's."""
_AWAITED: Final = {
    "key": ("key", "denied"),
    "instruments": ("not_trading", "instrument_changed"),
    "books": (*ENDED_BY_BOOKS, "position_differs", "cash_differs", "being_compared"),
    "settings": SETTINGS,
}  # fmt: skip
"""Look -> the causes that end by it."""


class HealthChecks:
    """Looks at what is due, turn by turn. now_ms: a monotonic clock."""

    def __init__(self, live: Live, notify: Notify, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._live, self._notify, self._now_ms = live, notify, now_ms
        self._cadence = CheckSchedule(("books", "settings", "instruments", "key", "statement"), now_ms())
        self._told_elsewhere: set[str] = set()
        self._day = self._stated_day()
        self._connects = live.venue.private.stream.connects
        self._suspected: set[str] = set()
        """Symbols that may trade no longer, or by other rules."""
        self._looked_ms: dict[str, int] = {}
        live.books.bus.subscribe(FundingPayment, lambda _: self._cadence.hurry("books"))
        live.books.bus.subscribe(OrderUpdate, self._on_update)

    async def turn(self, *, only_awaited: bool = False) -> None:
        """One look at everything that is due; only_awaited: at nothing but what a standing cause ends by (in lock-step, where the market
        waits for us). A read that fails is told, and made again when it is due again."""
        live = self._live
        awaited = [name for name, causes in _AWAITED.items() if live.gate.entries(*causes)]
        for name in awaited:
            self._cadence.within(name, AWAITED_MS[name], self._now_ms())
        if not live.venue.is_ready or (only_awaited and not awaited):
            return
        if live.venue.private.stream.connects != self._connects:
            self._connects = live.venue.private.stream.connects
            self._cadence.hurry("books")
        if self._stated_day() > self._day:
            self._day = self._stated_day()
            self._cadence.hurry("statement")
        checks = {"books": self._books, "instruments": self._instruments, "key": self._key, "statement": self._state}
        checks["settings"] = self._settings
        for name in self._cadence.due(self._now_ms(), awaited if only_awaited else tuple(checks)):
            try:
                await checks[name]()
            except (ExchangeRefusal, PayloadError) as error:
                self._report("check_failed", f"{name}: {error}")
        if not only_awaited:
            await self._look_at_suspects()

    def _on_update(self, update: OrderUpdate) -> None:
        """What the exchange rejects may be rejected because the symbol does not trade any more."""
        if update.status == "rejected" and not update.reason.startswith(OUR_DENIALS) and update.symbol in self._live.instruments:
            self._suspected.add(update.symbol)

    async def _look_at_suspects(self) -> None:
        live, now = self._live, self._now_ms()
        self._suspected |= {entry.symbol for entry in live.gate.entries("price_stale", "reject_breaker") if entry.symbol is not None}
        due = {symbol for symbol in self._suspected if now - self._looked_ms.get(symbol, now - SUSPECT_MS) >= SUSPECT_MS}
        self._suspected.clear()
        for symbol in sorted(due):
            self._looked_ms[symbol] = now
            try:
                await self._instrument(symbol, live.instruments[symbol])
            except (ExchangeRefusal, PayloadError) as error:
                self._report("check_failed", f"{symbol}: {error}")

    async def _books(self) -> None:
        live = self._live
        await live.reconciler.check()
        if live.reconciler.is_unsure:
            self._cadence.hurry("books")
        if live.reconciler.was_read:
            differing = {each.symbol for each in live.reconciler.last}
            for entry in live.gate.entries(*ENDED_BY_BOOKS):
                if entry.symbol not in differing:
                    live.gate.open(entry.cause, entry.symbol, entry.key)

    async def _settings(self) -> None:
        """Leverage, modes and added margin are the system's; and what else lies on the account is told once, and never touched."""
        live = self._live
        system, reader = live.plan.system, live.venue.reader
        if system.category == "linear":
            found = await drift(reader, live.instruments, system.risk.leverage, system.risk.margin_mode)
            standing = {(each.cause, each.symbol) for each in found}
            for entry in live.gate.entries(*SETTINGS):
                if (entry.cause, entry.symbol) not in standing:
                    live.gate.open(entry.cause, entry.symbol)
            for each in found:
                self._freeze(each.symbol, each.cause, each.text)
        for symbol, text in (await elsewhere(reader, live.instruments)).items():
            if symbol not in self._told_elsewhere:
                self._told_elsewhere.add(symbol)
                words = f"{symbol}, which this system does not trade, has {text} on the account: it is never touched"
                self._notify(Notice(live.venue.stamp_ms(), "elsewhere", words, symbol))

    async def _state(self) -> None:
        """A statement ends with its UTC day; one that is due within a day, a moment ago."""
        live = self._live
        until, since = live.connection.market_ms - STATEMENT_LAG_MS, live.books.history.stated_ms
        day_begins = until - until % DAY_MS
        await live.statement.make(day_begins - 1 if since < day_begins - 1 else until)

    def _stated_day(self) -> int:
        """The UTC day that statements may reach into by now."""
        return (self._live.connection.market_ms - STATEMENT_LAG_MS) // DAY_MS

    async def _instruments(self) -> None:
        """Each symbol as it is now."""
        for symbol, known in self._live.instruments.items():
            await self._instrument(symbol, known)

    async def _instrument(self, symbol: str, known: Instrument) -> None:
        """A symbol as it is now. One that no longer trades, or by other rules, takes no more orders that add exposure."""
        gate = self._live.gate
        try:
            now = await self._live.connection.reader.instrument(symbol)
        except ConfigError as error:
            if not gate.has("not_trading", symbol):
                there = await what_is_there(self._live.connection, symbol)
                self._freeze(symbol, "not_trading", f"{error}; the account has {there} in it, which cannot be traded now")
            return
        gate.open("not_trading", symbol)
        if text := changes(known, now):
            self._freeze(symbol, "instrument_changed", f"{symbol}: {text}; stop and start again to go on by the new rules")
        else:
            gate.open("instrument_changed", symbol)

    def _freeze(self, symbol: str | None, cause: str, text: str) -> None:
        if self._live.gate.close(cause, text, symbol):
            self._notify(Notice(self._live.venue.stamp_ms(), cause, text, symbol, "error"))

    async def _key(self) -> None:
        """A key that has lost rights, or was given too many: nothing is added with it."""
        live = self._live
        try:
            await live.connection.account.check_key(live=live.plan.arming is not None)
        except SafetyError as error:
            if live.gate.close("key", str(error)):
                self._report("key", str(error), "error")
        except ExchangeRefusal as error:
            if error.outcome is not Outcome.DENIED:
                raise
            if live.gate.close("denied", str(error)):
                self._report("denied", f"the exchange denies this key: {error}", "error")
        else:
            live.gate.open("key")
            live.gate.open("denied")

    def _report(self, code: str, text: str, severity: str = "warning") -> None:
        self._notify(Notice(self._live.venue.stamp_ms(), code, text, severity="error" if severity == "error" else "warning"))


def changes(before: Instrument, now: Instrument) -> str:
    """What of an instrument's rules is another now; "" when nothing is."""
    found = [name for name in COMPARED if getattr(before, name) != getattr(now, name)]
    return ", ".join(f"{name} {_text(getattr(before, name))} is now {_text(getattr(now, name))}" for name in found)


def _text(value: object) -> str:
    step = getattr(value, "value", None)
    return f"{step(1):.12g}" if callable(step) else "other risk tiers" if isinstance(value, tuple) else str(value)
