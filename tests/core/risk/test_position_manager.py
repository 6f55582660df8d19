"""The order filter: screen, weights, budget, cash. Prices are made so that volatilities are known by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from math import exp, sqrt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.risk.position_manager import PositionManager, inverse_weights
from keel.core.strategy.portfolio_order import Order

NOW = datetime(2025, 1, 1, 4, tzinfo=UTC)
A, B, C = "A-USDT", "B-USDT", "C-USDT"


def swing(move: float, candles: int = 16) -> list[float]:
    """Closes that go up and down by ``move`` (log) in turn: n returns of +move and -move have a sample deviation near move."""
    return [100.0 * exp(move * (number % 2)) for number in range(candles)]


def daily(move: float, returns: int = 15) -> float:
    """The volatility per day of ``swing``, worked out by the textbook: sqrt(sum of squares - n x mean^2) / (n - 1)), times sqrt(96)."""
    mean = move / returns  # one more up than down
    return sqrt((returns * move**2 - returns * mean**2) / (returns - 1)) * sqrt(96)


class History:
    """Candles by symbol; remembers what was asked."""

    def __init__(self, **closes: list[float]) -> None:
        self.closes = {f"{name}-USDT": values for name, values in closes.items()}
        self.asked: list[tuple[Any, ...]] = []

    def load_data_period(self, symbol: str, timeframe: str, data_type: str, start: datetime, end: datetime) -> Frame:
        self.asked.append((symbol, timeframe, data_type, start, end))
        if symbol not in self.closes:
            raise DataError(f"no candles of {symbol}")
        values = np.array(self.closes[symbol])
        return Frame(np.arange(len(values), dtype=np.int64), {"close": values})


def account(cash: float = 10_000.0) -> Any:
    return SimpleNamespace(balance={"USDT": cash}, current_time=NOW)


def order(symbol: str, side: Any = "LONG", value: float | None = None, kind: Any = "future") -> Order:
    return Order(symbol, kind, side, value)


def values(orders: list[Order]) -> Mapping[str, float | None]:
    return {each.symbol: each.value for each in orders}


def test_the_budget_is_shared_by_inverse_volatility() -> None:
    """One moves twice as much as the other: it gets half as much. 10 % of 10,000 is 1,000."""
    history = History(A=swing(0.001), B=swing(0.002))
    passed = PositionManager().filter_orders([order(A), order(B, "SHORT")], account(), history)  # type: ignore[arg-type]  # a part of a view
    assert values(passed) == {A: pytest.approx(1000 * 2 / 3), B: pytest.approx(1000 / 3)}
    assert [each.side for each in passed] == ["LONG", "SHORT"]
    assert history.asked[0] == (A, "15m", "mark_ohlcv_futures", NOW - timedelta(hours=4), NOW)


def test_spot_looks_at_spot_candles() -> None:
    history = History(A=swing(0.001))
    PositionManager().filter_orders([order(A, kind="spot")], account(), history)  # type: ignore[arg-type]
    assert [asked[2] for asked in history.asked] == ["ohlcv_spot"]


@pytest.mark.parametrize(("side_of_limit", "kept"), [(0.999, True), (1.001, False)])
def test_the_screen_is_at_a_tenth_a_day(side_of_limit: float, kept: bool) -> None:
    """What is above it has a value of 0, its own value, too, and leaves the whole budget to the others."""
    move = 0.1 / daily(1.0) * side_of_limit
    history = History(A=swing(move), B=swing(0.001), C=swing(move))
    orders = [order(A), order(B), order(C, value=500.0)]
    passed = values(PositionManager().filter_orders(orders, account(), history))  # type: ignore[arg-type]
    assert (passed[A] == 0.0, passed[C]) == (not kept, 500.0 if kept else 0.0)
    assert passed[B] == pytest.approx(1000.0 if not kept else 1000 / (1 + 0.001 / move))


def test_a_close_is_neither_screened_nor_sized_and_comes_first() -> None:
    history = History(B=swing(0.001))
    passed = PositionManager().filter_orders([order(B), order(A, "CLOSE")], account(), history)  # type: ignore[arg-type]
    assert [(each.symbol, each.value) for each in passed] == [(A, None), (B, pytest.approx(1000.0))]
    assert [asked[0] for asked in history.asked] == [B]


CASH = [
    # own value, cash -> what is left
    (9_000.0, {A: 9_000.0, B: 1_000.0}),  # 9,000 and the budget of 1,000 are just the cash
    (9_000.1, {}),
]


@pytest.mark.parametrize(("own", "left"), CASH)
def test_more_than_the_cash_leaves_only_the_closes(own: float, left: Mapping[str, float]) -> None:
    history = History(A=swing(0.001), B=swing(0.001))
    orders = [order(A, value=own), order(C, "CLOSE"), order(B)]
    passed = values(PositionManager().filter_orders(orders, account(), history))  # type: ignore[arg-type]
    assert passed == {C: None, **{symbol: pytest.approx(value) for symbol, value in left.items()}}


def test_what_cannot_be_screened_is_told_once_and_weighs_as_the_others_do() -> None:
    history = History(A=swing(0.001), B=swing(0.001, candles=8))
    manager = PositionManager()
    for _ in range(2):
        passed = manager.filter_orders([order(A), order(B), order(C)], account(), history)  # type: ignore[arg-type]
    assert values(passed) == {symbol: pytest.approx(1000 / 3) for symbol in (A, B, C)}
    assert manager.notes == [
        "B-USDT was not screened by volatility, at least once: 7 returns of 15m candles, 8 are needed",
        "C-USDT was not screened by volatility, at least once: no candles of C-USDT",
    ]


def test_eight_returns_are_enough() -> None:
    manager = PositionManager()
    manager.filter_orders([order(A)], account(), History(A=swing(0.5, candles=9)))  # type: ignore[arg-type]
    assert manager.notes == []


@pytest.mark.parametrize(
    ("volatilities", "weights"),
    [([0.1], [1.0]), ([0.1, 0.1], [0.5, 0.5]), ([0.1, 0.3], [0.75, 0.25]), ([None, None], [0.5, 0.5]), ([0.0, 0.1], [0.5, 0.5]), ([], [])],
)
def test_weights(volatilities: list[float | None], weights: list[float]) -> None:
    assert inverse_weights(volatilities) == pytest.approx(weights)


def test_mappings_are_orders() -> None:
    given = [{"symbol": A, "instrument_type": "future", "side": "LONG", "value": np.float64(5.0)}]
    passed = PositionManager().filter_orders(given, account(), History(A=swing(0.001)))  # type: ignore[arg-type]
    assert passed == [order(A, value=5.0)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"budget_percent": 0.0}, "budget_percent"),
        ({"budget_percent": 101.0}, "budget_percent"),
        ({"max_daily_volatility": 0.0}, "max_daily_volatility"),
        ({"window": timedelta(hours=1)}, "holds no 8 returns"),
        ({"timeframe": "7m"}, "unknown timeframe"),
    ],
)
def test_settings_that_cannot_be(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PositionManager(**arguments)
