"""A sandbox in a world of virtual time, with the words of the one in a thread (``tests.sim.sandbox.conftest.Sandbox``).

Called between two runs of the world, each word is a run of its own. Called while one is under way (``await asyncio.to_thread(sandbox.post,
...)``, as for the one in a thread), what needs the network gives a coroutine, which the loop awaits in the thread's stead.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import aiohttp
import msgspec

from keel.runners.live.startup.lock import AccountLock
from keel.sim.sandbox.account.oracle import truth
from keel.sim.sandbox.engine import Feed
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import SandboxSettings
from tests.sim.sandbox.conftest import KEY, Sandbox
from tests.virtual.loop import World

T = TypeVar("T")
_SERVED: list[VirtualSandbox] = []
"""Those that are served now, the newest last."""
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder in memory, where the system has one."""


class VirtualSandbox(Sandbox):
    """Of one world. ``running_in`` makes it."""

    def __init__(self, world: World, server: SandboxServer, url: str) -> None:
        super().__init__(server, url, world.loop)
        self.world = world
        self.in_memory = self._send

    def wall_ms(self) -> int:
        """The world's clock."""
        return self.world.loop.wall_ms()

    def get(self, path: str) -> Any:
        return self._now_or_awaited(self._asked("GET", path))

    def post(self, path: str, body: Any) -> Any:
        return self._now_or_awaited(self._asked("POST", path, json.dumps(body)))

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
        return self._now_or_awaited(self._sent(method, path, body, headers))

    def faults(self, *rules: Any, clear: bool = True, **more: Any) -> Any:
        """At once: no request that a rule could strike."""
        self.server.put_faults(msgspec.json.encode({"rules": rules, "clear": clear, **more}))
        return {"rules": self.server.faults.state()}

    def truth(self, key: str = KEY) -> Any:
        """At once, as a copy."""
        known = truth(self.server.engine, self.server.private.frames)["accounts"][key]
        return msgspec.json.decode(msgspec.json.encode(known))

    async def _asked(self, method: str, path: str, body: str | None = None) -> Any:
        status, _, answer = await self._sent(method, path, body, {})
        assert status < 400, answer
        return answer

    async def _sent(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        async with aiohttp.ClientSession() as session, session.request(method, self.url + path, data=body, headers=headers) as answer:
            content = await answer.read()
            try:
                decoded = json.loads(content)
            except ValueError:
                decoded = content.decode()
            return answer.status, dict(answer.headers), decoded

    def _now_or_awaited(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self.world.run(work)
        return work


@contextmanager
def running_in(world: World, settings: SandboxSettings, feed: Feed | Callable[[int], Feed]) -> Iterator[VirtualSandbox]:
    """Serve until the block ends. feed: or what makes it, given the world's time in ms."""
    made = feed(world.loop.wall_ms()) if callable(feed) else feed

    async def begin() -> VirtualSandbox:
        server = SandboxServer(settings, made, world.loop.wall_ms)
        return VirtualSandbox(world, server, await server.start())

    sandbox = world.run(begin())
    _SERVED.append(sandbox)
    try:
        with _machine_of_its_own():
            yield sandbox
        if sandbox.server.error is not None:
            raise sandbox.server.error
    finally:
        _SERVED.remove(sandbox)
        world.run(sandbox.server.stop())


@contextmanager
def running_virtually(settings: SandboxSettings, feed: Feed | Callable[[int], Feed], *, seed: int | str = 0) -> Iterator[VirtualSandbox]:
    """One in a world of its own, as ``tests.sim.sandbox.conftest.running`` has it in a thread."""
    with World(seed) as world, running_in(world, settings, feed) as sandbox:
        yield sandbox


def run_over(url: str | None, work: Coroutine[Any, Any, T]) -> T:
    """Run a session to its end: in the world of the virtual sandbox that is served at this URL, else at the machine's time."""
    served = [sandbox for sandbox in _SERVED if sandbox.url == url]
    return served[-1].world.run(work) if served else asyncio.run(work)


@contextmanager
def _machine_of_its_own() -> Iterator[None]:
    """Worlds are alike: the same account, at the same address, in as many processes as there are at work. It exists in each of them alone,
    so that a session claims it in a state folder of this world's, and not, beside that, for the whole machine."""
    claim, before = AccountLock._claim_machine, os.environ.get("KEEL_STATE")
    with TemporaryDirectory(dir=MEMORY) as folder:
        AccountLock._claim_machine = lambda lock, name: None  # type: ignore[method-assign]
        os.environ["KEEL_STATE"] = folder
        try:
            yield
        finally:
            AccountLock._claim_machine = claim  # type: ignore[method-assign]
            del os.environ["KEEL_STATE"]
            if before is not None:
                os.environ["KEEL_STATE"] = before
