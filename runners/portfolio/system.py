"""A portfolio strategy in a system file: what it is shown, and when it is asked (at each close of the system's timeframe)."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

from adapters.store import HistoricalDataStore
from core.config import SystemConfig
from core.errors import ConfigError
from core.portfolio_order import market_symbol
from core.risk.exits import hidden_features
from core.time_range import TimeRange
from core.timeframe import DAY_MS, tf_ms
from runners.portfolio.archive import StoredArchive
from runners.portfolio.desk import PortfolioSetup
from strategies.base import PortfolioStrategy


def lookback(system: SystemConfig, strategy: PortfolioStrategy, warmup: Mapping[str, int]) -> dict[str, int]:
    """Bars before the window by timeframe: the strategy's ``lookback_days``, the system's ``warmup_bars``, what features need; the most.

    A portfolio strategy reads history by itself: without features and ``warmup_bars`` it needs its lookback only.
    """
    has_features = bool(strategy.features or system.features or hidden_features(system.exits, system.sizing))
    asked = warmup[system.timeframe] if has_features or system.warmup_bars is not None else 0
    return {**warmup, system.timeframe: max(asked, ceil(strategy.lookback_days * DAY_MS / tf_ms(system.timeframe)))}


def system_setup(
    store: HistoricalDataStore, system: SystemConfig, window: TimeRange, strategy: PortfolioStrategy, warmup_bars: int, env: str
) -> PortfolioSetup:
    """What the strategy is shown: series of the store from the warm-up on. Raises ConfigError for a symbol that the system lacks."""
    step = tf_ms(system.timeframe)
    since = window.start_ms - max(warmup_bars * step, DAY_MS)
    return PortfolioSetup(
        archive=StoredArchive(store, since, window.end_ms, env=env),
        names=_names(system, strategy),
        category=system.category,
        timeframe=system.timeframe,
        since=window.start_ms - warmup_bars * step,
        start=window.start_ms,
        step_ms=step,
    )


def _names(system: SystemConfig, strategy: PortfolioStrategy) -> list[str]:
    """The system's symbols, each by the strategy's own name for it, if it has one."""
    own = {market_symbol(name, system.category): name for name in strategy.symbols}
    for symbol, name in own.items():
        if symbol not in system.symbols:
            raise ConfigError(f"{type(strategy).__name__} trades {name}, and the system's symbols are {', '.join(system.symbols)}: add it")
    return [own.get(symbol, symbol) for symbol in system.symbols]
