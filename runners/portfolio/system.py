"""A portfolio strategy in a system file: what it is shown, and when it is asked (at each close of the system's timeframe).

The same in a backtest, where history comes out of the store, and in a session, where it is loaded before the start and heard since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import DAY_MS, is_finer, tf_ms
from keel.core.risk.exits import hidden_features
from keel.core.strategy.portfolio_order import market_symbol
from keel.core.system.config import SystemConfig
from keel.runners.portfolio.archive import Archive, DataType, StoredArchive, as_data_type
from keel.runners.portfolio.desk import PortfolioSetup
from keel.strategies.base import PortfolioStrategy


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
    """A portfolio strategy's setup over any archive. left_out: symbols of the system that are not traded now; a strategy that names them is
    given the rest.

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


def base_timeframes(timeframes: Sequence[str]) -> tuple[str, ...]:
    """The fewest of these out of which all of them can be built, shortest first."""
    ordered = sorted(dict.fromkeys(timeframes), key=tf_ms)
    return tuple(name for name in ordered if not any(is_finer(other, name) for other in ordered))


def session_series(system: SystemConfig, strategy: PortfolioStrategy) -> tuple[tuple[str, ...], tuple[DataType, ...]]:
    """What a session reads for a strategy: timeframes of candles, and data types. Raises ConfigError for an unknown one of its own."""
    bases = base_timeframes([system.execution_timeframe or system.timeframe, system.timeframe, *strategy.data_timeframes])
    asked = [as_data_type(name) for name in strategy.data_types]
    return bases, tuple(name for name in asked if (name == "ohlcv_spot") == (system.category == "spot"))


def session_refusals(archive: StoredArchive, system: SystemConfig, strategy: PortfolioStrategy, start_ms: int) -> Iterator[str]:
    """What a strategy asked for in a backtest that a session would refuse, and what to set, a sentence each."""
    bases, types = session_series(system, strategy)
    fine = [name for name, kind in archive.asked if name and name not in bases and not any(is_finer(base, name) for base in bases)]
    if fine:
        names = ", ".join(sorted(dict.fromkeys(fine), key=tf_ms))
        yield f"refused in a session: the strategy asks for candles of {names}: name them in its data_timeframes"
    for kind in dict.fromkeys(kind for _, kind in archive.asked if kind not in types):
        is_other = (kind == "ohlcv_spot") != (system.category == "spot") and kind != "open_interest"
        advice = f"a session of {system.category} has none" if is_other else "name it in its data_types"
        yield f"refused in a session: the strategy asks for {kind}: {advice}"
    earliest = min(archive.asked.values(), default=start_ms)
    if earliest < archive.since:
        days = ceil((start_ms - earliest) / DAY_MS)
        yield (
            f"refused in a session: the strategy asks for history from {to_iso(earliest)} on, and a session loads it from"
            f" {to_iso(archive.since)} on: set its lookback_days to {days}"
        )
