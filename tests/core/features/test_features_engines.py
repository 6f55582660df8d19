"""The two engines: equal to TA-Lib, to each other bit for bit, and causal; a function that looks ahead is caught."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import talib

from keel.core.errors import ConfigError, DataError, InvariantError, KeelError, StrategyError
from keel.core.features import FeatureSpec, StreamEngine, VectorEngine, parse_features
from keel.core.features.indicators import find_indicator
from keel.core.model.frame import Frame

HOUR_MS = 3_600_000
START = 1_735_689_600_000  # 2025-01-01
ROWS = 700
BY_BAR = 400
"""Where a whole series is streamed: several times what the longest lookback takes."""
FUNDING_BEGINS = 37


def make_frame(rows: int = ROWS, seed: int = 7) -> Frame:
    """Bars of a random walk on a tick of 0.1, some of them still, with a mark price and a funding rate that begins late."""
    rng = np.random.default_rng(seed)
    close = np.round(30_000 * np.exp(np.cumsum(rng.normal(0, 0.01, rows))), 1)
    close[100:130] = close[100]
    open_ = np.concatenate(([30_000.0], close[:-1]))
    high = np.round(np.maximum(open_, close) * (1 + np.abs(rng.normal(0, 0.002, rows))), 1)
    low = np.round(np.minimum(open_, close) * (1 - np.abs(rng.normal(0, 0.002, rows))), 1)
    volume = np.round(rng.lognormal(3, 1, rows), 3)
    funding = np.round(rng.normal(1e-4, 1e-4, rows), 8)
    funding[:FUNDING_BEGINS] = np.nan
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": volume, "mark_close": np.round(close * 1.0001, 2)}
    ts = START + HOUR_MS * np.arange(rows, dtype=np.int64)
    return Frame(ts, {**columns, "funding_rate": funding}, symbol="BTCUSDT", timeframe="1h")


def specs_of(**declared: Any) -> list[FeatureSpec]:
    return parse_features(declared, {}, "1h")


def row_of(frame: Frame, index: int) -> dict[str, float]:
    return rows_of(frame[index : index + 1])[0]


def rows_of(frame: Frame) -> list[dict[str, float]]:
    columns = {"ts": frame.ts, **{name: frame[name] for name in frame}}
    return [dict(zip(columns, row, strict=True)) for row in zip(*(column.tolist() for column in columns.values()), strict=True)]


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal to the last bit; any NaN is any other NaN."""
    numbers = ~np.isnan(left)
    return bool((numbers == ~np.isnan(right)).all()) and left[numbers].tobytes() == right[numbers].tobytes()


def streamed(specs: Sequence[FeatureSpec], frame: Frame, warmup: int, load: Any = None) -> dict[str, np.ndarray]:
    """Columns as update returns them, bar by bar, behind the warm-up's."""
    engine = StreamEngine(specs, frame[:warmup], load)
    columns = {name: list(column) for name, column in engine.columns().items()}
    for row in rows_of(frame[warmup:]):
        for name, value in engine.update(row).items():
            columns[name].append(value)
    assert all(same_bits(np.array(columns[name]), column) for name, column in engine.columns().items())
    return {name: np.array(column) for name, column in columns.items()}


# --- users' functions --------------------------------------------------------------------------------------------------


def spread(frame: Frame, window: int) -> np.ndarray:
    """Rolling range of highs and lows; causal, NaN in its lead."""
    result = np.full(len(frame), np.nan)
    for row in range(window - 1, len(frame)):
        result[row] = frame.high[row - window + 1 : row + 1].max() - frame.low[row - window + 1 : row + 1].min()
    return result


def distance(frame: Frame) -> Any:
    """Uses a declared feature and an extra column."""
    return (frame.close - frame["ema"]) / frame["mark_close"]


def peek(frame: Frame) -> Any:
    """Looks one bar ahead."""
    return np.concatenate((frame.close[1:], frame.close[-1:])) - frame.close


def demeaned(frame: Frame) -> Any:
    """Looks ahead in the usual way: a mean over everything."""
    return frame.close - frame.close.mean()


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "own.py:spread": spread,
    "own.py:distance": distance,
    "own.py:peek": peek,
    "own.py:demeaned": demeaned,
}


def load(reference: str) -> Callable[..., Any]:
    return FUNCTIONS[reference]


CHAINED: dict[str, Any] = {
    "ema": {"fn": "EMA", "timeperiod": 20},
    "rsi": {"fn": "RSI", "timeperiod": 14},
    "rsi_average": {"fn": "SMA", "timeperiod": 9, "input": "rsi"},
    "rsi_bands": {"fn": "BBANDS", "timeperiod": 12, "input": "rsi_average", "output": "lowerband"},
    "atr": {"fn": "ATR"},
    "histogram": {"fn": "MACD", "output": "macdhist"},
    "hammer": {"fn": "CDLHAMMER"},
    "basis": {"fn": "SUB", "input": ["mark_close", "close"]},
    "funding": {"fn": "SMA", "timeperiod": 8, "input": "funding_rate"},
    "funding_peak": {"fn": "MAXINDEX", "timeperiod": 8, "input": "funding_rate"},
    "spread": {"fn": "own.py:spread", "window": 12},
    "spread_average": {"fn": "EMA", "timeperiod": 5, "input": "spread"},
    "distance": {"fn": "own.py:distance", "input": ["ema", "mark_close"]},
}


# --- against TA-Lib ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "oracle"),
    [
        ({"fn": "EMA", "timeperiod": 20}, lambda f: talib.EMA(f.close, 20)),
        ({"fn": "RSI", "input": "low"}, lambda f: talib.RSI(f.low, 14)),
        ({"fn": "ATR", "timeperiod": 10}, lambda f: talib.ATR(f.high, f.low, f.close, 10)),
        ({"fn": "MACD", "output": "macdsignal"}, lambda f: talib.MACD(f.close, 12, 26, 9)[1]),
        ({"fn": "BBANDS", "timeperiod": 20, "nbdevup": 1, "output": 0}, lambda f: talib.BBANDS(f.close, 20, 1.0, 2.0, 0)[0]),
        ({"fn": "OBV"}, lambda f: talib.OBV(f.close, f.volume)),
        ({"fn": "VWMA", "timeperiod": 7}, lambda f: talib.VWMA(f.close, f.volume, 7)),
        ({"fn": "MA", "timeperiod": 9, "matype": "KAMA"}, lambda f: talib.KAMA(f.close, 9)),
        ({"fn": "SMA", "timeperiod": 8, "input": "funding_rate"}, lambda f: talib.SMA(f.funding_rate, 8)),
    ],
)
def test_a_column_is_what_talib_itself_gives(body: dict[str, Any], oracle: Callable[[Frame], np.ndarray]) -> None:
    frame = make_frame()
    column = VectorEngine().compute(specs_of(x=body), frame)["x"]
    assert same_bits(column, oracle(frame))
    assert np.isfinite(column[-1])


def test_a_chained_feature_is_the_function_of_the_function() -> None:
    frame = make_frame()
    columns = VectorEngine(load).compute(specs_of(**CHAINED), frame)
    assert same_bits(columns["rsi_average"], talib.SMA(talib.RSI(frame.close, 14), 9))


def test_a_whole_number_output_is_nan_before_its_lookback_and_talib_s_after() -> None:
    frame = make_frame()
    column = VectorEngine().compute(specs_of(x={"fn": "CDLHAMMER"}), frame)["x"]
    assert np.isnan(column[:11]).all()
    assert (column[11:] == talib.CDLHAMMER(frame.open, frame.high, frame.low, frame.close)[11:]).all()
    assert set(column[11:]) == {0.0, 100.0}


# --- both engines ------------------------------------------------------------------------------------------------------

NOT_STREAMABLE: dict[str, str] = {}
"""TA-Lib functions left out of the parity test, each with its reason. There are none."""


def every_output(name: str) -> list[FeatureSpec]:
    """All outputs of a function, on inputs that it can take: arcs need values within -1..1, MAVP a series of periods."""
    indicator = find_indicator(name)
    assert indicator is not None
    inputs = list(indicator.inputs)
    prepared: dict[str, Any] = {}
    if name in ("ACOS", "ASIN"):
        prepared, inputs = {"unit": {"fn": "SIN"}}, ["unit"]
    if name in ("EXP", "COSH", "SINH"):
        prepared, inputs = {"small": {"fn": "LN"}}, ["small"]
    if name == "MAVP":
        prepared = {"periods": {"fn": "RSI"}}
    outputs: list[str | None] = list(indicator.outputs) if len(indicator.outputs) > 1 else [None]
    bodies = {f"x{number}": {"fn": name, "input": inputs, "output": output} for number, output in enumerate(outputs)}
    return specs_of(**prepared, **bodies)


@pytest.mark.parametrize("warmup", [0, 217])
@pytest.mark.parametrize("name", talib.get_functions())
def test_every_talib_function_gives_the_same_bits_bar_by_bar(name: str, warmup: int) -> None:
    assert name not in NOT_STREAMABLE
    specs, frame = every_output(name), make_frame(BY_BAR)
    vector, stream = VectorEngine().compute(specs, frame), streamed(specs, frame, warmup)
    for spec in specs:
        assert same_bits(vector[spec.name], stream[spec.name]), spec
        assert np.isfinite(vector[spec.name]).sum() > BY_BAR / 2


@pytest.mark.parametrize("warmup", [0, 1, 30, FUNDING_BEGINS + 3, 240])
def test_chained_late_and_own_features_give_the_same_bits_from_any_warmup(warmup: int) -> None:
    specs, frame = specs_of(**CHAINED), make_frame(rows=260)
    vector, stream = VectorEngine(load).compute(specs, frame), streamed(specs, frame, warmup, load)
    for name, column in vector.items():
        assert same_bits(column, stream[name]), name


def test_an_engine_rebuilt_from_the_stored_bars_goes_on_with_the_same_bits() -> None:
    specs, frame = specs_of(**CHAINED), make_frame(rows=320)
    running, rebuilt = StreamEngine(specs, frame[:240], load), StreamEngine(specs, frame[:300], load)
    for index in range(240, 300):
        running.update(row_of(frame, index))
    for index in range(300, 320):
        assert repr(running.update(row_of(frame, index))) == repr(rebuilt.update(row_of(frame, index)))


def test_an_empty_series_gives_empty_columns() -> None:
    columns = VectorEngine(load).compute(specs_of(ema={"fn": "EMA"}, own={"fn": "own.py:spread", "window": 3}), make_frame()[:0])
    assert {name: (len(column), column.dtype.str) for name, column in columns.items()} == {"ema": (0, "<f8"), "own": (0, "<f8")}


# --- causality ---------------------------------------------------------------------------------------------------------


def first_change(specs: Sequence[FeatureSpec], frame: Frame, rows: range) -> tuple[str, int] | None:
    """The first feature and number of bars at which the truncated series gives another column than the whole one."""
    engine = VectorEngine(load)
    whole = engine.compute(specs, frame)
    for count in rows:
        for name, column in engine.compute(specs, frame[:count]).items():
            if not same_bits(column, whole[name][:count]):
                return name, count
    return None


def test_no_value_depends_on_a_later_bar() -> None:
    assert first_change(specs_of(**CHAINED), make_frame(rows=180), range(1, 181)) is None


@pytest.mark.parametrize("function", ["own.py:peek", "own.py:demeaned"])
def test_a_function_that_looks_ahead_is_caught_by_truncation(function: str) -> None:
    specs = specs_of(honest={"fn": "EMA"}, culprit={"fn": function})
    assert first_change(specs, make_frame(), range(200, 210)) == ("culprit", 200)


def test_a_function_that_looks_ahead_differs_when_it_is_streamed() -> None:
    specs, frame = specs_of(culprit={"fn": "own.py:peek"}), make_frame()
    assert not same_bits(VectorEngine(load).compute(specs, frame)["culprit"], streamed(specs, frame, 650, load)["culprit"])


# --- inputs that cannot be used ------------------------------------------------------------------------------------------


def with_value(frame: Frame, column: str, row: int, value: float) -> Frame:
    changed = frame[column].copy()
    changed[row] = value
    return frame.with_columns({column: changed})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_breaks_off_is_an_error_with_its_time_in_both_engines(value: float) -> None:
    specs = specs_of(funding={"fn": "SMA", "timeperiod": 3, "input": "funding_rate"})
    frame = with_value(make_frame(), "funding_rate", 600, value)
    text = f"BTCUSDT 1h: feature 'funding' takes funding_rate, which is {value} at 2025-01-26T00:00:00Z"
    with pytest.raises(DataError, match=text):
        VectorEngine().compute(specs, frame)
    engine = StreamEngine(specs, frame[:600])
    with pytest.raises(DataError, match=text):
        engine.update(row_of(frame, 600))


def test_a_feature_that_breaks_off_is_an_error_for_the_feature_that_takes_it() -> None:
    specs = specs_of(
        change={"fn": "SUB", "input": ["close", "open"]}, log={"fn": "LN", "input": "change"}, late={"fn": "EMA", "input": "log"}
    )
    with pytest.raises(DataError, match="feature 'late' takes log, which is"):
        VectorEngine().compute(specs, make_frame())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mark_close": np.nan}, "feature 'basis' takes mark_close, which is nan"),
        ({"mark_close": None}, "a bar came without mark_close"),
        ({"ts": START}, "a bar of 2025-01-01T00:00:00Z came after that of"),
    ],
)
def test_a_refused_bar_changes_nothing(changes: dict[str, Any], text: str) -> None:
    specs, frame = specs_of(**CHAINED), make_frame(rows=110)
    engine, untouched = StreamEngine(specs, frame[:100], load), StreamEngine(specs, frame[:100], load)
    bad = {name: value for name, value in {**row_of(frame, 100), **changes}.items() if value is not None}
    with pytest.raises(DataError, match=text):
        engine.update(bad)
    for index in range(100, 110):
        assert repr(engine.update(row_of(frame, index))) == repr(untouched.update(row_of(frame, index)))


def test_an_input_that_there_is_no_series_of_is_named() -> None:
    with pytest.raises(DataError, match=r"BTCUSDT 1h: feature 'x' takes open_interest, and there is no such series; it has open, high"):
        VectorEngine().compute(specs_of(x={"fn": "SMA", "input": "open_interest"}), make_frame())


def test_features_of_two_timeframes_do_not_share_a_frame() -> None:
    with pytest.raises(InvariantError):
        VectorEngine().compute(specs_of(a={"fn": "SMA"}, b={"fn": "SMA", "timeframe": "4h"}), make_frame())


# --- users' functions that cannot be used --------------------------------------------------------------------------------


def raises(frame: Frame) -> Any:
    return frame["nothing"]


def writes(frame: Frame) -> Any:
    frame.close[0] = 1.0
    return frame.close


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (raises, StrategyError, "it raised DataError: .*has no column 'nothing'"),
        (writes, StrategyError, "it raised ValueError: assignment destination is read-only"),
        (lambda frame: frame.close[1:], StrategyError, r"returned shape \(699,\) for 700 bars"),
        (lambda frame: 1.0, StrategyError, r"returned shape \(\) for 700 bars"),
        (lambda frame: frame.close.astype(str), StrategyError, "returned dtype <U"),
        (lambda frame: frame.close + 1j, StrategyError, "returned dtype complex128"),
        (lambda frame: [None] * len(frame), StrategyError, "returned dtype object"),
        (lambda frame, window: frame.close, ConfigError, r"cannot be called with \(frame\): missing a required argument: 'window'"),
        ("a text", ConfigError, "not a function but str"),
    ],
)
def test_a_function_s_mistake_names_feature_and_file(function: Any, error: type[KeelError], text: str) -> None:
    with pytest.raises(error, match=rf"feature 'x', function own\.py:f: .*{text}"):
        VectorEngine(lambda _: function).compute(specs_of(x={"fn": "own.py:f"}), make_frame())


def test_a_parameter_that_the_function_does_not_take_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\(frame, windw\): .*'window'"):
        VectorEngine(load).compute(specs_of(x={"fn": "own.py:spread", "windw": 3}), make_frame())


def test_without_a_loader_own_functions_are_refused() -> None:
    with pytest.raises(ConfigError, match="no loader"):
        VectorEngine().compute(specs_of(x={"fn": "own.py:spread", "window": 3}), make_frame())


def test_whole_numbers_and_truth_values_become_floats_and_the_bars_stay_the_engine_s() -> None:
    frame = make_frame()
    column = VectorEngine(lambda _: lambda frame: frame.close > frame.open).compute(specs_of(x={"fn": "own.py:f"}), frame)["x"]
    assert column.dtype == np.float64 and set(column) == {0.0, 1.0}
    alias = VectorEngine(lambda _: lambda frame: frame.close).compute(specs_of(x={"fn": "own.py:f"}), frame)["x"]
    alias[0] = -1.0
    assert frame.close[0] > 0


def test_a_function_sees_the_bars_and_what_it_declares_and_nothing_else() -> None:
    seen: list[tuple[str, ...]] = []

    def note(frame: Frame) -> np.ndarray:
        seen.append(frame.columns)
        return frame.close

    VectorEngine(lambda _: note).compute(specs_of(ema={"fn": "EMA"}, x={"fn": "own.py:f", "input": ["ema", "mark_close"]}), make_frame())
    assert seen == [("open", "high", "low", "close", "volume", "ema", "mark_close")]
