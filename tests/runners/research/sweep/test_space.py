"""What --param means, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.errors import ConfigError
from keel.runners.research.sweep.search import BATCH, make_search
from keel.runners.research.sweep.space import Dimension, Space, parse_space
from tests.builders import builtin

SYSTEM, STRATEGY = builtin("ema_cross")


def parsed(*texts: str, timeframes: tuple[str, ...] = ()) -> Space:
    return parse_space(texts, timeframes, SYSTEM, STRATEGY.defaults)


VALUES = {
    "fast=5:50:15": ("params.fast", (5, 20, 35, 50)),
    "fast=5:8": ("params.fast", (5, 6, 7, 8)),
    "params.fast=20,50,100": ("params.fast", (20, 50, 100)),
    "fast=20,20,50": ("params.fast", (20, 50)),
    "sizing.percent=0.1:0.5:0.1": ("sizing.percent", (0.1, 0.2, 0.3, 0.4, 0.5)),
    "risk.leverage=1,2.5": ("risk.leverage", (1.0, 2.5)),
    "execution.path=ohlc,pessimistic": ("execution.path", ("ohlc", "pessimistic")),
    "exits.stop_loss={percent: 2},{percent: 3}": ("exits.stop_loss", ({"percent": 2}, {"percent": 3})),
    "warmup_bars=100,null": ("warmup_bars", (100, None)),
}


@pytest.mark.parametrize(("text", "expected"), VALUES.items(), ids=list(VALUES))
def test_the_values_of_a_parameter(text: str, expected: tuple[str, tuple[Any, ...]]) -> None:
    dimension = parsed(text).dimensions[0]
    assert (dimension.key, dimension.values) == expected
    assert [type(value) for value in dimension.values] == [type(value) for value in expected[1]]


def test_a_range_without_a_step_is_a_range_and_timeframes_are_a_dimension() -> None:
    percent, timeframe = parsed("sizing.percent=0.5:4", timeframes=("1h", "4h", "1h")).dimensions
    assert (percent.values, percent.low, percent.high) == ((), 0.5, 4.0)
    assert timeframe == Dimension("timeframe", ("1h", "4h"))


REFUSED = {
    "fst=1,2": "did you mean fast?",
    "params.slw=1,2": "did you mean slow?",
    "risk.levrage=1,2": "did you mean leverage?",
    "rsk.leverage=1,2": "did you mean risk?",
    "fast": "write KEY=VALUES",
    "fast=": "no points",
    "fast=50:5:5": "no points from 50 to 5",
    "fast=5:50:0": "the step must be above 0",
    "fast=a:b:c": "a range is LOW:HIGH:STEP",
    "fast=1:1000000000:1": "values of one key",
}


@pytest.mark.parametrize(("text", "words"), REFUSED.items(), ids=list(REFUSED))
def test_what_is_no_dimension_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        parsed(text)


def test_the_same_key_twice_and_nothing_at_all_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"params\.fast is searched twice"):
        parsed("fast=1,2", "params.fast=3")
    with pytest.raises(ConfigError, match="nothing is searched"):
        parsed()


def test_a_grid_is_every_combination_once() -> None:
    space = parsed("fast=1,2,3", "slow=10,20")
    settings = make_search("grid", space, None, 0, 100).ask()
    assert len(settings) == space.count == 6
    assert {(each["params.fast"], each["params.slow"]) for each in settings} == {(a, b) for a in (1, 2, 3) for b in (10, 20)}


def test_a_million_points_are_refused_with_their_count_and_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"1,000,000 points: 1,000 fast x 1,000 slow.*--search random --trials 1000.*--limit 1000000"):
        make_search("grid", parsed("fast=1:1000:1", "slow=1:1000:1"), None, 0, 20_000)


def test_a_grid_takes_no_trials_and_no_range() -> None:
    with pytest.raises(ConfigError, match="--trials belongs to"):
        make_search("grid", parsed("fast=1,2"), 5, 0, 100)
    with pytest.raises(ConfigError, match="a grid needs a step"):
        make_search("grid", parsed("sizing.percent=0.5:4"), None, 0, 100)
    with pytest.raises(ConfigError, match="at least 1"):
        make_search("random", parsed("fast=1,2"), 0, 0, 100)


def asked(name: Any, space: Space, trials: int, seed: int) -> list[dict[str, Any]]:
    """All settings of a search that is told a score that has its best at fast 30, slow 60."""
    search = make_search(name, space, trials, seed, 10_000)
    found: list[dict[str, Any]] = []
    while settings := search.ask():
        found += settings
        search.tell([-abs(each["params.fast"] - 30) - abs(each["params.slow"] - 60) for each in settings])
    return found


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_the_same_seed_asks_the_same_and_another_seed_does_not(name: str) -> None:
    space = parsed("fast=1:100:1", "slow=1:100:1")
    first = asked(name, space, 40, 7)
    assert len(first) == 40
    assert first == asked(name, space, 40, 7) != asked(name, space, 40, 8)
    assert all(each["params.fast"] in range(1, 101) for each in first)


def test_random_draws_do_not_repeat_and_end_with_the_space() -> None:
    found = asked("random", parsed("fast=1,2,3", "slow=1,2"), 50, 1)
    assert len(found) == 6 and len({tuple(each.values()) for each in found}) == 6


def test_tpe_learns_from_what_it_is_told() -> None:
    found = asked("tpe", parsed("fast=1:100:1", "slow=1:100:1"), 6 * BATCH, 3)
    misses = [abs(each["params.fast"] - 30) + abs(each["params.slow"] - 60) for each in found]
    assert sum(misses[-BATCH:]) < 0.6 * sum(misses[:BATCH])


@pytest.mark.parametrize("value", [0.5, 2.25, 4.0])
def test_a_range_has_ten_places(value: float) -> None:
    dimension = parsed("sizing.percent=0.5:4").dimensions[0]
    assert 0 <= dimension.place(value) <= 9 and len(dimension.labels()) == dimension.steps == 10


def test_many_numbers_are_seen_in_ten_places_by_a_search_that_tries_some_of_them() -> None:
    many, few, words = parsed("fast=6:60", "slow=20,50", "execution.path=ohlc,pessimistic").in_bins().dimensions
    assert (many.steps, few.steps, words.steps) == (10, 2, 2)
    places = [many.place(value) for value in many.values]
    assert places == sorted(places) and {places.count(place) for place in range(10)} == {5, 6}  # 55 numbers
    assert many.labels()[0] == "8.5" and len(many.labels()) == 10
    assert few.labels() == ["20", "50"]
