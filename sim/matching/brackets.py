"""Exits that the venue makes out of a bracket: stop-loss, take-profit and trailing stop of a position.

Mode full: one set for the whole position; a new one replaces it. Mode partial: a pair sized by the fill that it came with; when one leg
fires the other ends. All of a position's exits end when it closes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keel.core.model.messages import Bracket
from keel.sim.exchange.book import SOURCES, STOP_LOSS, TAKE_PROFIT, TRAILING, UNTRIGGERED, Position, SymbolBook, WorkingOrder
from keel.sim.exchange.events import Outbox, UsedIds
from keel.sim.exchange.order_validation import BY_CLEAR, SL_BY_TP, TP_BY_SL
from keel.sim.matching.triggers import follow

_SUFFIX: Final = {STOP_LOSS: "sl", TAKE_PROFIT: "tp", TRAILING: "ts"}

EndOrder = Callable[[SymbolBook, WorkingOrder, str], None]


class Brackets:
    """Makes, replaces and ends the exits of positions."""

    __slots__ = ("_cancel", "_next_sequence", "_outbox", "_used_ids")

    def __init__(self, outbox: Outbox, used_ids: UsedIds, next_sequence: Callable[[], int], cancel: EndOrder) -> None:
        self._outbox, self._used_ids, self._next_sequence, self._cancel = outbox, used_ids, next_sequence, cancel

    def attach(self, book: SymbolBook, position: Position, bracket: Bracket, parent_id: str, steps: int) -> None:
        """The exits of a fill that opened ``steps`` of this position."""
        if bracket.mode == "partial":
            self._attach_partial(book, position, bracket, parent_id, steps)
            return
        full = [child for child in position.children if child.is_full and child.state == UNTRIGGERED]
        if full and full[0].parent_id == parent_id and full[0].bracket is bracket:
            return  # a later fill of the same order: the set is the whole position's already
        for child in full:
            self._cancel(book, child, BY_CLEAR)
        held = abs(position.steps) // book.lot
        for role in _roles(bracket):
            self._make(book, position, bracket, role, parent_id, held, is_full=True)

    def replace(self, book: SymbolBook, position: Position, bracket: Bracket) -> None:
        """Set the exits of an open position as a whole; an empty bracket removes them."""
        self.clear(book, position)
        self.attach(book, position, bracket, position.parent_id, abs(position.steps) // book.lot)

    def clear(self, book: SymbolBook, position: Position) -> None:
        """End all exits of a position."""
        for child in list(position.children):
            self._cancel(book, child, BY_CLEAR)

    def on_fired(self, book: SymbolBook, position: Position, fired: WorkingOrder) -> None:
        """One leg fired: the other one of its pair (or of the full set) ends."""
        if fired.role == TRAILING:
            return
        reason = TP_BY_SL if fired.role == STOP_LOSS else SL_BY_TP
        if fired.partner is not None:
            others = [fired.partner]
        elif fired.is_full:
            others = [child for child in position.children if child.is_full and child.role not in (fired.role, TRAILING)]
        else:
            others = []
        for other in others:
            if other.client_order_id in book.orders:
                self._cancel(book, other, reason)

    def _attach_partial(self, book: SymbolBook, position: Position, bracket: Bracket, parent_id: str, steps: int) -> None:
        grown = [
            child
            for child in position.children
            if child.parent_id == parent_id and child.bracket is bracket and not child.is_full and child.state == UNTRIGGERED
        ]
        for child in grown:
            child.leaves += steps
            self._outbox.order(book, child, "amended")
        if grown:
            return
        pair = [self._make(book, position, bracket, role, parent_id, steps, is_full=False) for role in _roles(bracket) if role != TRAILING]
        if len(pair) == 2:
            pair[0].partner, pair[1].partner = pair[1], pair[0]
        if bracket.trailing is not None:
            for child in [child for child in position.children if child.role == TRAILING]:
                self._cancel(book, child, BY_CLEAR)
            self._make(book, position, bracket, TRAILING, parent_id, abs(position.steps) // book.lot, is_full=True)

    def _make(
        self, book: SymbolBook, position: Position, bracket: Bracket, role: str, parent_id: str, steps: int, *, is_full: bool
    ) -> WorkingOrder:
        grid = book.instrument.price_grid
        out = 1 if position.steps > 0 else -1
        limit = bracket.take_profit_limit if role == TAKE_PROFIT else None
        child = WorkingOrder(
            self._new_id(parent_id, _SUFFIX[role]),
            "SELL" if out > 0 else "BUY",
            -out,
            "stop_market" if limit is None else "stop_limit",
            steps,
            self._next_sequence(),
        )
        child.limit = None if limit is None else grid.count(limit)
        child.role = child.reason = role
        child.parent_id, child.bracket, child.is_full = parent_id, bracket, is_full
        child.reduce_only, child.position_idx = True, position.idx
        child.source = SOURCES[bracket.trigger]
        child.state, child.announced = UNTRIGGERED, True
        child.rising = (role == TAKE_PROFIT) == (out > 0)
        level = bracket.stop_loss if role == STOP_LOSS else bracket.take_profit
        if role == TRAILING:
            self._begin_trailing(book, child, bracket)
        elif level is not None:
            child.trigger = grid.value(grid.count(level))
        book.orders[child.client_order_id] = child
        position.children.append(child)
        self._outbox.order(book, child, "accepted")
        return child

    @staticmethod
    def _begin_trailing(book: SymbolBook, child: WorkingOrder, bracket: Bracket) -> None:
        price = book.price(child.source)
        child.distance = bracket.trailing or 0.0
        child.activation = price if bracket.activation is None else bracket.activation
        follow(child, price, book.instrument.price_grid)

    def _new_id(self, parent_id: str, suffix: str) -> str:
        number, name = 1, f"{parent_id}-{suffix}"
        while name in self._used_ids:
            number += 1
            name = f"{parent_id}-{suffix}{number}"
        self._used_ids[name] = None
        return name


def _roles(bracket: Bracket) -> list[str]:
    wanted = ((STOP_LOSS, bracket.stop_loss), (TAKE_PROFIT, bracket.take_profit), (TRAILING, bracket.trailing))
    return [role for role, value in wanted if value is not None]
