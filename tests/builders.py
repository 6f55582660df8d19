"""What tests of actors and runners are made of: instruments, bars, stores in memory, and runs of small systems over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
import numpy as np

from keel.adapters.store import HistoricalDataStore
from keel.adapters.synthetic import SOURCE, SyntheticSample, generate_sample
from keel.core.engine.bus import Bus
from keel.core.model.instrument import Grid, Instrument, generic_tiers
from keel.core.model.messages import Bar, Fill, FundingRate, MarkPrice, OpenInterest, Side
from keel.core.model.money import UNIT, to_units
from keel.core.model.time_range import Moment, TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.results.result import BacktestResult
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig, SystemConfig
from keel.core.system.file import apply_overrides, decode_system
from keel.runners.backtest.engine import run_system
from keel.runners.backtest.preparation import Prepared, prepare
from keel.runners.user_code import load_function
from keel.strategies.base import BaseStrategy
from keel.strategies.registry import builtin_systems, check_params, load_strategy

START = 1_704_067_200_000
"""2024-01-01 00:00 UTC, a Monday."""
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def perpetual(symbol: str = "BTCUSDT", tick: str = "0.1", step: str = "0.001", **changes: Any) -> Instrument:
    """A linear contract at Bybit's default fees, by default without a smallest notional."""
    values: dict[str, Any] = {
        "symbol": symbol, "category": "linear", "base": symbol.removesuffix("USDT"), "quote": "USDT",
        "price_grid": Grid.from_text(tick), "qty_grid": Grid.from_text(step), "min_qty": float(step), "max_qty": 1e6,
        "max_market_qty": 1e6, "min_notional": 0, "taker_fee": to_units("0.00055"), "maker_fee": to_units("0.0002"),
        "max_leverage": 100 * UNIT, "tiers": generic_tiers(),
    }  # fmt: skip
    return Instrument(**(values | changes))


def spot_pair(symbol: str = "BTCUSDT", tick: str = "0.1", step: str = "0.001", **changes: Any) -> Instrument:
    """A spot pair at 0.1 %."""
    rate = to_units("0.001")
    return perpetual(symbol, tick, step, **({"category": "spot", "taker_fee": rate, "maker_fee": rate, "tiers": ()} | changes))


def bar(number: int, close: float, *, symbol: str = "BTCUSDT", tf: str = "1h", **changes: Any) -> Bar:
    """The bar of this number from START on; flat at its close unless told."""
    ts_open = START + number * tf_ms(tf)
    values: dict[str, Any] = {"open": close, "high": close, "low": close, "close": close, "volume": 1.0}
    return Bar(symbol, tf, ts_open, ts_open + tf_ms(tf), **(values | changes))


class Fills:
    """Makes numbered fills of one symbol. Money in whole quote coins (base coins for a fee in base), as decimal text."""

    def __init__(self, symbol: str = "BTCUSDT") -> None:
        self._symbol = symbol
        self._count = 0

    def __call__(
        self, side: Side, qty: float, price: float, *, fee: str = "0", pnl: str = "0", reference: float | None = None, **more: Any
    ) -> Fill:
        self._count += 1
        values: dict[str, Any] = {"ts": START + self._count * MINUTE, "maker": False}
        return Fill(
            f"f{self._count}", f"t-{self._count}", self._symbol, side=side, qty=qty, price=price, fee=to_units(fee),
            realized_pnl=to_units(pnl), reference=price if reference is None else reference, **(values | more),
        )  # fmt: skip


# --- history ---------------------------------------------------------------------------------------------------------


@cache
def sample(symbols: tuple[str, ...] = ("BTCUSDT",), days: int = 40, seed: int = 7) -> SyntheticSample:
    """Invented minutes from START on, made once per process."""
    return generate_sample(seed, START, START + days * DAY, list(symbols))


class SharedStore(HistoricalDataStore):
    """One that several tests read: it refuses to be written to, and lives as long as the process."""

    def close(self) -> None:
        self._db.read_only = True


def sample_store(
    symbols: tuple[str, ...] = ("BTCUSDT",), days: int = 40, *, until: int | None = None, minutes: int = 5
) -> HistoricalDataStore:
    """A store in memory of the sample: bars of so many minutes of last, mark and index, funding, open interest. With ``until`` it is cut
    there, and the test's own; else it is shared, and only read."""
    if until is None:
        return _shared_sample(symbols, days, minutes)
    return _fill(HistoricalDataStore(":memory:"), symbols, days, until, minutes)


@cache
def _shared_sample(symbols: tuple[str, ...], days: int, minutes: int) -> HistoricalDataStore:
    with _fill(SharedStore(":memory:"), symbols, days, START + days * DAY, minutes) as store:
        return store


def _fill(store: HistoricalDataStore, symbols: tuple[str, ...], days: int, until: int, minutes: int) -> HistoricalDataStore:
    for series in sample(symbols, days).series.values():
        store.upsert_instrument(series.instrument)
    grow(store, symbols, days, START, until, minutes=minutes)
    return store


def grow(store: HistoricalDataStore, symbols: tuple[str, ...], days: int, since: int, until: int, *, minutes: int = 5) -> None:
    """Write what has come to be known after ``since`` and until ``until``."""
    for symbol, series in sample(symbols, days).series.items():
        for kind in ("last", "mark", "index"):
            bars = between(coarser(getattr(series, kind), minutes), since, until, minutes * MINUTE)
            store.upsert_bars(symbol, f"{minutes}m", bars, source=SOURCE, kind=kind)
        for write, points in ((store.upsert_funding, series.funding), (store.upsert_open_interest, series.open_interest)):
            known = between(points, since, until, 0)
            if len(known["ts"]):
                write(symbol, known, source=SOURCE)


def coarser(columns: Mapping[str, np.ndarray], minutes: int) -> dict[str, np.ndarray]:
    """Bars of several minutes out of those of one; volume on the step of 0.001."""
    whole = {name: column[: len(column) // minutes * minutes].reshape(-1, minutes) for name, column in columns.items()}
    return {
        "ts": whole["ts"][:, 0], "open": whole["open"][:, 0], "high": whole["high"].max(axis=1), "low": whole["low"].min(axis=1),
        "close": whole["close"][:, -1], "volume": np.round(whole["volume"].sum(axis=1), 3),
    }  # fmt: skip


def between(columns: Mapping[str, np.ndarray], since: int, until: int, duration: int) -> dict[str, np.ndarray]:
    """The rows that come to be known in (since, until]: bars that close, points that come (at START itself, too)."""
    known = columns["ts"] + duration
    keep = (known > since - (since == START)) & (known <= until)
    return {name: column[keep] for name, column in columns.items()}


def emptied(store: HistoricalDataStore) -> HistoricalDataStore:
    """The store as it was when it was made: that takes a tenth of the time of making one. Raises DataError for one that is closed."""
    own = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND table_name <> 'meta' ORDER BY table_name"
    tables = [name for (name,) in store._db.rows(own)]
    store._db.run("; ".join([*(f'TRUNCATE "{table}"' for table in tables), "DELETE FROM meta WHERE key <> 'schema_version'"]))
    return store


def store_of(
    columns: Mapping[str, np.ndarray] | Sequence[tuple[float, float, float, float]], symbol: str = "BTCUSDT", timeframe: str = "1h",
    instrument: Instrument | None = None,
) -> HistoricalDataStore:  # fmt: skip
    """A store in memory of one series: columns, or (open, high, low, close) from START on with a volume of 1000."""
    store = HistoricalDataStore(":memory:")
    add_series(store, columns, symbol, timeframe, instrument)
    return store


def add_series(
    store: HistoricalDataStore, columns: Mapping[str, np.ndarray] | Sequence[tuple[float, float, float, float]],
    symbol: str = "BTCUSDT", timeframe: str = "1h", instrument: Instrument | None = None,
) -> None:  # fmt: skip
    """One more series, with its instrument."""
    if not isinstance(columns, Mapping):
        rows = np.array(columns, dtype=np.float64)
        ts = START + tf_ms(timeframe) * np.arange(len(rows), dtype=np.int64)
        prices = dict(zip(("open", "high", "low", "close"), rows.T, strict=True))
        columns = {"ts": ts, **prices, "volume": np.full(len(rows), 1000.0)}
    made = instrument or perpetual(symbol)
    store.upsert_instrument(made)
    store.upsert_bars(symbol, timeframe, columns, source="test", category=made.category)


# --- systems ---------------------------------------------------------------------------------------------------------


def builtin(name: str, *overrides: str) -> tuple[SystemConfig, type[BaseStrategy]]:
    """A built-in system with keys overridden, its parameters filled in, and its strategy's class."""
    text, filename = builtin_systems()[name]
    system = apply_overrides(decode_system(text, filename), overrides)
    strategy = load_strategy(system.strategy)
    return msgspec.structs.replace(system, params=check_params(strategy, system.params)), strategy


def plain_system(*symbols: str, **changes: Any) -> SystemConfig:
    """A system without costs, limits and warm-up; size 1."""
    values: dict[str, Any] = {
        "system": "test", "strategy": "test", "symbols": list(symbols or ("BTCUSDT",)), "timeframe": "1h", "warmup_bars": 0,
        "sizing": SizingConfig(model="fixed_qty", qty=1.0), "risk": RiskConfig(policy="none"),
        "execution": ExecutionConfig.frictionless(),
    }  # fmt: skip
    return SystemConfig(**(values | changes))


def made_ready(store: HistoricalDataStore, system: SystemConfig, start: Moment, end: Moment, strategy: BaseStrategy) -> Prepared:
    """A run that is loaded."""
    return prepare(store, system, TimeRange.from_dates(start, end), strategy, system.params, load_function=load_function)


def run(store: HistoricalDataStore, system: SystemConfig, start: Moment, end: Moment, strategy: BaseStrategy) -> BacktestResult:
    """A whole run."""
    return run_system(store, system, TimeRange.from_dates(start, end), strategy, system.params)


def listen(bus: Bus, hear: Callable[[Any], object]) -> None:
    """Hear all that comes from the market, after the actors."""
    for kind in (Bar, MarkPrice, FundingRate, OpenInterest):
        bus.subscribe(kind, hear)
