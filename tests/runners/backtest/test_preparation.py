"""What a run reads is computed once, from exactly the warm-up on, and never from what was not known yet."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import talib

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError, StrategyError
from keel.core.model.timeframe import tf_ms
from keel.runners.backtest.preparation import Prepared, vector_targets
from keel.strategies.base import HOLD, BaseStrategy, VectorStrategy
from tests.builders import DAY, HOUR, MINUTE, START, coarser, grow, made_ready, plain_system, sample, sample_store, store_of

WINDOW = (START + 30 * HOUR, START + 37 * HOUR)


class Everything(VectorStrategy):
    """Three timeframes, and every further input, one of them on a higher timeframe."""

    features: ClassVar = {
        "quick": {"fn": "EMA", "timeperiod": 3},
        "slow": {"fn": "EMA", "timeperiod": 2, "timeframe": "1h"},
        "slowest": {"fn": "SMA", "timeperiod": 2, "timeframe": "4h"},
        "over_mark": {"fn": "SUB", "input": ["close", "mark_close"]},
        "rate": {"fn": "SMA", "timeperiod": 2, "input": "funding_rate"},
        "interest": {"fn": "ROC", "timeperiod": 1, "input": "open_interest", "timeframe": "1h"},
    }

    def signals(self, frame: Any, params: Any) -> Any:
        return np.where(frame.quick > frame.slow, 1, np.where(frame.slow > frame.slowest, HOLD, -1))


def ready(store: HistoricalDataStore, strategy: BaseStrategy, window: tuple[int, int] = WINDOW, **changes: Any) -> Prepared:
    system = plain_system(**{"timeframe": "15m", "execution_timeframe": "5m", "warmup_bars": 5} | changes)
    return made_ready(store, system, *window, strategy)


def test_features_are_computed_from_exactly_the_warm_up() -> None:
    with sample_store(days=3) as store:
        prepared = ready(store, Everything())
        (columns,) = prepared.columns
        minutes = sample(days=3).series["BTCUSDT"].last
    assert prepared.warmup == {"15m": 5, "1h": 5, "4h": 5}
    assert (columns.decision.ts[0], columns.first) == (WINDOW[0] - 5 * 15 * MINUTE, 5)
    quarter, hour = (coarser(minutes, count) for count in (15, 60))
    begin, end = np.searchsorted(quarter["ts"], (WINDOW[0] - 75 * MINUTE, WINDOW[1]))
    assert np.array_equal(columns.decision["quick"], talib.EMA(quarter["close"][begin:end], 3), equal_nan=True)
    begin, end = np.searchsorted(hour["ts"], (WINDOW[0] - 5 * HOUR, WINDOW[1]))
    frame, names = columns.higher["1h"]
    assert names == ("slow", "interest")
    assert np.array_equal(frame["slow"], talib.EMA(hour["close"][begin:end], 2), equal_nan=True)
    assert (columns.higher["4h"][0].ts[0] - START) // HOUR == 28 - 5 * 4  # the bar of 28:00 is the one in which the window begins
    assert set(columns.feature_names) == set(Everything.features)


def test_a_higher_feature_is_shown_from_the_close_of_its_bar_on() -> None:
    """1h bars under 15m: at 00:45 + 15m the hour has just closed, and counts."""
    with sample_store(days=3) as store:
        (columns,) = ready(store, Everything()).columns
    frame, _ = columns.higher["1h"]
    for ts, shown in zip(columns.decision.ts.tolist(), columns.decision["slow"].tolist(), strict=True):
        closed = [row for row, begin in enumerate(frame.ts.tolist()) if begin + HOUR <= ts + 15 * MINUTE]
        assert shown == pytest.approx(frame["slow"][closed[-1]], rel=0, abs=0, nan_ok=True)


def test_inputs_are_what_was_known_at_each_close() -> None:
    class Inputs(BaseStrategy):
        features: ClassVar = {
            "mark": {"fn": "MULT", "input": ["mark_close", "ones"]},
            "rate": {"fn": "MULT", "input": ["funding_rate", "ones"]},
            "interest": {"fn": "MULT", "input": ["open_interest", "ones"]},
            "ones": {"fn": "DIV", "input": ["close", "close"]},
        }

    with sample_store(days=3) as store:
        (columns,) = ready(store, Inputs()).columns
        series = sample(days=3).series["BTCUSDT"]
    marks = coarser(series.mark, 15)
    for row, ts in enumerate((columns.decision.ts + 15 * MINUTE).tolist()):
        assert columns.decision["mark"][row] == marks["close"][np.searchsorted(marks["ts"], ts - 15 * MINUTE)]
        for name, key, points in (("rate", "funding_rate", series.funding), ("interest", "open_interest", series.open_interest)):
            assert columns.decision[name][row] == points[key][points["ts"] <= ts][-1]


def test_without_marks_the_mark_is_the_last_price() -> None:
    class Mark(BaseStrategy):
        features: ClassVar = {"mark": {"fn": "SMA", "timeperiod": 2, "input": "mark_close"}, "last": {"fn": "SMA", "timeperiod": 2}}

    with store_of(coarser(sample(days=3).series["BTCUSDT"].last, 5), timeframe="5m") as store:
        (columns,) = ready(store, Mark()).columns
    assert np.array_equal(columns.decision["mark"], columns.decision["last"], equal_nan=True)


@pytest.mark.parametrize(("name", "kind"), [("funding_rate", "funding"), ("open_interest", "open_interest")])
def test_an_input_that_the_store_lacks_is_an_error_that_names_it(name: str, kind: str) -> None:
    class Reads(BaseStrategy):
        features: ClassVar = {"it": {"fn": "SMA", "timeperiod": 2, "input": name}}

    with (
        store_of([(100.0, 101.0, 99.0, 100.0)] * 30) as store,
        pytest.raises(DataError, match=rf"BTCUSDT: a feature takes {name}, and the store has none: .*--kind {kind}"),
    ):
        made_ready(store, plain_system(), START + 5 * HOUR, START + 9 * HOUR, Reads())


@pytest.mark.parametrize("bars", [5, pytest.param(15, marks=pytest.mark.long)])
def test_the_whole_preparation_is_causal(bars: int) -> None:
    """At every decision bar: a store that ends at its close gives every column, on every timeframe, and the array the same, to the bit."""
    with sample_store(days=3, minutes=bars) as store:
        whole = ready(store, Everything(), execution_timeframe="5m" if bars == 5 else None)
    (columns,) = whole.columns
    growing, reached = sample_store(days=3, minutes=bars, until=WINDOW[0]), WINDOW[0]
    for end in range(WINDOW[0] + 15 * MINUTE, WINDOW[1], 15 * MINUTE):
        grow(growing, ("BTCUSDT",), 3, reached, end, minutes=bars)
        reached = end
        prepared = ready(growing, Everything(), (WINDOW[0], end), execution_timeframe="5m" if bars == 5 else None)
        (known,) = prepared.columns
        rows = len(known.decision)
        assert known.decision.ts[-1] == end - 15 * MINUTE
        for name in columns.decision:
            assert np.array_equal(known.decision[name], columns.decision[name][:rows], equal_nan=True), (name, end)
        assert np.array_equal(known.targets, columns.targets[:rows])
        for timeframe, (frame, _) in known.higher.items():
            for name in frame:
                assert np.array_equal(frame[name], columns.higher[timeframe][0][name][: len(frame)], equal_nan=True), (name, end)
        mark, before = prepared.histories[0].mark, whole.histories[0].mark
        assert np.array_equal(mark.valuation, before.valuation[: len(mark.valuation)])
    growing.close()


def test_the_default_warm_up_is_500_bars_or_five_times_the_largest_period() -> None:
    class Long(BaseStrategy):
        features: ClassVar = {"a": {"fn": "SMA", "timeperiod": 150}, "b": {"fn": "SMA", "timeperiod": 10, "timeframe": "4h"}}

    with sample_store(days=100, minutes=30) as store:
        system = plain_system(timeframe="1h", warmup_bars=None)
        assert made_ready(store, system, START + 90 * DAY, START + 91 * DAY, Long()).warmup == {"1h": 750, "4h": 500}


def test_hidden_features_of_exits_and_sizing_are_there() -> None:
    from keel.core.system.config import Distance, ExitsConfig

    exits = ExitsConfig(stop_loss=Distance(atr=2.0, period=3))
    with sample_store(days=3) as store:
        (columns,) = ready(store, BaseStrategy(), exits=exits).columns
    assert columns.feature_names == ("_atr_3",)
    assert np.isfinite(columns.decision["_atr_3"][columns.first :]).all()


# --- a vector strategy's array ---------------------------------------------------------------------------------------


class Gives(VectorStrategy):
    """Gives what it was told to give."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def signals(self, frame: Any, params: Any) -> Any:
        return self.values(frame) if callable(self.values) else self.values


@pytest.fixture
def four() -> Any:
    """A frame of four bars."""
    with store_of([(100.0, 101.0, 99.0, 100.0)] * 4) as store:
        return store.get_ohlcv("BTCUSDT", "1h")


@pytest.mark.parametrize(
    "values",
    [[1, -1, 0, HOLD], np.array([1, 0, 2, -1], dtype=np.int8), np.full(4, 1, np.int8), [1.0, 0.0, 2.0, -1.0], [True, False, True, True]],
)
def test_an_array_of_the_four_values_is_taken(four: Any, values: Any) -> None:
    found = vector_targets(Gives(values), four, {})
    assert (found.dtype, found.tolist()) == (np.int8, [int(value) for value in values])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, 0, 0], r"gave \(3,\) values for 4 bars of BTCUSDT"),
        ([[1, 0, 0, 1]], r"gave \(1, 4\) values"),
        (1, r"gave \(\) values"),
        ([1, 0, 3, 1], r"gave .*3.* for BTCUSDT at the bar .*\(row 2\)"),
        (np.array([1, 0, 3, 1], dtype=np.int8), r"gave .*3.* for BTCUSDT at the bar .*\(row 2\)"),
        (np.array([1, 0, 1, -2], dtype=np.int8), r"gave .*-2.* at the bar .*\(row 3\)"),
        ([1, 0.5, 0, 1], r"0.5.* at the bar .*\(row 1\)"),
        ([1, 0, 0, np.nan], r"nan.* at the bar .*\(row 3\)"),
        (["1", "0", "0", "1"], r"for BTCUSDT at the bar .*\(row 0\)"),
        ([None, 0, 0, 1], r"None for BTCUSDT at the bar .*\(row 0\)"),
        ([257, 0, 0, 1], r"257.* at the bar .*\(row 0\)"),
        (lambda frame: frame["nothing"], "has no column 'nothing'"),
        (lambda frame: 1 / 0, "Gives.signals raised ZeroDivisionError for BTCUSDT: division by zero"),
        (lambda frame: frame["close"].fill(0.0), "raised ValueError"),
        (lambda frame: frame.ts.fill(0), "raised ValueError"),
    ],
)
def test_anything_else_is_refused(four: Any, values: Any, said: str) -> None:
    with pytest.raises((StrategyError, DataError), match=said):
        vector_targets(Gives(values), four, {})


def test_what_a_person_can_mend_passes_as_it_is(four: Any) -> None:
    def refuse(frame: Any) -> Any:
        raise ConfigError("period must be positive")

    with pytest.raises(ConfigError, match="period must be positive"):
        vector_targets(Gives(refuse), four, {})


def test_the_timeframes_of_a_preparation_are_the_steps_of_its_frames() -> None:
    with sample_store(days=3) as store:
        (columns,) = ready(store, Everything()).columns
    for timeframe, frame in {"15m": columns.decision, **{name: frame for name, (frame, _) in columns.higher.items()}}.items():
        assert set(np.diff(frame.ts).tolist()) == {tf_ms(timeframe)}
