"""What an order may lead to, worked out by hand: three symbols, orders that rest on both sides, cancels that are under way."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.model.messages import Side, SubmitOrder
from keel.core.model.orders import OrderRecord
from keel.core.risk.exposure import worst_case
from keel.core.risk.view import ExpectedView, InFlight
from tests.builders import perpetual


class Book:
    def __init__(self) -> None:
        self.held = {"A": 2.0, "B": -3.0, "C": 0.0}
        self.marks = {"A": 10.0, "B": 100.0, "C": 1.0}

    def position_qty(self, symbol: str) -> float:
        return self.held[symbol]

    def mark(self, symbol: str) -> float:
        return self.marks[symbol]


def resting(name: str, symbol: str, side: Side, qty: float, *, filled: float = 0.0, reduce_only: bool = False) -> OrderRecord:
    command = SubmitOrder(name, symbol, side, "limit", qty, 0, price=1.0, reduce_only=reduce_only)
    return OrderRecord(1, name, symbol, side, 0, command, filled_qty=filled)


def test_everything_that_rests_on_the_worse_side_is_filled() -> None:
    orders = [
        resting("a1", "A", "SELL", 6.0), resting("a2", "A", "BUY", 1.0, reduce_only=True), resting("b1", "B", "SELL", 5.0, filled=4.0),
        resting("c1", "C", "BUY", 50.0), resting("gone", "C", "BUY", 1_000.0),
    ]  # fmt: skip
    buy = SubmitOrder("new", "A", "BUY", "market", 3.0, 0)
    case = worst_case(buy, "ABC", Book(), orders, lambda record: record.client_order_id == "gone")
    # A: 2 + 3 = 5 long or 2 - 6 = 4 short: 5 x 10. B: 3 + 1 = 4 short: 4 x 100. C: 50 long.
    assert case.position == 50.0
    assert case.gross == 50.0 + 400.0 + 50.0
    assert case.net == 50.0 - 300.0 + 50.0  # all that buys: A 5, B -3, C 50
    sell = SubmitOrder("new", "A", "SELL", "market", 3.0, 0)
    case = worst_case(sell, "ABC", Book(), orders, lambda record: record.client_order_id == "gone")
    assert case.position == 70.0  # 2 - 6 - 3
    assert case.net == 70.0 + 400.0 - 0.0  # short: A 7, B 4; nothing sells C


@pytest.mark.parametrize(
    ("marks", "side"),
    [
        ({"A": 10.0, "B": 0.0, "C": 1.0}, "BUY"),  # B is short: it may offset much or little of what is bought
        ({"A": 10.0, "B": 0.0, "C": 1.0}, "SELL"),
        ({"A": 10.0, "B": math.nan, "C": 1.0}, "BUY"),
        ({"A": 0.0, "B": 100.0, "C": 1.0}, "BUY"),
        ({"A": 0.0, "B": 0.0, "C": 1.0}, "BUY"),  # one is infinitely long, the other infinitely short
        ({"A": 0.0, "B": 0.0, "C": 1.0}, "SELL"),
    ],
)
def test_what_a_missing_mark_leaves_unknown_is_beyond_every_number(marks: dict[str, float], side: Side) -> None:
    book = Book()
    book.marks = marks
    case = worst_case(SubmitOrder("new", "A", side, "market", 1.0, 0), "ABC", book, [], lambda record: False)
    assert (case.gross, case.net) == (math.inf, math.inf)
    assert case.position == (math.inf if not marks["A"] else 30.0 if side == "BUY" else 10.0)


def test_a_symbol_without_a_mark_in_which_nothing_is_or_may_be_held_counts_nothing() -> None:
    book = Book()
    book.marks = {"A": 10.0, "B": 100.0, "C": 0.0}
    case = worst_case(SubmitOrder("new", "A", "BUY", "market", 1.0, 0), "ABC", book, [], lambda record: False)
    assert (case.position, case.gross, case.net) == (30.0, 330.0, 30.0 - 300.0)


def test_a_quantity_that_is_no_number_is_beyond_every_number() -> None:
    book = Book()
    book.held["A"] = math.nan
    case = worst_case(SubmitOrder("new", "A", "BUY", "market", 1.0, 0), "ABC", book, [], lambda record: False)
    assert (case.position, case.gross, case.net) == (math.inf, math.inf, math.inf)


STEPS = st.integers(-50, 50)


class Positions:
    """Of two symbols: whole units at a mark of 2 and of 8, as risk and as the controls see them."""

    equity, cash = 1_000.0, 0

    def __init__(self, held: dict[str, int]) -> None:
        self.held = held

    def steps(self, symbol: str) -> int:
        return self.held[symbol]

    def position_qty(self, symbol: str) -> float:
        return float(self.held[symbol])

    def mark(self, symbol: str) -> float:
        return {"A": 2.0, "B": 8.0}[symbol]

    def notional(self, symbol: str) -> float:
        return abs(self.held[symbol]) * self.mark(symbol)

    def gross_notional(self) -> float:
        return sum(map(self.notional, self.held))


@given(held=st.tuples(STEPS, STEPS), coming=st.lists(st.tuples(st.sampled_from("AB"), STEPS.filter(bool), st.booleans()), max_size=8))
def test_risk_and_the_controls_count_the_same_exposure(held: tuple[int, int], coming: list[tuple[str, int, bool]]) -> None:
    """Positions, and what buys and sells in flight: the sum of which risk's room is what is left, and which the controls deny."""
    book = Positions(dict(zip("AB", held, strict=True)))
    flights = [InFlight(symbol, steps, False, reduces) for symbol, steps, reduces in coming]
    instruments = {symbol: perpetual(symbol, tick="1", step="1") for symbol in "AB"}
    seen = ExpectedView(book, instruments, flights, {})  # type: ignore[arg-type]  # of the account only what is asked for here
    orders = [
        resting(str(n), symbol, "BUY" if steps > 0 else "SELL", abs(steps), reduce_only=reduces)
        for n, (symbol, steps, reduces) in enumerate(coming)
    ]
    elsewhere = SubmitOrder("new", "C", "BUY", "market", 1.0, 0)
    case = worst_case(elsewhere, "AB", book, orders, lambda record: False)
    assert case.gross == seen.gross_notional()
    assert case.gross >= book.gross_notional()
