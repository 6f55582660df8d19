"""The bars that were heard, in columns: what artifacts draw, and where a restart goes on. A bar costs 48 bytes."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec
import numpy as np

from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar
from keel.core.model.timeframe import tf_ms
from keel.runners.live.market.bar_synchronizer import Line


class RecordedSeries(msgspec.Struct, frozen=True):
    """One series as plain data: the bytes of the opens (int64) and of each column (float64)."""

    symbol: str
    timeframe: str
    ts: bytes
    columns: list[bytes]


class BarRecorder:
    """By symbol and timeframe, in the order of hearing."""

    def __init__(self) -> None:
        self._opens: dict[Line, array[int]] = {}
        self._columns: dict[Line, tuple[array[float], ...]] = {}

    def add(self, bar: Bar) -> None:
        """One more bar."""
        line = (bar.symbol, bar.tf)
        opens = self._opens.get(line)
        if opens is None:
            opens = self._opens[line] = array("q")
            self._columns[line] = tuple(array("d") for _ in BAR_COLUMNS)
        opens.append(bar.ts_open)
        for column, value in zip(self._columns[line], (bar.open, bar.high, bar.low, bar.close, bar.volume), strict=True):
            column.append(value)

    def next_opens(self) -> dict[Line, int]:
        """Where each series goes on: the close of its last bar."""
        return {line: opens[-1] + tf_ms(line[1]) for line, opens in self._opens.items()}

    def count(self, symbol: str) -> int:
        """How many bars of a symbol were heard, of all timeframes."""
        return sum(len(opens) for line, opens in self._opens.items() if line[0] == symbol)

    def frame(self, symbol: str, timeframe: str, until_ms: int) -> Frame:
        """The bars of a series that had closed by then; a bar that was late stands in its place."""
        line = (symbol, timeframe)
        ts = np.array(self._opens.get(line, ()), dtype=np.int64)
        given = self._columns.get(line, tuple(array("d") for _ in BAR_COLUMNS))
        kept = np.flatnonzero(ts + tf_ms(timeframe) <= until_ms)
        columns = {name: np.array(column, dtype=np.float64)[kept] for name, column in zip(BAR_COLUMNS, given, strict=True)}
        return Frame(ts[kept], columns, symbol=symbol, timeframe=timeframe)

    def state(self) -> list[RecordedSeries]:
        """All of it, to be written at once."""
        return [
            RecordedSeries(*line, opens.tobytes(), [each.tobytes() for each in self._columns[line]]) for line, opens in self._opens.items()
        ]

    def restore(self, state: list[RecordedSeries]) -> None:
        """Go on from a ``state()``."""
        for line in state:
            self._opens[line.symbol, line.timeframe] = _filled("q", line.ts)
            self._columns[line.symbol, line.timeframe] = tuple(_filled("d", column) for column in line.columns)


def _filled(kind: str, content: bytes) -> array[Any]:
    made: array[Any] = array(kind)
    made.frombytes(content)
    return made
