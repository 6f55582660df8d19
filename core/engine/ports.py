"""What the outside implements: the seams at which epochs differ. Protocols only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, SetTradingStop, Signal, SubmitOrder
from keel.core.strategy.snapshot import RuntimeSnapshot


class Strategy(Protocol):
    """A signal strategy: one symbol's snapshot in, a decision or None out."""

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None: ...


class Venue(Protocol):
    """Where orders go. It answers by publishing OrderUpdate, Fill, FundingPayment and Liquidation messages.

    Orders by hand and batches are the same on every venue of ours: ``keel.core.strategy.order_calls.OrderCalls``.
    """

    def submit_order(self, command: SubmitOrder) -> None: ...
    def amend_order(self, command: AmendOrder) -> None: ...
    def cancel_order(self, command: CancelOrder) -> None: ...
    def cancel_all(self, command: CancelAll) -> None: ...
    def set_trading_stop(self, command: SetTradingStop) -> None: ...
