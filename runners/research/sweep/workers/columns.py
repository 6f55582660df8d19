"""Feature columns, computed once for each distinct feature and shared among the points that read it.

A column is known by its series (symbol, timeframe, first row, rows, data) and its definition, inputs included, whatever it is called: the
fast average of one point is the slow one of another.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
import numpy.typing as npt

from keel.core.features import FeatureSpec
from keel.core.model.frame import Frame
from keel.runners.backtest.preparation import Compute

Floats = npt.NDArray[np.float64]


class Shelf(Protocol):
    """Where columns are kept."""

    def get(self, key: str) -> Floats | None: ...
    def put(self, key: str, column: Floats) -> Floats: ...


class SharedColumns:
    """Computes features through a shelf. data: names the histories that the frames come from."""

    def __init__(self, shelf: Shelf, compute: Compute) -> None:
        self._shelf, self._compute = shelf, compute

    def of(self, data: str) -> Compute:
        """The features of one data set's frames; as ``compute`` would give them."""

        def compute(specs: Sequence[FeatureSpec], frame: Frame, first: int) -> dict[str, Floats]:
            begin = int(frame.ts[0]) if len(frame) else 0
            series = f"{data};{frame.symbol};{frame.timeframe};{begin};{len(frame)};{first}"
            keys: dict[str, str] = {}
            found: dict[str, Floats] = {}
            for spec in specs:
                keys[spec.name] = _key(series, spec, keys)
                column = self._shelf.get(keys[spec.name])
                if column is None:
                    given = frame.with_columns({name: found[name] for name in spec.inputs if name in found})
                    column = self._shelf.put(keys[spec.name], self._compute([spec], given, first)[spec.name])
                found[spec.name] = column
            return found

        return compute


def _key(series: str, spec: FeatureSpec, known: dict[str, str]) -> str:
    """Hex digits of a column's series and definition; features among its inputs stand by their own keys."""
    inputs = ",".join(known.get(name, name) for name in spec.inputs)
    text = f"{series};{spec.fn};{inputs};{spec.output};{spec.params!r}"
    return blake2b(text.encode(), digest_size=16).hexdigest()


class MemoryShelf:
    """In this process, for threads; the least recently used go when there is no more room. most_bytes: how much it holds."""

    def __init__(self, most_bytes: int = 256 << 20) -> None:
        self._most, self._held = most_bytes, 0
        self._columns: OrderedDict[str, Floats] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> Floats | None:
        with self._lock:
            column = self._columns.get(key)
            if column is not None:
                self._columns.move_to_end(key)
            return column

    def put(self, key: str, column: Floats) -> Floats:
        with self._lock:
            if key not in self._columns:
                self._columns[key] = column
                self._held += column.nbytes
                while self._held > self._most and len(self._columns) > 1:
                    self._held -= self._columns.popitem(last=False)[1].nbytes
            return column


class FolderShelf:
    """In files that all processes map: computed by whoever comes first, read by the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Floats | None:
        try:
            return np.asarray(np.load(self._folder / f"{key}.npy", mmap_mode="r"))
        except FileNotFoundError:
            return None

    def put(self, key: str, column: Floats) -> Floats:
        part = self._folder / f".{key}.{os.getpid()}"
        with part.open("wb") as file:
            np.save(file, column)
        part.replace(self._folder / f"{key}.npy")
        return column
