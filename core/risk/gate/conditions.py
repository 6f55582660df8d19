"""Causes that depend on the moment: ages, counts, the day, a ban. Looked at in every turn of a session, and before every order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keel.core.risk.controls.controls import Controls
from keel.core.risk.gate.gate import Gate

_PAUSES: Final = (
    "max_orders_per_minute", "max_orders_per_symbol_per_minute", "max_open_orders", "max_open_orders_per_symbol", "no_equity",
    "reject_breaker", "price_stale",
)  # fmt: skip
"""Those that the controls count and that end by themselves; ``cancel_ratio`` is counted there, too, and ends by a person."""


class Conditions:
    """Closes and opens the gate by what is so now. now_ms: of the session's clock, by which controls count; banned_ms: how long the
    exchange refuses this address yet; journal_failed: why the journal takes nothing more, "" while it does; latched: why the panic latch
    lets nothing leave, "" while there is none; arming: looks whether the arming of a live session stands, and tells the gate."""

    def __init__(
        self,
        gate: Gate,
        controls: Controls,
        *,
        now_ms: Callable[[], int],
        banned_ms: Callable[[], int],
        journal_failed: Callable[[], str],
        latched: Callable[[], str],
        arming: Callable[[Gate], None] | None = None,
    ) -> None:
        self._gate, self._controls = gate, controls
        self._now_ms, self._banned_ms, self._journal_failed, self._latched = now_ms, banned_ms, journal_failed, latched
        self._arming = arming

    def look(self) -> None:
        """See what has begun and what is over."""
        gate = self._gate
        latched = self._latched()
        gate.hold("panic", not latched, latched)
        if self._arming is not None:
            self._arming(gate)
        failed = self._journal_failed()
        gate.hold("journal", not failed, f"the journal takes nothing more: {failed}")
        banned_ms = self._banned_ms()
        gate.hold(
            "banned", not banned_ms, f"the exchange refuses this address (HTTP 403): nothing is sent for another {banned_ms // 1000} s"
        )
        self._look_at_pauses()

    def _look_at_pauses(self) -> None:
        pauses = self._controls.pauses(self._now_ms())
        for entry in self._gate.entries(*_PAUSES):
            if (entry.cause, entry.symbol) not in pauses:
                self._gate.open(entry.cause, entry.symbol)
        for (cause, symbol), text in pauses.items():
            if not self._gate.has(cause, symbol):
                self._gate.close(cause, text, symbol)
