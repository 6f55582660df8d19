"""The one place where talib is imported, without the table libraries that it would load with it.

talib imports pandas and polars wherever they are installed, so that its functions take their Series: 0.17 s that no run needs. While
it is imported here both are refused to it, and to nobody else: not to other threads, nor where a library is loaded already. Afterwards
talib's functions, streams and abstract form take Series and DataFrames as ever, of whatever library their caller has imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

import numpy as np

from keel.core.errors import ConfigError

TABLE_LIBRARIES: Final = ("pandas", "polars")
INSTALL: Final = "pip install 'TA-Lib>=0.8.2'"

_refused_here: ContextVar[list[str] | None] = ContextVar("refused", default=None)
"""What was refused in this thread; None: nothing is to be refused."""


@cache
def talib_module() -> ModuleType:
    """talib. Raises ConfigError, with what installs it, where it cannot be imported."""
    try:
        with _without(TABLE_LIBRARIES) as refused:
            import talib
    except ImportError as error:
        raise ConfigError(f"TA-Lib cannot be imported ({str(error).splitlines()[0]}): {INSTALL}") from error
    if refused:
        _take_tables(talib)
    module: ModuleType = talib
    return module


@contextmanager
def _without(names: Sequence[str]) -> Iterator[list[str]]:
    """These modules cannot be found by this thread, as if they were not installed; gives the list of those that were asked for."""
    finder, refused = _Refusing(names), list[str]()
    token = _refused_here.set(refused)
    sys.meta_path = [finder, *sys.meta_path]  # a list of its own: another thread may be walking through the present one
    try:
        yield refused
    finally:
        sys.meta_path = [each for each in sys.meta_path if each is not finder]
        _refused_here.reset(token)


class _Refusing:
    """A finder that finds nothing, and says so of some names before others look for them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        refused = _refused_here.get()
        if refused is not None and name in self._names:
            refused.append(name)
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


class _Late(type):
    """A class that stands for another one: of a library that may be imported later."""

    library: str
    kind: str

    def real(cls) -> Any:
        """The class itself; None before the library is imported."""
        return getattr(sys.modules.get(cls.library), cls.kind, None)

    def __instancecheck__(cls, value: object) -> bool:
        real = cls.real()
        return real is not None and isinstance(value, real)

    def __call__(cls, *args: Any, **named: Any) -> Any:
        return cls.real()(*args, **named)


def _late(library: str, kind: str) -> _Late:
    return _Late(kind, (), {"library": library, "kind": kind})


def _take_tables(talib: ModuleType) -> None:
    """What talib would have set up with the libraries at hand: in its functions, and in the names by which its extension knows them."""
    extension = sys.modules["talib._ta_lib"]
    series = {library: _late(library, "Series") for library in TABLE_LIBRARIES}
    tables = {library: _late(library, "DataFrame") for library in TABLE_LIBRARIES}
    for name in extension.__TA_FUNCTION_NAMES__:
        function = _taking_series(getattr(extension, name), tuple(series.values()))
        setattr(extension, name, function)
        setattr(talib, name, function)
    for library in TABLE_LIBRARIES:
        setattr(extension, f"_{library.upper()}_SERIES", series[library])
        setattr(extension, f"_{library.upper()}_DATAFRAME", tables[library])
    extension._INPUT_ARRAYS_TYPES = (dict, *tables.values())  # type: ignore[attr-defined]
    extension._ARRAY_TYPES = (np.ndarray, *series.values())  # type: ignore[attr-defined]


def _taking_series(function: Callable[..., Any], kinds: Sequence[_Late]) -> Callable[..., Any]:
    """The function, which answers a Series with Series: of the same library, and in pandas of the first one's index."""

    @wraps(function)
    def answered(*args: Any, **named: Any) -> Any:
        given: list[Any] = [each for each in (*args, *named.values()) if isinstance(each, tuple(kinds))]
        if not given:
            return function(*args, **named)
        used = [kind for kind in kinds if any(isinstance(each, kind) for each in given)]
        if len(used) > 1:
            raise TypeError("Cannot mix polars and pandas")
        kind = used[0]

        def plain(value: Any) -> Any:
            return value.to_numpy().astype(float) if isinstance(value, kind) else value

        index = {"index": given[0].index} if kind.library == "pandas" else {}
        result = function(*map(plain, args), **{key: plain(value) for key, value in named.items()})
        return tuple(kind(column, **index) for column in result) if isinstance(result, tuple) else kind(result, **index)

    return answered
