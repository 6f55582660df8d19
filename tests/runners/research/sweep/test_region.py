"""The robust region prefers a plateau to a peak: hand-made maps, and what holds for any map."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.runners.research.sweep.region import best_by_luck, find_region, judge
from keel.runners.research.sweep.space import Dimension, Space


def grid(rows: list[list[float | None]]) -> tuple[Space, list[dict[str, int]], list[float | None]]:
    """A map as a sweep: x across, y down."""
    space = Space((Dimension("params.y", tuple(range(len(rows)))), Dimension("params.x", tuple(range(len(rows[0]))))))
    settings = list(space.grid())
    return space, settings, [rows[each["params.y"]][each["params.x"]] for each in settings]


PLATEAU_AND_PEAK: list[list[float | None]] = [
    [0, 0, 0, 0, 0, 0, 0],
    [0, 9, 0, 0, 2, 2, 2],
    [0, 0, 0, 0, 2, 2, 2],
    [0, 0, 0, 0, 2, 2, 2],
    [0, 0, 0, 0, 0, 0, 0],
]


def test_a_plateau_beats_a_peak() -> None:
    space, settings, scores = grid(PLATEAU_AND_PEAK)
    judged = judge(space, settings, scores, [False] * len(scores))
    region = find_region(space, settings, scores, judged)
    assert region is not None
    assert settings[region.centre] == {"params.y": 2, "params.x": 5}  # in the middle of the plateau: its worst neighbour is 2
    assert {(settings[place]["params.x"], settings[place]["params.y"]) for place in region.members} <= {
        (x, y) for x in (4, 5, 6) for y in (1, 2, 3)
    }
    assert region.edges == ("x",)
    peak = scores.index(9)
    judged_peak = judged[peak]
    assert judged_peak is not None and (judged_peak.robust, judged_peak.worst, judged_peak.neighbours) == (0, 0, 9)
    assert peak not in region.members


def test_a_neighbour_that_failed_counts_as_the_worst_and_one_without_a_value_does_not_count() -> None:
    rows: list[list[float | None]] = [[1.0, 5.0, 5.0, 5.0]]
    space, settings, scores = grid(rows)
    whole = judge(space, settings, scores, [False] * 4)
    assert whole[2] is not None and (whole[2].robust, whole[2].worst) == (5.0, 5.0)
    scores[3] = None
    failed = judge(space, settings, scores, [False, False, False, True])
    assert failed[2] is not None and (failed[2].robust, failed[2].worst) == (5.0, 1.0)
    unknown = judge(space, settings, scores, [False] * 4)
    assert unknown[2] is None  # two measured neighbours are too few


def test_places_without_an_order_have_no_neighbours_but_themselves() -> None:
    space = Space((Dimension("execution.path", ("ohlc", "pessimistic")), Dimension("params.x", (1, 2, 3))))
    settings = list(space.grid())
    judged = judge(space, settings, [1.0, 1.0, 1.0, 9.0, 9.0, 9.0], [False] * 6)
    assert [entry and entry.robust for entry in judged] == [None, 1.0, None, None, 9.0, None]


def test_nothing_measured_gives_no_region() -> None:
    space, settings, scores = grid([[None, None], [None, None]])
    judged = judge(space, settings, scores, [False] * 4)
    assert judged == [None] * 4 and find_region(space, settings, scores, judged) is None


@given(st.lists(st.lists(st.floats(-5, 5), min_size=5, max_size=5), min_size=3, max_size=6))
def test_the_robust_score_is_the_median_of_the_square_around_a_setting(rows: list[list[float]]) -> None:
    space, settings, scores = grid([list(row) for row in rows])
    judged = judge(space, settings, scores, [False] * len(scores))
    for setting, entry in zip(settings, judged, strict=True):
        y, x = setting["params.y"], setting["params.x"]
        around = [value for row in rows[max(0, y - 1) : y + 2] for value in row[max(0, x - 1) : x + 2]]
        assert entry is not None and (entry.robust, entry.worst, entry.neighbours) == (median(around), min(around), len(around))
    region = find_region(space, settings, scores, judged)
    assert region is not None and region.centre in region.members
    best = max(entry.robust for entry in judged if entry is not None)
    centre = judged[region.centre]
    assert centre is not None and centre.robust == best


def test_luck_is_what_the_best_of_normal_draws_comes_to() -> None:
    """Against simulation: the mean best of 200 normal draws."""
    draws = np.random.default_rng(1).normal(0.3, 2.0, size=(2000, 200))
    expected = float(draws.max(axis=1).mean())
    sample = np.random.default_rng(2).normal(0.3, 2.0, size=200)
    standard = ((sample - sample.mean()) / sample.std(ddof=1) * 2.0 + 0.3).tolist()
    assert best_by_luck(standard) == pytest.approx(expected, rel=0.03)
    assert best_by_luck([1.0] * 5) is None and best_by_luck([1.0] * 50) is None
