"""The guard against look-ahead: planted peeks are found, causal columns pass, and it costs prefixes only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from keel.core.features.lookahead_guard import cuts, first_peek

WALK = 100.0 * np.exp(np.cumsum(np.random.default_rng(3).standard_normal(3_000) * 1e-3))


def over(function: Callable[[np.ndarray], np.ndarray], series: np.ndarray = WALK) -> int | None:
    return first_peek(function(series), lambda length: function(series[:length]), 500)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("the next bar's close", lambda close: np.where(np.append(close[1:], close[-1]) > close, 1, -1)),
        ("a centred mean", lambda close: np.convolve(close, np.ones(5) / 5, mode="same")),
        ("the mean of the whole series", lambda close: close - close.mean()),
        ("the highest of the whole series", lambda close: (close >= close.max()).astype(int)),
        ("a shift of the wrong sign", lambda close: np.roll(close, -3)),
    ],
)
def test_planted_peeks_are_found(name: str, function: Callable[[np.ndarray], np.ndarray]) -> None:
    assert over(function) is not None, name


@pytest.mark.parametrize(
    "function",
    [
        lambda close: np.sign(np.diff(close, prepend=close[0])),
        lambda close: np.maximum.accumulate(close),
        lambda close: np.cumsum(close) / np.arange(1, len(close) + 1),
        lambda close: np.concatenate([np.full(19, np.nan), np.convolve(close, np.ones(20) / 20, mode="valid")]),
    ],
)
def test_causal_columns_pass(function: Callable[[np.ndarray], np.ndarray]) -> None:
    assert over(function) is None


def test_cuts_are_prefixes_that_cost_little() -> None:
    for rows, first in ((50, 0), (101, 0), (3_000, 500), (1_000_000, 500), (1_000_000, 999_990)):
        tried = cuts(rows, first)
        assert tried == sorted(set(tried)) and all(max(first, 100) < cut < rows for cut in tried)
        assert sum(tried) < 1_500_000 or first > 900_000
    assert not cuts(100, 0)
