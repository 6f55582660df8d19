"""The history of a portfolio backtest: candles that orders execute on, aligned over symbols, with funding and instruments.

Futures execute on mark candles, spot on its own. The start moves to the first candle that all symbols have, the end to the last, and both
to whole steps; each such change is noted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import msgspec
import numpy as np

from keel.adapters.replay.funding import funding_columns, marks_at
from keel.adapters.replay.history import SymbolHistory
from keel.adapters.replay.volatility import rolling_volatility_bps
from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.gaps import bar_gaps
from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Category, Grid, Instrument
from keel.core.model.money import UNIT
from keel.core.model.time_range import Moment, TimeRange, to_iso
from keel.core.model.timeframe import DAY_MS, floor_ts, tf_ms
from keel.core.strategy.portfolio_order import market_symbol
from keel.core.system.config import ExecutionConfig
from keel.runners.portfolio.archive import DataType, StoredArchive

EXECUTED: Final[dict[Category, DataType]] = {"linear": "mark_ohlcv_futures", "spot": "ohlcv_spot"}
"""The series on which orders execute."""
_CANDLES: Final = {timedelta(milliseconds=tf_ms(name)): name for name in ("1m", "5m", "15m", "30m", "1h")}
_OTHER_STEPS: Final = "15m"
_FINE: Final = Grid(1, UNIT)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to load. lookback_days: of history before the start. frictionless: instruments without steps and minimums, too."""

    names: tuple[str, ...]
    category: Category
    start: Moment
    end: Moment
    time_step: timedelta
    lookback_days: int
    execution: ExecutionConfig
    frictionless: bool = False
    no_rates_no_funding: bool = False
    """Where the store has no funding rates of a symbol, charge none (and note it) instead of refusing."""
    env: str = "live"


@dataclass(slots=True)
class PortfolioMarket:
    """What was loaded. ``since``: where the visible history begins (ms). ``execution``: as it holds for these symbols."""

    wanted: Wanted
    timeframe: str
    window: TimeRange
    since: int
    archive: StoredArchive
    histories: list[SymbolHistory]
    execution: ExecutionConfig
    notes: list[str] = field(default_factory=list)

    @property
    def symbols(self) -> list[str]:
        """As the exchange writes them."""
        return [history.symbol for history in self.histories]


def load_market(store: HistoricalDataStore, wanted: Wanted) -> PortfolioMarket:
    """Load and align. Raises ConfigError for a window without a step, DataError for what the store lacks."""
    timeframe, notes = candle_timeframe(wanted.time_step)
    duration, step = tf_ms(timeframe), wanted.time_step // timedelta(milliseconds=1)
    asked = TimeRange.from_dates(wanted.start, wanted.end)
    begin = -(-asked.start_ms // duration) * duration
    lookback = wanted.lookback_days * DAY_MS
    archive = StoredArchive(store, begin - max(lookback, DAY_MS), floor_ts(asked.end_ms, timeframe), env=wanted.env)
    symbols = _symbols(wanted)
    if archive.until <= begin:
        raise ConfigError(f"the window {asked} holds no whole {timeframe} candle: choose an end further from its start")
    frames = [archive.series(symbol, timeframe, EXECUTED[wanted.category], begin - lookback) for symbol in symbols]
    window = _aligned(frames, TimeRange(begin, archive.until), asked, step, notes)
    market = PortfolioMarket(wanted, timeframe, window, window.start_ms - lookback, archive, [], wanted.execution, notes)
    market.execution = _execution(store, wanted, symbols, notes)
    for symbol, frame in zip(symbols, frames, strict=True):
        market.histories.append(_history(store, market, symbol, frame.between(window.start_ms, window.end_ms)))
    return market


def candle_timeframe(time_step: timedelta) -> tuple[str, list[str]]:
    """The candles of a time step, and what is to be said of the choice. Raises ConfigError unless the step is positive, in whole ms."""
    if not isinstance(time_step, timedelta) or time_step < timedelta(milliseconds=1) or time_step % timedelta(milliseconds=1):
        raise ConfigError(f"time_step must be a positive timedelta, such as timedelta(hours=1), not {time_step!r}")
    if time_step in _CANDLES:
        return _CANDLES[time_step], []
    known = ", ".join(_CANDLES.values())
    return _OTHER_STEPS, [f"time_step {time_step}: steps are taken over {_OTHER_STEPS} candles (only {known} are timeframes of their own)"]


def with_execution_bars(history: SymbolHistory, bars: Frame, execution: ExecutionConfig) -> SymbolHistory:
    """The symbol's history over other bars of its execution series: funding stays at its times, at the marks that these bars give."""
    funding = history.funding
    if funding is not None:
        funding = replace(funding, marks=marks_at(funding.stamps, bars, None))
    window = execution.volatility_window
    volatility = None if window is None else rolling_volatility_bps(bars["close"], window)
    return replace(history, execution=bars, decision=bars, funding=funding, volatility_bps=volatility)


def _symbols(wanted: Wanted) -> list[str]:
    symbols = [market_symbol(name, wanted.category) for name in wanted.names]
    if not symbols:
        raise ConfigError("the strategy names no symbols: set strategy.symbols")
    for place, symbol in enumerate(symbols):
        if symbol in symbols[:place]:
            raise ConfigError(f"the strategy names {symbol} twice ({', '.join(wanted.names)})")
    return symbols


def _aligned(frames: list[Frame], window: TimeRange, asked: TimeRange, step: int, notes: list[str]) -> TimeRange:
    """The part of the window that all frames cover, in whole steps."""
    duration = tf_ms(frames[0].timeframe)
    parts = [frame.between(window.start_ms, window.end_ms) for frame in frames]
    for frame, part in zip(frames, parts, strict=True):
        if not len(part):
            span = f"{to_iso(int(frame.ts[0]))} to {to_iso(int(frame.ts[-1]) + duration)}" if len(frame) else "nothing"
            raise DataError(f"{frame.symbol}: no {frame.timeframe} candles in {window}; before its end there is {span}: choose another one")
    first, last = (max(parts, key=lambda part: int(part.ts[0])), min(parts, key=lambda part: int(part.ts[-1])))
    start, end = int(first.ts[0]), int(last.ts[-1]) + duration
    if start > window.start_ms:
        notes.append(f"the start moved from {to_iso(asked.start_ms)} to {to_iso(start)}, the first candle of {first.symbol}")
    if end < window.end_ms:
        notes.append(f"the end moved from {to_iso(asked.end_ms)} to {to_iso(end)}, where the candles of {last.symbol} end")
    steps = (end - start) // step
    if steps < 1:
        raise ConfigError(f"the window, {to_iso(start)} to {to_iso(end)}, holds no step of {timedelta(milliseconds=step)}: make it longer")
    return TimeRange(start, end if step % duration else start + steps * step)


def _execution(store: HistoricalDataStore, wanted: Wanted, symbols: list[str], notes: list[str]) -> ExecutionConfig:
    """The costs, without funding where none is stored and that is allowed."""
    execution = wanted.execution
    if wanted.category == "spot" or execution.funding != "history" or not wanted.no_rates_no_funding:
        return execution
    missing = [symbol for symbol in symbols if not store.has_series(symbol, kind="funding", env=wanted.env)]
    if not missing:
        return execution
    notes.append(f"no funding is charged: the store has no rates of {', '.join(missing)}")
    return msgspec.structs.replace(execution, funding="none")


def _history(store: HistoricalDataStore, market: PortfolioMarket, symbol: str, bars: Frame) -> SymbolHistory:
    wanted, window, execution = market.wanted, market.window, market.execution
    missing = (window.end_ms - window.start_ms) // tf_ms(bars.timeframe) - len(bars)
    if missing:
        _warn_of_gaps(market, bars, missing)
    known = store.instrument_and_assumptions(symbol, wanted.category, window.start_ms, wanted.env)
    instrument = known.instrument
    if wanted.frictionless:
        instrument = without_steps(instrument)
    bars = _with_volume(store, market, bars)
    history = SymbolHistory(instrument, bars, bars)
    history.funding = funding_columns(store, instrument, bars, None, window, execution, env=wanted.env)
    window_bars = execution.volatility_window
    if window_bars is not None:
        history.volatility_bps = rolling_volatility_bps(bars["close"], window_bars)
    history.trust = _trust(store, market, history, missing)
    if not wanted.frictionless:
        history.trust |= {"assumed": [*known.assumed], "doubts": [*known.doubts]}
    return history


def without_steps(instrument: Instrument) -> Instrument:
    """The instrument as the documents have it: any price, any quantity (in 1e-8), no minimum."""
    small = _FINE.value(1)
    return msgspec.structs.replace(
        instrument, price_grid=_FINE, qty_grid=_FINE, min_qty=small, min_notional=0, max_qty=1e9, max_market_qty=1e9, base_unit=UNIT
    )


def _warn_of_gaps(market: PortfolioMarket, bars: Frame, missing: int) -> None:
    gaps = bar_gaps(bars.ts, bars.timeframe, market.window.start_ms, market.window.end_ms)
    where = f"the first from {to_iso(gaps[0].start)} to {to_iso(gaps[0].end)}"
    if market.execution.gaps == "error":
        raise DataError(
            f"{bars.symbol} {bars.timeframe}: {missing} candles are missing in the window, {where}: import them, or set gaps to skip in the"
            " ExecutionConfig"
        )
    market.notes.append(f"{bars.symbol}: {missing} {bars.timeframe} candles are missing, {where}; steps wait for the next candle")


def _with_volume(store: HistoricalDataStore, market: PortfolioMarket, bars: Frame) -> Frame:
    """Mark candles have no volume of their own: where execution asks for one, it is that of the last-price candles."""
    execution, wanted = market.execution, market.wanted
    if wanted.category == "spot" or (execution.impact == "none" and execution.max_volume_share == "none"):
        return bars
    last = store.find(bars.symbol, bars.timeframe, market.window.start_ms, market.window.end_ms, wanted.env)
    if last is None or len(np.setdiff1d(bars.ts, last.ts)):
        raise DataError(f"{bars.symbol}: impact and max_volume_share need the volume of {bars.timeframe} last-price candles: import them")
    return bars.with_columns({"volume": last["volume"][np.searchsorted(last.ts, bars.ts)]})


def _trust(store: HistoricalDataStore, market: PortfolioMarket, history: SymbolHistory, missing: int) -> dict[str, Any]:
    wanted, symbol = market.wanted, history.symbol
    kinds = ("last",) if wanted.category == "spot" else ("mark", "index", "last")
    own = [(kind, name) for kind in kinds for name in store.timeframes(symbol, kind, wanted.env, wanted.category)]
    found = {source for kind, name in own for source in store.sources(symbol, name, kind, market.window, None, wanted.env, wanted.category)}
    funding = history.funding
    is_spot = wanted.category == "spot"
    return {
        "bars": len(history.execution),
        "data_source": sorted(found),
        "instrument": history.instrument.source,
        "mark": "last" if is_spot else "the series that orders execute on",
        "index": "last" if is_spot else "mark",
        "funding": "none" if funding is None else f"{funding.source}, {len(funding.stamps)} times",
        "skipped_bars": missing,
        "partial_bars": 0,
    }
