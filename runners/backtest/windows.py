"""Which span a backtest runs over: what was asked for, or the first window of the system that the store covers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from keel.adapters.store import HistoricalDataStore
from keel.core.errors import ConfigError, DataError
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import TIMEFRAMES, floor_ts, is_finer, tf_ms
from keel.core.system.config import SystemConfig


@dataclass(frozen=True, slots=True)
class NamedWindow:
    """A window with the name under which it was asked for; ``note`` says why it was taken where nobody asked."""

    name: str
    span: TimeRange
    note: str = ""


def choose_window(
    store: HistoricalDataStore, system: SystemConfig, name: str | None, start: str | None = None, end: str | None = None
) -> NamedWindow:
    """The span that is meant: start and end, a window of the system, "6M" back from the last stored bar, or the first that is covered.

    Raises ConfigError for what names no window, DataError when the store covers none.
    """
    if start is not None or end is not None:
        if start is None or end is None or name is not None:
            raise ConfigError("give both --start and --end, or --window alone")
        return NamedWindow("", TimeRange.from_dates(start, end))
    if name is None:
        return _first_covered(store, system)
    if name in system.windows:
        return NamedWindow(name, declared_window(system, name))
    if name[:1].isdigit():
        span = TimeRange.from_window_string(name, _last_close(store, system))
        return NamedWindow(name, TimeRange(floor_ts(span.start_ms, system.timeframe), span.end_ms))
    known = ", ".join(system.windows) or "none"
    raise ConfigError(f"{system.system} has no window {name!r}: it has {known}; or give a span back from the last bar, such as 6M")


def aligned_window(store: HistoricalDataStore, system: SystemConfig, warmup: Mapping[str, int], window: NamedWindow) -> NamedWindow:
    """The window from the first decision bar on that all symbols have with their warm-up, where the history of some begins later than
    that of others; its note says so. Where all begin too late it stays: that is an error, and the loader's to tell.

    warmup: bars before the window by timeframe.
    """
    ready = {symbol: _ready_from(store, system, warmup, symbol) for symbol in system.symbols}
    latest = max(ready, key=lambda symbol: ready[symbol])
    start = -(-ready[latest] // tf_ms(system.timeframe)) * tf_ms(system.timeframe)
    if not min(ready.values()) <= window.span.start_ms < start < window.span.end_ms:
        return window
    moved = f"the start moved from {to_iso(window.span.start_ms)} to {to_iso(start)}: the history of {latest} begins later than the others'"
    return NamedWindow(window.name, TimeRange(start, window.span.end_ms), "; ".join(filter(None, (window.note, moved))))


def covered_windows(store: HistoricalDataStore, system: SystemConfig) -> dict[str, bool]:
    """The windows that a system declares, and whether the store's execution bars span each of them for every symbol."""
    wanted = {name: declared_window(system, name) for name in system.windows}
    try:
        spans = [stored_span(store, system, symbol) for symbol in system.symbols]
    except DataError:  # a symbol of which there is nothing covers nothing
        return dict.fromkeys(wanted, False)
    return {name: _cover(spans, window) for name, window in wanted.items()}


def declared_window(system: SystemConfig, name: str) -> TimeRange:
    """A window that the system declares."""
    window = system.windows[name]
    return TimeRange.from_dates(window.start, window.end)


def stored_span(store: HistoricalDataStore, system: SystemConfig, symbol: str) -> TimeRange:
    """From the first open to the last close of a symbol's execution bars: the store's own, or what finer ones make.

    Raises DataError when the store has neither.
    """
    wanted = system.execution_timeframe or system.timeframe
    stored = store.timeframes(symbol, category=system.category)
    usable = [name for name in stored if name == wanted or is_finer(name, wanted)]
    if not usable:
        raise _nothing_stored(store, system, symbol, wanted, stored)
    spans = [(span, tf_ms(name)) for name in usable if (span := store.span(symbol, name, category=system.category)) is not None]
    return TimeRange(min(first for (first, _), _ in spans), max(last + duration for (_, last), duration in spans))


def _ready_from(store: HistoricalDataStore, system: SystemConfig, warmup: Mapping[str, int], symbol: str) -> int:
    """When a window of this symbol can begin: its execution bars are there, and each timeframe has had its warm-up bars."""
    fine = system.execution_timeframe or system.timeframe
    needed = {**warmup, fine: warmup.get(fine, 0)}
    return max(_first_open(store, system, symbol, timeframe) + bars * tf_ms(timeframe) for timeframe, bars in needed.items())


def _first_open(store: HistoricalDataStore, system: SystemConfig, symbol: str, timeframe: str) -> int:
    """The open of the first bar that the store has or can build; 0 where it has none (the loader tells what is missing)."""
    stored = store.timeframes(symbol, category=system.category)
    usable = [name for name in stored if name == timeframe or is_finer(name, timeframe)]
    firsts = [span[0] for name in usable if (span := store.span(symbol, name, category=system.category)) is not None]
    return -(-min(firsts, default=0) // tf_ms(timeframe)) * tf_ms(timeframe)


def _first_covered(store: HistoricalDataStore, system: SystemConfig) -> NamedWindow:
    if not system.windows:
        raise ConfigError(f"{system.system} declares no windows: give --start and --end, or a span back from the last bar (--window 6M)")
    spans = {symbol: stored_span(store, system, symbol) for symbol in system.symbols}
    for name in system.windows:
        wanted = declared_window(system, name)
        if _cover(spans.values(), wanted):
            return NamedWindow(name, wanted, f"window {name} ({wanted}): the first of {system.system} that the store covers")
    timeframe = system.execution_timeframe or system.timeframe
    have = "; ".join(f"{symbol} {timeframe} from {span}" for symbol, span in spans.items())
    declared = ", ".join(f"{name} ({declared_window(system, name)})" for name in system.windows)
    raise DataError(f"the store covers no window of {system.system}, {declared}: it has {have}; give --window 6M, or --start and --end")


def _cover(spans: Iterable[TimeRange], wanted: TimeRange) -> bool:
    return all(span.start_ms <= wanted.start_ms and wanted.end_ms <= span.end_ms for span in spans)


def _last_close(store: HistoricalDataStore, system: SystemConfig) -> int:
    """The close of the last decision bar that every symbol has whole."""
    return min(floor_ts(stored_span(store, system, symbol).end_ms, system.timeframe) for symbol in system.symbols)


def _nothing_stored(store: HistoricalDataStore, system: SystemConfig, symbol: str, wanted: str, stored: list[str]) -> DataError:
    have = sorted({entry.symbol for entry in store.coverage() if entry.category == system.category and entry.timeframe})
    finer = ", ".join(name for name in TIMEFRAMES if name == wanted or is_finer(name, wanted))
    what = f"bars of {', '.join(stored)} only" if stored else f"no bars (there are {', '.join(have) or 'none'})"
    return DataError(
        f"{symbol} {system.category}: the store has {what}; {wanted} bars are made from any of {finer}: import them (keel data import FILE"
        f"{' --category spot' if system.category == 'spot' else ''})"
    )
