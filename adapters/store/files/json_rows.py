"""JSON as people store bars and trades: rows as lists (freqtrade, ccxt) or objects, in one document or one a line; columns; what pandas'
to_json writes; or an answer of the exchange around them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keel.adapters.store.columns.names import is_known_name, plain_names
from keel.adapters.store.files.text_layout import numbered
from keel.adapters.store.symbols import symbol_in_name
from keel.adapters.store.words import printable, shortened
from keel.core.errors import DataError

_MOST_COLUMNS = 200
_WRAPPERS = ("result", "data", "list", "candles", "ohlcv", "rows", "klines", "bars", "trades")
"""Keys under which the rows may lie, where the file is an object."""
IN_PANDAS = 'in pandas, frame.reset_index().to_json(name, orient="records") writes rows with names and the index among them'
_EXPECTED = f"rows are expected, as lists ([[time, open, high, low, close, volume], ...]) or as objects with names ({IN_PANDAS})"
_TIME = re.compile(r"^(\d{4}-\d\d-\d\d.*|\d{9,}(\.\d+)?)$")
"""A label of an index that is a time, and no position."""
_POSITION = re.compile(r"^\d+$")
_INDEX_NAME = ""
"""What an index without a name is called in CSV."""


@dataclass(slots=True)
class JsonRows:
    """Columns as text (None where there is nothing), their names, what the answer around the rows says of itself, and, where each row is a
    line of its own, these lines."""

    headers: list[str]
    columns: list[np.ndarray]
    said: dict[str, str]
    lines: list[int] | None


def read_json(name: str, path: Path) -> JsonRows:
    """The rows of a JSON file. Raises DataError where there are none, or they are uneven."""
    loaded, lines = _loaded(name, path)
    rows, said = (loaded, {}) if lines is not None else _unwrapped(name, loaded)

    def where(at: int) -> str:
        return f"{name}, row {at + 1}" if lines is None else f"{name}, line {lines[at]}"

    if not rows:
        raise DataError(f"{name}: the file has no rows")
    if all(isinstance(row, list) for row in rows):
        width = len(rows[0])
        uneven = next((at for at, row in enumerate(rows) if len(row) != width), None)
        if uneven is not None:
            raise DataError(f"{where(uneven)}: it has {len(rows[uneven])} values, the first has {width}. Nothing was imported")
        headers, records = numbered(width), rows
    elif all(isinstance(row, dict) for row in rows):
        headers = [str(key) for key in rows[0]]
        strange = next((at for at, row in enumerate(rows) if row.keys() != rows[0].keys()), None)
        if strange is not None:
            raise DataError(f"{where(strange)}: its names are others than those of the first row. Nothing was imported")
        records = [list(row.values()) if list(row) == headers else [row[key] for key in headers] for row in rows]
    else:
        raise DataError(f"{name}: {_EXPECTED}")
    if not 0 < len(headers) <= _MOST_COLUMNS:
        raise DataError(f"{name}: {_EXPECTED}; these have {len(headers):,} values each")
    columns = [np.array([_text(where, at, row[place]) for at, row in enumerate(records)], dtype=object) for place in range(len(headers))]
    return JsonRows([printable(header.strip()) for header in headers], columns, said, lines)


def _loaded(name: str, path: Path) -> tuple[Any, list[int] | None]:
    """(the document, None), or, of JSON lines, (the list of their documents, the line of each)."""
    try:
        text = path.read_text("utf-8-sig")
        try:
            return _parsed(text), None
        except json.JSONDecodeError:
            documents = _json_lines(name, text)
            if documents is None:
                raise
            return list(documents.values()), list(documents)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: the file is not text in UTF-8 ({error})") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{name}, line {error.lineno}: the file is no JSON, or is truncated ({error.msg}): fetch or write it again"
        ) from error
    except RecursionError as error:
        raise DataError(f"{name}: the JSON is nested too deeply: {_EXPECTED}") from error


def _parsed(text: str) -> Any:
    return json.loads(text, parse_float=str, parse_int=str, parse_constant=str)


def _json_lines(name: str, text: str) -> dict[int, Any] | None:
    """The documents of JSON lines by their lines (from 1); None for what is none: its first line is no document."""
    lines = {at: line for at, line in enumerate(text.split("\n"), 1) if line.strip()}
    documents: dict[int, Any] = {}
    for at, line in lines.items():
        try:
            documents[at] = _parsed(line)
        except json.JSONDecodeError as error:
            if not documents:
                return None
            raise DataError(
                f"{name}, line {at}: in JSON lines each line is a row, and this one is no JSON, or is truncated ({error.msg}): correct or "
                "remove it. Nothing was imported"
            ) from error
    return documents


def _unwrapped(name: str, loaded: Any) -> tuple[list[Any], dict[str, str]]:
    """The list of rows, and the texts beside it (symbol, category, ...)."""
    said: dict[str, str] = {}
    while isinstance(loaded, dict):
        said |= {key.lower(): value for key, value in loaded.items() if isinstance(value, str)}
        names = loaded.get("columns")
        if isinstance(names, list) and isinstance(loaded.get("data"), list) and all(isinstance(each, str) for each in names):
            return _named(name, names, loaded["data"], loaded.get("index")), said
        if _is_of_columns(loaded):
            return _columns(name, loaded), said
        if _is_of_rows(loaded):
            return _indexed(list(loaded), list(loaded.values())), said
        if _is_row(loaded):
            return [loaded], {}
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


def _is_of_columns(loaded: dict[str, Any]) -> bool:
    """Whether an object is one of columns: two at least have names that are known."""
    return _known([key for key, value in loaded.items() if isinstance(value, dict | list)]) >= 2


def _is_of_rows(loaded: dict[str, Any]) -> bool:
    """Whether an object is one of rows by the labels of an index (times, or positions), as pandas writes them (orient="index")."""
    first = next(iter(loaded.values()), None)
    if not isinstance(first, dict) or not all(isinstance(row, dict) for row in loaded.values()):
        return False
    if any(isinstance(value, dict | list) for value in first.values()):
        return False
    return _are_times(list(loaded)) or (all(_POSITION.match(label) for label in loaded) and _known(list(first)) >= 2)


def _is_row(loaded: dict[str, Any]) -> bool:
    """Whether an object is a single row: JSON lines of one line."""
    return _known(list(loaded)) >= 3 and not any(isinstance(value, dict | list) for value in loaded.values())


def _known(names: list[str]) -> int:
    return sum(is_known_name(plain) for plain in plain_names(names))


def _are_times(labels: Sequence[Any]) -> bool:
    return bool(labels) and all(isinstance(label, str) and _TIME.match(label) for label in labels)


def _indexed(labels: Sequence[Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the labels of their index as a column, where these are times and not positions."""
    if not _are_times(labels):
        return rows
    return [{_INDEX_NAME: label, **row} for label, row in zip(labels, rows, strict=True)]


def _named(name: str, names: list[str], rows: list[Any], index: Any) -> list[dict[str, Any]]:
    """Rows beside their names and their index, as pandas writes them (orient="split")."""
    uneven = next((at for at, row in enumerate(rows) if not isinstance(row, list) or len(row) != len(names)), None)
    if uneven is not None:
        raise DataError(f"{name}, row {uneven + 1}: it has not as many values as there are names ({len(names)}). Nothing was imported")
    labels = index if isinstance(index, list) else []
    if labels and len(labels) != len(rows):
        raise DataError(f"{name}: the index has {len(labels):,} labels, and there are {len(rows):,} rows. Nothing was imported")
    return _indexed(labels, [dict(zip(names, row, strict=True)) for row in rows])


def _columns(name: str, loaded: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of an object of columns: lists ({"t": [...], "o": [...]}), or objects by row, as pandas writes them."""
    groups = {key: value for key, value in loaded.items() if isinstance(value, dict | list)}
    lists = {key: list(value.values()) if isinstance(value, dict) else value for key, value in groups.items()}
    if len(lists) < 2 or len({len(values) for values in lists.values()}) != 1:
        raise DataError(f"{name}: {_EXPECTED}; this is an object with {shortened(', '.join(map(repr, loaded)), 100) or 'nothing in it'}")
    if len({tuple(value) for value in groups.values() if isinstance(value, dict)}) > 1:
        raise DataError(f"{name}: the columns do not name the same rows in the same order. Nothing was imported")
    labels = next((list(value) for value in groups.values() if isinstance(value, dict)), [])
    return _indexed(labels, [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)])


def _text(where: Callable[[int], str], at: int, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    raise DataError(f"{where(at)}: a value is a list or an object; {_EXPECTED}")
