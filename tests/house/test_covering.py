"""A covering set leaves no row, and no pair of rows, out; and is smaller than the product of the tables."""

from __future__ import annotations

from itertools import product

import pytest

from tests.covering import covering

PRODUCT = [{"before": before, "bad": bad, "end": end} for before, bad, end in product(range(9), range(4), range(3))]


def test_each_row_of_each_table_is_met() -> None:
    kept = [PRODUCT[number] for number in covering(PRODUCT, 1)]
    assert {name: {case[name] for case in kept} for name in PRODUCT[0]} == {"before": {*range(9)}, "bad": {*range(4)}, "end": {*range(3)}}
    assert len(kept) == 9


def test_each_pair_of_rows_is_met() -> None:
    kept = [PRODUCT[number] for number in covering(PRODUCT, 2)]
    for one, other in (("before", "bad"), ("before", "end"), ("bad", "end")):
        assert {(case[one], case[other]) for case in kept} == {(case[one], case[other]) for case in PRODUCT}
    assert len(kept) <= 48


@pytest.mark.parametrize("strength", [1, 2])
def test_one_case_alone_is_always_kept(strength: int) -> None:
    assert covering([{"one": 3, "other": 5}], strength) == [0]


@pytest.mark.covering(1)
@pytest.mark.parametrize("other", ["one", "two", "three"])
@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 2), (2, 1)])
def test_a_row_of_a_table_is_all_its_values(request: pytest.FixtureRequest, a: int, b: int, other: str) -> None:
    """(1, 1) is run, though each of its values is met in other rows; of nine cases three are quick."""
    quick = {(1, 1, "one"), (1, 2, "two"), (2, 1, "three")}
    assert (request.node.get_closest_marker("long") is None) == ((a, b, other) in quick)
