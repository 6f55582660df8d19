"""A loop that never waits: its clock jumps to the next timer, and the adapter's clocks with it."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, Final, TypeVar

from adapters.bybit import clock
from sim.sandbox.feeds import FUNDING_MS

T = TypeVar("T")
START_MS: Final = 1_750_000_000_000 - 1_750_000_000_000 % FUNDING_MS + FUNDING_MS - 20_000
"""Twenty seconds before funding."""


class _Jumps(selectors.DefaultSelector):
    """Waits for nothing: time goes on to the next timer at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits for something that no timer brings")
        self.now += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to what is due next."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


def run_jumping(work: Coroutine[Any, Any, T]) -> T:
    """Run without waiting; the adapter's clocks are this loop's."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        loop = runner.get_loop()
        since = {"time_ns": START_MS * 1_000_000, "monotonic_ns": 0}
        clocks = {name: lambda at=at: at + int(loop.time() * 1_000_000_000) for name, at in since.items()}
        clock.time = SimpleNamespace(**clocks)  # type: ignore[assignment]
        try:
            return runner.run(work)
        finally:
            clock.time = time


def now_ms() -> int:
    """Of the running loop."""
    return int(asyncio.get_running_loop().time() * 1_000)
