"""JSON as people store bars and trades: rows as lists (freqtrade, ccxt), rows as objects, or an answer of the exchange around them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.store.files.text_layout import numbered
from adapters.store.words import printable, shortened
from core.errors import DataError

_MOST_COLUMNS = 200
_WRAPPERS = ("result", "data", "list", "candles", "ohlcv", "rows", "klines", "bars", "trades")
"""Keys under which the rows may lie, where the file is an object."""
_EXPECTED = "rows are expected, as lists ([[time, open, high, low, close, volume], ...]) or as objects with names"


@dataclass(slots=True)
class JsonRows:
    """Columns as text (None where there is nothing), their names, and what the answer around the rows says of itself."""

    headers: list[str]
    columns: list[np.ndarray]
    said: dict[str, str]


def read_json(name: str, path: Path) -> JsonRows:
    """The rows of a JSON file. Raises DataError where there are none, or they are uneven."""
    rows, said = _unwrapped(name, _loaded(name, path))
    if not rows:
        raise DataError(f"{name}: the file has no rows")
    if all(isinstance(row, list) for row in rows):
        width = len(rows[0])
        uneven = next((at for at, row in enumerate(rows) if len(row) != width), None)
        if uneven is not None:
            raise DataError(f"{name}, row {uneven + 1}: it has {len(rows[uneven])} values, the first has {width}. Nothing was imported")
        headers, records = numbered(width), rows
    elif all(isinstance(row, dict) for row in rows):
        headers = [str(key) for key in rows[0]]
        strange = next((at for at, row in enumerate(rows) if row.keys() != rows[0].keys()), None)
        if strange is not None:
            raise DataError(f"{name}, row {strange + 1}: its names are others than those of the first row. Nothing was imported")
        records = [list(row.values()) if list(row) == headers else [row[key] for key in headers] for row in rows]
    else:
        raise DataError(f"{name}: {_EXPECTED}")
    if not 0 < len(headers) <= _MOST_COLUMNS:
        raise DataError(f"{name}: {_EXPECTED}; these have {len(headers):,} values each")
    columns = [np.array([_text(name, at, row[place]) for at, row in enumerate(records)], dtype=object) for place in range(len(headers))]
    return JsonRows([printable(header.strip()) for header in headers], columns, said)


def _loaded(name: str, path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"), parse_float=str, parse_int=str, parse_constant=str)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: the file is not text in UTF-8 ({error})") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}, line {error.lineno}: the file is no JSON, or is truncated ({error.msg}): fetch or write it again"
        ) from error
    except RecursionError as error:
        raise DataError(f"{name}: the JSON is nested too deeply: {_EXPECTED}") from error


def _unwrapped(name: str, loaded: Any) -> tuple[list[Any], dict[str, str]]:
    """The list of rows, and the texts beside it (symbol, category, ...)."""
    said: dict[str, str] = {}
    while isinstance(loaded, dict):
        said |= {key.lower(): value for key, value in loaded.items() if isinstance(value, str) and isinstance(key, str)}
        inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), list | dict)), None)
        if inner is None:
            raise DataError(f"{name}: {_EXPECTED}; this is an object with {shortened(', '.join(map(repr, loaded)), 100)}")
        loaded = inner
    if not isinstance(loaded, list):
        raise DataError(f"{name}: {_EXPECTED}")
    return loaded, said


def _text(name: str, at: int, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    raise DataError(f"{name}, row {at + 1}: a value is a list or an object; {_EXPECTED}")
