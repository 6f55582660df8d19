"""The text of a run's curve, begun while the run goes on: for a long one it takes as long as the run, and the other processor.

Whoever runs adds blocks of rows, in their order; they are formatted by a thread of their own, into files of a temporary folder. Whoever
writes the curve takes the blocks that are what the finished curve has there, bit by bit, and formats the rest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Protocol

from keel.core.errors import DataError
from keel.core.frame import Frame


class Write(Protocol):
    """Formats rows into a file; is_first: whether they are the curve's first."""

    def __call__(self, path: Path, rows: Frame, is_first: bool, /) -> None: ...
    def close(self) -> None: ...


class CurveDraft:
    """Blocks of one curve. write: formats one. To be closed, for its thread and its folder (a ``with`` does)."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._folder = tempfile.TemporaryDirectory(prefix="keel-curve-")
        self._thread = ThreadPoolExecutor(1)
        self._blocks: list[Future[tuple[Path, int, bytes]]] = []

    def add(self, make: Callable[[], Frame]) -> None:
        """The next rows, which ``make`` gives in the thread."""
        self._blocks.append(self._thread.submit(self._format, make, len(self._blocks)))

    def take(self, curve: Frame) -> tuple[list[Path], int]:
        """The files of the curve's beginning, and how many rows they have; waits for what is being formatted. A block that is not what the
        curve has, or could not be written, and all after it are left to the caller."""
        files: list[Path] = []
        rows = 0
        for block in self._blocks:
            if isinstance(block.exception(), DataError):
                break
            path, count, digest = block.result()
            if _digest(curve[rows : rows + count]) != digest:
                break
            files.append(path)
            rows += count
        return files, rows

    def close(self) -> None:
        """Take away what was formatted; what is not begun never is."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._write.close()
        self._folder.cleanup()

    def __enter__(self) -> CurveDraft:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _format(self, make: Callable[[], Frame], number: int) -> tuple[Path, int, bytes]:
        rows, path = make(), Path(self._folder.name) / f"{number}.csv"
        self._write(path, rows, number == 0)
        return path, len(rows), _digest(rows)


def _digest(rows: Frame) -> bytes:
    """Of names, times and values."""
    digest = blake2b(repr(list(rows.columns)).encode())
    for column in rows.to_dict().values():
        digest.update(column.tobytes())
    return digest.digest()
