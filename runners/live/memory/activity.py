"""What happened in a session, kept for its artifacts and its display: fills, payments, positions after each fill, last decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from keel.core.actors.portfolio import Portfolio
from keel.core.engine.clock import Clock
from keel.core.model.messages import Fill, FundingPayment, Liquidation, OrderDenied, Signal, SignalDenied
from keel.core.strategy.portfolio_order import PortfolioOrders, TargetPosition
from keel.sim.exchange.metrics import PositionChange

LAST = 12
Decision = Signal | TargetPosition | SignalDenied | OrderDenied


class Activity(msgspec.Struct):
    """What happened, as plain data: a snapshot keeps it. Decisions, the latest ``LAST``, are shown, and no more: without what a strategy
    noted beside them."""

    changes: dict[str, list[PositionChange]]
    """Of each symbol's position, by the session's clock, which never goes back: so that the equity curve's positions are those of its
    equity (a late fill has an older time)."""
    fills: list[Fill] = []
    payments: list[FundingPayment] = []
    liquidations: list[Liquidation] = []
    decisions: list[Decision] = []


class ActivityRecorder:
    """Listens, and writes it down. ``leverage`` as configured: a position's margin is its cost divided by it.  clock: the session's."""

    def __init__(self, portfolio: Portfolio, leverage: float, clock: Clock) -> None:
        self._portfolio, self._leverage, self._clock = portfolio, leverage, clock
        self.tape = Activity({symbol: [] for symbol in portfolio.lines})

    @property
    def before_actors(self) -> Mapping[type, Any]:
        """What is taken down before the actors act on it."""
        tape = self.tape
        return {
            Fill: lambda fill: tape.fills.append(fill),
            FundingPayment: lambda payment: tape.payments.append(payment),
            Liquidation: lambda liquidation: tape.liquidations.append(liquidation),
            Signal: lambda signal: self._note(msgspec.structs.replace(signal, metadata=None) if signal.metadata else signal),
            PortfolioOrders: self._note_orders,
            SignalDenied: self._note,
            OrderDenied: self._note,
        }

    def after_fill(self, fill: Fill) -> None:
        """The position as it is now."""
        book = self._portfolio.lines[fill.symbol].book
        change = (self._clock.now_ms, book.steps, book.cost, round(book.cost / self._leverage), 0.0)
        self.tape.changes[fill.symbol].append(change)

    def _note(self, *decisions: Decision) -> None:
        self.tape.decisions = [*self.tape.decisions, *decisions][-LAST:]

    def _note_orders(self, wanted: PortfolioOrders) -> None:
        """The targets of a step, by the strategy's own names."""
        self._note(*(TargetPosition(each.symbol, wanted.ts, each.side, each.value, wanted.strategy) for each in wanted.orders))
