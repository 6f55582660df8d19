"""What was known before: executions that were booked, evidence of earlier sessions, how far lists were read. A journal gives it back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSet

import msgspec

from keel.adapters.bybit.wire.shapes import ExecutionRow
from keel.core.model.messages import Fill, FundingPayment, Message


class Past(msgspec.Struct):
    """What was known before: what a journal gives back, or nothing."""

    seen: MutableSet[str] = msgspec.field(default_factory=set)
    """Keys of every execution ever applied (``seen_key``); each is added before its event is emitted."""
    since_ms: int = 0
    """Executions from here on are read at the first connection (market time)."""
    opened_ms: int = 0
    """What was executed before is in the balances that the books began with, whoever tells of it late."""
    evidence: Mapping[str, tuple[int, int]] = {}
    """What earlier sessions found of orders that were looked for in vain (``UnknownOrders``)."""
    own_prefix: str = ""
    """What the names of all our orders begin with, where others' are to be told apart."""


def seen_key(message: Fill | FundingPayment) -> str:
    """The key under which an execution is remembered for good: a journal's fills and funding payments give back the whole set."""
    if isinstance(message, Fill):
        return f"{message.symbol}:{message.fill_id}"
    return f"{message.symbol}:funding:{message.ts}:{message.position_idx}"


def seen_of(messages: Iterable[Message]) -> set[str]:
    """The keys of all executions among a journal's messages."""
    return {seen_key(message) for message in messages if isinstance(message, (Fill, FundingPayment))}


def execution_key(row: ExecutionRow) -> str:
    """The key of ``seen_key`` for an execution row of the exchange."""
    return f"{row.symbol}:{row.execId}"
