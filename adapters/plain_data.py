"""Anything that a result is made of, as plain JSON data: None, bool, int, finite float, str, list, dict with string keys.

Two mistakes are refused here, so that no artifact can hold them: a number that is not finite, and an object that has no plain form.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Set
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import msgspec
import numpy as np

from keel.core.errors import InvariantError
from keel.core.model.frame import Frame

LONGEST_LIST = 100
"""Lists longer than this are columns: they have their own files."""

_COLUMN = object()


def plain(value: Any, where: str, error: type[Exception] = InvariantError) -> Any:
    """The value as plain JSON data.

    where: what the value is called in an error.  error: raised, with the place inside the value, for nan, inf and objects that have no
    plain form (InvariantError where the value is our own, ConfigError where it is a user's).
    """
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, Enum):
        return plain(value.value, where, error)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _finite(float(value), where, error)
    if isinstance(value, Mapping):
        return {str(key): plain(entry, f"{where}.{key}", error) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
        return plain(value, where, error)
    if isinstance(value, (list, tuple)):
        return [plain(entry, f"{where}[{position}]", error) for position, entry in enumerate(value)]
    if isinstance(value, Set):
        return sorted((plain(entry, where, error) for entry in value), key=repr)
    return _object(value, where, error)


def without_columns(value: Any, where: str) -> Any:
    """``plain`` of what is not a column: arrays, frames and lists of more than ``LONGEST_LIST`` are left out with their names."""
    kept = _without_columns(value)
    return None if kept is _COLUMN else plain(kept, where)


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass or Struct instance by name, in their written order; None for anything else."""
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: getattr(value, entry.name) for entry in dataclasses.fields(value)}
    return None


def canonical_json(value: Any, where: str) -> bytes:
    """Plain data as JSON bytes that are equal where the data are: keys sorted, no spaces. For hashes."""
    return msgspec.json.encode(plain(value, where), order="sorted")


def _finite(number: float, where: str, error: type[Exception]) -> float:
    if not math.isfinite(number):
        raise error(f"{where} is {number}: only finite numbers are written; what is undefined is None, with a reason beside it")
    return number


def _object(value: Any, where: str, error: type[Exception]) -> Any:
    fields = fields_of(value)
    if fields is not None:
        return {name: plain(entry, f"{where}.{name}", error) for name, entry in fields.items()}
    if isinstance(value, (PurePath, Decimal)):
        return str(value)
    if isinstance(value, date):  # and datetime, which is one
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise error(f"{where} is a {type(value).__name__}, which has no plain form: give numbers, texts, lists and mappings")


def _without_columns(value: Any) -> Any:
    if isinstance(value, (np.ndarray, Frame)) or (isinstance(value, (list, tuple)) and len(value) > LONGEST_LIST):
        return _COLUMN
    entries = value if isinstance(value, Mapping) else fields_of(value)
    if entries is not None:
        kept = {name: _without_columns(entry) for name, entry in entries.items()}
        return {name: entry for name, entry in kept.items() if entry is not _COLUMN}
    if isinstance(value, (list, tuple)):
        return [entry for entry in map(_without_columns, value) if entry is not _COLUMN]
    return value
