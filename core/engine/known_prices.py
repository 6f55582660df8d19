"""Prices of all symbols as they are known at the end of each instant of a history, and how far the history has been told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class KnownPrices:
    """Columns of last and mark prices, by symbol in the order of the account's lines: one row per instant, the latest price where a symbol
    has none of its own, 0 before its first. ``row`` is the latest instant whose prices are known (-1: none); whoever replays moves it.
    """

    __slots__ = ("lasts", "marks", "row")

    def __init__(self, lasts: Sequence[Floats], marks: Sequence[Floats]) -> None:
        self.lasts, self.marks = list(lasts), list(marks)
        self.row = -1

    def matrix(self, start: int, end: int) -> Floats:
        """Marks of the rows start - 1 to end - 1, a column per symbol: what is known when row ``start`` begins, and each row after it.

        There is nothing before row 0: zeros.
        """
        table = np.zeros((end - start + 1, len(self.marks)))
        skipped = 1 if start == 0 else 0
        for place, column in enumerate(self.marks):
            table[skipped:, place] = column[start - 1 + skipped : end]
        return table

    def readers(self, place: int) -> tuple[Any, Any]:
        """One symbol's last and mark prices as memory that hands out plain floats."""
        last, mark = self.lasts[place], self.marks[place]
        return last.data, last.data if mark is last else mark.data
