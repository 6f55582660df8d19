"""What happened in a session, kept for its artifacts and its display: fills, payments, positions after each fill, last decisions."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from core.actors.portfolio import Portfolio
from core.messages import Fill, FundingPayment, Halt, Liquidation, OrderDenied, Resume, Signal, SignalDenied

Change = tuple[int, int, int, int, float]
"""(ts, signed steps, cost, margin, liquidation price): see runners/curve.py."""
LAST = 12


class Tape:
    """Listens. ``leverage`` as configured: a position's margin is its cost divided by it."""

    def __init__(self, portfolio: Portfolio, leverage: float) -> None:
        self._portfolio, self._leverage = portfolio, leverage
        self.fills: list[Fill] = []
        self.payments: list[FundingPayment] = []
        self.liquidations: list[Liquidation] = []
        self.changes: dict[str, list[Change]] = {symbol: [] for symbol in portfolio.lines}
        self.decisions: deque[Signal | SignalDenied | OrderDenied] = deque(maxlen=LAST)
        self.halts: list[Halt | Resume] = []

    @property
    def before_actors(self) -> Mapping[type, Any]:
        """What is taken down before the actors act on it."""
        return {
            Fill: self.fills.append,
            FundingPayment: self.payments.append,
            Liquidation: self.liquidations.append,
            Signal: self.decisions.append,
            SignalDenied: self.decisions.append,
            OrderDenied: self.decisions.append,
            Halt: self.halts.append,
            Resume: self.halts.append,
        }

    def after_fill(self, fill: Fill) -> None:
        """The position as it is now."""
        book = self._portfolio.lines[fill.symbol].book
        self.changes[fill.symbol].append((fill.ts, book.steps, book.cost, round(book.cost / self._leverage), 0.0))
