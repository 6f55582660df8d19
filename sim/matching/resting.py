"""The short way of a limit order that arrives alone where nothing else is due: what stands in the book is not looked at again.

The wake levels of a book say where anything that stands in it would happen. Between them the order is judged by ``commands`` and meets the
market in ``matching`` as ever; when it comes to rest, its own level is all that is new. Where it is filled, everything is looked at. A test
holds this way and the general one together.
"""

from __future__ import annotations

from keel.core.model.messages import SubmitOrder
from keel.sim.exchange.book import RESTING, SymbolBook
from keel.sim.exchange.order_entry import OrderEntry
from keel.sim.margin.liquidation import is_touched
from keel.sim.matching.matching import Matching
from keel.sim.matching.triggers import through_level
from keel.sim.matching.walk import refresh_wake, wake_time


class RestingPath:
    """Takes single limit orders at the open, but for books on cross margin, whose account is looked at at every mark."""

    __slots__ = ("_matching", "_order_entry")

    def __init__(self, order_entry: OrderEntry, matching: Matching) -> None:
        self._order_entry, self._matching = order_entry, matching

    def take(self, book: SymbolBook, ts_open: int) -> bool:
        """Everything of the open, where the book stands, and its wake levels. False: it goes the general way, and nothing was done."""
        pending = book.pending
        if len(pending) != 1 or book.fresh or book.waiting or book.is_trailing or book.account is not None:
            return False
        due, command = pending[0]
        if due > ts_open or book.funding.next_stamp <= ts_open or command.__class__ is not SubmitOrder or command.order_type != "limit":
            return False
        last, mark, index = book.last, book.mark, book.index
        low, high = book.wake_low, book.wake_high
        if not (low < last < high and low < mark < high and low < index < high):
            return False
        for position in book.positions:
            if position.liquidation_price and is_touched(position.steps, mark, position.liquidation_price):
                return False
        pending.popleft()
        book.ts = ts_open
        book.ambiguous = False
        self._order_entry.handle(book, command)
        if book.fresh:
            self._meet_market(book)
        book.wake_ts = wake_time(book)
        return True

    def _meet_market(self, book: SymbolBook) -> None:
        matching, (order,) = self._matching, book.fresh
        book.fresh = []
        matching.take(book, order)
        rises = order.side < 0
        level = through_level(order, matching.touch, book.price_num, book.price_den)
        is_resting = order.state == RESTING
        if order.filled or (is_resting and (book.last >= level if rises else book.last <= level)):
            matching.price_point(book)
            refresh_wake(book, matching.touch)
        elif is_resting and rises:
            book.wake_high = min(book.wake_high, level)
        elif is_resting:
            book.wake_low = max(book.wake_low, level)
