"""Names for the orders that the exchange makes out of brackets: it gives them none of ours. ``<parent>-sl``, ``-tp``, ``-ts``, and then
``-sl2`` and so on for later ones of the same parent: the names that the simulated exchange gives, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from keel.adapters.bybit.execution.tracking.tracked_order import OrderIndex, TrackedOrder
from keel.adapters.bybit.wire import parsing as translate
from keel.adapters.bybit.wire.shapes import OrderRow
from keel.core.model.messages import Bracket


class BracketNames:
    """Finds the parent of a bracket's order and names it; names are never given twice."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._expected: list[tuple[str, str]] = []
        self._opened_by: dict[tuple[str, int], str] = {}

    def opened(self, symbol: str, position_idx: int, client_order_id: str) -> None:
        """This order opened (more of) the position."""
        self._opened_by[symbol, position_idx] = client_order_id

    def restore(self, used: Iterable[str], still_open: Iterable[tuple[str, str]]) -> None:
        """After a restart: every name that was ever given, and (parent id, name) of those that were open."""
        self._used.update(used)
        self._expected += list(still_open)

    def name_of(self, row: OrderRow, role: str, orders: OrderIndex) -> tuple[str, str] | None:
        """(parent id, name) for the row of a bracket's order; None when no order of ours can be its parent."""
        parent_id = (
            row.parentOrderLinkId or self._parent_by_level(row, role, orders) or self._opened_by.get((row.symbol, row.positionIdx or 0))
        )
        if not parent_id:
            return None
        for known in self._expected:
            if known[0] == parent_id and known[1].removeprefix(f"{parent_id}-").rstrip("0123456789") == role:
                self._expected.remove(known)
                return known
        name, number = f"{parent_id}-{role}", 1
        while name in self._used:
            number += 1
            name = f"{parent_id}-{role}{number}"
        self._used.add(name)
        return parent_id, name

    @staticmethod
    def _parent_by_level(row: OrderRow, role: str, orders: OrderIndex) -> str | None:
        """The youngest order of the symbol whose bracket asks for just this exit: its execution may not be here yet."""
        level = translate.number(row.triggerPrice, "triggerPrice")
        for order in reversed(list(orders)):
            if order.symbol == row.symbol and level is not None and _level(order, role) == float(level):
                return order.client_order_id
        return None


def _level(order: TrackedOrder, role: str) -> float | None:
    bracket: Bracket | None = order.command.bracket if order.command is not None else None
    if bracket is None:
        return None
    return {"sl": bracket.stop_loss, "tp": bracket.take_profit}.get(role)
