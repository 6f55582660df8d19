"""The split of a difference: an example by hand, and any two lists of trips."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from keel.core.model.money import UNIT
from keel.runners.research.compare_live.parts import PARTS, pair, rows_of, split, totals
from keel.runners.research.compare_live.trips import Leg, Trip


def usd(*values: float) -> list[int]:
    return [round(value * UNIT) for value in values]


def leg(paid: float, spread: float, reference: float, anchor: float, *, is_own: bool = True) -> Leg:
    return Leg(*usd(paid, spread, reference, anchor), is_own)


def trip(entry: Leg, exit_: Leg, fees: float, funding: float, *, steps: int = 10, direction: int = 1, at: int = 0, end: int = 100) -> Trip:
    return Trip("BTCUSDT", direction, steps, entry, exit_, *usd(fees, funding), at, end, at)


def test_the_worked_example() -> None:
    """The one of docs/compare-live.md: one coin bought and sold."""
    backtest = trip(leg(100.20, 100.10, 100.05, 100.00), leg(109.80, 109.90, 109.95, 110.00), 0.12, 0.03)
    live = trip(leg(101.60, 101.40, 101.30, 101.00), leg(109.50, 109.75, 109.80, 110.00), 0.13, 0.02)
    assert (backtest.net, live.net) == tuple(usd(9.45, 7.75))
    assert split(live, backtest) == dict(
        zip(("timing", "latency", "spread", "slippage", "fee", "funding"), usd(-1.00, -0.40, -0.05, -0.25, -0.01, 0.01), strict=True)
    )


def test_more_than_the_backtest_held_is_size() -> None:
    backtest = trip(leg(100, 100, 100, 100), leg(110, 110, 110, 110), 1, 0)
    double = trip(leg(200, 200, 200, 200), leg(220, 220, 220, 220), 2, 0, steps=20)
    assert split(double, backtest) == {"size": usd(9)[0]}
    assert split(backtest, double) == {"size": usd(-9)[0]}


def test_a_leg_that_the_system_did_not_order_is_extra() -> None:
    backtest = trip(leg(100, 100, 100, 100), leg(110, 110, 110, 110), 1, 0)
    by_hand = trip(leg(100, 100, 100, 100), leg(104, 104, 104, 104, is_own=False), 1, 0)
    assert split(by_hand, backtest) == {"extra": usd(-6)[0]}


def test_what_both_still_hold_differs_by_its_marks_and_what_one_has_closed_by_its_time() -> None:
    flat = leg(100, 100, 100, 100)
    one, other = (Trip("BTCUSDT", -1, 10, flat, Leg(), 0, 0, 0, None, 0, "", usd(worth)[0], 10) for worth in (90, 91))
    closed = trip(flat, leg(95, 95, 95, 95), 0, 0, direction=-1)
    assert split(one, other) == {"data": usd(1)[0]}
    assert split(one, closed) == {"timing": usd(5)[0]}


def test_what_was_closed_by_hand_and_is_still_held_on_the_other_side_is_extra_by_its_price_and_not_by_its_worth() -> None:
    flat, by_hand = leg(100, 100, 100, 100), leg(96, 96, 96, 96, is_own=False)
    held = Trip("BTCUSDT", -1, 10, flat, Leg(), 0, 0, 0, None, 0, "", usd(90)[0], 10)
    assert split(trip(flat, by_hand, 0, 0, direction=-1), held) == {"extra": usd(-6)[0]}


def test_what_one_side_has_closed_in_part_counts_as_closed_at_the_mark_on_the_other() -> None:
    flat, half = leg(100, 100, 100, 100), leg(47, 47, 47, 47)
    part = Trip("BTCUSDT", -1, 10, flat, half, 0, 0, 0, None, 0, "", usd(45)[0], 5)
    held = Trip("BTCUSDT", -1, 10, flat, Leg(), 0, 0, 0, None, 0, "", usd(92)[0], 10)
    assert split(part, held) == {"data": usd(1)[0], "timing": usd(-1)[0]}
    assert split(held, part) == {"data": usd(-1)[0], "timing": usd(1)[0]}
    own = msgspec.structs.replace(part, exit=msgspec.structs.replace(half, is_own=False))
    assert split(own, held) == {"data": usd(1)[0], "extra": usd(-1)[0]}


def test_trips_that_only_one_side_has_are_missed_and_extra() -> None:
    one = trip(leg(100, 100, 100, 100), leg(110, 110, 110, 110), 1, 0)
    assert split(one, None) == {"extra": one.net} and split(None, one) == {"missed": -one.net}


def test_pairs_are_of_one_decision_else_they_overlap() -> None:
    flat = leg(1, 1, 1, 1)
    early, late, short = (trip(flat, flat, 0, 0, at=at, end=at + 50, direction=way) for at, way in ((0, 1), (60, 1), (0, -1)))
    delayed = trip(flat, flat, 0, 0, at=10, end=50)
    assert pair([delayed, late], [early, late, short]) == [(delayed, early), (None, short), (late, late)]


_MONEY = st.integers(0, 10**14)
_LEGS = st.builds(Leg, _MONEY, _MONEY, _MONEY, _MONEY, st.booleans())
_TRIPS = st.builds(
    lambda symbol, direction, steps, entry, exit_, fees, funding, at, length, worth, held: Trip(
        symbol, direction, steps, entry, exit_, fees, funding, at, None if length is None else at + length, at, "", worth, held
    ),
    st.sampled_from(["BTCUSDT", "ETHUSDT"]), st.sampled_from([1, -1]), st.integers(1, 10**9), _LEGS, _LEGS, st.integers(-(10**10), 10**12),
    st.integers(-(10**12), 10**12), st.integers(0, 50), st.none() | st.integers(1, 40), _MONEY, st.integers(0, 10**9),
)  # fmt: skip
_LISTS = st.lists(_TRIPS, max_size=6)


@given(_LISTS, _LISTS, st.none() | _LISTS)
def test_the_parts_add_up_exactly(live: list[Trip], own: list[Trip], stored: list[Trip] | None) -> None:
    rows = rows_of(live, own, stored)
    base = own if stored is None else stored
    assert all(sum(row.parts.values()) == row.difference for row in rows)
    found = totals(rows, 0)
    assert set(found) == set(PARTS)
    assert sum(found.values()) == sum(trip.net for trip in live) - sum(trip.net for trip in base)
    shown = [(row.live, row.backtest) for row in rows]
    assert sorted(map(msgspec.json.encode, (ours for ours, _ in shown if ours))) == sorted(map(msgspec.json.encode, live))
    assert sorted(map(msgspec.json.encode, (theirs for _, theirs in shown if theirs))) == sorted(map(msgspec.json.encode, base))
