"""Bars out of finer bars: made when the last of them has closed and none is missing; what cannot be made is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keel.core.actors.bar_builder import BarBuilder
from keel.core.errors import ConfigError, DataError, InvariantError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.instrument import Grid
from keel.core.model.messages import Bar, FeedGap
from keel.core.model.timeframe import is_finer, tf_ms
from tests.builders import HOUR, START, bar

GRID = Grid.from_text("0.001")


def built(opens: list[int], source: str = "1h", timeframe: str = "4h") -> tuple[list[int], list[tuple[int, int]]]:
    """Numbers of the finer bars in; opens of the bars made and the gaps told, in finer bars."""
    gaps: list[FeedGap] = []
    builder = BarBuilder("BTCUSDT", source, timeframe, report=gaps.append)
    made = [closed for number in opens if (closed := builder.add(bar(number, 100.0, tf=source))) is not None]
    step = tf_ms(source)
    return [(each.ts_open - START) // step for each in made], [((gap.start - START) // step, (gap.end - START) // step) for gap in gaps]


CASES = [
    # (hours heard, bars of 4h made, gaps told)
    ([0, 1, 2], [], []),
    ([0, 1, 2, 3], [0], []),  # at its last hour's close, not when the next begins
    ([2, 3, 4, 5, 6, 7], [4], []),  # listening began within the first: neither made nor told
    ([0, 1, 3], [], []),
    ([0, 1, 3, 4], [], [(0, 4)]),  # an hour is missing: told when the next begins
    ([0, 1, 3, 4, 5, 6, 7], [4], [(0, 4)]),
    ([0, 1, 2, 3, 12, 13, 14, 15], [0, 12], [(4, 12)]),  # two that never began
    ([0, 1, 2, 3, 13, 14, 15, 16], [0], [(4, 12), (12, 16)]),
]


@pytest.mark.parametrize(("hours", "made", "gaps"), CASES)
def test_only_whole_bars_are_made(hours: list[int], made: list[int], gaps: list[tuple[int, int]]) -> None:
    assert built(hours) == (made, gaps)


def test_weeks_begin_on_monday() -> None:
    assert built(list(range(14)), "1d", "1w") == ([0, 7], [])


@pytest.mark.parametrize("number", [0, 1])
def test_a_bar_that_is_not_later_is_refused(number: int) -> None:
    builder = BarBuilder("BTCUSDT", "1h", "4h")
    builder.add(bar(1, 100.0))
    with pytest.raises(DataError, match=r"BTCUSDT 1h: the bar of 2024-01-01T0\d:00:00Z"):
        builder.add(bar(number, 100.0))


def test_wrong_wiring_is_refused() -> None:
    with pytest.raises(ConfigError, match="15m bars cannot be built out of 1h"):
        BarBuilder("BTCUSDT", "1h", "15m")
    with pytest.raises(InvariantError, match="ETHUSDT 1h bar"):
        BarBuilder("BTCUSDT", "1h", "4h").add(bar(0, 1.0, symbol="ETHUSDT"))
    with pytest.raises(InvariantError, match="5m bar"):
        BarBuilder("BTCUSDT", "1h", "4h").add(bar(0, 1.0, tf="5m"))


PRICE = st.integers(1, 10_000).map(lambda ticks: ticks / 10)


@given(
    rows=st.lists(st.tuples(PRICE, PRICE, PRICE, PRICE, st.integers(0, 10**9).map(lambda steps: steps / 1000)), min_size=1, max_size=60),
    missing=st.sets(st.integers(0, 59), max_size=6),
    first=st.integers(0, 11),
    timeframes=st.sampled_from([(a, b) for a in ("5m", "15m", "1h") for b in ("15m", "1h", "4h") if is_finer(a, b)]),
)
def test_made_bars_are_those_of_the_whole_columns(
    rows: list[tuple[float, ...]], missing: set[int], first: int, timeframes: tuple[str, str]
) -> None:
    """Against ``aggregate``, which builds complete bars out of whole columns; volumes by their count of steps."""
    source, timeframe = timeframes
    numbers = [first + number for number in range(len(rows)) if number not in missing] or [first]
    bars = []
    for number, (one, two, three, four, volume) in zip(numbers, rows, strict=False):
        low, high = min(one, two, three, four), max(one, two, three, four)
        bars.append(bar(number, four, tf=source, open=one, high=high, low=low, volume=volume))
    columns = {name: np.array([getattr(each, name) for each in bars]) for name in BAR_COLUMNS}
    expected = aggregate(Frame(np.array([each.ts_open for each in bars]), columns, symbol="BTCUSDT", timeframe=source), timeframe)
    builder = BarBuilder("BTCUSDT", source, timeframe, qty_grid=GRID)
    made = [closed for each in bars if (closed := builder.add(each)) is not None]
    assert [(each.ts_open, each.open, each.high, each.low, each.close) for each in made] == list(
        zip(expected.ts.tolist(), *(expected[name].tolist() for name in BAR_COLUMNS[:4]), strict=True)
    )
    assert [GRID.count(each.volume) for each in made] == [GRID.count(volume) for volume in expected["volume"].tolist()]
    assert all(GRID.is_on(each.volume) and each.ts_close - each.ts_open == tf_ms(timeframe) for each in made)


def test_volumes_are_summed_in_steps() -> None:
    """0.1 + 0.1 + 0.1 is 0.3 as the exchange states it; as floats it is not."""
    exact, plain = BarBuilder("BTCUSDT", "1h", "4h", qty_grid=GRID), BarBuilder("BTCUSDT", "1h", "4h")
    volumes = [0.1, 0.1, 0.1, 0.0]
    last: list[Bar | None] = []
    for builder in (exact, plain):
        for number, volume in enumerate(volumes):
            closed = builder.add(bar(number, 5.0, volume=volume))
        last.append(closed)
    assert [each.volume for each in last if each is not None] == [0.3, 0.1 + 0.1 + 0.1 + 0.0]
    assert last[0] is not None and (last[0].ts_open, last[0].ts_close) == (START, START + 4 * HOUR)
