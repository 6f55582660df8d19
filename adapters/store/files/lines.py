"""Which line of a text file a row stands in, as an editor counts them: empty lines count, and a quoted cell may span several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a text file in UTF-8, of which ``skip`` stand before the first row. It is read when a line is asked for."""

    path: Path
    delimiter: str
    skip: int

    def of_row(self, row: int) -> int:
        """The line (from 1) in which row ``row`` (from 0) begins; empty lines are no rows."""
        return self._nth((line for line, is_empty in self._records() if not is_empty), row)

    def of_record(self, record: int) -> int:
        """The line (from 1) in which a record (from 0, counted from the first row on, empty lines among them) begins."""
        return self._nth((line for line, _ in self._records()), record)

    def _nth(self, lines: Iterator[int], count: int) -> int:
        """The line that stands at ``count`` (from 0), the last one where there are fewer."""
        line = self.skip + 1
        for each in islice(lines, count + 1):
            line = each
        return line

    def _records(self) -> Iterator[tuple[int, bool]]:
        """(line, whether it is empty) of every record."""
        with self.path.open("rt", encoding="utf-8-sig", errors="replace", newline=None) as file:
            begun, is_open = 0, False
            for line, text in enumerate(islice(file, self.skip, None), self.skip + 1):
                if not is_open:
                    begun = line
                is_open = (is_open or '"' in text) and _is_open_after(text, self.delimiter, is_open=is_open)
                if not is_open:
                    yield begun, text in ("\n", "")
            if is_open:
                yield begun, False


def _is_open_after(text: str, delimiter: str, *, is_open: bool) -> bool:
    """Whether a quoted cell goes on after this line. Quotes are marks at the beginning of a cell only, and doubled inside one."""
    at = 0
    if not is_open and text.startswith('"'):
        at, is_open = 1, True
    while True:
        if is_open:
            at = text.find('"', at) + 1
            if not at:
                return True
            if text.startswith('"', at):
                at += 1
                continue
        at = text.find(delimiter, at) + 1
        if not at:
            return False
        is_open = text.startswith('"', at)
        at += is_open
