"""Declarations of features: what they resolve to, in which order, and how each mistake is named."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from keel.core.errors import ConfigError
from keel.core.features import FeatureSpec, by_timeframe, default_warmup, extra_columns, lead_in, lookback, parse_features

PARAMS = {"fast": 20, "slow": 50, "kind": "EMA", "column": "low"}


def parse(**declared: Any) -> list[FeatureSpec]:
    return parse_features(declared, PARAMS, "1h")


def only(body: dict[str, Any]) -> FeatureSpec:
    (spec,) = parse(x=body)
    return spec


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"fn": "EMA", "timeperiod": "$fast"}, FeatureSpec("x", "EMA", None, ("close",), None, (("timeperiod", 20),))),
        ({"fn": "EMA"}, FeatureSpec("x", "EMA", None, ("close",), None, (("timeperiod", 30),))),
        ({"fn": "$kind", "timeperiod": 20.0, "timeframe": "1h"}, FeatureSpec("x", "EMA", None, ("close",), None, (("timeperiod", 20),))),
        ({"fn": "EMA", "timeframe": "4h", "timeperiod": 3}, FeatureSpec("x", "EMA", "4h", ("close",), None, (("timeperiod", 3),))),
        ({"fn": "SUB", "input": ["high", "$column"]}, FeatureSpec("x", "SUB", None, ("high", "low"), None, ())),
        ({"fn": "SMA", "input": "funding_rate"}, FeatureSpec("x", "SMA", None, ("funding_rate",), None, (("timeperiod", 30),))),
        ({"fn": "OBV"}, FeatureSpec("x", "OBV", None, ("close", "volume"), None, ())),
        ({"fn": "PVO"}, FeatureSpec("x", "PVO", None, ("volume",), None, (("fastperiod", 12), ("slowperiod", 26), ("matype", 1)))),
        ({"fn": "MA", "matype": "WMA"}, FeatureSpec("x", "MA", None, ("close",), None, (("timeperiod", 30), ("matype", 2)))),
        ({"fn": "HT_SINE", "output": "leadsine"}, FeatureSpec("x", "HT_SINE", None, ("close",), "leadsine", ())),
        ({"fn": "HT_SINE", "output": 0}, FeatureSpec("x", "HT_SINE", None, ("close",), "sine", ())),
        ({"fn": "my/own.py:f", "n": "$slow"}, FeatureSpec("x", "my/own.py:f", None, (), None, (("n", 50),))),
        ({"fn": "a.b:f", "input": "mark_close"}, FeatureSpec("x", "a.b:f", None, ("mark_close",), None, ())),
    ],
)
def test_a_declaration_resolves_to(body: dict[str, Any], expected: FeatureSpec) -> None:
    assert only(body) == expected


def test_a_parameter_s_type_is_the_function_s() -> None:
    values = dict(only({"fn": "BBANDS", "nbdevup": 2, "output": "upperband"}).params)
    assert [type(values[name]) for name in ("timeperiod", "nbdevup", "nbdevdn", "matype")] == [int, float, float, int]


@pytest.mark.parametrize(
    ("declared", "texts"),
    [
        ({"x": {"fn": "ema"}}, ["'x'", "'fn'", "did you mean EMA?"]),
        ({"x": {"fn": "MCAD", "output": "macd"}}, ["did you mean MACD?"]),
        ({"x": {"fn": "qqqqqqq"}}, ["no function 'qqqqqqq'", "file.py:function"]),
        ({"x": {"timeperiod": 3}}, ["'x'", "needs fn", "'timeperiod'"]),
        ({"x": {"fn": 3}}, ["needs fn"]),
        ({"x": "EMA"}, ["'x'", "must be a mapping", "'EMA'"]),
        ({"x": {"fn": "EMA", "timeperoid": 3}}, ["'x'", "'timeperoid'", "did you mean timeperiod?"]),
        ({"x": {"fn": "EMA", "inputs": "low"}}, ["did you mean input?"]),
        ({"x": {"fn": "OBV", "timeperiod": 3}}, ["no such parameter; known are fn, timeframe, input, output"]),
        ({"x": {"fn": "EMA", "timeperiod": 2.5}}, ["'timeperiod'", "2.5 is not a whole number"]),
        ({"x": {"fn": "EMA", "timeperiod": True}}, ["True is not a whole number"]),
        ({"x": {"fn": "EMA", "timeperiod": "3"}}, ["'3' is not a whole number"]),
        ({"x": {"fn": "STDDEV", "nbdev": float("nan")}}, ["'nbdev'", "nan is not a number"]),
        ({"x": {"fn": "EMA", "timeperiod": 0}}, ["'x'", "EMA does not take timeperiod: 0", "default is timeperiod: 30"]),
        ({"x": {"fn": "EMA", "timeperiod": 10**12}}, ["does not take timeperiod: 1000000000000"]),
        ({"x": {"fn": "MACDFIX", "signalperiod": -2, "output": "macd"}}, ["does not take signalperiod: -2;"]),
        ({"x": {"fn": "MA", "matype": "EWA"}}, ["no moving average 'EWA'", "did you mean"]),
        ({"x": {"fn": "MA", "matype": 99}}, ["does not take matype: 99"]),
        ({"x": {"fn": "EMA", "timeperiod": "$fsat"}}, ["'timeperiod'", "no parameter 'fsat'", "did you mean fast?"]),
        ({"x": {"fn": "EMA", "timeperiod": "$zzz"}}, ["known are fast, slow, kind, column"]),
        ({"x": {"fn": "EMA", "timeframe": "4x"}}, ["'timeframe'", "unknown timeframe '4x'", "4h"]),
        ({"x": {"fn": "EMA", "timeframe": ["4h"]}}, ["'timeframe'", "unknown timeframe"]),
        ({"x": {"fn": "EMA", "timeframe": "5m"}}, ["5m cannot be built from the decision timeframe 1h"]),
        ({"x": {"fn": "EMA", "input": "colse"}}, ["'input'", "no column or feature 'colse'", "did you mean close?"]),
        ({"x": {"fn": "EMA", "input": "zzz"}}, ["known are open, high, low, close, volume, mark_close"]),
        ({"x": {"fn": "EMA", "input": ["high", "low"]}}, ["EMA takes 1 (close), not 2 (high, low)"]),
        ({"x": {"fn": "ATR", "input": "close"}}, ["ATR takes 3 (high, low, close), not 1 (close)"]),
        ({"x": {"fn": "EMA", "input": []}}, ["'input'", "[] is not the name"]),
        ({"x": {"fn": "EMA", "input": 3}}, ["3 is not the name"]),
        ({"x": {"fn": "MAVP"}}, ["no column or feature 'periods'"]),
        ({"x": {"fn": "MACD"}}, ["'x' needs output", "macd, macdsignal, macdhist"]),
        ({"x": {"fn": "MACD", "output": "signal"}}, ["no output 'signal'", "did you mean macdsignal?"]),
        ({"x": {"fn": "MACD", "output": 3}}, ["no output 3; known are macd, macdsignal, macdhist"]),
        ({"x": {"fn": "MACD", "output": True}}, ["no output True"]),
        ({"x": {"fn": "EMA", "output": "macd"}}, ["EMA has no output 'macd'"]),
        ({"x": {"fn": "own.py:f", "output": "a"}}, ["'output'", "own.py:f has one output"]),
        ({"x": {"fn": "EMA", "input": "x"}}, ["x -> x"]),
        (
            {"a": {"fn": "EMA", "input": "b"}, "b": {"fn": "EMA", "input": "c"}, "c": {"fn": "EMA", "input": "b"}},
            ["b -> c -> b", "circle"],
        ),
        (
            {"a": {"fn": "EMA", "timeframe": "4h"}, "b": {"fn": "EMA", "input": "a"}},
            ["'b' is on 1h", "'a' on 4h", "its own timeframe"],
        ),
        ({"close": {"fn": "EMA"}}, ["'close'", "name of a column"]),
        ({"funding_rate": {"fn": "EMA"}}, ["name of a column"]),
        ({"my ema": {"fn": "EMA"}}, ["'my ema'", "letters, digits"]),
    ],
)
def test_a_mistake_is_named(declared: dict[str, Any], texts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(**declared)
    for text in texts:
        assert text in str(caught.value)


def test_each_feature_comes_after_its_inputs_and_otherwise_as_declared() -> None:
    specs = parse(
        z={"fn": "EMA"},
        gap={"fn": "SUB", "input": ["fast", "slow"]},
        slow={"fn": "EMA", "timeperiod": 50},
        fast={"fn": "EMA", "timeperiod": 20},
        a={"fn": "EMA"},
    )
    assert [spec.name for spec in specs] == ["z", "fast", "slow", "gap", "a"]


def test_timeframes_come_shortest_first_and_the_base_is_always_there() -> None:
    specs = parse(d={"fn": "EMA", "timeframe": "1d"}, h={"fn": "EMA", "timeframe": "4h"}, i={"fn": "SMA", "timeframe": "4h"})
    groups = by_timeframe(specs, "1h")
    assert {timeframe: [spec.name for spec in group] for timeframe, group in groups.items()} == {"1h": [], "4h": ["h", "i"], "1d": ["d"]}
    assert list(groups) == ["1h", "4h", "1d"]


def test_extra_columns_are_those_that_are_taken() -> None:
    specs = parse(a={"fn": "SUB", "input": ["close", "mark_close"]}, b={"fn": "own.py:f", "input": ["funding_rate"]})
    assert extra_columns(specs) == ("mark_close", "funding_rate")


@pytest.mark.parametrize(
    ("body", "bars"),
    [
        ({"fn": "SMA", "timeperiod": 20}, 19),
        ({"fn": "RSI", "timeperiod": 14}, 14),
        ({"fn": "MACD", "output": "macd"}, 33),
        ({"fn": "SUB"}, 0),
        ({"fn": "own.py:f", "window": 40, "threshold": 900, "share": 0.5}, 40),
        ({"fn": "own.py:f"}, 0),
    ],
)
def test_lookback(body: dict[str, Any], bars: int) -> None:
    assert lookback(only(body)) == bars


def test_lead_in_adds_up_along_the_longest_chain_of_each_timeframe() -> None:
    specs = parse(
        rsi={"fn": "RSI", "timeperiod": 14},
        smooth={"fn": "SMA", "timeperiod": 10, "input": "rsi"},
        other={"fn": "SMA", "timeperiod": 5},
        gap={"fn": "SUB", "input": ["smooth", "other"]},
        trend={"fn": "SMA", "timeperiod": 200, "timeframe": "4h"},
    )
    assert lead_in(by_timeframe(specs, "1h")) == {"1h": 14 + 9, "4h": 199}


@pytest.mark.parametrize(
    ("body", "bars"),
    [
        ({"fn": "EMA", "timeperiod": 20}, 500),
        ({"fn": "EMA", "timeperiod": 200}, 1000),
        ({"fn": "MACD", "slowperiod": 150, "output": "macd"}, 750),
        ({"fn": "T3", "timeperiod": 200}, 1194),  # six averages one upon another: the lead-in is longer than five periods
        ({"fn": "own.py:f", "lookback_bars": 300}, 1500),
    ],
)
def test_default_warmup(body: dict[str, Any], bars: int) -> None:
    assert default_warmup([only(body)]) == bars


def test_without_features_the_default_warmup_is_500() -> None:
    assert default_warmup([]) == 500


def test_importing_the_module_and_declaring_own_functions_does_not_import_talib() -> None:
    code = (
        "import sys; from keel.core.features import *; parse_features({'x': {'fn': 'a.py:f'}}, {}, '1h'); sys.exit('talib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
