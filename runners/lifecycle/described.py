"""Python values as they stand in config.json: plain data as they are, anything else by its name; never an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keel.adapters.plain_data import plain
from keel.core.errors import ConfigError


def described(value: Any) -> Any:
    """An argument, a parameter, an attribute."""
    if isinstance(value, Mapping):
        return {str(key): described(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype} {value.shape}"
    if isinstance(value, (list, tuple)):
        return [described(entry) for entry in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else repr(value)
    try:
        return plain(value, "argument", ConfigError)
    except ConfigError:
        return named(value)


def named(value: Any) -> str:
    """module.name of a function or class, of an object's class otherwise."""
    found = value if hasattr(value, "__name__") else type(value)
    return f"{found.__module__}.{found.__qualname__}"
