"""Whole columns at once: TA-Lib's vector form, and users' functions called once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keel.core.errors import DataError, InvariantError
from keel.core.features.functions import Load, UserFunction
from keel.core.features.indicators import find_indicator, indicator_lookback, vector_form
from keel.core.features.spec import FeatureSpec
from keel.core.model.frame import Frame
from keel.core.model.time_range import to_iso


class VectorEngine:
    """Computes the features of one series."""

    def __init__(self, load: Load | None = None) -> None:
        self._load = load

    def compute(self, specs: Sequence[FeatureSpec], frame: Frame) -> dict[str, np.ndarray]:
        """A float64 column for each spec, as long as the frame.

        specs: of one timeframe, in the order of parse_features.  frame: begins at the anchor; has the bar columns, and mark_close,
        funding_rate and open_interest where a spec takes them. Raises DataError for a missing or broken input, ConfigError and
        StrategyError for a user's function.
        """
        if len({spec.timeframe for spec in specs}) > 1:
            raise InvariantError("features of several timeframes in one frame: group them with by_timeframe")
        columns: dict[str, np.ndarray] = {}
        for spec in specs:
            inputs = {name: columns[name] if name in columns else _column_of(frame, name, spec) for name in spec.inputs}
            if spec.is_user_function:
                columns[spec.name] = UserFunction(spec, self._load)(inputs, frame)
            else:
                columns[spec.name] = _indicator_column(spec, inputs, frame)
        return columns


def series_name(frame: Frame) -> str:
    """Symbol and timeframe, for messages."""
    return f"{frame.symbol} {frame.timeframe}".strip() or "series"


def broken_input(spec: FeatureSpec, name: str, value: float, series: str, ts: int) -> DataError:
    """What is raised for an input that is not finite after its values have begun."""
    return DataError(
        f"{series}: feature {spec.name!r} takes {name}, which is {value} at {to_iso(ts)}, after its values have begun; "
        "fill the gap, or begin the window later"
    )


def output_index(spec: FeatureSpec) -> int:
    """Which of the function's outputs the spec takes."""
    indicator = find_indicator(spec.fn)
    if indicator is None:
        raise InvariantError(f"feature {spec.name!r}: {spec.fn} was found when it was parsed")
    return 0 if spec.output is None else indicator.outputs.index(spec.output)


def _column_of(frame: Frame, name: str, spec: FeatureSpec) -> np.ndarray:
    if name not in frame:
        raise DataError(f"{series_name(frame)}: feature {spec.name!r} takes {name}, and there is no such series; it has {', '.join(frame)}")
    return np.ascontiguousarray(frame[name], dtype=np.float64)


def _indicator_column(spec: FeatureSpec, inputs: Mapping[str, np.ndarray], frame: Frame) -> np.ndarray:
    first = _first_row(spec, inputs, frame)
    begin = first + indicator_lookback(spec.fn, dict(spec.params))
    if begin >= len(frame):
        return np.full(len(frame), np.nan)
    values = vector_form(spec.fn, [inputs[name] for name in spec.inputs], dict(spec.params))[output_index(spec)]
    column = np.array(values, dtype=np.float64)
    column[:begin] = np.nan  # outputs of whole numbers hold 0 there
    return column


def _first_row(spec: FeatureSpec, inputs: Mapping[str, np.ndarray], frame: Frame) -> int:
    """The first row in which no input is NaN; all must be finite from there on."""
    missing = np.zeros(len(frame), dtype=bool)
    for column in inputs.values():
        missing |= np.isnan(column)
    first = len(frame) if missing.all() else int(np.argmin(missing))
    for name, column in inputs.items():
        finite = np.isfinite(column[first:])
        if not finite.all():
            row = first + int(np.argmin(finite))
            raise broken_input(spec, name, float(column[row]), series_name(frame), int(frame.ts[row]))
    return first
