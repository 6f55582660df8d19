"""Grids recover their counts exactly, round in the named direction and print the exchange's decimals; tiers are continuous."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.errors import ConfigError
from keel.core.model.instrument import Grid, Instrument, build_tiers, generic_tiers, order_parts
from keel.core.model.money import UNIT, to_units

STEPS = ["0.1", "0.10", "0.01", "0.5", "5", "10", "100", "0.0001", "0.00000001", "0.25", "1"]


@given(st.sampled_from(STEPS), st.integers(0, 50_000_000))
def test_a_count_survives_its_float_and_its_text(step: str, count: int) -> None:
    grid = Grid.from_text(step)
    assert grid.count(grid.value(count)) == count
    assert grid.is_on(grid.value(count))
    assert Decimal(grid.text(count)) == count * Decimal(step)
    assert float(grid.text(count)) == grid.value(count)


@given(st.sampled_from(STEPS), st.floats(0, 1e6, allow_subnormal=False))
def test_floor_and_ceil_bracket_the_value(step: str, value: float) -> None:
    """Exactly, but for a value within 1e-9 of the grid, which is on it."""
    grid = Grid.from_text(step)
    low, high = grid.floor(value), grid.ceil(value)
    is_near = abs(Fraction(value) / Fraction(step) - grid.count(value)) <= Fraction(value) / Fraction(step) / 10**9
    assert grid.value(low) * (1 - 2e-9) <= value <= grid.value(high) * (1 + 2e-9)
    assert high - low == (0 if is_near else 1) or grid.value(high) * 1e-9 > 0.01 * float(step)


@pytest.mark.parametrize(
    ("step", "value", "count"),
    [
        ("0.001", 0.03 * 119.3, 3579),
        ("0.01", 67.1 - 6.71, 6039),
        ("0.1", 60000.1 + (60000.9 - 60000.1) * 0.5, 600005),
        ("0.1", 1.1 * 3, 33),
    ],
)
def test_float_noise_costs_no_step(step: str, value: float, count: int) -> None:
    assert (Grid.from_text(step).floor(value), Grid.from_text(step).ceil(value)) == (count, count)


@given(st.sampled_from(STEPS), st.integers(1, 10_000_000), st.sampled_from([-1, 1]), st.floats(2e-9, 1e-3))
def test_what_is_further_off_the_grid_is_off_it(step: str, count: int, way: int, off: float) -> None:
    grid = Grid.from_text(step)
    value = grid.value(count) * (1 + way * off)
    assert grid.ceil(value) > count if way > 0 else grid.floor(value) < count


def test_far_out_on_a_fine_grid_a_part_of_a_step_is_no_noise() -> None:
    assert Grid.from_text("0.000001").floor(9_999.9999995) == 9_999_999_999


@pytest.mark.parametrize(
    ("step", "count", "text"), [("0.10", 12345, "1234.5"), ("5", 3, "15"), ("0.001", 1, "0.001"), ("100", 2, "200"), ("0.5", 3, "1.5")]
)
def test_texts_have_the_grids_decimals(step: str, count: int, text: str) -> None:
    assert Grid.from_text(step).text(count) == text


@pytest.mark.parametrize("step", ["0", "-1", "x", "", "nan", "inf"])
def test_a_step_that_is_none_is_refused(step: str) -> None:
    with pytest.raises(ConfigError, match="tick or step"):
        Grid.from_text(step)


def instrument(tick: str = "0.1", step: str = "0.001") -> Instrument:
    return Instrument(
        symbol="BTCUSDT", category="linear", base="BTC", quote="USDT", price_grid=Grid.from_text(tick), qty_grid=Grid.from_text(step),
        min_qty=0.001, max_qty=1190.0, max_market_qty=500.0, min_notional=5 * UNIT, taker_fee=55_000, maker_fee=20_000,
        tiers=generic_tiers(),
    )  # fmt: skip


def test_a_notional_is_exact_where_the_grids_allow_it() -> None:
    assert instrument().notional(166_490, 2_081) == to_units(Decimal("16649.0") * Decimal("2.081"))


def test_a_rest_is_rounded_in_the_named_direction() -> None:
    fine = instrument("0.0000001", "0.001")
    assert (fine.notional(3, 7), fine.notional(3, 7, up=True)) == (0, 1)


def test_prices_and_quantities_print_as_the_exchange_wants_them() -> None:
    btc = instrument("0.10", "0.001")
    assert (btc.format_price(60000.1), btc.format_qty(0.003)) == ("60000.1", "0.003")
    assert (btc.round_price(60000.16), btc.round_qty(0.0039)) == (60000.2, 0.003)


def test_recorded_tiers_have_the_fact_sheets_deductions() -> None:
    """Fact sheet 6.4: 2.0 M 0.5 %, 2.6 M 0.56 %, 3.2 M 0.63 %: d2 = 1,200, d3 = 3,020."""
    rows = [("2000000", "0.005", "100"), ("2600000", "0.0056", "90"), ("3200000", "0.0063", "80")]
    tiers = build_tiers([(to_units(limit), to_units(rate), to_units(leverage)) for limit, rate, leverage in rows])
    assert [tier.deduction for tier in tiers] == [0, 1_200 * UNIT, 3_020 * UNIT]


def test_maintenance_margin_is_continuous_at_every_tiers_edge() -> None:
    tiers = generic_tiers()
    for lower, upper in itertools.pairwise(tiers):
        edge = lower.limit
        assert edge * lower.maintenance_rate // UNIT - lower.deduction == edge * upper.maintenance_rate // UNIT - upper.deduction


PARTS = [  # steps of 0.001, maximum -> full ones first, as equal as steps allow
    (0, 1.0, [], []),
    (1_000, 1.0, [1_000], [1_000]),
    (1_001, 1.0, [1_000, 1], [501, 500]),
    (2_500, 1.0, [1_000, 1_000, 500], [834, 833, 833]),
    (5, 0.0015, [1] * 5, [1] * 5),
    (3, 0.0001, [1] * 3, [1] * 3),  # a maximum below the step: one at a time
    (9_999, 0.0, [9_999], [9_999]),  # nobody knows a maximum
    (9_999, math.inf, [9_999], [9_999]),
]


@pytest.mark.parametrize(("steps", "most", "full", "equal"), PARTS)
def test_what_is_above_the_exchanges_maximum_is_several_orders(steps: int, most: float, full: list[int], equal: list[int]) -> None:
    grid = Grid.from_text("0.001")
    assert order_parts(grid, steps, most) == full
    assert order_parts(grid, steps, most, equal=True) == equal
