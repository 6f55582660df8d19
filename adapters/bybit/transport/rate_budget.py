"""How many requests may leave, and when: rolling windows per endpoint and for the whole address, and a circuit that a ban opens.

Our windows are longer than the exchange's by a margin, since what leaves evenly may arrive in a bunch. Of the address's budget a part is
kept for cancels: whatever else runs wild, orders can still be taken back. Answers correct us: the stated limit and rest of a budget, and
the time at which it begins anew. Source: Bybit API documentation v5, "Rate Limit Rules".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from keel.core.errors import VenueError

WINDOW_MS: Final = 1_100
IP_LIMIT: Final = 550
IP_WINDOW_MS: Final = 5_500
CANCEL_RESERVE: Final = 100
BAN_MS: Final = 600_000
_MAX_PAUSE_MS: Final = 10_000

LIMITS: Final[dict[str, int]] = {
    "/v5/order/create": 10, "/v5/order/amend": 10, "/v5/order/cancel": 10, "/v5/order/cancel-all": 10,
    "/v5/order/create-batch": 10, "/v5/order/amend-batch": 10, "/v5/order/cancel-batch": 10,
    "/v5/order/realtime": 50, "/v5/order/history": 50, "/v5/execution/list": 50, "/v5/position/list": 50,
    "/v5/position/set-leverage": 10, "/v5/position/switch-mode": 10, "/v5/position/trading-stop": 10,
    "/v5/account/wallet-balance": 50, "/v5/account/fee-rate": 5, "/v5/account/info": 50, "/v5/account/set-margin-mode": 5,
    "/v5/user/query-api": 10,
}  # fmt: skip
"""Requests (or orders of a batch) per second and account, of the default level; market data count for the address alone."""

CANCELS: Final = frozenset({"/v5/order/cancel", "/v5/order/cancel-all", "/v5/order/cancel-batch"})


class CircuitOpen(VenueError):
    """The address is banned for a while; nothing was sent."""


class RollingWindow:
    """At most ``limit`` in any window of ``window_ms``."""

    __slots__ = ("_paused_until", "_taken", "_total", "limit", "window_ms")

    def __init__(self, limit: int, window_ms: int) -> None:
        self.limit = limit
        self.window_ms = window_ms
        self._taken: deque[tuple[int, int]] = deque()
        self._total = 0
        self._paused_until = 0

    def used(self, now_ms: int) -> int:
        """How much of the window is taken."""
        while self._taken and self._taken[0][0] <= now_ms - self.window_ms:
            self._total -= self._taken.popleft()[1]
        return self._total

    def wait_ms(self, now_ms: int, amount: int, reserve: int = 0) -> int:
        """How long until ``amount`` more may leave while ``reserve`` stays free; 0: now. What never fits waits for an empty window."""
        pause = max(0, self._paused_until - now_ms)
        room = max(amount, self.limit - reserve) - amount
        total = self.used(now_ms)
        if total <= room:
            return pause
        for taken_ms, taken in self._taken:
            total -= taken
            if total <= room:
                return max(pause, taken_ms + self.window_ms - now_ms)
        return max(pause, self.window_ms)

    def take(self, now_ms: int, amount: int) -> None:
        """Count what leaves now."""
        self._taken.append((now_ms, amount))
        self._total += amount

    def correct(self, now_ms: int, limit: int | None, rest: int | None) -> None:
        """Believe the exchange: its limit, and that no more than ``rest`` is left (another program may use the same account)."""
        if limit is not None and limit > 0:
            self.limit = limit
        if rest is not None and rest >= 0:
            missing = self.limit - rest - self.used(now_ms)
            if missing > 0:
                self.take(now_ms, missing)

    def pause(self, until_ms: int) -> None:
        """Let nothing leave before then."""
        self._paused_until = max(self._paused_until, until_ms)


class Budget:
    """All windows of one account on one address. ``now`` gives monotonic ms, ``sleep`` awaits seconds."""

    def __init__(
        self,
        now: Callable[[], int],
        sleep: Callable[[float], Awaitable[None]],
        *,
        limits: Mapping[str, int] = LIMITS,
        factor: float = 1.0,
    ) -> None:
        self._now, self._sleep = now, sleep
        self._windows = {path: RollingWindow(max(1, int(limit * factor)), WINDOW_MS) for path, limit in limits.items()}
        self._address = RollingWindow(max(2 * CANCEL_RESERVE, int(IP_LIMIT * factor)), IP_WINDOW_MS)
        self._banned_until = 0
        self._refusals: dict[str, int] = {}

    async def take(self, path: str, amount: int = 1) -> None:
        """Wait for room and take it. Raises CircuitOpen while the address is banned."""
        while True:
            wait = self.wait_ms(path, amount)
            if not wait:
                break
            await self._sleep(wait / 1000)
        now = self._now()
        self._address.take(now, 1)
        if path in self._windows:
            self._windows[path].take(now, amount)

    def wait_ms(self, path: str, amount: int = 1) -> int:
        """How long a request would have to wait now. Raises CircuitOpen while the address is banned."""
        now = self._now()
        if now < self._banned_until:
            raise CircuitOpen(f"the exchange has banned this address: nothing is sent for another {(self._banned_until - now) // 1000} s")
        wait = self._address.wait_ms(now, 1, 0 if path in CANCELS else CANCEL_RESERVE)
        window = self._windows.get(path)
        return wait if window is None else max(wait, window.wait_ms(now, amount))

    def on_answer(self, path: str, headers: Mapping[str, str]) -> None:
        """Learn from the headers of an answer that was not limited."""
        self._refusals.pop(path, None)
        window = self._windows.get(path)
        if window is not None:
            window.correct(self._now(), _whole(headers.get("X-Bapi-Limit")), _whole(headers.get("X-Bapi-Limit-Status")))

    def on_limited(self, path: str, reset_ms: int | None, server_ms: int) -> int:
        """The exchange refused for the rate. ``reset_ms`` (its time) may lie in the future, in the past, or be absent. Returns the pause.

        Only this endpoint pauses: cancels go on. Repeated refusals double the pause, up to ten seconds.
        """
        refusals = self._refusals[path] = self._refusals.get(path, 0) + 1
        stated = 1_000 if reset_ms is None else max(100, reset_ms - server_ms)
        pause = min(_MAX_PAUSE_MS, stated << min(refusals - 1, 6))
        window = self._windows.setdefault(path, RollingWindow(self._address.limit, WINDOW_MS))
        window.pause(self._now() + pause)
        return pause

    def ban(self) -> None:
        """HTTP 403: stop everything for ten minutes."""
        self._banned_until = self._now() + BAN_MS

    @property
    def banned_for_ms(self) -> int:
        """How long the ban still lasts; 0 without one."""
        return max(0, self._banned_until - self._now())

    def rest(self, path: str) -> tuple[int, int]:
        """(left, limit) of an endpoint's window now, for display."""
        window = self._windows.get(path, self._address)
        return max(0, window.limit - window.used(self._now())), window.limit


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def reset_of(headers: Mapping[str, str]) -> int | None:
    """The stated reset time in ms, where there is one."""
    return _whole(headers.get("X-Bapi-Limit-Reset-Timestamp"))
