"""The 64-bit form of exact division gives what Python's unbounded integers give, over its whole stated domain."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from keel.core.model.instrument import grid_ceil, grid_count, grid_floor, grid_value
from keel.core.model.money import LIMIT, UNIT, mul_div_ceil, mul_div_floor
from keel.sim.kernel import load

INT64 = 2**63 - 1


@cache
def compiled() -> dict[str, Any]:
    """The money functions as the compiled kernel has them."""
    import numba

    load()

    def floor(a: int, b: int, c: int) -> int:
        return mul_div_floor(a, b, c)

    def ceil(a: int, b: int, c: int) -> int:
        return mul_div_ceil(a, b, c)

    return {"floor": numba.njit("int64(int64,int64,int64)")(floor), "ceil": numba.njit("int64(int64,int64,int64)")(ceil)}


def agree(a: int, b: int, c: int) -> None:
    assert compiled()["floor"](a, b, c) == mul_div_floor(a, b, c)
    assert compiled()["ceil"](a, b, c) == mul_div_ceil(a, b, c)


@st.composite
def products(draw: st.DrawFn, largest: int, divisor: int) -> tuple[int, int, int]:
    """(a, b, c) with c < divisor and |a x b / c| < largest, most of them near an exact quotient."""
    c = draw(st.integers(1, divisor - 1) | st.sampled_from([1, 2, 3, UNIT, divisor - 1]))
    b = draw(st.integers(1, INT64) | st.integers(1, 10**9) | st.just(UNIT))
    quotient = draw(st.integers(-largest + 2, largest - 2))
    a = quotient * c // b + draw(st.integers(-2, 2))
    assume(abs(a) <= INT64 and abs(a * b) < (largest - 1) * c)
    return draw(st.sampled_from([(a, b, c), (a, -b, c), (-a, b, c)]))


@given(products(2**62, 2**45))
@example((LIMIT, UNIT, UNIT))
@example((-LIMIT, 55_000, UNIT))
@example((2**62 - 2, 1, 1))
def test_results_up_to_2_62_with_divisors_up_to_2_45(numbers):
    agree(*numbers)


@given(products(2**55, 2**59))
@example((2 * 10**16, LIMIT - 1, LIMIT))
def test_shares_of_an_amount_by_amounts(numbers):
    agree(*numbers)


@pytest.mark.parametrize("c", [1, 3, 7, UNIT, 2**45 - 1])
def test_every_remainder_around_zero(c):
    for a in range(-9, 10):
        for b in (-5, -1, 1, 2, 11):
            agree(a, b, c)


@cache
def grids() -> Any:
    """The grid functions as the compiled kernel has them."""
    import numba

    load()

    def all_of(price: float, num: int, den: int) -> tuple[int, int, int, float]:
        count = grid_count(price, num, den)
        return count, grid_floor(price, num, den), grid_ceil(price, num, den), grid_value(count, num, den)

    return numba.njit(all_of), all_of


@given(st.floats(1e-9, 1e10), st.sampled_from([(1, 10), (5, 1), (1, 10**5), (100, 1), (1, 3)]))
def test_grids_compiled_as_in_python(price, grid):
    compiled, plain = grids()
    assert compiled(price, *grid) == plain(price, *grid)
