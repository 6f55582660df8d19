"""The last look before a command leaves: in the very step in which its bytes are handed to the connection, with nothing awaited between.
Before it, what the command's first byte waits for: its intent on the medium (the request is made meanwhile).

An event loop does one thing at a time, so this step is the sender's lock: whoever stops sending (a panic's latch on the disk) waits for at
most the one command that is being written, and no later one leaves. What only reduces, and cancels, are not asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter

SendStop = Callable[[], str]
"""Why nothing that adds exposure may leave now; "" while it may. Asked before each such command; it must be quick."""

Durable = Callable[[], Awaitable[str]]
"""Awaited before a command's first byte: "" once its intent is on the medium, why it never will be."""
Written = Callable[[], None]
"""Told when a command's bytes have been handed to the connection."""

_ADDING: Final = frozenset(
    {"/v5/order/create", "/v5/order/create-batch", "/v5/order/amend", "/v5/order/amend-batch"}
)  # fmt: skip


def never_stopped() -> str:
    """Where nothing stops sending."""
    return ""


async def durable_already() -> str:
    """Of what is on the medium, or need not be."""
    return ""


def untold() -> None:
    """Where nobody wants to know when a command's bytes were written."""


def may_add(path: str, body: Mapping[str, Any]) -> bool:
    """Whether a command might add exposure: a new order that is not reduce-only (one such in a batch is enough), and any amendment."""
    if path not in _ADDING:
        return False
    orders = body.get("request", (body,))
    return "amend" in path or not all(order.get("reduceOnly") is True for order in orders)


class StoppedError(Exception):
    """Raised in the middle of a request that was stopped before its first byte of body."""


class SentBody(aiohttp.BytesPayload):
    """The body of a command, which waits until it is ``durable``, asks ``stop`` when it is written, and calls ``written`` then.

    ``why``: what stopped it, "" while nothing did; ``is_begun``: whether a byte of the request may have left (its headers go with it).
    """

    def __init__(self, text: bytes, stop: SendStop, written: Written = untold, durable: Durable = durable_already) -> None:
        super().__init__(text, content_type="application/json")
        self._stop, self._written, self._durable = stop, written, durable
        self.why = ""
        self.is_begun = False

    def refused(self) -> bool:
        """Ask; whether it was stopped."""
        self.why = self.why or self._stop()
        return bool(self.why)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it, or nothing."""
        await self._begin()
        await super().write(writer)
        self._written()

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """As ``write``; this is how the client writes it."""
        await self._begin()
        await super().write_with_length(writer, content_length)
        self._written()

    async def _begin(self) -> None:
        self.why = self.why or await self._durable()
        if self.refused():
            raise StoppedError(self.why)
        self.is_begun = True
