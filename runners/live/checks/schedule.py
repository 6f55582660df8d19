"""How often a session looks, in one table (docs/reconciliation.md). In lock-step nothing here runs by the clock: the market waits.

``in_flight`` is looked at every second and acts after its threshold; the first five are the adapter's own
(``adapters/bybit/execution/polling/account_poller.py``), which reads executions, orders, positions and wallet after each reconnection, too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from keel.adapters.bybit.execution.polling.account_poller import PERIODS_MS
from keel.adapters.bybit.execution.tracking.stream_watch import IN_FLIGHT_MS
from keel.core.model.timeframe import DAY_MS, HOUR_MS, MINUTE_MS

PERIOD_MS: Final = {
    "in_flight": IN_FLIGHT_MS,
    **PERIODS_MS,
    "books": 30_000,
    "settings": 30_000,
    "instruments": HOUR_MS,
    "key": HOUR_MS,
    "statement": DAY_MS,
}
"""Name -> ms between two looks. ``books``: positions and wallet against our books; also after each reconnection and funding payment.
``statement``: the transaction log row by row; at the end of a session, too."""

AWAITED_MS: Final = {"books": 10_000, "settings": 30_000, "instruments": MINUTE_MS, "key": MINUTE_MS}
"""Name -> ms between two looks while a cause of the gate stands that ends by this look."""


class CheckSchedule:
    """What is due. Times are of whatever monotonic clock the caller has."""

    def __init__(self, names: tuple[str, ...], now_ms: int) -> None:
        self._due = {name: now_ms + PERIOD_MS[name] for name in names}

    def due(self, now_ms: int, among: Collection[str] | None = None) -> list[str]:
        """Those (of these) whose time has come, each of which is due again a period from now."""
        found = [name for name, due in self._due.items() if due <= now_ms and (among is None or name in among)]
        for name in found:
            self._due[name] = now_ms + PERIOD_MS[name]
        return found

    def within(self, name: str, ms: int, now_ms: int) -> None:
        """Make it due so soon, if it is not due before."""
        self._due[name] = min(self._due[name], now_ms + ms)

    def hurry(self, name: str) -> None:
        """Make it due at once."""
        self._due[name] = 0
