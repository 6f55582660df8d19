"""An event loop whose time is virtual: as long as anybody has something to do no time passes, and then it is at once as late as the next
timer says. Its network is in memory, what goes to a thread is done on the spot, chance is seeded: nothing from outside decides the order
in which things happen, and the same seed makes the same run, in any process.

A month of timers takes as long as what they call. Where everybody waits and no timer is set the run ends with ``Stuck`` instead of
hanging, and where no time passes any more (a loop that waits by ``sleep(0)``) with ``Busy``.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import selectors
import socket
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from keel.adapters import machine
from tests.virtual.network import LATENCY_S, Address, Network

T = TypeVar("T")
START_MS = 1_767_225_600_000
"""The wall clock at the beginning: 2026-01-01 00:00 UTC."""
_BEGIN_S = 1_000.0
"""The loop's clock at the beginning: not 0, which many take for "never"."""
LOOK_OUT_EVERY = 256
"""Jumps between two looks at the machine."""
ROUNDS_AT_ONCE = 2_000_000
"""After so many rounds of the loop without any time passing somebody is waiting for time by asking."""


class Stuck(Exception):
    """Everybody waits for somebody else."""


class Busy(Exception):
    """Somebody waits for time to pass, and does not let it."""


class _Jump(selectors.DefaultSelector):
    """Never waits: when nothing is ready the loop's clock jumps."""

    loop: VirtualLoop
    _jumps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        loop = self.loop
        if timeout is not None and timeout <= 0:
            loop.count_round()
            return []
        self._jumps += 1
        if timeout is None or self._jumps % LOOK_OUT_EVERY == 0:
            events = super().select(0)  # signals, and the machine's sockets, of which nothing here depends
            if events:
                return events
        if timeout is None:
            raise Stuck("everybody waits, and no timer is set")
        loop.jump(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """seed: of the network's delays and of every generator that the machine is asked for.  start_ms: the wall clock at the beginning."""

    def __init__(self, seed: int | str = 0, *, start_ms: int = START_MS, latency_s: tuple[float, float] = LATENCY_S) -> None:
        self._now = _BEGIN_S
        self._rounds = 0
        self._seed, self._drawn = seed, 0
        self._start_ms = start_ms
        self._dialled: WeakKeyDictionary[socket.socket, Address] = WeakKeyDictionary()
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)
        self.network = Network(self, self.rng(), latency_s)

    # --- time ---

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        """It is later."""
        self._now += seconds
        self._rounds = 0

    def count_round(self) -> None:
        """Raises Busy where time stands still for too long."""
        self._rounds += 1
        if self._rounds > ROUNDS_AT_ONCE:
            raise Busy(f"{ROUNDS_AT_ONCE:,} rounds of the loop, and no time has passed")

    # --- a machine, as adapters know it ---

    def wall_ms(self) -> int:
        return self._start_ms + round((self._now - _BEGIN_S) * 1e6) // 1000

    def monotonic_s(self) -> float:
        return self._now

    def rng(self) -> random.Random:
        self._drawn += 1
        return random.Random(f"{self._seed} {self._drawn}")

    # --- the outside ---

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> Any:
        """Done on the spot; heard of a moment later, as of a thread. What gives an awaitable is awaited."""
        done: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except BaseException as error:  # it is the caller's
            if not isinstance(error, Exception):
                raise
            self.call_later(self.network.latency_s(), _unless_done, done, done.set_exception, error)
            return done
        if inspect.iscoroutine(result):
            return self.create_task(result)
        self.call_later(self.network.latency_s(), _unless_done, done, done.set_result, result)
        return done

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:  # type: ignore[override]
        return self.network.listen(protocol_factory, host, port)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        await asyncio.sleep(self.network.latency_s())
        self.network.refuse_unless_heard(address)
        self._dialled[sock] = address

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:  # type: ignore[override]
        sock = options.get("sock")
        address = (host, port) if sock is None else self._dialled.pop(sock)
        if sock is not None:
            sock.close()
        return self.network.connect(protocol_factory, address)


def _unless_done(future: asyncio.Future[Any], act: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        act(value)


class World:
    """A virtual loop that can be run again and again: between two runs time stands still, and what was begun goes on with the next."""

    def __init__(self, seed: int | str = 0, **options: Any) -> None:
        self._runner = asyncio.Runner(loop_factory=lambda: VirtualLoop(seed, **options))

    @property
    def loop(self) -> VirtualLoop:
        """Its loop, clock and chance."""
        loop = self._runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        return loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """To its end."""
        with machine.use(self.loop):
            return self._runner.run(work, context=copy_context())

    def close(self) -> None:
        """Everything that still runs is cancelled."""
        with machine.use(self.loop):
            self._runner.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_virtual(work: Coroutine[Any, Any, T], *, seed: int | str = 0, **options: Any) -> T:
    """Run in virtual time, to the end. options: see ``VirtualLoop``."""
    with World(seed, **options) as world:
        return world.run(work)
