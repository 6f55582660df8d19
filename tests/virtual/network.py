"""A network in memory: bytes that one side writes reach the other some virtual milliseconds later, in order, whole, and never twice.

Its delays are drawn from a seed, each line's for itself, so that answers and pushes overtake one another as they do between two machines,
and do so again with the same seed. Lines break only where somebody closes or aborts them.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, cast

Address = tuple[str, int]
LATENCY_S = (0.0002, 0.0015)
"""How long bytes are on their way: from, to."""
_FIRST_PORT = 40_000
_FIRST_CALLER = 50_000


class Network:
    """Who listens where, and the lines between. One per loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random, latency_s: tuple[float, float] = LATENCY_S) -> None:
        self._loop, self._rng, self._latency_s = loop, rng, latency_s
        self._listening: dict[Address, Listener] = {}
        self._ports, self._callers = _FIRST_PORT, _FIRST_CALLER
        self.lines = 0
        """Lines opened so far."""

    def latency_s(self) -> float:
        """Of the next bytes."""
        return self._rng.uniform(*self._latency_s)

    def listen(self, factory: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> Listener:
        """Take calls at an address; port 0: the next free one. Raises OSError when it is taken."""
        if not port:
            self._ports += 1
            port = self._ports
        if (host, port) in self._listening:
            raise OSError(98, f"the address {host}:{port} is taken")
        listener = Listener(self, factory, (host, port))
        self._listening[host, port] = listener
        return listener

    def forget(self, address: Address) -> None:
        """Nobody listens there any more; lines that stand go on."""
        self._listening.pop(address, None)

    def refuse_unless_heard(self, address: Address) -> None:
        """Raises ConnectionRefusedError where nobody listens."""
        if address not in self._listening:
            raise ConnectionRefusedError(111, f"nobody listens at {address[0]}:{address[1]} of the network in memory")

    def connect(self, factory: Callable[[], asyncio.BaseProtocol], address: Address) -> tuple[Line, asyncio.BaseProtocol]:
        """A line to who listens there. Raises ConnectionRefusedError."""
        self.refuse_unless_heard(address)
        self._callers += 1
        self.lines += 1
        caller = ("127.0.0.1", self._callers)
        near_protocol, far_protocol = factory(), self._listening[address].factory()
        near, far = Line(self._loop, self, near_protocol, caller, address), Line(self._loop, self, far_protocol, address, caller)
        near.peer, far.peer = far, near
        far_protocol.connection_made(far)
        near_protocol.connection_made(near)
        return near, near_protocol


class Listener(asyncio.AbstractServer):
    """Takes calls until it is closed."""

    def __init__(self, network: Network, factory: Callable[[], asyncio.BaseProtocol], address: Address) -> None:
        self._network, self.factory, self._address = network, factory, address

    @property
    def sockets(self) -> tuple[Listener]:
        """Something that can be asked for its address."""
        return (self,)

    def getsockname(self) -> Address:
        """Where it listens."""
        return self._address

    def close(self) -> None:
        self._network.forget(self._address)

    def is_serving(self) -> bool:
        return True

    async def start_serving(self) -> None:
        return

    async def wait_closed(self) -> None:
        return

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._network._loop


class Line(asyncio.Transport):
    """One end of a line. None among what is on its way is the end of it."""

    peer: Line

    def __init__(
        self, loop: asyncio.AbstractEventLoop, network: Network, protocol: asyncio.BaseProtocol, here: Address, there: Address
    ) -> None:
        super().__init__({"sockname": here, "peername": there})
        self._loop, self._network, self._protocol = loop, network, protocol
        self._coming: deque[bytes | None] = deque()
        self._waiting: deque[bytes | None] = deque()
        self._is_paused = self._is_closing = self._is_lost = self._has_ended = False
        self._arrives = 0.0

    # --- what asyncio asks of a transport ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_closing and data:
            self.peer._send(bytes(data))

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        while self._waiting and not self._is_paused:
            self._hear(self._waiting.popleft())

    def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        if not self._has_ended:
            self._has_ended = True
            self.peer._send(None)
        self._loop.call_soon(self._lose)

    abort = close  # what was written is on its way already

    # --- the way of the bytes ---

    def _send(self, data: bytes | None) -> None:
        """To this end, some time from now; never before what was sent earlier."""
        self._arrives = max(self._arrives, self._loop.time() + self._network.latency_s())
        self._coming.append(data)
        self._loop.call_at(self._arrives, self._arrive)

    def _arrive(self) -> None:
        data = self._coming.popleft()
        if self._is_paused:
            self._waiting.append(data)
        else:
            self._hear(data)

    def _hear(self, data: bytes | None) -> None:
        if self._is_closing:
            return
        protocol = cast(asyncio.Protocol, self._protocol)
        if data is not None:
            protocol.data_received(data)
            return
        if not protocol.eof_received():
            self.close()

    def _lose(self) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._protocol.connection_lost(None)

    def __repr__(self) -> str:
        return f"<line {self._extra['sockname']} to {self._extra['peername']}>"  # type: ignore[attr-defined]

    _extra: dict[str, Any]
