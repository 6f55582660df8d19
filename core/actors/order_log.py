"""What did not become a trade, and why: denied signals and orders, rejected and expired orders, by time. Bounded, for any length of run."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["signal_denied", "order_denied", "rejected", "expired"]


class OrderLogState(msgspec.Struct, frozen=True):
    """An order log as plain data."""

    entries: list[dict[str, Any]]
    counts: list[tuple[Kind, str, int]]


class OrderLog:
    """The first ``capacity`` entries as plain data, and the number of all by kind and reason."""

    __slots__ = ("_capacity", "counts", "entries")

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self.entries: list[dict[str, Any]] = []
        self.counts: dict[tuple[Kind, str], int] = {}

    def add(self, kind: Kind, ts: int, symbol: str, reason: str, *, value: float = 0.0, limit: float = 0.0, order: int = 0) -> None:
        """One entry; ``order`` is the executor's number, 0 where there was no order. ts in ms UTC."""
        key = (kind, reason)
        self.counts[key] = self.counts.get(key, 0) + 1
        if len(self.entries) < self._capacity:
            entry = {"ts": ts, "symbol": symbol, "kind": kind, "reason": reason, "value": value, "limit": limit, "order": order}
            self.entries.append(entry)

    def state(self) -> OrderLogState:
        """What it holds, to be written at once."""
        return OrderLogState(self.entries, [(*key, count) for key, count in self.counts.items()])

    def restore(self, state: OrderLogState) -> None:
        """Go on from a ``state()``."""
        self.entries = list(state.entries)
        self.counts = {(kind, reason): count for kind, reason, count in state.counts}
