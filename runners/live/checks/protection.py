"""A position that was to have a stop, and has none at the exchange: found within seconds, then closed or held as ``on_unprotected`` says.

Where to look: after an entry with a stop was filled, after a stop ended while its position stands, and when the exchange refused one for
good. What the stream has told decides first; before anything is done the exchange is read, twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.return_codes import ExchangeRefusal, PayloadError
from keel.adapters.bybit.wire.shapes import OrderRow
from keel.adapters.machine import monotonic_ms
from keel.core.engine.bus import Bus
from keel.core.model.messages import Fill, OrderUpdate
from keel.runners.live.memory.records import ClosePosition

STOPS: Final = ("sl", "ts")
"""Roles of orders that limit a loss."""
AFTER_FILL_MS: Final = 2_000
AFTER_END_MS: Final = 1_000
APART_MS: Final = 1_000
WATCH_MS: Final = 5_000
_TICK_S: Final = 0.25
CLOSING_TRIES: Final = 5
"""How often a position is closed again that still stands five seconds after."""


class Protection:
    """Watches the stops of one account's perpetuals. hear: takes what the actors are told; now_ms: of their clock."""

    def __init__(
        self,
        venue: BybitVenue,
        policy: Literal["flatten", "hold"],
        notify: Notify,
        *,
        hear: Callable[[Any], None],
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._venue, self._policy, self._notify, self._hear, self._now_ms, self._sleep = venue, policy, notify, hear, now_ms, sleep
        self._due: dict[str, int] = {}
        self._missed: set[str] = set()
        """Symbols that one reading has found without a stop."""
        self._tries: dict[str, int] = {}

    def listen(self, bus: Bus) -> None:
        """Hear of fills and of orders that end."""
        bus.subscribe(Fill, self._on_fill)
        bus.subscribe(OrderUpdate, self._on_update)

    def refused(self, symbol: str, reason: str) -> None:
        """The exchange refused the stop of a position, as often as makes sense."""
        if self._held(symbol) and not self._venue.gate.has("panic"):
            self._act(symbol, f"the exchange refused its stop ({reason})")

    async def run(self) -> None:
        """Look where something is due, until cancelled."""
        while True:
            await self._sleep(_TICK_S)
            if self._venue.gate.has("panic"):  # its stops are cancelled on purpose, and its positions closed
                self._due.clear()
            for symbol in [symbol for symbol, due in self._due.items() if due <= monotonic_ms()]:
                del self._due[symbol]
                try:
                    await self._look(symbol)
                except (ExchangeRefusal, PayloadError) as error:
                    self._notify(Notice(self._venue.stamp_ms(), "check_failed", f"the stop of {symbol}: {error}", symbol))
                    self._soon(symbol, APART_MS)

    # --- when to look ---

    def _on_fill(self, fill: Fill) -> None:
        if self._venue.gate.has("unprotected", fill.symbol) and not self._held(fill.symbol):
            self._soon(fill.symbol, APART_MS)
            return
        order = self._venue.tracker.orders.get(fill.client_order_id)
        bracket = order.command.bracket if order is not None and order.command is not None else None
        if bracket is not None and (bracket.stop_loss is not None or bracket.trailing is not None):
            self._soon(fill.symbol, AFTER_FILL_MS)

    def _on_update(self, update: OrderUpdate) -> None:
        order = self._venue.tracker.orders.get(update.client_order_id)
        is_stop = order is not None and order.role in STOPS and not order.is_unwanted
        if is_stop and update.status in ("cancelled", "rejected", "expired"):
            self._soon(update.symbol, AFTER_END_MS)

    def _soon(self, symbol: str, ms: int) -> None:
        self._due[symbol] = monotonic_ms() + ms

    # --- looking ---

    async def _look(self, symbol: str) -> None:
        stands = self._venue.gate.has("unprotected", symbol)
        if not stands and (not self._held(symbol) or self._has_stop(symbol)):
            self._missed.discard(symbol)
            return
        if await self._is_safe(symbol):
            self._missed.discard(symbol)
            self._tries.pop(symbol, None)
            self._venue.gate.open("unprotected", symbol)
        elif stands:
            self._close_again(symbol)
        elif symbol in self._missed:
            self._missed.discard(symbol)
            self._act(symbol, "it has no stop at the exchange")
        else:
            self._missed.add(symbol)
            self._soon(symbol, APART_MS)

    def _held(self, symbol: str) -> int:
        return self._venue.tracker.books.held(symbol, 0)

    def _has_stop(self, symbol: str) -> bool:
        return any(order.symbol == symbol and (order.role in STOPS or _is_own_stop(order)) for order in self._venue.tracker.orders)

    async def _is_safe(self, symbol: str) -> bool:
        """Whether the exchange says that the position is flat, or has a stop."""
        if any(row.symbol == symbol and _is_listed_stop(row) for row in await self._venue.reader.open_orders()):
            return True
        held = [row for row in await self._venue.reader.position_rows(symbol) if translate.number(row.size)]
        return all(translate.number(row.stopLoss) or translate.number(row.trailingStop) for row in held)

    # --- doing ---

    def _act(self, symbol: str, why: str) -> None:
        is_closed = self._policy == "flatten"
        done = "it is closed at market" if is_closed else "it is held, as on_unprotected says"
        text = f"{symbol}: the position is unprotected: {why}; {done}"
        self._notify(Notice(self._venue.stamp_ms(), "unprotected", text, symbol, "error"))
        self._venue.gate.close("unprotected", text, symbol)
        if is_closed:
            self._close(symbol)
        self._soon(symbol, WATCH_MS)

    def _close_again(self, symbol: str) -> None:
        """Where our books are flat and the exchange's list is not, there is nothing that we could close: that is for the comparison."""
        if not self._held(symbol):
            self._tries.pop(symbol, None)
        elif self._policy == "flatten" and self._tries.get(symbol, 0) < CLOSING_TRIES:
            self._close(symbol)
        self._soon(symbol, WATCH_MS)

    def _close(self, symbol: str) -> None:
        self._tries[symbol] = self._tries.get(symbol, 0) + 1
        self._hear(ClosePosition(self._now_ms(), symbol, "unprotected"))


def _is_listed_stop(row: OrderRow) -> bool:
    """A take-profit is none, whichever way it was made: it fires where the position wins."""
    role = translate.ROLES.get(row.stopOrderType or "")
    if role is not None:
        return role in STOPS
    direction = translate.number(row.triggerDirection)
    return bool(row.reduceOnly and translate.number(row.triggerPrice)) and direction != (1 if row.side == "Sell" else 2)


def _is_own_stop(order: TrackedOrder) -> bool:
    command = order.command
    if command is None or not command.reduce_only or command.trigger_price is None:
        return False
    return command.trigger_rising is not (command.side == "SELL")
