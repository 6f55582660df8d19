"""How a session ends after a panic: it sends nothing, books what it hears until the account is flat, and then ends in order, HALTED.

It does not close anything itself: that is done beside it, by a process that does not need it. Where that does not come to its end in
PATIENCE_MS, the session ends all the same, and says what its books hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from keel.adapters.machine import monotonic_ms
from keel.runners.live.reporting.holdings import held_quantities

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live

PATIENCE_MS: Final = 30_000
QUIET_MS: Final = 2_000
"""For so long nothing must rest and nothing be held."""


class PanicEnd:
    """Asked in every turn. now_ms: a monotonic clock."""

    def __init__(self, live: Live, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._live, self._now_ms = live, now_ms
        self._since: int | None = None
        self._flat_since: int | None = None

    @property
    def is_on(self) -> bool:
        """Whether a latch has been seen."""
        return self._live.gate.has("panic")

    def has_come(self) -> bool:
        """Whether the session may end now."""
        if not self.is_on:
            return False
        now = self._now_ms()
        self._since = now if self._since is None else self._since
        rests = any(record.is_open for record in self._live.books.executor.open_orders())
        is_flat = not rests and not held_quantities(self._live.books.portfolio)
        self._flat_since = None if not is_flat else now if self._flat_since is None else self._flat_since
        return now - self._since >= PATIENCE_MS or (self._flat_since is not None and now - self._flat_since >= QUIET_MS)
