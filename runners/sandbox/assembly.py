"""Puts a sandbox together: the store's history as plain columns, or a walk; the system's clock; and the server around them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keel.adapters.machine import wall_ms
from keel.adapters.replay.history import PriceColumns, SymbolHistory
from keel.adapters.replay.loader import ReplayPlan, load_histories
from keel.adapters.replay.marks import price_columns
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Category
from keel.core.model.money import UNIT, to_units
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import DAY_MS, TIMEFRAMES, tf_ms
from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.engine import Feed
from keel.sim.sandbox.market.bar_source import Floats, Prices, SymbolSeries
from keel.sim.sandbox.server import SandboxServer
from keel.sim.sandbox.settings import SandboxSettings

PAST_BARS = 200_000
"""How many bars before the start a client may ask for."""


@dataclass(slots=True)
class StoredBars:
    """Implements ``keel.sim.sandbox.market.bar_source.BarSource``."""

    duration_ms: int
    columns: list[SymbolSeries]

    def series(self) -> Sequence[SymbolSeries]:
        """A series per symbol and category."""
        return self.columns


def stored_bars(
    store: HistoricalDataStore, symbols: Sequence[str], window: TimeRange, execution: ExecutionConfig, *, timeframe: str | None = None,
    env: str = "live",
) -> StoredBars:  # fmt: skip
    """The store's bars of a window, exactly as a backtest replays them, and those before it as the past.

    timeframe: of the bars; None: the shortest that the store has of every symbol. A symbol's spot pair comes along where it is stored.
    Raises DataError for what is missing, ConfigError for a timeframe that is unknown or too long.
    """
    chosen = _common_timeframe(store, symbols, env) if timeframe is None else _stored_timeframe(store, symbols, env, timeframe)
    if tf_ms(chosen) > DAY_MS:
        raise ConfigError(f"the sandbox plays bars of at most 1d, and not of {chosen}: import shorter ones, or use --feed walk")
    columns = []
    categories: tuple[Category, ...] = ("linear", "spot")
    for category in categories:
        traded = tuple(symbol for symbol in symbols if chosen in store.timeframes(symbol, env=env, category=category))
        if not traded:
            continue
        plan = ReplayPlan(traded, category, chosen, chosen, {chosen: 0}, window, execution, env=env)
        columns += [_series(store, history, chosen, category, env) for history in load_histories(store, plan)]
    return StoredBars(tf_ms(chosen), columns)


def bars_of(store: HistoricalDataStore, histories: Sequence[SymbolHistory], category: Category, *, env: str = "live") -> StoredBars:
    """The execution bars of histories that a backtest replays, and those of the store before them as the past."""
    timeframe = histories[0].execution.timeframe
    return StoredBars(tf_ms(timeframe), [_series(store, history, timeframe, category, env) for history in histories])


def shifted_to(bars: StoredBars, now_ms: int) -> StoredBars:
    """The bars, moved by so many whole days that they are played now: hours of the day, funding times and daily candles stay what
    they were, and what of the window lies before now becomes the past, up to a day of it. Raises DataError where nothing is left."""
    begin = min(int(series.ts[series.first]) for series in bars.columns)
    end = max(int(series.ts[-1]) for series in bars.columns) + bars.duration_ms
    now = now_ms - now_ms % bars.duration_ms
    shift = (now - begin) // DAY_MS * DAY_MS
    if end + shift <= now:
        raise DataError(
            f"bars from {to_iso(begin)} to {to_iso(end)} end before now when moved by whole days: give --shift-to-now a day more"
        )
    return StoredBars(bars.duration_ms, [_shifted(series, shift, now) for series in bars.columns])


def _shifted(series: SymbolSeries, shift: int, now: int) -> SymbolSeries:
    ts = series.ts + shift
    stamps, rates, marks = series.funding
    interest = series.open_interest
    return replace(
        series, ts=ts, first=max(series.first, int(np.searchsorted(ts, now))), funding=([stamp + shift for stamp in stamps], rates, marks),
        past_funding=([stamp + shift for stamp in series.past_funding[0]], series.past_funding[1]),
        open_interest=None if interest is None else (interest[0] + shift, interest[1]),
    )  # fmt: skip


def _stored_timeframe(store: HistoricalDataStore, symbols: Sequence[str], env: str, timeframe: str) -> str:
    tf_ms(timeframe)
    for symbol in symbols:
        known = _timeframes(store, symbol, env)
        if timeframe not in known:
            there = ", ".join(sorted(known, key=tf_ms))
            raise DataError(f"{symbol}: the store has no bars of {timeframe}, it has {there}; use one of them, or import it")
    return timeframe


def _timeframes(store: HistoricalDataStore, symbol: str, env: str) -> set[str]:
    known = {*store.timeframes(symbol, env=env), *store.timeframes(symbol, env=env, category="spot")}
    if not known:
        raise DataError(f"{symbol}: the store has no bars; import some with `keel data import`, or use --feed walk")
    return known


def _common_timeframe(store: HistoricalDataStore, symbols: Sequence[str], env: str) -> str:
    shared = set(TIMEFRAMES)
    for symbol in symbols:
        shared &= _timeframes(store, symbol, env)
    if not shared:
        raise DataError(f"{', '.join(symbols)}: the store has no timeframe that all of them have; import one with `keel data import`")
    return min(shared, key=tf_ms)


def _series(store: HistoricalDataStore, history: SymbolHistory, timeframe: str, category: Category, env: str) -> SymbolSeries:
    """The past and the window of one symbol in one set of columns."""
    frame = history.execution
    start = int(frame.ts[0])
    past = store.find(frame.symbol, timeframe, start - PAST_BARS * tf_ms(timeframe), start, env=env, category=category)
    parts = [frame] if past is None else [past, frame]
    first = 0 if past is None else len(past)
    mark, mark_closes = _path(store, past, "mark", history.mark, env, category)
    index, _ = _path(store, past, "index", history.index, env, category)
    funding = history.funding
    end = int(frame.ts[-1]) + tf_ms(timeframe)
    interest = store.find(frame.symbol, "", None, end + 1, env=env, kind="open_interest", category=category)
    series = SymbolSeries(
        history.instrument, np.concatenate([part.ts for part in parts]), _joined(parts), np.concatenate([part["volume"] for part in parts]),
        first, mark, index, mark_closes=mark_closes,
        is_synthetic=history.instrument.source == "synthetic" or any("synthetic" in source for source in history.trust["data_source"]),
    )  # fmt: skip
    if history.volatility_bps is not None:
        series.volatility_bps = np.concatenate((np.zeros(first), history.volatility_bps))
    if funding is not None:
        marks = [round(mark_price * UNIT) for mark_price in funding.marks.tolist()]
        series.funding = (funding.stamps.tolist(), [to_units(rate) for rate in funding.rates.tolist()], marks)
    first_stamp = min([start, *series.funding[0][:1]])
    settled = store.find(frame.symbol, "", None, first_stamp, env=env, kind="funding", category=category)
    if settled is not None:
        series.past_funding = (settled.ts.tolist(), [to_units(rate) for rate in settled["funding_rate"].tolist()])
    if interest is not None:
        series.open_interest = (interest.ts, interest["open_interest"])
    return series


def _joined(parts: Sequence[Frame]) -> Prices:
    open_, high, low, close = (np.concatenate([part[name] for part in parts]) for name in ("open", "high", "low", "close"))
    return open_, high, low, close


def _path(
    store: HistoricalDataStore, past: Frame | None, kind: Any, played: PriceColumns | None, env: str, category: str
) -> tuple[Prices | None, Floats | None]:
    """Mark or index of past and window, and what is published at each close; (None, None) where the window has none."""
    if played is None:
        return None, None
    parts = [played]
    if past is not None and len(past):
        known = price_columns(store, past, kind, env=env, category=category)
        parts.insert(0, _last_prices(past) if known is None else known)
    open_, high, low, close, at_close = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("open", "high", "low", "close", "valuation")
    )
    return (open_, high, low, close), at_close


def _last_prices(bars: Frame) -> PriceColumns:
    """What stands for marks where none are known."""
    close = bars["close"]
    return PriceColumns(bars["open"], bars["high"], bars["low"], close, close, 0, 0, "last")


def serve(settings: SandboxSettings, feed: Feed, port: int, faults: bytes | None, on_listening: Callable[[str], None]) -> None:
    """Run a sandbox until it is stopped (``/admin/stop``, SIGINT, SIGTERM, SIGHUP). Raises ConfigError for bad rules, OSError for the
    port."""
    asyncio.run(_serve(settings, feed, port, faults, on_listening))


async def _serve(settings: SandboxSettings, feed: Feed, port: int, faults: bytes | None, on_listening: Callable[[str], None]) -> None:
    server = SandboxServer(settings, feed, wall_ms)
    if faults is not None:
        server.put_faults(faults)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN and number is signal.SIGHUP:
            continue  # under nohup
        loop.add_signal_handler(number, server.request_stop)
    try:
        on_listening(await server.start(port))
        await server.wait()
    finally:
        await server.stop()
