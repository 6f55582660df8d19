"""One closed bar after another: TA-Lib's stream handles, and users' functions over all bars from the anchor.

A bar is taken wholly or not at all: all values are computed first (a handle's ``peek`` commits nothing), then everything moves on.
Handles cannot be stored; a restart builds the engine anew from the stored bars, from the same anchor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from keel.core.errors import DataError
from keel.core.features.functions import Load, UserFunction
from keel.core.features.indicators import indicator_lookback, open_stream
from keel.core.features.spec import FeatureSpec, extra_columns
from keel.core.features.vector import VectorEngine, broken_input, output_index, series_name
from keel.core.model.frame import BAR_COLUMNS, Frame, doubled
from keel.core.model.time_range import to_iso


class StreamEngine:
    """The features of one series, bar by bar. specs: of one timeframe, in the order of parse_features.

    warmup: the bars from the anchor on (it may be empty), with the columns that VectorEngine needs. Raises what VectorEngine raises.
    """

    def __init__(self, specs: Sequence[FeatureSpec], warmup: Frame, load: Load | None = None) -> None:
        self._specs = tuple(specs)
        features = VectorEngine(load).compute(specs, warmup)
        self._row_columns = (*BAR_COLUMNS, *extra_columns(specs))
        self._series = _Series(warmup.with_columns(features), (*self._row_columns, *features))
        self._nodes: list[_Node] = [
            _Function(spec, self._series, load) if spec.is_user_function else _Handle(spec, self._series) for spec in specs
        ]

    def update(self, row: Mapping[str, float]) -> dict[str, float]:
        """The features' values at the bar that has just closed.

        row: ts (ms, the bar's open), open, high, low, close, volume; mark_close, funding_rate, open_interest where a feature takes them.
        After an error nothing has changed. Raises DataError for a row that is incomplete, not later than the last, or not finite.
        """
        self._series.stage(row, self._row_columns)
        values: dict[str, float] = {}
        for spec, node in zip(self._specs, self._nodes, strict=True):
            values[spec.name] = self._series.set(spec.name, node.value())
        for node in self._nodes:
            node.commit()
        self._series.commit()
        return values

    def columns(self) -> dict[str, np.ndarray]:
        """The features' values from the first warm-up bar to the last bar, copied."""
        return {spec.name: self._series.column(spec.name, self._series.rows).copy() for spec in self._specs}


class _Node(Protocol):
    """One feature: ``value`` for the staged row changes nothing that matters, ``commit`` makes the row final."""

    def value(self) -> float: ...
    def commit(self) -> None: ...


class _Series:
    """Columns that grow by doubling. ``rows`` are final; the staged row lies behind them, at index ``rows``."""

    def __init__(self, frame: Frame, names: Sequence[str]) -> None:
        self.rows = len(frame)
        self._head = frame[:0]
        self._ts = np.concatenate((frame.ts, np.zeros(1, np.int64)))
        self._columns = {name: np.concatenate((np.asarray(frame[name], dtype=np.float64), np.full(1, np.nan))) for name in names}

    def stage(self, row: Mapping[str, float], names: Sequence[str]) -> None:
        """Write the row behind the final ones, checked."""
        missing = [name for name in ("ts", *names) if name not in row]
        if missing:
            raise DataError(f"{self.name}: a bar came without {', '.join(missing)}")
        ts = int(row["ts"])
        if self.rows and ts <= self._ts[self.rows - 1]:
            raise DataError(f"{self.name}: a bar of {to_iso(ts)} came after that of {to_iso(int(self._ts[self.rows - 1]))}")
        self._grow()
        self._ts[self.rows] = ts
        for name in names:
            self.set(name, row[name])

    def set(self, name: str, value: float) -> float:
        """Set a value of the staged row."""
        self._columns[name][self.rows] = value
        return float(value)

    def commit(self) -> None:
        """Make the staged row final."""
        self.rows += 1

    def column(self, name: str, rows: int) -> np.ndarray:
        """A view of the first rows."""
        return self._columns[name][:rows]

    def staged(self, name: str) -> float:
        """A value of the staged row."""
        return float(self._columns[name][self.rows])

    @property
    def staged_ts(self) -> int:
        """The time of the staged row."""
        return int(self._ts[self.rows])

    @property
    def name(self) -> str:
        """Symbol and timeframe, for messages."""
        return series_name(self._head)

    def staged_frame(self) -> Frame:
        """The bars with the staged one."""
        rows = self.rows + 1
        bars = {name: self._columns[name][:rows] for name in BAR_COLUMNS}
        return Frame(self._ts[:rows], bars, symbol=self._head.symbol, timeframe=self._head.timeframe, kind=self._head.kind)

    def _grow(self) -> None:
        if self.rows < len(self._ts):
            return
        self._ts = doubled(self._ts)
        self._columns = {name: doubled(column, np.nan) for name, column in self._columns.items()}


class _Handle:
    """A TA-Lib function. Its handle is opened as soon as the lookback is filled."""

    def __init__(self, spec: FeatureSpec, series: _Series) -> None:
        self._spec, self._series = spec, series
        self._params = dict(spec.params)
        self._output = output_index(spec)
        self._lookback = indicator_lookback(spec.fn, self._params)
        self._first = self._first_row()  # the first row without NaN, once there is one
        self._handle: Any = self._open(series.rows) if self._is_filled(series.rows) else None
        self._bar: list[float] | None = None
        self._opened: Any = None

    def value(self) -> float:
        bar = self._staged_bar()
        self._bar, self._opened = bar, None
        if bar is None or not self._is_filled(self._series.rows + 1):
            return math.nan
        if self._handle is None:
            self._opened = self._open(self._series.rows + 1)
            return self._chosen(self._opened.value)
        return self._chosen(self._handle.peek(*bar))

    def commit(self) -> None:
        if self._bar is None:
            return
        if self._first is None:
            self._first = self._series.rows
        if self._handle is not None:
            self._handle.update(*self._bar)
        else:
            self._handle = self._opened

    def _staged_bar(self) -> list[float] | None:
        """The inputs of the staged row; None while one of them has not begun."""
        bar = [self._series.staged(name) for name in self._spec.inputs]
        if self._first is None and any(map(math.isnan, bar)):
            return None
        for name, value in zip(self._spec.inputs, bar, strict=True):
            if not math.isfinite(value):
                raise broken_input(self._spec, name, value, self._series.name, self._series.staged_ts)
        return bar

    def _first_row(self) -> int | None:
        missing = np.zeros(self._series.rows, dtype=bool)
        for name in self._spec.inputs:
            missing |= np.isnan(self._series.column(name, self._series.rows))
        return None if missing.all() else int(np.argmin(missing))

    def _is_filled(self, rows: int) -> bool:
        first = self._series.rows if self._first is None else self._first
        return rows - first > self._lookback

    def _open(self, rows: int) -> Any:
        return open_stream(self._spec.fn, [self._series.column(name, rows) for name in self._spec.inputs], self._params)

    def _chosen(self, value: Any) -> float:
        return float(value[self._output] if isinstance(value, tuple) else value)


class _Function:
    """A user's function, called over all bars from the anchor; its last value counts."""

    def __init__(self, spec: FeatureSpec, series: _Series, load: Load | None) -> None:
        self._spec, self._series = spec, series
        self._function = UserFunction(spec, load)

    def value(self) -> float:
        inputs = {name: self._series.column(name, self._series.rows + 1) for name in self._spec.inputs}
        return float(self._function(inputs, self._series.staged_frame())[-1])

    def commit(self) -> None:
        """Nothing to keep: the series holds the bars."""
