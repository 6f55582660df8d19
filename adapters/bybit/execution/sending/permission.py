"""Whether an order may leave, asked in the moment in which it could: what only reduces always may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keel.adapters.bybit.execution.access import LastLook
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.tracked_order import OrderIndex
from keel.core.model.messages import SubmitOrder
from keel.core.risk.gate.gate import Gate

READY_WAIT_MS: Final = 5_000
REPLACED_WAIT_MS: Final = 5_000
_OWN_WAIT: Final = ("private_stream", "starting")
"""Causes that are over when the venue is ready, for which an order waits a moment instead."""


class Permission:
    """why_not_ready: "" once the account is read.  last_look: what is asked last, which may have to wait."""

    def __init__(self, orders: OrderIndex, gate: Gate, around: Surroundings, why_not_ready: Callable[[], str], last_look: LastLook) -> None:
        self._orders, self._gate, self._around = orders, gate, around
        self._why_not_ready, self._last_look = why_not_ready, last_look

    async def hold(self, command: SubmitOrder) -> str:
        """Why an order may not leave; "" when it may."""
        if command.reduce_only:
            return ""
        patient_until = self._around.monotonic_ms + READY_WAIT_MS
        while why := self._why_not_ready():
            if self._around.monotonic_ms >= patient_until:
                return f"not ready: {why}"
            await self._around.sleep(0.05)
        for entry in self._gate.against(command.symbol, is_allowed=True):
            if entry.cause not in _OWN_WAIT:
                return f"frozen: {entry.text}"
        patient_until = self._around.monotonic_ms + REPLACED_WAIT_MS
        while (reason := self._last_look(command, self._fate)) is None:
            if self._around.monotonic_ms >= patient_until:
                return "denied: an order that it replaces has not ended"
            await self._around.sleep(0.02)
        return reason

    def _fate(self, client_order_id: str) -> float | None:
        """What an order was filled by, None while more may come."""
        order = self._orders.get(client_order_id)
        if order is None:
            return 0.0
        return None if order.is_open else order.instrument.qty_grid.value(order.filled)
