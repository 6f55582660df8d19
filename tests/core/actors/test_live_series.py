"""A series that grows by each closed bar: bit for bit what a replay from the same anchor reveals."""

from __future__ import annotations

import numpy as np
import pytest

from keel.core.actors.live_series import LiveSeries
from keel.core.actors.market_data import ReplaySeries
from keel.core.errors import DataError, InvariantError
from keel.core.features import FeatureSpec, VectorEngine, by_timeframe, parse_features
from keel.core.features.aggregate import aggregate
from keel.core.features.htf_alignment import project
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar, FeedGap
from tests.builders import HOUR, START, bar

DECLARED = {
    "fast": {"fn": "EMA", "timeperiod": 3},
    "atr": {"fn": "ATR", "timeperiod": 4},
    "trend": {"fn": "EMA", "timeperiod": 2, "timeframe": "4h"},
    "slow": {"fn": "SMA", "timeperiod": 2, "timeframe": "12h"},
}
HOURS = 120


def bars_of(rows: int, seed: int = 3) -> Frame:
    generator = np.random.default_rng(seed)
    close = 1000 + np.round(np.cumsum(generator.standard_normal(rows)) * 10) / 10
    opens = np.concatenate([[1000.0], close[:-1]])
    columns = {"open": opens, "high": np.maximum(opens, close) + 0.5, "low": np.minimum(opens, close) - 0.5, "close": close}
    volume = np.round(generator.random(rows) * 50, 3)
    return Frame(START + HOUR * np.arange(rows), {**columns, "volume": volume}, symbol="BTCUSDT", timeframe="1h")


def groups() -> dict[str, list[FeatureSpec]]:
    return by_timeframe(parse_features(DECLARED, {}, "1h"), "1h")


def bar_of(frame: Frame, row: int) -> Bar:
    prices = (float(frame[name][row]) for name in BAR_COLUMNS)
    return Bar(frame.symbol, frame.timeframe, int(frame.ts[row]), int(frame.ts[row]) + HOUR, *prices)


def live(frame: Frame, warm: int) -> tuple[LiveSeries, dict[str, LiveSeries]]:
    """A live series opened on the first ``warm`` hours, with 4h and 12h above it; its array says whether the close is above ``trend``."""
    specs = groups()
    known = frame[:warm]
    higher = {name: LiveSeries(aggregate(known, name), specs[name]) for name in ("4h", "12h")}
    array = lambda rows: np.where(rows["close"] > rows["trend"], 1, -1).astype(np.int8)  # noqa: E731
    return LiveSeries(known, specs["1h"], higher=list(higher.values()), targets=array), higher


def replayed(frame: Frame) -> tuple[ReplaySeries, dict[str, ReplaySeries]]:
    """The same out of whole columns."""
    specs, engine = groups(), VectorEngine()
    columns = engine.compute(specs["1h"], frame)
    higher = {}
    for name in ("4h", "12h"):
        above = aggregate(frame, name)
        values = engine.compute(specs[name], above)
        columns |= {feature: project(above, column, frame) for feature, column in values.items()}
        higher[name] = ReplaySeries(above.with_columns(values), list(values))
    decision = frame.with_columns(columns)
    targets = np.where(decision["close"] > decision["trend"], 1, -1).astype(np.int8)
    return ReplaySeries(decision, list(columns), targets), higher


def same(one: Frame, other: Frame) -> bool:
    return (
        one.columns == other.columns
        and one.ts.tobytes() == other.ts.tobytes()
        and all(one[name].tobytes() == other[name].tobytes() for name in one)
    )


@pytest.mark.parametrize("warm", [0, 1, 5, 24, 49])
def test_both_kinds_of_series_give_the_same_bits(warm: int) -> None:
    """At every bar: target, features, bar, history, and the higher timeframes, one of which may be growing when the warm-up ends."""
    frame = bars_of(HOURS)
    growing, growing_above = live(frame, warm)
    revealed, revealed_above = replayed(frame)
    if warm:
        revealed.reveal_to(warm - 1)
    assert growing.feature_names == revealed.feature_names
    assert growing.index == revealed.index == warm - 1
    for row in range(warm, HOURS):
        each = bar_of(frame, row)
        assert growing.advance(each) == revealed.advance(each)
        assert growing.index == revealed.index == row
        assert growing.bar_at(row) == revealed.bar_at(row) == each
        for name in growing.feature_names:
            assert np.float64(growing.value(name, row)).tobytes() == np.float64(revealed.value(name, row)).tobytes(), (name, row)
        for name, above in revealed_above.items():
            closed = above.rows_closed_at(each.ts_close) - 1
            if closed > above.index:
                above.reveal_to(closed)
            assert growing_above[name].row_closed_by(each.ts_close) == above.row_closed_by(each.ts_close) == closed
    assert same(growing.history_to(HOURS - 1), revealed.history_to(HOURS - 1))
    for name, above in revealed_above.items():
        mine, other = growing_above[name].history_to(len(above) - 1), above.history_to(len(above) - 1)
        assert all(mine[column].tobytes() == other[column].tobytes() for column in other if column != "volume")
        assert np.allclose(mine["volume"], other["volume"], rtol=1e-12)  # summed hour by hour, or all at once


def test_only_what_has_closed_can_be_read() -> None:
    series, higher = live(bars_of(HOURS), 10)
    for read in (series.bar_at, series.history_to, lambda row: series.value("close", row)):
        for row in (-1, 10):
            with pytest.raises(DataError, match="the last known is 9"):
                read(row)
    assert [series.row_closed_by(START + hours * HOUR) for hours in (0, 1, 10, 99)] == [-1, 0, 9, 9]
    assert higher["4h"].index == 1 and higher["12h"].index == -1
    assert np.isnan(series.value("slow", 9))


def test_history_is_a_copy_that_nothing_later_reaches() -> None:
    frame = bars_of(HOURS)
    series, _ = live(frame, 10)
    shown = series.history_to(9)
    assert not shown.close.flags.writeable and not shown.ts.flags.writeable
    assert set(np.asarray(shown.close.base).tolist()) <= {0.0, *frame["close"][:10].tolist()}
    before = shown.close.tobytes()
    for row in range(10, HOURS):
        series.advance(bar_of(frame, row))
    assert shown.close.tobytes() == before and len(shown) == 10


def test_a_hole_is_told_and_not_filled() -> None:
    frame = bars_of(40)
    told: list[FeedGap] = []
    specs = groups()
    above = LiveSeries(aggregate(frame[:8], "4h"), specs["4h"])
    series = LiveSeries(frame[:8], specs["1h"], higher=[above], report=told.append)
    for row in (8, 9, 14, 15, 16, 17, 18, 19):
        series.advance(bar_of(frame, row))
    assert told == [
        FeedGap("BTCUSDT", "1h", START + 10 * HOUR, START + 14 * HOUR),
        FeedGap("BTCUSDT", "4h", START + 8 * HOUR, START + 12 * HOUR),
        FeedGap("BTCUSDT", "4h", START + 12 * HOUR, START + 16 * HOUR),
    ]
    assert series.history_to(series.index).ts.tolist()[-7:] == [START + hour * HOUR for hour in (9, 14, 15, 16, 17, 18, 19)]
    assert [above.bar_at(row).ts_open for row in range(len(above))] == [START, START + 4 * HOUR, START + 16 * HOUR]


def test_further_inputs_come_with_the_bar() -> None:
    """mark_close, funding_rate and open_interest are columns of the warm-up and of every row; without them the series is not opened."""
    declared = {"carry": {"fn": "SMA", "timeperiod": 2, "input": "funding_rate"}, "basis": {"fn": "SUB", "input": ["mark_close", "close"]}}
    specs = parse_features(declared, {}, "1h")
    frame = bars_of(30)
    inputs = {"funding_rate": np.where(np.arange(30) < 4, np.nan, np.arange(30) / 1e4), "mark_close": frame["close"] + 0.25}
    whole = frame.with_columns(inputs)
    expected = VectorEngine().compute(specs, whole)
    row_of = {int(ts): row for row, ts in enumerate(frame.ts.tolist())}
    series = LiveSeries(
        whole[:10], specs, inputs=lambda each: {name: float(column[row_of[each.ts_open]]) for name, column in inputs.items()}
    )
    for row in range(10, 30):
        series.advance(bar_of(frame, row))
    history = series.history_to(29)
    assert history.columns == (*BAR_COLUMNS, "carry", "basis")
    assert all(history[name].tobytes() == expected[name].tobytes() for name in expected)
    with pytest.raises(InvariantError, match="features read mark_close, funding_rate"):
        LiveSeries(whole[:10], specs)
    short = LiveSeries(whole[:10], specs, inputs=lambda _: {"mark_close": 1.0})
    with pytest.raises(DataError, match="a bar came without funding_rate"):
        short.advance(bar_of(frame, 10))
    assert short.index == 9


def test_what_does_not_fit_is_refused() -> None:
    frame = bars_of(HOURS)
    series, _ = live(frame, 10)
    for wrong, error, words in (
        (bar_of(frame, 9), DataError, "came after that of"),
        (bar(10, 5.0, symbol="ETHUSDT"), InvariantError, "a ETHUSDT 1h bar came"),
        (bar(10, 5.0, tf="4h"), InvariantError, "a BTCUSDT 4h bar came"),
    ):
        with pytest.raises(error, match=words):
            series.advance(wrong)
    assert series.index == 9
    specs = groups()
    stale = LiveSeries(aggregate(frame[:4], "4h"), specs["4h"])
    with pytest.raises(DataError, match="the 4h warm-up ends at 2024-01-01T04:00:00Z, where 2024-01-01T08:00:00Z is needed"):
        LiveSeries(frame[:10], specs["1h"], higher=[stale])
