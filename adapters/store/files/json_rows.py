"""JSON as people store bars and trades: rows as lists (freqtrade, ccxt) or objects, columns, or an answer of the exchange around them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.store.files.text_layout import numbered
from adapters.store.symbols import symbol_in_name
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
        said |= {key.lower(): value for key, value in loaded.items() if isinstance(value, str)}
        names = loaded.get("columns")
        if isinstance(names, list) and isinstance(loaded.get("data"), list) and all(isinstance(each, str) for each in names):
            return _named(name, names, loaded["data"]), said
        key = next((key for key in _WRAPPERS if isinstance(loaded.get(key), list | dict)), None) or _only_list(loaded)
        if key is None:
            return _columns(name, loaded), said
        found = symbol_in_name(key, f"{name}: ", is_stem=False) if key not in _WRAPPERS else set()
        if len(found) == 1:
            said["symbol"] = key
        loaded = loaded[key]
    if not isinstance(loaded, list):
        raise DataError(f"{name}: {_EXPECTED}")
    return loaded, said


def _only_list(loaded: dict[str, Any]) -> str | None:
    """The key of the one list of rows in an object, as an exchange's name of a symbol may be; None where there are more or none."""
    keys = [key for key, value in loaded.items() if isinstance(value, list) and value and isinstance(value[0], list | dict)]
    return keys[0] if len(keys) == 1 else None


def _named(name: str, names: list[str], rows: list[Any]) -> list[dict[str, Any]]:
    """Rows beside their names, as pandas writes them (orient="split")."""
    uneven = next((at for at, row in enumerate(rows) if not isinstance(row, list) or len(row) != len(names)), None)
    if uneven is not None:
        raise DataError(f"{name}, row {uneven + 1}: it has not as many values as there are names ({len(names)}). Nothing was imported")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _columns(name: str, loaded: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an object of columns: lists ({"t": [...], "o": [...]}), or objects by row, as pandas writes them."""
    groups = {key: value for key, value in loaded.items() if isinstance(value, dict | list)}
    lists = {key: list(value.values()) if isinstance(value, dict) else value for key, value in groups.items()}
    if len(lists) < 2 or len({len(values) for values in lists.values()}) != 1:
        raise DataError(f"{name}: {_EXPECTED}; this is an object with {shortened(', '.join(map(repr, loaded)), 100) or 'nothing in it'}")
    if len({tuple(value) for value in groups.values() if isinstance(value, dict)}) > 1:
        raise DataError(f"{name}: the columns do not name the same rows in the same order. Nothing was imported")
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _text(name: str, at: int, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    raise DataError(f"{name}, row {at + 1}: a value is a list or an object; {_EXPECTED}")
