"""The integer book: reductions release a floored share of the cost, a close releases all, and nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import InvariantError
from keel.core.model.money import UNIT, fee_on, to_units
from keel.core.model.position import PositionBook, apply_fill, base_fee_value
from tests.core.model.test_instrument import instrument


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


FILLS = [  # held, cost, side, steps at 110 ticks -> closed, opened, notional of what closed, pnl, held, cost
    (0, 0, 1, 5, (0, 5, 0, 0, 5, 550)),
    (5, 500, 1, 5, (0, 5, 0, 0, 10, 1_050)),
    (5, 500, -1, 3, (3, 0, 330, 30, 2, 200)),
    (5, 502, -1, 3, (3, 0, 330, 29, 2, 201)),  # 301.2 of the cost is released, rounded down
    (5, 502, -1, 5, (5, 0, 550, 48, 0, 0)),
    (5, 502, -1, 8, (5, 3, 550, 48, -3, 330)),  # a flip
    (-5, 502, 1, 8, (5, 3, 550, -48, 3, 330)),
    (-5, 500, -1, 1, (0, 1, 0, 0, -6, 610)),
]


@pytest.mark.parametrize(("held", "cost", "side", "steps", "after"), FILLS)
def test_a_fill_closes_first_then_opens(held: int, cost: int, side: int, steps: int, after: tuple[int, ...]) -> None:
    assert apply_fill(held, cost, side, steps, 110, 110 * steps, 1, 1) == after


def test_the_worked_examples_of_an_average_entry_price_and_a_closed_pnl() -> None:
    """The exchange's help centre, "P&L Calculations (USDT Contract)": 0.5 BTC long at 5,000 and 0.3 more at 6,000 are 0.8 at 5,375;
    0.4 BTC short at 6,000 and closed at 5,000 made 400, for fees of 1.32 to open and 1.10 to close (at 0.055 %)."""
    book = PositionBook(instrument())
    for steps, ticks in ((500, 50_000), (300, 60_000)):
        book.fill(1, steps, ticks, book.instrument.notional(ticks, steps))
    assert (book.steps, book.cost, book.entry_price) == (800, to_units(4_300), 5_375.0)
    book = PositionBook(instrument())
    total = book.instrument.notional(60_000, 400)
    assert (book.fill(-1, 400, 60_000, total), fee_on(total, 55_000)) == ((0, 400, 0, 0), to_units("1.32"))
    total = book.instrument.notional(50_000, 400)
    assert (book.fill(1, 400, 50_000, total), fee_on(total, 55_000)) == ((400, 0, total, to_units(400)), to_units("1.10"))


def test_a_fee_is_rounded_up_against_the_trader_and_so_is_a_rebate() -> None:
    assert (fee_on(1, 55_000), fee_on(15_000, -10_000), fee_on(0, 55_000)) == (1, -1, 0)
    assert base_fee_value(total=1_001, fee=1, units=1_000) == 1, "what a fee in coins is worth is rounded down: it is what is sold for it"


@given(st.lists(st.tuples(st.integers(-300, 300).filter(bool), st.integers(1, 10**6)), max_size=40))
def test_realised_plus_open_cost_is_the_cash_that_went_through(fills: list[tuple[int, int]]) -> None:
    """For every sequence of fills: sum of realised PnL = sold - bought + signed cost of what is open, to the last unit."""
    book, realized, flow, held = PositionBook(instrument()), 0, 0, 0
    for steps, ticks in fills:
        notional = ticks * abs(steps) * 10_000
        flow += notional if steps < 0 else -notional
        realized += book.fill(1 if steps > 0 else -1, abs(steps), ticks, notional)[3]
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
