"""Nothing but reads: a hold on every command of a connection, until it is taken away or for good."""

from __future__ import annotations

import asyncio


class CommandHold:
    """A command that comes meanwhile waits (``for_good``: is answered as not sent). ``why`` is for people."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        self.why, self.for_good = why, for_good
        self.held = asyncio.Event()
        """Set when a first command waits."""
        self._released = asyncio.Event()

    @property
    def stands(self) -> bool:
        """Whether commands are kept back."""
        return not self._released.is_set()

    def release(self) -> None:
        """Let commands leave, those that wait first. Never for a hold that is for good."""
        if not self.for_good:
            self._released.set()

    async def passed(self) -> str:
        """ "" once a command may leave; the reason where it never will."""
        if self._released.is_set():
            return ""
        if self.for_good:
            return self.why
        self.held.set()
        await self._released.wait()
        return ""
