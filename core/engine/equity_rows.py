"""Equity over a stretch of instants at once, in columns, with the bits that adding line by line at each instant gives.

A line of the account adds qty x mark - offset to cash, lines in the account's order. Between two changes of the account these are
columns. Sums are made by ``np.add.accumulate``, which adds from left to right; ``np.sum`` does not. A flat line adds 0.0, which changes
no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keel.core.engine.known_prices import Floats, KnownPrices

Change = tuple[int, float, float]
"""From which row on: quantity, offset."""
Bounds = tuple[float, float, float]
"""The least and the most that a line adds, and the size of what is added up for it."""
FEW = 6
"""Up to so many lines are added up one by one, more of them as an array: that gives the same bits, and takes less time."""
SLACK = 1e-9
"""Share of all that is added up by which a bound is taken wider: many times what rounding can amount to."""


class EquityRows:
    """The account's quantities and offsets by symbol, when they changed, and equity in rows of known prices.

    ``written`` is the first row whose equity is not written yet. Rows are those of ``prices``; what changes counts from the row after the
    latest that is known.
    """

    __slots__ = (
        "_base", "_bounds", "_cash", "_cash_changes", "_changes", "_high", "_highs", "_is_wide", "_low", "_lows", "_matrix", "_now",
        "_now_cash", "_offsets", "_prices", "_qtys", "_scratch", "_size", "_sizes", "_state", "_sums", "_tail", "is_bounded", "is_changed",
        "written",
    )  # fmt: skip

    def __init__(self, prices: KnownPrices, cash: float, lines: Sequence[tuple[float, float]], *, is_bounded: bool) -> None:
        """lines: quantity and offset of each.  is_bounded: whether ``bounds`` will be asked for."""
        width = len(lines)
        self._prices, self.is_bounded = prices, is_bounded
        self._cash = self._now_cash = cash
        self._state: list[Change] = [(0, *line) for line in lines]  # at the row ``written``; the row in it is of no account
        self._now = list(self._state)
        self._changes: list[list[Change]] = [[] for _ in lines]
        self._cash_changes: list[tuple[int, float]] = []
        self._is_wide = width > FEW
        self._qtys, self._offsets = np.array([line[0] for line in lines]), np.array([line[1] for line in lines])
        self._sizes = np.abs(self._qtys)
        self._scratch, self._sums = np.zeros(width + 1), np.zeros(width + 1)
        self._tail = self._scratch[1:]
        self._lows: list[float] = [0.0] * width
        self._highs: list[float] = [0.0] * width
        self._bounds: list[Bounds] = [(0.0, 0.0, 0.0)] * width
        self._low = self._high = self._size = 0.0
        self.written = self._base = 0
        self._matrix = np.zeros((1, width))
        self.is_changed = False
        """Whether bounds have changed since somebody set this to False."""

    # --- changes ---

    def note_cash(self, cash: float) -> None:
        """The account's cash is another from now on."""
        self._cash_changes.append((self._prices.row + 1, cash))
        change = cash - self._now_cash
        self._low += change
        self._high += change
        self._now_cash = cash
        self.is_changed = True

    def note_line(self, place: int, qty: float, offset: float) -> None:
        """A line is another from now on."""
        change = self._now[place] = (self._prices.row + 1, qty, offset)
        self._changes[place].append(change)
        if self._is_wide:
            self._qtys[place], self._offsets[place], self._sizes[place] = qty, offset, abs(qty)
        if self.is_bounded:
            old = self._bounds[place]
            self._bounds[place] = new = _bounds(qty, offset, self._lows[place], self._highs[place])
            self._low += new[0] - old[0]
            self._high += new[1] - old[1]
            self._size += new[2] - old[2]
            self.is_changed = True

    # --- a block of rows ---

    def begin(self, start: int, end: int) -> None:
        """The rows from ``start`` (which is ``written``) to ``end`` - 1 come next."""
        self._base = start - 1
        self._matrix = matrix = self._prices.matrix(start, end)
        if self.is_bounded:
            self._lows, self._highs = matrix[1:].min(axis=0).tolist(), matrix[1:].max(axis=0).tolist()
            self._low, self._high, self._size = self._now_cash, self._now_cash, abs(self._now_cash)
            for place, (_, qty, offset) in enumerate(self._now):
                self._bounds[place] = new = _bounds(qty, offset, self._lows[place], self._highs[place])
                self._low += new[0]
                self._high += new[1]
                self._size += new[2]

    def bounds(self) -> tuple[float, float]:
        """Between which values equity stays in this block if the account stays as it is."""
        slack = SLACK * (self._size + abs(self._now_cash))
        return self._low - slack, self._high + slack

    # --- equity ---

    def value(self, cash: float) -> float:
        """Equity at the prices that are known, of an account of more than FEW lines."""
        scratch, tail = self._scratch, self._tail
        np.multiply(self._matrix[self._prices.row - self._base], self._qtys, tail)
        np.subtract(tail, self._offsets, tail)
        scratch[0] = cash
        return float(np.add.accumulate(scratch, out=self._sums)[-1])

    def gross(self) -> float:
        """Sum of |quantity| x mark at the prices that are known, of an account of more than FEW lines."""
        return float(np.add.accumulate(self._sizes * self._matrix[self._prices.row - self._base])[-1])

    def ahead(self, start: int, end: int) -> Floats:
        """Equity of the rows of this block from ``start`` to ``end`` - 1, if the account stays as it is."""
        if not self._is_wide:
            self._qtys, self._offsets = np.array([line[1] for line in self._now]), np.array([line[2] for line in self._now])
        table = np.empty((end - start, len(self._qtys) + 1))
        table[:, 0] = self._now_cash
        np.multiply(self._matrix[start - self._base : end - self._base], self._qtys, table[:, 1:])
        np.subtract(table[:, 1:], self._offsets, table[:, 1:])
        return np.ascontiguousarray(np.add.accumulate(table, axis=1)[:, -1])

    def write(self, end: int) -> Floats:
        """Equity of the rows from ``written`` to ``end`` - 1, as the account was at each."""
        start = self.written
        if end <= start:
            return np.empty(0)
        cash: Any = self._cash
        if self._cash_changes:
            rows, cashes = zip(*self._cash_changes, strict=True)
            cash = np.array((cash, *cashes)).repeat(_lengths(start, rows, end))
            self._cash = cashes[-1]
            self._cash_changes.clear()
        equity = np.empty(end - start)
        equity[:] = cash
        table = self._matrix[start - self._base : end - self._base]
        for place, changes in enumerate(self._changes):
            _, qty, offset = self._state[place]
            if changes:
                rows, qtys, offsets = zip(*changes, strict=True)
                lengths = _lengths(start, rows, end)
                equity += np.array((qty, *qtys)).repeat(lengths) * table[:, place] - np.array((offset, *offsets)).repeat(lengths)
                self._state[place] = changes[-1]
                changes.clear()
            elif qty:
                equity += qty * table[:, place] - offset
        self.written = end
        return equity


def _lengths(start: int, rows: tuple[int, ...], end: int) -> Any:
    """How many rows each state holds for, which changed at these rows; the last change may be at ``end``, and holds for none here."""
    edges = np.array((start, *rows, end))
    return edges[1:] - edges[:-1]


def _bounds(qty: float, offset: float, low: float, high: float) -> Bounds:
    """The least and the most that a line adds at marks from low to high, and the size of what is added up for it."""
    one, other = qty * low - offset, qty * high - offset
    size = abs(one) + abs(other) + 2.0 * abs(offset)  # more than either product, too
    return (one, other, size) if one <= other else (other, one, size)
