"""The exchange's time, as near as a round trip can tell. Requests are stamped with it; a computer's clock that is far off stops trading.

A timestamp must be later than server - recv_window and earlier than server + 1000 ms ("Integration Guidance"), so that a clock ahead by a
second fails whatever the window is. Beyond 250 ms a notice goes out; beyond 500 ms we refuse: labels, journals and candles would be wrong
too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.machine import wall_ms
from keel.core.errors import SafetyError

ALERT_MS: Final = 250
REFUSE_MS: Final = 500
_SAMPLES: Final = 3


class ServerClock:
    """``now_ms`` is the exchange's time: the computer's plus a measured offset. It serves as core's Clock."""

    def __init__(self, local_ms: Callable[[], int] = wall_ms, notify: Notify = lambda notice: None) -> None:
        self._local_ms = local_ms
        self._notify = notify
        self.offset_ms = 0
        """Server minus computer."""
        self.uncertainty_ms = 0
        self.measured_at: int | None = None
        """Computer's time of the latest measurement."""

    @property
    def now_ms(self) -> int:
        """The exchange's time, in ms since the epoch."""
        return self._local_ms() + self.offset_ms

    async def measure(self, read_server_ms: Callable[[], Awaitable[int]], samples: int = _SAMPLES) -> int:
        """Ask for the server's time a few times and keep the answer of the shortest round trip. Returns the offset in ms."""
        best: tuple[int, int] | None = None
        for _ in range(samples):
            before = self._local_ms()
            server = await read_server_ms()
            after = self._local_ms()
            trip = max(0, after - before)
            if best is None or trip < best[0]:
                best = (trip, server - (before + after) // 2)
        if best is not None:
            self.uncertainty_ms, self.offset_ms = (best[0] + 1) // 2, best[1]
            self.measured_at = self._local_ms()
        return self.offset_ms

    def check(self) -> None:
        """Raises SafetyError beyond 500 ms (less what the measurement may be wrong by); notifies beyond 250 ms."""
        off = max(0, abs(self.offset_ms) - self.uncertainty_ms)
        direction = "behind" if self.offset_ms > 0 else "ahead of"
        text = f"this computer's clock is {abs(self.offset_ms)} ms {direction} the exchange's"
        if off > REFUSE_MS:
            raise SafetyError(f"{text} (at most {REFUSE_MS} ms): switch time synchronisation on (NTP), then start again")
        if off > ALERT_MS:
            self._notify(Notice(self.now_ms, "clock_off", text))


class MarketClock:
    """The time of the market's data. At the real exchange that is its clock; a sandbox that replays history has a time of its own, which
    the public stream tells (``follows_stream``: the latest stamp seen, 0 before the first)."""

    def __init__(self, server: ServerClock, *, follows_stream: bool = False) -> None:
        self._server = server
        self.follows_stream = follows_stream
        self._observed = 0

    @property
    def now_ms(self) -> int:
        """Market time, in ms since the epoch."""
        return self._observed if self.follows_stream else self._server.now_ms

    def observe(self, ts: int) -> None:
        """A stamp of a public frame."""
        self._observed = max(self._observed, ts)

    def is_closed(self, ts_close: int, newest_open: int, stated_ms: int) -> bool:
        """Whether a listed candle is closed. ``stated_ms``: the exchange's time in the same answer (0: it said none);
        ``newest_open``: start of the youngest candle of the list, before which all must be closed."""
        if self.follows_stream:
            return ts_close <= max(self._observed, newest_open)
        return ts_close <= (stated_ms or self._server.now_ms)
