"""Where the table of a text file begins: the lines before it, its delimiter, and the names of its columns, where it has them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keel.adapters.store.columns.names import is_known_name, plain_names
from keel.adapters.store.words import printable, shortened
from keel.core.errors import DataError

_HEAD_LINES = 60
_LONGEST_LINE = 1 << 20
_SEARCHED = 12
"""So many lines at most may stand before the names of the columns."""
_DELIMITERS = ";\t|,"
"""The likeliest first, where two are equally frequent: commas may be decimal ones."""
_DATA_CELL = re.compile(r"^[-+]?(\d[\d .,:/_T-]*|nan|inf)([eE][-+]?\d+)?(Z|[ -]?[AaPp][Mm]|[-+]\d\d:?\d\d)?$")
_SHOWN_LINES = 2


@dataclass(slots=True)
class Layout:
    """How to read a text file: ``skip`` lines stand before the first row; headers "0", "1", ... where it names no columns."""

    delimiter: str
    headers: list[str]
    skip: int
    first_row: list[str]
    head: list[str]
    notes: list[str] = field(default_factory=list)
    symbol: str | None = None
    """What a line of symbols under the names says (Yahoo)."""


def read_layout(name: str, path: Path, skip_lines: int) -> Layout:
    """The layout of a text file in UTF-8. Raises DataError when it is empty, no text, or has fewer lines than are skipped."""
    lines = _head(name, path, skip_lines + _HEAD_LINES)
    if skip_lines >= len(lines):
        raise DataError(f"{name}: --skip-lines {skip_lines} skips every line of it: leave it out, or give fewer")
    start = next((at for at in range(skip_lines, len(lines)) if lines[at].strip()), None)
    if start is None:
        raise DataError(f"{name}: the file is empty")
    notes = [f"lines skipped before the table: {skip_lines} (--skip-lines)"] if skip_lines else []
    delimiter = _delimiter(lines[start:])
    rows = [_cells(name, at, line, delimiter) for at, line in enumerate(lines)]
    named = _names_at(rows, start)
    if named is None and _looks_like_data(rows[start]):
        return _without_names(name, lines, rows, start, skip_lines, delimiter, notes)
    at = start if named is None else named
    if named is None:
        _refuse_names_further_down(name, lines, rows, start)
    if at > start:
        stood = shortened(printable(lines[start].strip()), 60)
        notes.append(f"{at - start} line{'s' if at - start > 1 else ''} before the names of the columns skipped (the first is {stood!r})")
    headers, skip = [printable(cell.strip()) for cell in rows[at]], at + 1
    layout = Layout(delimiter, headers, skip, [], _shown(lines, at), notes)
    _read_ticker_lines(name, layout, rows)
    layout.first_row = _first_row(name, lines, layout.skip, delimiter)
    return layout


def numbered(count: int) -> list[str]:
    """Headers of columns that have no names."""
    return [str(place) for place in range(count)]


def is_numbered(headers: Sequence[str]) -> bool:
    """Whether headers are but numbers 0, 1, 2, ...: what is written where nobody named the columns."""
    return list(headers) == numbered(len(headers))


def first_rows(head: Sequence[str]) -> str:
    """The first lines of a file, for a message."""
    return f"the first lines are {' and '.join(repr(shortened(printable(line.strip()), 100)) for line in head[:_SHOWN_LINES])}"


def _without_names(
    name: str, lines: list[str], rows: list[list[str]], start: int, skip_lines: int, delimiter: str, notes: list[str]
) -> Layout:
    """A table without names; those in skipped lines are taken where they are as many as the columns."""
    first = _first_row(name, lines, start, delimiter)
    headers = numbered(len(first))
    for at in range(skip_lines):
        if len(rows[at]) == len(headers) and _is_header(rows[at]):
            headers = [printable(cell.strip()) for cell in rows[at]]
            headers[0] = "date" if headers[0].lower() == "price" else headers[0]
            notes.append(f"the names of the columns were taken from line {at + 1}")
            break
    return Layout(delimiter, headers, start, first, _shown(lines, start), notes)


def _head(name: str, path: Path, most: int) -> list[str]:
    """The first lines of a file, without their ends."""
    try:
        with path.open("rt", encoding="utf-8-sig", newline=None) as file:
            lines = []
            for _ in range(most):
                line = file.readline(_LONGEST_LINE)
                if not line:
                    break
                lines.append(line.rstrip("\n"))
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: the file is not text in UTF-8 ({error}): save it as CSV in UTF-8") from error
    if not lines:
        raise DataError(f"{name}: the file is empty")
    return lines


def _delimiter(lines: Sequence[str]) -> str:
    """The mark that parts the most lines alike, and then the one that stands in them most often."""
    full = [line for line in lines if any(mark in line for mark in _DELIMITERS)] or [""]

    def rank(mark: str) -> tuple[int, int]:
        counts = [line.count(mark) for line in full]
        usual = max(set(counts), key=lambda count: (counts.count(count), count))
        return (counts.count(usual) if usual else 0, usual)

    return max(_DELIMITERS, key=rank)


def _cells(name: str, at: int, line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise DataError(f"{name}, line {at + 1}: these are no column names: {error}") from error


def _names_at(rows: list[list[str]], start: int) -> int | None:
    """The line whose cells are names that are known, before any line of data; None when there is none."""
    for at in range(start, min(len(rows), start + _SEARCHED)):
        if (
            _is_header(rows[at])
            or (len(rows[at]) > 1 and is_numbered(rows[at]))
            or (len(rows[at]) > 2 and rows[at][0] == "" and is_numbered(rows[at][1:]))
        ):
            return at
        if _looks_like_data(rows[at]):
            return None
    return None


def _refuse_names_further_down(name: str, lines: list[str], rows: list[list[str]], start: int) -> None:
    """Where names stand below more lines than are searched, say how they are reached."""
    further = next((at for at in range(start, len(rows)) if _is_header(rows[at])), None)
    if further is not None:
        raise DataError(
            f"{name}: the table seems to begin in line {further + 1}: use --skip-lines {further} ({first_rows(_shown(lines, start))})"
        )


def _is_header(cells: list[str]) -> bool:
    plain = plain_names(cells)
    known = sum(is_known_name(word) for word in plain)
    return known >= 2 and not any(_DATA_CELL.match(cell.strip()) for cell in cells)


def _looks_like_data(cells: list[str]) -> bool:
    """Whether most cells are numbers, times or empty, and two at least are numbers or times."""
    found = sum(bool(_DATA_CELL.match(cell.strip())) for cell in cells)
    return found >= 2 and 2 * (found + sum(not cell.strip() for cell in cells)) > len(cells)


def _read_ticker_lines(name: str, layout: Layout, rows: list[list[str]]) -> None:
    """Under Yahoo's names stand a line of symbols and one that names the times: both are taken for what they say."""
    at = layout.skip
    if at + 1 >= len(rows) or not rows[at] or rows[at][0].strip().lower() != "ticker":
        return
    named = rows[at + 1]
    symbols = {cell.strip() for cell in rows[at][1:] if cell.strip()}
    if len(symbols) != 1:
        raise DataError(
            f"{name}, line {at + 1}: columns of several symbols stand side by side ({shortened(', '.join(sorted(symbols)))}): write each "
            "to its own file"
        )
    if named and named[0].strip().lower() in ("date", "datetime") and not any(cell.strip() for cell in named[1:]):
        layout.headers[0], layout.skip = named[0].strip(), at + 2
    else:
        layout.headers[0], layout.skip = "Date", at + 1
    layout.symbol = next(iter(symbols))


def _first_row(name: str, lines: list[str], skip: int, delimiter: str) -> list[str]:
    """The cells of the first row after ``skip`` lines, which may have line ends in them; [] where there is none."""
    try:
        return next((cells for cells in csv.reader((f"{line}\n" for line in lines[skip:]), delimiter=delimiter) if cells), [])
    except csv.Error as error:
        raise DataError(f"{name}, line {skip + 1}: the first row cannot be read: {error}") from error


def _shown(lines: list[str], at: int) -> list[str]:
    return [line for line in lines[at:] if line.strip()][:_SHOWN_LINES]
