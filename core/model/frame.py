"""Columns of one series: contiguous numpy arrays of equal length, times first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.core.errors import DataError, InvariantError

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

BAR_COLUMNS = ("open", "high", "low", "close", "volume")


def doubled(column: np.ndarray, fill: float = 0) -> np.ndarray:
    """A copy with twice the room along its last axis; what is new holds ``fill``. For columns that grow row by row."""
    return np.concatenate((column, np.full_like(column, fill)), axis=-1)


def as_known(times: np.ndarray, values: np.ndarray, closes: np.ndarray) -> np.ndarray:
    """What was known of a series of points (times ascending, ms) at each of ``closes``: the last value at or before it; nan before the
    first."""
    if not len(times):
        return np.full(len(closes), np.nan)
    rows = np.searchsorted(times, closes, side="right") - 1
    return np.where(rows >= 0, values[np.maximum(rows, 0)], np.nan)


class Frame:
    """One series of one symbol: ``ts`` (int64, ms UTC; for bars the open) and float64 columns of the same length.

    ``frame["close"]`` and ``frame.close`` give a column; ``len(frame)`` the rows; ``frame[10:20]`` a frame of those rows (views).
    Raises DataError when columns differ in length or times do not strictly ascend (trades may share one).
    """

    __slots__ = ("_columns", "kind", "symbol", "timeframe", "ts")

    def __init__(
        self, ts: np.ndarray, columns: Mapping[str, np.ndarray], *, symbol: str = "", timeframe: str = "", kind: str = "last"
    ) -> None:
        self.ts = np.ascontiguousarray(ts, dtype=np.int64)
        self._columns = {name: np.ascontiguousarray(column) for name, column in columns.items()}
        self.symbol, self.timeframe, self.kind = symbol, timeframe, kind
        for name, column in self._columns.items():
            if column.shape != self.ts.shape:
                raise DataError(f"{symbol} {timeframe} {kind}: column {name} has {column.shape} rows, ts has {self.ts.shape}")
        ascends = self.ts[1:] >= self.ts[:-1] if kind == "trades" else self.ts[1:] > self.ts[:-1]
        if not ascends.all():
            row = int(np.argmin(ascends)) + 1
            raise DataError(f"{symbol} {timeframe} {kind}: times must ascend, row {row} ({int(self.ts[row])}) does not")

    @classmethod
    def of_views(
        cls, ts: np.ndarray, columns: dict[str, np.ndarray], *, symbol: str = "", timeframe: str = "", kind: str = "last"
    ) -> Frame:
        """A frame of contiguous columns that are known to be of one length, with ascending times: nothing is checked or copied."""
        frame = cls.__new__(cls)
        frame.ts, frame._columns = ts, columns
        frame.symbol, frame.timeframe, frame.kind = symbol, timeframe, kind
        return frame

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, without ts."""
        return tuple(self._columns)

    def __len__(self) -> int:
        return len(self.ts)

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __getitem__(self, key: str | slice) -> Any:
        if isinstance(key, slice):
            part = {name: column[key] for name, column in self._columns.items()}
            return Frame(self.ts[key], part, symbol=self.symbol, timeframe=self.timeframe, kind=self.kind)
        try:
            return self._columns[key]
        except KeyError:
            raise DataError(
                f"{self.symbol} {self.timeframe} {self.kind} has no column {key!r}; it has {', '.join(self._columns)}"
            ) from None

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._columns[name]
        except KeyError:
            raise AttributeError(name) from None

    def with_columns(self, columns: Mapping[str, np.ndarray]) -> Frame:
        """The same rows with more columns (or columns replaced)."""
        return Frame(self.ts, {**self._columns, **columns}, symbol=self.symbol, timeframe=self.timeframe, kind=self.kind)

    def between(self, start: int, end: int) -> Frame:
        """The rows with start <= ts < end (views)."""
        first, last = np.searchsorted(self.ts, (start, end))
        part = self[int(first) : int(last)]
        if not isinstance(part, Frame):
            raise InvariantError("a slice of a frame is a frame")
        return part

    def to_dict(self) -> dict[str, np.ndarray]:
        """ts and all columns, by name."""
        return {"ts": self.ts, **self._columns}

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas DataFrame indexed by UTC time. Needs pandas."""
        import pandas

        return pandas.DataFrame(self._columns, index=pandas.to_datetime(self.ts, unit="ms", utc=True))

    def to_polars(self) -> polars.DataFrame:
        """A polars DataFrame. Needs polars."""
        import polars

        return polars.DataFrame(self.to_dict())

    def to_arrow(self) -> pyarrow.Table:
        """A pyarrow Table. Needs pyarrow."""
        import pyarrow

        return pyarrow.table(self.to_dict())
