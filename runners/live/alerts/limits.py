"""How often one code is told: the first few at once, the rest summed up when the window is over. Counts only; time is given."""

from __future__ import annotations

from dataclasses import dataclass

from keel.runners.live.alerts.message import Message


@dataclass(slots=True)
class _Window:
    """From the first of a code on. beyond: how many were not told by themselves, last: the latest of these."""

    began_s: float
    told: int = 0
    beyond: int = 0
    last: Message | None = None


class Limits:
    """Of one sender of alerts. A code that comes graver than before is counted by itself."""

    def __init__(self, per_code: int, window_s: float) -> None:
        self._per_code, self._window_s = per_code, window_s
        self._windows: dict[tuple[str, str], _Window] = {}

    def admits(self, message: Message, now_s: float) -> bool:
        """Whether it goes out by itself; one that does not is part of the sum."""
        key = (message.code, message.severity)
        window = self._windows.get(key)
        if window is None or (not window.beyond and now_s - window.began_s >= self._window_s):
            window = self._windows[key] = _Window(now_s)
        if window.told < self._per_code:
            window.told += 1
            return True
        window.beyond += 1
        window.last = message
        return False

    def over(self, now_s: float) -> list[Message]:
        """The sums of all windows that are over by now: "12 more of the same in 10 min". What goes on happening begins a new window."""
        found = []
        for key, window in list(self._windows.items()):
            if now_s - window.began_s < self._window_s:
                continue
            del self._windows[key]
            found += self._sum(window)
        return found

    def rest(self) -> list[Message]:
        """The sums of what is still being counted: for the end."""
        found = [message for window in self._windows.values() for message in self._sum(window)]
        self._windows.clear()
        return found

    def due_s(self) -> float | None:
        """When the next window that has something to sum up is over."""
        return min((window.began_s + self._window_s for window in self._windows.values() if window.beyond), default=None)

    def _sum(self, window: _Window) -> list[Message]:
        last = window.last
        if last is None:
            return []
        text = f"{window.beyond} more of the same in {self._window_s / 60:g} min, the last: {last.text}"
        return [Message(last.ts, last.code, last.severity, text, last.symbol, last.about)]
