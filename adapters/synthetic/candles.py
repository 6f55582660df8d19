"""Candles out of a path: open, close, and the extremes that a random walk between them would have reached, on a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keel.core.model.instrument import Grid

Columns = dict[str, np.ndarray]
"""Columns of one series, by name: ts (int64, ms) and float64 values."""


@dataclass(frozen=True, slots=True)
class Path:
    """One value per minute: the price at its end, the jump before it (as a fraction), and its deviation (as a fraction)."""

    close: np.ndarray
    jump: np.ndarray
    deviation: np.ndarray
    reach_up: np.ndarray
    reach_down: np.ndarray
    """Exponential numbers: how far beyond open and close it went."""
    first_open: float


def make_candles(path: Path, grid: Grid, *, quiet: np.ndarray, wick: float) -> Columns:
    """open, high, low, close on the grid. Each open repeats the close before it, but for a jump; a quiet minute stands still.

    The extremes are those of a Brownian bridge from open to close: (r + sqrt(r^2 + 2 s^2 E)) / 2 above the open, with r its
    return, s its deviation x ``wick`` and E exponential (the reflection principle), and the mirror image below.
    """
    before = np.concatenate(([path.first_open], path.close[:-1]))
    begin = before * (1.0 + path.jump)
    move = path.close / begin - 1.0
    square = move * move
    width = 2.0 * (path.deviation * wick) ** 2
    up = (move + np.sqrt(square + width * path.reach_up)) / 2.0
    down = (move - np.sqrt(square + width * path.reach_down)) / 2.0

    close = _last_traded(_counts(path.close, grid), quiet, float(_counts(np.array([path.first_open]), grid)[0]))
    previous = np.concatenate((_counts(np.array([path.first_open]), grid), close[:-1]))
    open_ = np.where(path.jump != 0.0, _counts(begin, grid), previous)
    high = np.maximum(np.where(quiet, 0.0, _counts(begin * (1.0 + up), grid)), np.maximum(open_, close))
    low = np.minimum(np.where(quiet, np.inf, _counts(begin * (1.0 + down), grid)), np.minimum(open_, close))
    names = {"open": open_, "high": high, "low": low, "close": close}
    return {name: counts * grid.num / grid.den for name, counts in names.items()}


def make_volume(
    candles: Columns, grid: Grid, *, deviation: np.ndarray, plain: float, noise: np.ndarray, mean: float, quiet: np.ndarray
) -> np.ndarray:
    """Volume on the step: it grows with the minute's range and with how lively the market is; none in a quiet minute.

    deviation: of the minute; plain: of a mean minute; noise: positive with a mean of 1; mean: base units of a mean minute.
    """
    mood = deviation / plain
    travelled = (candles["high"] - candles["low"]) / candles["open"] / plain
    volume = mean * noise * (0.15 + 0.2 * mood * mood + 0.65 * travelled * mood)
    steps = np.maximum(np.rint(volume * grid.den / grid.num), 1.0)
    return np.where(quiet, 0.0, steps) * grid.num / grid.den


def _counts(prices: np.ndarray, grid: Grid) -> np.ndarray:
    """Whole ticks, at least one, as floats (exact far beyond any price)."""
    return np.maximum(np.rint(prices * grid.den / grid.num), 1.0)


def _last_traded(close: np.ndarray, quiet: np.ndarray, first: float) -> np.ndarray:
    """Closes, with those of quiet minutes replaced by the one before."""
    rows = np.maximum.accumulate(np.where(quiet, -1, np.arange(len(close))))
    return np.where(rows >= 0, close[rows], first)
