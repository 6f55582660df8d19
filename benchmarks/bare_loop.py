"""The least that the crossover costs in compiled code: one loop over the bars with a position, its orders and the equity, and nothing else.
No fees but a rate, no funding, no margin, no grid, no exact money: what a kernel is measured against."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Signals = np.ndarray[Any, np.dtype[np.int8]]


@numba.njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # numba has no types
def _loop(opens, closes, signals, fee, cash, equity, rows, prices):  # type: ignore[no-untyped-def]  # compiled
    held, orders = 0.0, 0
    for row in range(len(closes)):
        if row and signals[row - 1] != 2 and signals[row - 1] != held:
            change = signals[row - 1] - held
            cash -= change * opens[row] + abs(change) * opens[row] * fee
            held = float(signals[row - 1])
            rows[orders], prices[orders] = row, opens[row]
            orders += 1
        equity[row] = cash + held * closes[row]
    return orders


def orders_and_equity(opens: Floats, closes: Floats, signals: Signals, fee: float, cash: float) -> tuple[int, Floats]:
    """How many orders there were, and the equity at each bar. signals: 1 long, -1 short, 2 as before, each at the next bar's open."""
    equity, rows, prices = np.empty(len(closes)), np.empty(len(closes), dtype=np.int64), np.empty(len(closes))
    return _loop(opens, closes, signals, fee, cash, equity, rows, prices), equity
