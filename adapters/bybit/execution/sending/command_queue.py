"""In which order commands leave. Per symbol: creates, amendments and exits one after the other, each once the one before is answered;
cancels beside them, so that a create that waits for its budget holds no cancel up. A cancel waits only for what was sent of its own order,
and a create waits for the cancels that were asked before it. What queued up meanwhile leaves as one batch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Literal

from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, SetTradingStop, SubmitOrder

Kind = Literal["create", "amend", "cancel", "cancel_all", "stop"]
Command = SubmitOrder | AmendOrder | CancelOrder | CancelAll | SetTradingStop

_KINDS: dict[type, Kind] = {
    SubmitOrder: "create",
    AmendOrder: "amend",
    CancelOrder: "cancel",
    CancelAll: "cancel_all",
    SetTradingStop: "stop",
}


class QueuedCommand:
    """One command on its way; ``answered`` is set when the exchange's answer (or the lack of one) has been dealt with."""

    __slots__ = ("after", "answered", "command", "kind", "order_key")

    def __init__(self, command: Command, after: Iterable[asyncio.Event]) -> None:
        self.command = command
        self.kind: Kind = _KINDS[type(command)]
        self.order_key = "" if isinstance(command, (CancelAll, SetTradingStop)) else command.client_order_id
        self.after = list(after)
        self.answered = asyncio.Event()

    @property
    def is_free(self) -> bool:
        """Whether everything that it waits for is over."""
        return all(event.is_set() for event in self.after)


class CommandQueue:
    """``send(kind, commands)`` does the awaiting; ``spawn`` starts tasks; ``batch_size`` bounds a group.

    right_of_way: a command that concerns one order has it, by its ``order_key``, from ``put`` on until its bytes are written (``send``
    gives it back) or, where none are, until it is answered.
    """

    def __init__(
        self,
        send: Callable[[Kind, list[QueuedCommand]], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        batch_size: Callable[[Kind], int],
        right_of_way: RightOfWay,
    ) -> None:
        self._send, self._spawn, self._batch_size, self._right_of_way = send, spawn, batch_size, right_of_way
        self._queues: dict[tuple[str, bool], deque[QueuedCommand]] = {}
        self._running: dict[tuple[str, bool], list[QueuedCommand]] = {}

    def put(self, command: Command) -> None:
        """Queue a command behind what it has to wait for."""
        symbol = command.symbol or "*"
        is_cancel = isinstance(command, (CancelOrder, CancelAll))
        queued = QueuedCommand(command, (other.answered for other in self._before(command, symbol, is_cancel=is_cancel)))
        place = (symbol, is_cancel)
        self._queues.setdefault(place, deque()).append(queued)
        if queued.order_key:
            self._right_of_way.take(queued.order_key)
        if place not in self._running:
            self._running[place] = []
            self._spawn(self._work(place))

    @property
    def pending(self) -> int:
        """How many commands have not been answered."""
        return sum(len(queue) for queue in self._queues.values()) + sum(len(group) for group in self._running.values())

    async def idle(self) -> None:
        """Wait until everything that was put in so far is answered."""
        for queued in [*self._all("*", everything=True)]:
            await queued.answered.wait()

    def _before(self, command: Command, symbol: str, *, is_cancel: bool) -> list[QueuedCommand]:
        if isinstance(command, CancelAll):
            return [queued for queued in self._all(symbol, everything=command.symbol is None) if queued.kind != "cancel_all"]
        others = self._all(symbol, everything=False)
        if is_cancel and isinstance(command, CancelOrder):
            return [queued for queued in others if queued.order_key == command.client_order_id and queued.kind != "cancel"]
        return [queued for queued in others if queued.kind in ("cancel", "cancel_all")]

    def _all(self, symbol: str, *, everything: bool) -> list[QueuedCommand]:
        found: list[QueuedCommand] = []
        for table in (self._running, self._queues):
            for (name, _), commands in table.items():
                if everything or name in (symbol, "*"):
                    found += commands
        return found

    async def _work(self, place: tuple[str, bool]) -> None:
        queue = self._queues[place]
        try:
            while queue:
                group = await self._next_group(queue)
                self._running[place] = group
                try:
                    await self._send(group[0].kind, group)
                finally:
                    for queued in group:
                        queued.answered.set()
                    self._right_of_way.give_back(*(queued.order_key for queued in group))
                    self._running[place] = []
        finally:
            del self._running[place]

    async def _next_group(self, queue: deque[QueuedCommand]) -> list[QueuedCommand]:
        """The next command, with those of its kind that may go with it. Cancels may pass each other; nothing else may."""
        head = queue[0]
        if head.order_key and head.kind == "cancel":
            head = next((queued for queued in queue if queued.is_free and queued.kind == "cancel"), head)
        for event in head.after:
            await event.wait()
        group, limit = [head], self._batch_size(head.kind)
        queue.remove(head)
        while queue and len(group) < limit and queue[0].kind == head.kind and queue[0].is_free:
            group.append(queue.popleft())
        return group
