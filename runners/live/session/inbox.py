"""What the actors hear next, in order. Adapters and our own controls put it in from their tasks; the engine alone takes it out.

Nothing is dropped: private messages, controls and whole instants wait here, however many. Only prices of the market are replaced by newer
ones, before they come here (``keel.runners.live.market.intake``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from keel.adapters.machine import monotonic_s
from keel.core.engine.instant import Instant, LateBar
from keel.core.errors import InvariantError
from keel.core.model.messages import Message

TURN_S: Final = 0.002
"""For so long all that is here is taken in one turn of the event loop; then others have theirs."""


class Inbox:
    """An asynchronous iterator with one consumer; it ends when it is closed and empty. now_s: the clock of the loop's timers."""

    def __init__(self, now_s: Callable[[], float] = monotonic_s) -> None:
        self._now_s = now_s
        self._waiting: deque[Message | Instant | LateBar] = deque()
        self._filled = asyncio.Event()
        self._heard = asyncio.Event()
        self._heard.set()
        self._turn_ends = 0.0
        self._is_closed = self._is_over = False

    def put(self, each: Message | Instant | LateBar) -> None:
        """From the exchange, or from our own controls. Raises InvariantError where nobody takes it any more."""
        if self._is_over:
            raise InvariantError(f"{type(each).__name__} came after the end of the session, and nobody hears it")
        self._waiting.append(each)
        self._heard.clear()
        self._filled.set()

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> Message | Instant | LateBar:
        if self._waiting and self._now_s() >= self._turn_ends:
            await self._next_turn()
        while not self._waiting:
            self._heard.set()
            if self._is_closed:
                self._is_over = True
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
            self._turn_ends = self._now_s() + TURN_S
        return self._waiting.popleft()

    async def _next_turn(self) -> None:
        await asyncio.sleep(0)
        self._turn_ends = self._now_s() + TURN_S

    async def settled(self) -> None:
        """Return when all that has come is heard: until the next await nothing waits, and what the actors say is whole."""
        while not self._heard.is_set():
            await self._heard.wait()

    def close(self) -> None:
        """Nothing more is expected: what is here is taken, then the iteration ends."""
        self._is_closed = True
        self._filled.set()
