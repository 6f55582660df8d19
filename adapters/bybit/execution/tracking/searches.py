"""Searches for what is missing of orders that are known: executions that a status has counted, an amendment whose answer was lost, an
execution before those that are here. Each asks again with growing pauses, and ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from keel.adapters.bybit.execution.tracking.queries import AskExecutions, AskOrder, Output
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.core.model.messages import AmendOrder

_MISSING_MS: Final = (250, 500, 1_000, 2_000, 4_000, 8_000)
_AMENDMENT_MS: Final = (0, 500, 1_000, 2_000, 3_000, 5_000)
_EARLIER_MS: Final = (250, 500, 1_000, 2_000, 4_000)

Place = tuple[str | None, str | None]
"""(client order id, exchange's order id): of an order of ours, or of executions whose order is not known."""


class _Look(msgspec.Struct):
    key: str
    asked: int = 0


class MissingExecutions:
    """Reads an order again and again until what was missing is here. is_wanted: whether anything is.  give_up: takes what was looked for
    in vain."""

    def __init__(
        self, emit: Callable[[Output], None], *, is_wanted: Callable[[Place], bool], give_up: Callable[[str, Place], None]
    ) -> None:
        self._emit, self._is_wanted, self._give_up = emit, is_wanted, give_up
        self._looks: dict[Place, _Look] = {}
        self._count = 0

    def look(self, symbol: str, place: Place) -> None:
        """Read this one soon. Asked twice, it is done once."""
        if place not in self._looks:
            self._count += 1
            look = self._looks[place] = _Look(str(self._count))
            self._ask(symbol, place, look)

    def is_still_wanted(self, query: AskOrder) -> bool:
        """Asked before each reading; the search ends where nothing is missing any more."""
        place = query.client_order_id, query.order_id
        look = self._looks.get(place)
        if look is None or look.key != query.key:
            return False
        if not self._is_wanted(place):
            del self._looks[place]
        return place in self._looks

    def read(self, query: AskOrder) -> None:
        """It was read, and what was said has been taken in."""
        if not self.is_still_wanted(query):
            return
        place = query.client_order_id, query.order_id
        look = self._looks[place]
        look.asked += 1
        if look.asked < len(_MISSING_MS):
            self._ask(query.symbol, place, look)
            return
        del self._looks[place]
        self._give_up(query.symbol, place)

    def _ask(self, symbol: str, place: Place, look: _Look) -> None:
        self._emit(AskOrder("missing", symbol, *place, _MISSING_MS[look.asked], look.key))


class EarlierExecutions:
    """Reads the list of executions until what waits for an earlier one can be booked. The list may lag by some seconds."""

    def __init__(self, emit: Callable[[Output], None]) -> None:
        self._emit = emit
        self._asked: int | None = None

    @property
    def is_running(self) -> bool:
        """Whether the list is being read again and again."""
        return self._asked is not None

    def look(self) -> None:
        """Read it soon. Asked twice, it is done once."""
        if self._asked is None:
            self._asked = 0
            self._emit(AskExecutions(_EARLIER_MS[0]))

    def is_still_wanted(self, *, is_waiting: bool) -> bool:
        """Asked before each reading; the search ends where nothing waits any more."""
        if not is_waiting:
            self._asked = None
        return self._asked is not None

    def read(self, *, is_waiting: bool) -> bool:
        """It was read (or not: it is read again). is_waiting: whether anything still waits. Returns whether it was looked for in vain."""
        if self._asked is None:
            return False
        self._asked += 1
        if is_waiting and self._asked < len(_EARLIER_MS):
            self._emit(AskExecutions(_EARLIER_MS[self._asked]))
            return False
        self._asked = None
        return is_waiting


class _Lost(msgspec.Struct, gc=False):
    command: AmendOrder
    reason: str
    asked: int = 0


class LostAmendments:
    """Whether an amendment whose answer was lost came through: the order shows it, or after the request's own life shows it not.
    refuse: takes (command, reason) of one that did not."""

    def __init__(self, emit: Callable[[Output], None], refuse: Callable[[AmendOrder, str], None]) -> None:
        self._emit, self._refuse = emit, refuse
        self._lost: dict[str, _Lost] = {}
        self._count = 0

    def begin(self, command: AmendOrder, order: TrackedOrder, reason: str) -> None:
        """The answer to this command did not come."""
        self._count += 1
        key = f"{command.client_order_id}#{self._count}"
        self._lost[key] = _Lost(command, reason)
        self._ask(key, order)

    def is_still_wanted(self, query: AskOrder, order: TrackedOrder) -> bool:
        """Asked before each reading; the search ends where the order has ended or shows the change."""
        key = query.key
        lost = self._lost.get(key)
        if lost is None or (order.is_open and not _is_amended(lost.command, order)):
            return lost is not None
        del self._lost[key]
        order.life.answered()
        return False

    def read(self, query: AskOrder, order: TrackedOrder) -> None:
        """The order was read, and what was said has been taken in."""
        if not self.is_still_wanted(query, order):
            return
        key = query.key
        lost = self._lost[key]
        lost.asked += 1
        if lost.asked < len(_AMENDMENT_MS):
            self._ask(key, order)
            return
        del self._lost[key]
        self._refuse(lost.command, f"not applied: {lost.reason}")

    def _ask(self, key: str, order: TrackedOrder) -> None:
        delay = _AMENDMENT_MS[self._lost[key].asked]
        self._emit(AskOrder("amendment", order.symbol, order.client_order_id, order.order_id, delay, key))


def _is_amended(command: AmendOrder, order: TrackedOrder) -> bool:
    """Whether the order is now as the amendment asked."""
    grid = order.instrument.qty_grid
    return (
        (command.qty is None or grid.count(command.qty) == order.qty)
        and (command.price is None or command.price == order.price)
        and (command.trigger_price is None or command.trigger_price == order.trigger)
    )
