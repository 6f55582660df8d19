"""Request budgets: per account, endpoint and category within a rolling second (rarely longer), and per address within five."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Final

from keel.core.model.timeframe import MINUTE_MS

SECOND_MS: Final = 1000
IP_REQUESTS: Final = 600
IP_WINDOW_MS: Final = 5000
IP_CONNECTIONS: Final = 500
CONNECTION_WINDOW_MS: Final = 5 * MINUTE_MS


class Budget:
    """What is left of one budget at a time."""

    __slots__ = ("_used", "_window_ms", "limit")

    def __init__(self, limit: int, window_ms: int = SECOND_MS) -> None:
        self.limit, self._window_ms = limit, window_ms
        self._used: deque[int] = deque()

    def take(self, count: int, now_ms: int) -> int:
        """Use up to ``count`` requests; returns how many were granted."""
        self._forget(now_ms)
        granted = min(count, self.limit - len(self._used))
        self._used.extend([now_ms] * granted)
        return granted

    def left(self, now_ms: int) -> int:
        """Requests that may still be made now."""
        self._forget(now_ms)
        return self.limit - len(self._used)

    def reset_ms(self, now_ms: int) -> int:
        """When there will be room again: now, or a moment in the future."""
        if self.left(now_ms) > 0:
            return now_ms
        return max(now_ms + 1, self._used[0] + self._window_ms + 1)

    def _forget(self, now_ms: int) -> None:
        used = self._used
        while used and used[0] <= now_ms - self._window_ms:
            used.popleft()


class Budgets:
    """All budgets of all accounts, and of addresses. ``factor`` multiplies each."""

    def __init__(self, factor: float, ban_ms: int) -> None:
        self._factor, self._ban_ms = factor, ban_ms
        self._budgets: dict[tuple[int, str, str], Budget] = {}
        self._addresses: defaultdict[str, deque[int]] = defaultdict(deque)
        self._connections: defaultdict[str, deque[int]] = defaultdict(deque)
        self._banned: dict[str, int] = {}

    def of(self, uid: int, group: str, category: str, limit: int, window_ms: int = SECOND_MS) -> Budget:
        """The budget of an account for a group of requests: so many within a rolling window."""
        key = (uid, group, category)
        if key not in self._budgets:
            self._budgets[key] = Budget(max(1, int(limit * self._factor)), window_ms)
        return self._budgets[key]

    def is_banned(self, address: str, now_ms: int) -> bool:
        """Count a request of an address, and say whether it is to be refused with HTTP 403."""
        if self._banned.get(address, 0) > now_ms:
            return True
        if _count(self._addresses, address, now_ms, IP_WINDOW_MS) > IP_REQUESTS * self._factor:
            self.ban(address, now_ms, self._ban_ms)
            return True
        return False

    def may_connect(self, address: str, now_ms: int) -> bool:
        """Count a WebSocket of an address, and say whether it may be opened: 500 in five minutes, and none while it is banned."""
        known = _count(self._connections, address, now_ms, CONNECTION_WINDOW_MS)
        return known <= IP_CONNECTIONS * self._factor and self._banned.get(address, 0) <= now_ms

    def ban(self, address: str, now_ms: int, duration_ms: int) -> None:
        """Refuse an address for a while."""
        self._banned[address] = now_ms + duration_ms


def _count(seen: defaultdict[str, deque[int]], address: str, now_ms: int, window_ms: int) -> int:
    """How often an address has come within the window, this time included."""
    times = seen[address]
    while times and times[0] <= now_ms - window_ms:
        times.popleft()
    times.append(now_ms)
    return len(times)
