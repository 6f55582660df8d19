"""A sandbox that plays stored bars comes to their end; a session over it then ends, too, as soon as it has heard the last of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from keel.adapters.machine import monotonic_ms
from keel.core.errors import VenueError

if TYPE_CHECKING:
    from keel.runners.live.session.live import Live

LOOK_MS: Final = 2_000
_PATIENCE_MS: Final = 3_000
"""Beyond the grace of an instant: what has not come by then does not come."""


class SandboxEnd:
    """Asks now and then. now_ms: a monotonic clock."""

    def __init__(self, live: Live, *, now_ms: Callable[[], int] = monotonic_ms) -> None:
        self._live, self._now_ms = live, now_ms
        self._due = now_ms()
        self._since: int | None = None

    async def has_come(self) -> bool:
        """Whether the market has ended and its last instant is closed. Never for an exchange, nor for a market that is invented on."""
        now = self._now_ms()
        sandbox = self._live.connection.sandbox
        if sandbox is None or sandbox.bars_left is None or now < self._due:
            return False
        self._due = now + LOOK_MS
        try:
            found = await self._live.connection.look_at_sandbox()
        except VenueError:  # it is away for now, which the streams tell
            return False
        if found is None or not found.has_ended:
            return False
        self._since = now if self._since is None else self._since
        closes = self._live.books.engine.closes
        is_heard = bool(closes) and closes[-1] >= found.played_to
        return is_heard or now - self._since >= self._live.plan.grace_ms + _PATIENCE_MS
