"""A sandbox on the loopback for as long as a block runs, in the event loop of whoever trades on it.

Both ends share one thread: a message goes through a real socket, and no time is lost by two threads that wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from keel.adapters.machine import wall_ms
from keel.sim.sandbox.account.oracle import truth
from keel.sim.sandbox.engine import Feed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import SandboxSettings


class LocalSandbox:
    """A running one, at ``url``."""

    def __init__(self, server: SandboxServer, url: str) -> None:
        self._server, self.url = server, url

    def account(self, key: str) -> dict[str, Any]:
        """What it knows of an account, as plain data."""
        found: dict[str, Any] = truth(self._server.engine, self._server.private.frames)["accounts"][key]
        return found


@asynccontextmanager
async def local_sandbox(settings: SandboxSettings, feed: Feed) -> AsyncIterator[LocalSandbox]:
    """Serve until the block ends. Raises ConfigError for its settings, OSError for the port."""
    server = SandboxServer(settings, feed, wall_ms)
    try:
        yield LocalSandbox(server, await server.start())
    finally:
        await server.stop()
