"""The user's own functions: fetched, called, and what they return checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keel.core.errors import ConfigError, InvariantError, StrategyError
from keel.core.features.spec import FeatureSpec
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.strategy.raised import seen_in, user_error

Load = Callable[[str], Callable[..., Any]]
"""Fetches a function by ``path/to/file.py:function`` or ``package.module:function``. A runner passes it: fetching is I/O."""


class UserFunction:
    """``function(frame, **params) -> one number per row``.

    Raises ConfigError when it cannot be fetched or does not take the parameters.
    """

    def __init__(self, spec: FeatureSpec, load: Load | None) -> None:
        self._spec = spec
        self._params = dict(spec.params)
        self._function = self._fetched(load)

    def __call__(self, columns: dict[str, np.ndarray], frame: Frame) -> np.ndarray:
        """The feature's column, float64, a copy. columns: what ``input`` names; frame: the series, of which the bars are passed on.

        Raises StrategyError, naming feature and file, when the function raises or returns something else.
        """
        shown = {name: frame[name] for name in BAR_COLUMNS if name in frame} | columns
        passed = Frame(_read_only(frame.ts), _all_read_only(shown), symbol=frame.symbol, timeframe=frame.timeframe, kind=frame.kind)
        try:
            result = self._function(passed, **self._params)
        except InvariantError:
            raise
        except (Exception, SystemExit) as error:
            raise user_error(f"{self._where}: it raised {type(error).__name__}: {error}", error, seen_in(passed)) from error
        return self._checked(result, len(frame))

    @property
    def _where(self) -> str:
        return f"feature {self._spec.name!r}, function {self._spec.fn}"

    def _fetched(self, load: Load | None) -> Callable[..., Any]:
        import inspect

        if load is None:
            raise ConfigError(f"{self._where}: no loader of functions was given here; only TA-Lib's functions can be used")
        function = load(self._spec.fn)
        if not callable(function):
            raise ConfigError(f"{self._where}: this is not a function but {type(function).__name__}")
        try:
            inspect.signature(function).bind(None, **self._params)
        except TypeError as error:
            given = ", ".join(("frame", *self._params))
            raise ConfigError(f"{self._where}: it cannot be called with ({given}): {error}") from error
        return function

    def _checked(self, result: Any, rows: int) -> np.ndarray:
        column = np.asarray(result)
        if column.shape != (rows,):
            raise StrategyError(f"{self._where}: it returned shape {column.shape} for {rows} bars; return one number per bar")
        if column.dtype.kind not in "biuf":
            raise StrategyError(f"{self._where}: it returned dtype {column.dtype}; return numbers (float, int or bool)")
        return np.array(column, dtype=np.float64)


def _read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written: what a function is shown is the engine's own."""
    view = array.view()
    view.flags.writeable = False
    return view


def _all_read_only(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: _read_only(column) for name, column in columns.items()}
