"""Money is multiplied exactly, in the direction that the name says; text and units convert without loss."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keel.core.errors import ConfigError, InvariantError
from keel.core.model.money import LIMIT, UNIT, check_bound, mul_div_ceil, mul_div_floor, to_text, to_units
from keel.core.system.config import bps_rate

factor = st.integers(-LIMIT, LIMIT)
divisor = st.integers(1, 2**45 - 1)


@given(factor, st.integers(-(10**12), 10**12), divisor)
def test_mul_div_is_the_exact_quotient_rounded_as_named(a: int, b: int, c: int) -> None:
    exact = Fraction(a * b, c)
    assume(abs(exact) < 2**62)
    assert mul_div_floor(a, b, c) == floor(exact)
    assert mul_div_ceil(a, b, c) == ceil(exact)


@pytest.mark.parametrize(
    ("a", "b", "c", "down", "up"),
    [
        (7, 1, 2, 3, 4),
        (-7, 1, 2, -4, -3),
        (6, 1, 2, 3, 3),
        (0, 5, 3, 0, 0),
        (168_000_001 * UNIT, 55_000, UNIT, 9_240_000_055_000, 9_240_000_055_000),  # beyond int64 if multiplied plainly
        (LIMIT - 1, UNIT - 1, UNIT, 399_999_995_999_999_999, 400_000_000_000_000_000 - 4_000_000_000),
    ],
)
def test_mul_div_table(a: int, b: int, c: int, down: int, up: int) -> None:
    assert (mul_div_floor(a, b, c), mul_div_ceil(a, b, c)) == (down, up)


@given(st.integers(-LIMIT, LIMIT))
def test_units_survive_their_text(units: int) -> None:
    assert to_units(to_text(units)) == units
    assert Decimal(to_text(units)) * UNIT == units


@pytest.mark.parametrize(
    ("value", "units"),
    [
        ("0.00055", 55_000),
        (0.00055, 55_000),
        (0.1, 10_000_000),
        ("1e-8", 1),
        (3, 3 * UNIT),
        (-0.5, -50_000_000),
        ("0.000000005", 0),
        ("0.000000015", 2),
    ],
)
def test_decimal_text_decides_and_halves_go_to_even(value: float | str, units: int) -> None:
    assert to_units(value) == units


@pytest.mark.parametrize("value", ["abc", "nan", "inf", float("nan"), float("inf"), None])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="not a decimal number"):
        to_units(value)  # type: ignore[arg-type]  # the wrong type is the point


def test_bounds_are_checked() -> None:
    assert check_bound(LIMIT - 1, "cash") == LIMIT - 1
    for value in (LIMIT, -LIMIT):
        with pytest.raises(InvariantError, match="cash of"):
            check_bound(value, "cash")


@pytest.mark.parametrize(("bps", "rate"), [(1, 10_000), (0.5, 5_000), (2.5, 25_000), (0.01, 100), (0, 0)])
def test_basis_points_are_integers(bps: float, rate: int) -> None:
    assert bps_rate(bps) == rate
