"""A portfolio strategy in a system file: what it is shown, and when it is asked (at each close of the system's timeframe).

The same in a backtest, where history comes out of the store, and in a session, where it is loaded before the start and heard since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from adapters.store import HistoricalDataStore
from core.config import SystemConfig
from core.errors import ConfigError
from core.portfolio_order import market_symbol
from core.risk.exits import hidden_features
from core.time_range import TimeRange
from core.timeframe import DAY_MS, tf_ms
from runners.portfolio.archive import Archive, StoredArchive
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
    archive = StoredArchive(store, history_start(system, window.start_ms, warmup_bars), window.end_ms, env=env)
    return setup_over(archive, system, strategy, window.start_ms, warmup_bars)


def setup_over(
    archive: Archive, system: SystemConfig, strategy: PortfolioStrategy, start_ms: int, warmup_bars: int, left_out: Sequence[str] = ()
) -> PortfolioSetup:
    """The same over any archive. left_out: symbols of the system that are not traded now; a strategy that names them is given the rest.

    Raises ConfigError for a symbol that the system lacks.
    """
    step = tf_ms(system.timeframe)
    own = {market_symbol(name, system.category): name for name in strategy.symbols}
    for symbol, name in own.items():
        if symbol not in system.symbols and symbol not in left_out:
            raise ConfigError(f"{type(strategy).__name__} trades {name}, and the system's symbols are {', '.join(system.symbols)}: add it")
    if left_out and own:
        strategy.symbols = tuple(name for symbol, name in own.items() if symbol not in left_out)
    return PortfolioSetup(
        archive=archive,
        names=[own.get(symbol, symbol) for symbol in system.symbols],
        category=system.category,
        timeframe=system.timeframe,
        since=start_ms - warmup_bars * step,
        start=start_ms,
        step_ms=step,
        left_out=tuple(left_out),
    )


def history_start(system: SystemConfig, start_ms: int, warmup_bars: int) -> int:
    """Where the history begins that a strategy may ask for: its warm-up, and a day at least, before the start."""
    return start_ms - max(warmup_bars * tf_ms(system.timeframe), DAY_MS)
