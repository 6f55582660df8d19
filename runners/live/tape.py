"""What happened in a session, kept for its artifacts and its display: fills, payments, positions after each fill, last decisions."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from keel.core.actors.portfolio import Portfolio
from keel.core.clock import Clock
from keel.core.messages import Fill, FundingPayment, Halt, Liquidation, OrderDenied, Resume, Signal, SignalDenied
from keel.core.portfolio_order import PortfolioOrders, TargetPosition
from keel.sim.metrics import PositionChange

LAST = 12
Decision = Signal | TargetPosition | SignalDenied | OrderDenied


class TapeState(msgspec.Struct, frozen=True):
    """A tape as plain data. Decisions are shown, and no more: without what a strategy noted beside them."""

    fills: list[Fill]
    payments: list[FundingPayment]
    liquidations: list[Liquidation]
    changes: dict[str, list[PositionChange]]
    decisions: list[Decision]
    halts: list[Halt | Resume]


class Tape:
    """Listens. ``leverage`` as configured: a position's margin is its cost divided by it.  clock: the session's, which never goes back;
    a change of a position has its time, so that the equity curve's positions are those of its equity (a late fill has an older one)."""

    def __init__(self, portfolio: Portfolio, leverage: float, clock: Clock) -> None:
        self._portfolio, self._leverage, self._clock = portfolio, leverage, clock
        self.fills: list[Fill] = []
        self.payments: list[FundingPayment] = []
        self.liquidations: list[Liquidation] = []
        self.changes: dict[str, list[PositionChange]] = {symbol: [] for symbol in portfolio.lines}
        self.decisions: deque[Decision] = deque(maxlen=LAST)
        self.halts: list[Halt | Resume] = []

    @property
    def before_actors(self) -> Mapping[type, Any]:
        """What is taken down before the actors act on it."""
        return {
            Fill: self.fills.append,
            FundingPayment: self.payments.append,
            Liquidation: self.liquidations.append,
            Signal: self.decisions.append,
            PortfolioOrders: self._note_orders,
            SignalDenied: self.decisions.append,
            OrderDenied: self.decisions.append,
            Halt: self.halts.append,
            Resume: self.halts.append,
        }

    def state(self) -> TapeState:
        """All of it, to be written at once."""
        decisions = [msgspec.structs.replace(each, metadata={}) if isinstance(each, Signal) else each for each in self.decisions]
        return TapeState(self.fills, self.payments, self.liquidations, self.changes, decisions, self.halts)

    def restore(self, state: TapeState) -> None:
        """Go on from a ``state()``."""
        self.fills += state.fills
        self.payments += state.payments
        self.liquidations += state.liquidations
        self.changes.update(state.changes)
        self.decisions.extend(state.decisions)
        self.halts += state.halts

    def _note_orders(self, wanted: PortfolioOrders) -> None:
        """The targets of a step, by the strategy's own names."""
        self.decisions.extend(TargetPosition(each.symbol, wanted.ts, each.side, each.value, wanted.strategy) for each in wanted.orders)

    def after_fill(self, fill: Fill) -> None:
        """The position as it is now."""
        book = self._portfolio.lines[fill.symbol].book
        self.changes[fill.symbol].append((self._clock.now_ms, book.steps, book.cost, round(book.cost / self._leverage), 0.0))
