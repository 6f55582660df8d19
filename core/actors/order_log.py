"""What did not become a trade, and why: denied signals and orders, rejected and expired orders, by time. Bounded, for any length of run."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["signal_denied", "order_denied", "rejected", "expired"]


class OrderLog(msgspec.Struct):
    """The first ``capacity`` entries as plain data, and the number of all by kind and reason."""

    capacity: int = 10_000
    entries: list[dict[str, Any]] = []
    numbers: dict[Kind, dict[str, int]] = {}
    """Of all, by kind and reason."""

    def add(self, kind: Kind, ts: int, symbol: str, reason: str, *, value: float = 0.0, limit: float = 0.0, order: int = 0) -> None:
        """One entry; ``order`` is the executor's number, 0 where there was no order. ts in ms UTC."""
        numbers = self.numbers.setdefault(kind, {})
        numbers[reason] = numbers.get(reason, 0) + 1
        if len(self.entries) < self.capacity:
            entry = {"ts": ts, "symbol": symbol, "kind": kind, "reason": reason, "value": value, "limit": limit, "order": order}
            self.entries.append(entry)

    @property
    def counts(self) -> dict[tuple[Kind, str], int]:
        """(kind, reason) -> the number of all of them."""
        return {(kind, reason): number for kind, numbers in self.numbers.items() for reason, number in numbers.items()}
