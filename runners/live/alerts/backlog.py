"""What waits for one target: bounded, in order, tried again with growing pauses until it is through. Counts only; time is given."""

from __future__ import annotations

from collections import deque
from typing import Final

from keel.runners.live.alerts.message import RANKS, Message

FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 120.0
PATIENCE: Final = 3
"""Attempts in vain after which the next one is tried before it."""
LONGEST_ASKED_S: Final = 3_600.0
"""A server that asks for more patience is asked again after this."""


class Backlog:
    """The waiting alerts of one target; the first is the next."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[Message] = deque()
        self._not_before_s = 0.0
        self.failures = 0
        """Attempts in a row that did not get through."""
        self.dropped = 0
        """Alerts that had no room and are lost, since this was last told."""

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        """Take one more. Where there is no room, the oldest of the least grave goes."""
        self._waiting.append(message)
        if len(self._waiting) > self._size:
            least = min(RANKS[each.severity] for each in self._waiting)
            self._waiting.remove(next(each for each in self._waiting if RANKS[each.severity] == least))
            self.dropped += 1

    def due(self, now_s: float) -> Message | None:
        """What is to be sent now; None: nothing, or not yet."""
        return self._waiting[0] if self._waiting and now_s >= self._not_before_s else None

    def first(self) -> Message | None:
        """What is next, whether it is due or not."""
        return self._waiting[0] if self._waiting else None

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until something is due; None: nothing waits."""
        return max(0.0, self._not_before_s - now_s) if self._waiting else None

    def sent(self, message: Message) -> None:
        """It is through."""
        self._remove(message)
        self.failures, self._not_before_s = 0, 0.0

    def failed(self, now_s: float, retry_after_s: float | None) -> float:
        """It is not; returns the pause before the next attempt: ours, or what the server asks for if that is longer."""
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * (1 << min(self.failures, 10)))
        if retry_after_s is not None:
            pause = max(pause, min(retry_after_s, LONGEST_ASKED_S))
        self.failures += 1
        self._not_before_s = now_s + pause
        if self.failures % PATIENCE == 0:
            self.pass_by()
        return pause

    def pass_by(self) -> bool:
        """Let the next one go before the first, which may be what the target does not like; whether there is another."""
        self._waiting.rotate(-1)
        return len(self._waiting) > 1

    def _remove(self, message: Message) -> None:
        for place, each in enumerate(self._waiting):
            if each is message:
                del self._waiting[place]
                return
