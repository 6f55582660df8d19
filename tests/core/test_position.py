"""The integer book: reductions release a floored share of the cost, a close releases all, and nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvariantError
from core.money import UNIT, to_units
from core.position import PositionBook, split_fill
from tests.core.test_instrument import instrument


def test_a_long_and_a_short_by_hand() -> None:
    book = PositionBook(instrument())
    book.increase(1_000, to_units("20000"))
    book.increase(500, to_units("11000"))
    assert (book.qty, book.cost, round(book.entry_price, 8)) == (1.5, to_units("31000"), 20666.66666667)
    assert book.reduce(500, to_units("11500")) == to_units("11500") - to_units("31000") // 3
    assert book.reduce(1_000, to_units("20000")) == to_units("20000") - (to_units("31000") - to_units("31000") // 3)
    assert (book.steps, book.cost, book.entry_price) == (0, 0, 0.0)
    book.increase(-1_000, to_units("20000"))
    assert book.unrealized(19_000.0) == 1000.0
    assert book.reduce(1_000, to_units("21000")) == -to_units("1000")


@pytest.mark.parametrize(
    ("held", "steps", "closing", "opening"),
    [(0, 5, 0, 5), (5, 5, 0, 5), (5, -3, 3, 0), (5, -5, 5, 0), (5, -8, 5, 3), (-5, 8, 5, 3), (-5, -1, 0, 1)],
)
def test_a_fill_closes_first_then_opens(held: int, steps: int, closing: int, opening: int) -> None:
    assert split_fill(held, steps) == (closing, opening)


@given(st.lists(st.tuples(st.integers(-300, 300).filter(bool), st.integers(1, 10**6)), max_size=40))
def test_realised_plus_open_cost_is_the_cash_that_went_through(fills: list[tuple[int, int]]) -> None:
    """For every sequence of fills: sum of realised PnL = sold - bought + signed cost of what is open, to the last unit."""
    book, realized, flow, held = PositionBook(instrument()), 0, 0, 0
    for steps, ticks in fills:
        closing, opening = split_fill(held, steps)
        for part, closes in ((closing, True), (opening, False)):
            if part:
                notional = ticks * part * 10_000
                flow += notional if steps < 0 else -notional
                if closes:
                    realized += book.reduce(part, notional)
                else:
                    book.increase(part if steps > 0 else -part, notional)
        held += steps
        signed_cost = book.cost if book.steps > 0 else -book.cost
        assert book.steps == held
        assert realized == flow + signed_cost
        assert held or not book.cost


def test_what_cannot_be_is_refused() -> None:
    book = PositionBook(instrument())
    book.increase(10, UNIT)
    for wrong in (lambda: book.increase(-1, UNIT), lambda: book.reduce(11, UNIT), lambda: book.reduce(0, UNIT)):
        with pytest.raises(InvariantError):
            wrong()
