"""The bus: one FIFO queue; a message's handlers run to completion, in the order of their subscription, before the next.

Handlers are plain functions: an actor never awaits. ``deliver`` is for what comes from outside: it dispatches at once, then drains what
that caused. ``publish`` is for what actors and the venue say: it queues. A handler that raises stops trading: the error leaves
``deliver`` or ``drain``, the rest of the queue is dropped, and the bus takes nothing more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from keel.core.errors import InvariantError
from keel.core.model.messages import Message

M = TypeVar("M", bound=Message)
Handler = Callable[[Any], None]


class Bus:
    """Ordered, synchronous dispatch of messages by type (and, if asked, by symbol)."""

    __slots__ = ("_failed", "_handlers", "_routes", "_subscriptions", "queue")

    def __init__(self) -> None:
        self._subscriptions: dict[type, list[tuple[str | None, Handler]]] = {}
        self._handlers: dict[type, tuple[Handler, ...]] = {}
        self._routes: dict[type, dict[str, tuple[Handler, ...]]] = {}
        self.queue: deque[Message] = deque()
        self._failed: str | None = None

    def subscribe(self, message_type: type[M], handler: Callable[[M], None], symbol: str | None = None) -> None:
        """Call ``handler`` with every message of exactly this type; with ``symbol``, only where the message's symbol equals it."""
        entries = self._subscriptions.setdefault(message_type, [])
        entries.append((symbol, handler))
        self._handlers[message_type] = tuple(handler for wanted, handler in entries if wanted is None)
        symbols = {wanted: None for wanted, _ in entries if wanted is not None}
        if symbols:
            self._routes[message_type] = {
                name: tuple(handler for wanted, handler in entries if wanted is None or wanted == name) for name in symbols
            }

    def publish(self, message: Message) -> None:
        """Queue a message; it is dispatched by the next ``drain`` (or the running one)."""
        self.queue.append(message)

    def deliver(self, message: Message) -> None:
        """Dispatch an inbound message at once, then drain what it caused."""
        try:
            for handler in self._handlers_of(message):
                handler(message)
        except BaseException as error:
            self.fail(type(message).__name__, error)
            raise
        if self.queue:
            self.drain()

    def drain(self) -> None:
        """Dispatch queued messages until none is left."""
        if self._failed is not None:
            raise InvariantError(f"the bus stopped after an error and takes no more messages: {self._failed}")
        queue, handlers, routes = self.queue, self._handlers, self._routes
        while queue:
            message = queue.popleft()
            kind = message.__class__
            try:
                for handler in self._handlers_of(message) if kind in routes else handlers.get(kind, ()):
                    handler(message)
            except BaseException as error:
                self.fail(kind.__name__, error)
                raise

    def handlers_of(self, message_type: type[Message], symbol: str) -> tuple[Handler, ...]:
        """Who hears messages of a type for a symbol, in order."""
        found = self._routes[message_type].get(symbol) if message_type in self._routes else None
        return self._handlers.get(message_type, ()) if found is None else found

    def _handlers_of(self, message: Any) -> tuple[Handler, ...]:
        kind = message.__class__
        return self.handlers_of(kind, message.symbol) if kind in self._routes else self._handlers.get(kind, ())

    @property
    def failed(self) -> str | None:
        """What stopped the bus, if anything did."""
        return self._failed

    def fail(self, where: str, error: BaseException) -> None:
        """Stop for good: drop the queue, take nothing more."""
        self._failed = f"{where}: {type(error).__name__}: {error}"
        self.queue.clear()
