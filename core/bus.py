"""The bus: one FIFO queue; a message's handlers run to completion, in the order of their subscription, before the next.

Handlers are plain functions: an actor never awaits. ``deliver`` is for what comes from outside: it dispatches at once, then drains what
that caused. ``publish`` is for what actors and the venue say: it queues. A handler that raises stops trading: the error leaves
``deliver`` or ``drain``, the rest of the queue is dropped, and the bus takes nothing more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from core.errors import InvariantError
from core.messages import Message

M = TypeVar("M", bound=Message)
Handler = Callable[[Any], None]


class Bus:
    """Ordered, synchronous dispatch of messages by type (and, if asked, by symbol)."""

    __slots__ = ("_failed", "_handlers", "_loop", "_taps", "_wake", "queue")

    def __init__(self) -> None:
        self._handlers: dict[type, tuple[Handler, ...]] = {}
        self.queue: deque[Message] = deque()
        self._taps: tuple[Handler, ...] = ()
        self._failed: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None

    def subscribe(self, message_type: type[M], handler: Callable[[M], None], symbol: str | None = None) -> None:
        """Call ``handler`` with every message of exactly this type; with ``symbol``, only where the message's symbol equals it."""
        if symbol is not None:
            wanted, inner = symbol, handler

            def only_symbol(message: Any) -> None:
                if message.symbol == wanted:
                    inner(message)

            handler = only_symbol
        self._handlers[message_type] = (*self._handlers.get(message_type, ()), handler)

    def tap(self, handler: Callable[[Message], None]) -> None:
        """Call ``handler`` with each message that comes from outside, before its handlers: the journal's place."""
        self._taps = (*self._taps, handler)

    def publish(self, message: Message) -> None:
        """Queue a message; it is dispatched by the next ``drain`` (or the running one)."""
        self.queue.append(message)
        if self._wake is not None:
            self._wake.set()

    def deliver(self, message: Message) -> None:
        """Dispatch an inbound message at once, then drain what it caused."""
        if self._taps:
            for tap in self._taps:
                tap(message)
        try:
            for handler in self._handlers[message.__class__]:
                handler(message)
        except KeyError as error:
            if message.__class__ in self._handlers:
                self._fail(message, error)
                raise
        except BaseException as error:
            self._fail(message, error)
            raise
        if self.queue:
            self.drain()

    def drain(self) -> None:
        """Dispatch queued messages until none is left."""
        if self._failed is not None:
            raise InvariantError(f"the bus stopped after an error and takes no more messages: {self._failed}")
        queue, handlers = self.queue, self._handlers
        while queue:
            message = queue.popleft()
            try:
                for handler in handlers.get(message.__class__, ()):
                    handler(message)
            except BaseException as error:
                self._fail(message, error)
                raise

    @property
    def failed(self) -> str | None:
        """What stopped the bus, if anything did."""
        return self._failed

    def _fail(self, message: Message, error: BaseException) -> None:
        self._failed = f"{type(message).__name__}: {type(error).__name__}: {error}"
        self.queue.clear()

    async def run(self) -> None:
        """The live pump: wait for messages and drain them, until cancelled. Adapters publish from the same loop."""
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        if self.queue:
            self._wake.set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self.drain()
        finally:
            self._wake = None
            self._loop = None

    def publish_threadsafe(self, message: Message) -> None:
        """Queue a message from another thread. Raises InvariantError when the live pump is not running."""
        if self._loop is None:
            raise InvariantError("publish_threadsafe needs the live pump: start run() first")
        self._loop.call_soon_threadsafe(self.publish, message)
