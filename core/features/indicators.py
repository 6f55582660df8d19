"""TA-Lib's functions by name: what they take, what they give, and how they are called. talib is imported at first use (talib_import.py).

Source of inputs, parameters, outputs and lookbacks: the metadata that TA-Lib itself carries (``talib.abstract``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from keel.core.errors import ConfigError
from keel.core.features.talib_import import talib_module
from keel.core.system.suggestions import did_you_mean


class Indicator(msgspec.Struct, frozen=True):
    """One TA-Lib function.

    inputs: the columns it takes by default.  parameters: names and defaults; the default's type is the parameter's.
    """

    name: str
    inputs: tuple[str, ...]
    parameters: dict[str, int | float]
    outputs: tuple[str, ...]


@cache
def indicator_names() -> tuple[str, ...]:
    """All names, in TA-Lib's order."""
    return tuple(talib_module().get_functions())


@cache
def find_indicator(name: str) -> Indicator | None:
    """The function of this exact name, or None."""
    if name not in indicator_names():
        return None
    function = _abstract(name)
    inputs: list[str] = []
    for columns in function.input_names.values():
        inputs += columns if isinstance(columns, list) else [columns]
    return Indicator(name, tuple(inputs), dict(function.parameters), tuple(function.output_names))


def indicator_lookback(name: str, params: Mapping[str, int | float]) -> int:
    """Bars before the first value; negative when TA-Lib does not take the parameters."""
    function = _abstract(name)
    function.parameters = dict(params)
    try:
        return int(function.lookback)
    except OverflowError:  # a whole number beyond C's int
        return -1


def vector_form(name: str, inputs: Sequence[np.ndarray], params: Mapping[str, int | float]) -> tuple[np.ndarray, ...]:
    """All outputs over whole float64 columns. Leading NaNs are skipped by TA-Lib."""
    outputs = getattr(talib_module(), name)(*inputs, **params)
    return tuple(outputs) if isinstance(outputs, (tuple, list)) else (outputs,)


def open_stream(name: str, inputs: Sequence[np.ndarray], params: Mapping[str, int | float]) -> Any:
    """A handle that stands at the last row. Leading NaNs are skipped by TA-Lib.

    It has ``value``, ``peek(*bar)`` and ``update(*bar)``; each gives a number, or a tuple of them where there are several outputs.
    It can neither be pickled nor stored: it is opened anew from stored bars. Needs lookback + 1 rows.
    """
    return getattr(talib_module().stream, name)(*inputs, **params)


def resolve_parameters(
    feature: str, indicator: Indicator, given: Mapping[str, Any], other_keys: Sequence[str]
) -> tuple[tuple[str, int | float], ...]:
    """All parameters of the function, the given ones set. other_keys: what else a declaration may hold, for the hint.

    Raises ConfigError for an unknown name, a wrong type, or a value that TA-Lib does not take.
    """
    for key in given:
        if key not in indicator.parameters:
            hint = did_you_mean(key, (*indicator.parameters, *other_keys))
            raise ConfigError(f"feature {feature!r}, key {key!r}: {indicator.name} has no such parameter; {hint}")
    values = {key: _number(feature, key, given[key], default) if key in given else default for key, default in indicator.parameters.items()}
    if indicator_lookback(indicator.name, values) < 0:
        refused = [key for key in given if indicator_lookback(indicator.name, {**indicator.parameters, key: values[key]}) < 0]
        shown = ", ".join(f"{key}: {values[key]}" for key in refused or given)
        raise ConfigError(
            f"feature {feature!r}: {indicator.name} does not take {shown}; the default is {_defaults(indicator, refused or given)}"
        )
    return tuple(values.items())


def _abstract(name: str) -> Any:
    talib = talib_module()
    from talib._ta_lib import Function  # type: ignore[attr-defined]  # talib.abstract would make one of each of its 240 functions

    return Function(name, getattr(talib, name))


def _defaults(indicator: Indicator, keys: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {indicator.parameters[key]}" for key in keys)


def _number(feature: str, key: str, value: Any, default: int | float) -> int | float:
    """The value in the parameter's own type. A moving average's type may be given by its name (EMA)."""
    if key.endswith("matype") and isinstance(value, str):
        return _moving_average(feature, key, value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and isinstance(default, float):
        return float(value)
    if is_number and float(value).is_integer():
        return int(value)
    wanted = "a number" if isinstance(default, float) else "a whole number"
    raise ConfigError(f"feature {feature!r}, key {key!r}: {value!r} is not {wanted} (such as {default})")


def _moving_average(feature: str, key: str, value: str) -> int:
    types = {name: number for name, number in vars(type(talib_module().MA_Type)).items() if name.isupper()}
    if value not in types:
        raise ConfigError(f"feature {feature!r}, key {key!r}: there is no moving average {value!r}; {did_you_mean(value, types)}")
    return int(types[value])
