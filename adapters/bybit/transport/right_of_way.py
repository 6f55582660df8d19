"""Decisions and orders go first: from the moment on in which an instant is whole until its orders are written, a stream of prices waits.

Between a decision and the bytes of its order the event loop goes round several times (the journal's sync, the request). A stream that has
a hundred frames in its buffer would deal with all of them in each of these turns. It asks here between two frames instead.

Nobody is kept waiting for long: whoever has the right of way loses it after ``PATIENCE_S``, so that a command that waits itself (for its
budget, its turn, a slow disk) does not keep prices back, and what is never given back is no harm.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from keel.adapters.machine import monotonic_s

PATIENCE_S: Final = 0.05


class RightOfWay:
    """Who goes first now. ``now_s``: the clock of the loop's timers."""

    def __init__(self, now_s: Callable[[], float] = monotonic_s) -> None:
        self._now_s = now_s
        self._until: dict[Hashable, float] = {}
        """Who -> when it is lost."""
        self._free = asyncio.Event()
        self._later: deque[Callable[[], None]] = deque()

    @property
    def is_taken(self) -> bool:
        """Whether anybody goes first."""
        return bool(self._until)

    def take(self, who: Hashable) -> None:
        """Go first from now on, for ``PATIENCE_S`` at most."""
        self._until[who] = self._now_s() + PATIENCE_S
        self._free.clear()

    def give_back(self, *those: Hashable) -> None:
        """They are through; harmless for who has it no longer."""
        for who in those:
            self._until.pop(who, None)
        if not self._until:
            self._free.set()
            if self._later:
                asyncio.get_running_loop().call_soon(self.catch_up)

    def then(self, work: Callable[[], None]) -> None:
        """Do this as soon as nobody goes first, and after ``PATIENCE_S`` at the latest; what was given first is done first."""
        if not self._until and not self._later:
            work()
            return
        if not self._later:
            asyncio.get_running_loop().call_later(PATIENCE_S, self.catch_up)
        self._later.append(work)

    def catch_up(self) -> None:
        """Do what waits at once, whoever goes first: at the end of a session."""
        while self._later:
            self._later.popleft()()

    async def cleared(self) -> None:
        """Return when nobody goes first any more."""
        while self._until:
            left_s = max(self._until.values()) - self._now_s()
            if left_s <= 0.0:
                self.give_back(*list(self._until))
                return
            try:
                async with asyncio.timeout(left_s):
                    await self._free.wait()
            except TimeoutError:
                continue
