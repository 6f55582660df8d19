"""What the parts of a venue have of the outside: the time, waiting, tasks, people. Given to each of them, and replaced in tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from keel.adapters.bybit.execution.tracking.queries import Moment
from keel.adapters.bybit.notices import Notify


@dataclass(frozen=True, slots=True)
class Surroundings:
    """moment: the time now.  sleep: waits so many seconds.  spawn: begins a task.  notify: tells people."""

    moment: Callable[[], Moment]
    sleep: Callable[[float], Awaitable[None]]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    notify: Notify

    @property
    def monotonic_ms(self) -> int:
        """A clock that never jumps."""
        return self.moment().monotonic_ms

    @property
    def exchange_ms(self) -> int:
        """The exchange's time, for notices."""
        return self.moment().exchange_ms
