"""Each row of the table of formats: a file in its writer's shape is imported as it is, or refused with the words that make it importable.

What is stored equals what pandas reads of the same bytes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.schema import TABLES
from keel.core.errors import DataError
from tests.adapters.store.file_formats import FORMATS, FileFormat
from tests.docs.page import PROJECT

NOW = 1_800_000_000_000


def written(tmp_path: Path, one: FileFormat) -> Path:
    path = tmp_path / one.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(one.content())
    return path


def taken(store: HistoricalDataStore, one: FileFormat) -> dict[str, np.ndarray]:
    kind, _, timeframe = one.series.partition(" ")
    name = "open_interest" if kind == "open_interest" else kind
    get: dict[str, Callable[..., Any]] = {
        "funding": store.get_funding_rates, "open_interest": store.get_open_interest, "trades": store.get_trades,
    }  # fmt: skip
    if name in get:
        return dict(get[name](one.symbol, category=one.category).to_dict())
    return dict(store.get_ohlcv(one.symbol, timeframe, kind=kind, category=one.category).to_dict())


@pytest.mark.parametrize("one", [one for one in FORMATS if one.expected is not None], ids=lambda one: one.writer)
def test_what_is_stored_is_what_pandas_reads(store, tmp_path, one):
    if "feather" in one.name or "parquet" in one.name:
        pytest.importorskip("pyarrow")
    path = written(tmp_path, one)
    options = {"symbol": one.symbol} if one.needs_symbol else {}
    for words, (option, value) in zip(one.refused, one.options.items(), strict=True):
        with pytest.raises(DataError, match=words):
            store.import_file(path, now_ms=NOW, **options)
        assert store.coverage() == []
        options[option] = value
    report = store.import_file(path, now_ms=NOW, **options)
    assert (f"{report.kind} {report.timeframe}".strip(), report.symbol, report.category) == (one.series, one.symbol, one.category)
    expected = one.expected(path.read_bytes()).sort_values("ts", kind="stable")
    stored = taken(store, one)
    assert report.rows == len(expected) == len(stored["ts"]) > 5
    kind = one.series.split(" ")[0]
    for column in ("ts", *(name for name, _ in TABLES[kind].columns if name != "trade_id")):
        assert stored[column].tolist() == expected[column].tolist(), column


@pytest.mark.parametrize("one", [one for one in FORMATS if one.expected is None], ids=lambda one: one.writer)
def test_what_cannot_be_imported_is_refused_with_a_way_out(store, tmp_path, one):
    path = written(tmp_path, one)
    with pytest.raises(DataError, match=one.refused[0]) as error:
        store.import_file(path, now_ms=NOW)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert store.coverage() == []


def test_the_table_of_formats_in_the_docs_has_these_rows():
    text = (PROJECT / "docs" / "data.md").read_text("utf-8").split("### Formats")[1].split("\n### ")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in text.splitlines() if line.startswith("| ")][1:]
    assert [(row[0].removeprefix("| "), row[2].split(":")[0]) for row in rows] == [(one.writer, one.how) for one in FORMATS]


_ADVICE = re.compile(r"--(symbol|timezone|time-format|decimal|skip-lines|kind|drop-empty|timeframe|category)(?: ('[^']*'|[^\s,;:()]+|,))?")


def advised(said: str) -> dict[str, Any]:
    """The first option that a message names, as a person would paste it."""
    for name, text in _ADVICE.findall(said):
        if name == "drop-empty":
            return {"drop_empty": True}
        if (text and not text.startswith("-")) or name == "timezone":
            value = shlex.split(text)[0] if text != "," else ","
            return {name.replace("-", "_"): int(value) if name == "skip-lines" else value}
    return {}


def import_by_advice(store: HistoricalDataStore, path: Path) -> tuple[Any, int]:
    """Import a file, adding what each refusal advises; gives the report and how many refusals it took."""
    options: dict[str, Any] = {}
    for tries in range(5):
        try:
            return store.import_file(path, now_ms=NOW, **options), tries
        except DataError as error:
            more = advised(str(error))
            assert more and not more.keys() <= options.keys(), str(error)
            options |= more
    raise AssertionError(f"{path}: no end of advice")


@pytest.mark.parametrize("one", [one for one in FORMATS if one.options and "berlin" not in one.name], ids=lambda one: one.writer)
def test_pasting_the_advice_of_each_message_imports_the_file(store, tmp_path, one):
    report, refusals = import_by_advice(store, written(tmp_path, one))
    assert refusals >= len(one.options) and report.rows > 5
