"""Small histories, strategies that say what they are told to, and runs of both: what the tests of the portfolio backtester are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from keel.adapters.store import HistoricalDataStore
from keel.core.model.timeframe import tf_ms
from keel.core.strategy.portfolio_order import Order
from keel.core.system.config import ExecutionConfig
from keel.runners.portfolio.backtester import Backtester
from tests.builders import START, perpetual, spot_pair

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
BTC, ETH = "BTC-USDT", "ETH-USDT"
Prices = Sequence[tuple[float, float]]


def bars(prices: Prices, timeframe: str = "1h", first: int = 0) -> dict[str, np.ndarray]:
    """Candles of (open, close) pairs from the ``first``-th after START on; high and low are no further than these."""
    opens, closes = np.array(prices, dtype=np.float64).T
    ts = START + tf_ms(timeframe) * (first + np.arange(len(opens), dtype=np.int64))
    return {
        "ts": ts, "open": opens, "high": np.maximum(opens, closes), "low": np.minimum(opens, closes), "close": closes,
        "volume": np.full(len(opens), 1000.0),
    }  # fmt: skip


def market(
    series: Mapping[str, Prices], market_type: str = "futures", *, timeframe: str = "1h", store: HistoricalDataStore | None = None
) -> HistoricalDataStore:
    """A store of mark (or spot) candles by symbol, with instruments of tick 0.1 and step 0.001."""
    store = store or HistoricalDataStore(":memory:")
    spot = market_type == "spot"
    for symbol, prices in series.items():
        store.upsert_instrument((spot_pair if spot else perpetual)(symbol))
        kind, category = ("last", "spot") if spot else ("mark", "linear")
        store.upsert_bars(symbol, timeframe, bars(prices, timeframe), source="test", kind=kind, category=category)
    return store


class Scripted:
    """Orders by step, from 1 on; keeps what it was shown."""

    def __init__(self, orders: Mapping[int, Sequence[Any]], symbols: Sequence[str] = (BTC,), lookback_days: int = 0) -> None:
        self.symbols, self.lookback_days, self._orders = list(symbols), lookback_days, dict(orders)
        self.times: list[datetime] = []
        self.prices: list[float] = []
        self.oms: Any = None
        self.data: Any = None

    def run_strategy(self, oms_client: Any, data_manager: Any) -> Sequence[Any]:
        self.oms, self.data = oms_client, data_manager
        self.times.append(oms_client.current_time)
        self.prices.append(oms_client.get_current_price(self.symbols[0]))
        return self._orders.get(len(self.times), ())


class AsGiven:
    """A position manager that lets everything pass."""

    def filter_orders(self, orders: Sequence[Order], oms_client: Any, data_manager: Any) -> Sequence[Order]:
        return orders


def future(side: Any, value: float | None = None, symbol: str = BTC) -> Order:
    return Order(symbol, "future", side, value)


def spot(side: Any, value: float | None = None, symbol: str = BTC) -> Order:
    return Order(symbol, "spot", side, value)


def run(
    store: HistoricalDataStore, strategy: Any, hours: int, market_type: Any = "futures", *, manager: Any = None, step: timedelta = HOUR,
    start: datetime = BEGIN, execution: ExecutionConfig | None = None, **options: Any,
) -> tuple[dict[str, Any], Backtester]:  # fmt: skip
    """A run from START on, without costs unless told."""
    tester = Backtester(store=store, execution=execution or ExecutionConfig.frictionless(), **options)
    return tester.run_backtest(strategy, manager or AsGiven(), start, BEGIN + hours * HOUR, step, market_type), tester
