"""What a sweep is asked, and what it is once it has begun: recorded whole, so that it can go on."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from keel.adapters.machine import wall_ms
from keel.adapters.store import HistoricalDataStore
from keel.adapters.whole_file import json_text, write_bytes
from keel.core.errors import ConfigError, DataError
from keel.core.metrics.performance import METRICS
from keel.core.model.time_range import TimeRange
from keel.core.model.words import check_fields
from keel.core.system.suggestions import did_you_mean
from keel.runners.backtest.windows import NamedWindow, choose_window
from keel.runners.home import Home
from keel.runners.lifecycle.run_folder import code_versions, process_mark
from keel.runners.research.sweep.data import aligned
from keel.runners.research.sweep.defaults import LIMIT, MIN_TRADES
from keel.runners.research.sweep.points import Context, plan_of
from keel.runners.research.sweep.search import SearchName, make_search
from keel.runners.research.sweep.space import Space, parse_space
from keel.runners.systems import LoadedSystem, effective_system, function_fingerprints, load_recorded, load_system

LOWER_IS_BETTER = frozenset(
    {
        "fees",
        "slippage",
        "funding",
        "loss_rate",
        "losing_trades",
        "volatility",
        "max_drawdown_abs",
        "longest_drawdown_days",
        "recovery_days",
    }
)
"""Metrics of which less is more; max_drawdown_pct is negative, so that more is better there, too."""
RECORD = "sweep.json"


class SweepAsk(msgspec.Struct, frozen=True):
    """What to sweep. params: KEY=VALUES; windows: names or spans back; the search looks at the first of them, the others stand beside.

    start, end: one window by its times.  overrides: keys of the system file for all points, KEY=VALUE.  min_trades: closed trades that a
    setting needs for a score.
    """

    system_id: str
    params: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    search: SearchName = "grid"
    trials: int | None = None
    metric: str = "sharpe"
    engine: Literal["auto", "kernel", "actors"] = "auto"
    seed: int = 0
    limit: int = LIMIT
    start: str | None = None
    end: str | None = None
    overrides: tuple[str, ...] = ()
    min_trades: int = MIN_TRADES

    def __post_init__(self) -> None:
        check_fields(self)


class WindowSpan(msgspec.Struct, frozen=True):
    """A window as it is run, ms UTC."""

    name: str
    start_ms: int
    end_ms: int


class SweepRecord(msgspec.Struct, frozen=True):
    """A begun sweep: sweep.json. notes: what had to give way; run: who runs it."""

    sweep_id: str
    ask: SweepAsk
    system: dict[str, Any]
    system_file: str
    strategy_fingerprint: str
    windows: tuple[WindowSpan, ...]
    notes: tuple[str, ...]
    started_ms: int
    versions: dict[str, str]
    run: dict[str, Any]
    function_fingerprints: dict[str, str] = {}

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is one of which less is more."""
        return self.ask.metric in LOWER_IS_BETTER


def begin(ask: SweepAsk, home: Home, store: HistoricalDataStore) -> SweepRecord:
    """Check everything that can be checked before anything is written. Raises ConfigError and DataError."""
    check_metric(ask.metric)
    if ask.min_trades < 1:
        raise ConfigError(f"--min-trades {ask.min_trades}: at least 1, for what never traded has no score")
    loaded = load_system(ask.system_id, home, ask.overrides, seed=ask.seed)
    space = space_of(ask, loaded)
    _refuse_twice(ask, space)
    make_search(ask.search, space, ask.trials, ask.seed, max(1, ask.limit // max(1, len(_symbols(ask)) * max(1, len(ask.windows)))))
    wanted = _windows(ask, store, loaded)
    needs = []
    for symbols in _symbols(ask):
        system = with_symbols(loaded, symbols)
        for corner in space.corners():
            planned = plan_of(system, corner, wanted[0])
            if planned is not None:
                needs.append((planned[0], planned[1].replay.warmup))
    if not needs:  # every corner is refused: the points will say why
        needs = [(with_symbols(loaded, symbols).config, {}) for symbols in _symbols(ask)]
    windows, notes = aligned(store, wanted, needs)
    return SweepRecord(
        sweep_id=f"sweep-{secrets.token_hex(4)}",
        ask=ask,
        system=effective_system(loaded),
        system_file=loaded.filename,
        strategy_fingerprint=loaded.strategy_fingerprint,
        windows=tuple(WindowSpan(window.name, *window.span.to_tuple_ms()) for window in windows),
        notes=(*(window.note for window in windows if window.note), *notes),
        started_ms=wall_ms(),
        versions=code_versions(),
        run=dict(process_mark()),
        function_fingerprints=function_fingerprints(loaded.config),
    )


def load_begun(record: SweepRecord, home: Home) -> LoadedSystem:
    """The system of a begun sweep. Raises DataError where its strategy's code is another by now."""
    loaded = load_recorded(
        record.system, record.system_file, f"{record.sweep_id}/{RECORD}", home, fingerprint=record.strategy_fingerprint,
        functions=record.function_fingerprints, anew="begin a new sweep",
    )  # fmt: skip
    if loaded.strategy_fingerprint != record.strategy_fingerprint:
        raise DataError(f"{record.sweep_id}: the code of strategy {loaded.config.strategy} has changed since: begin a new sweep")
    return loaded


def space_of(ask: SweepAsk, loaded: LoadedSystem) -> Space:
    """What is searched."""
    return parse_space(ask.params, ask.timeframes, loaded.config, loaded.strategy.defaults)


def contexts_of(record: SweepRecord, loaded: LoadedSystem) -> list[Context]:
    """Where each setting is tried: the windows, the first of them first, with each symbol."""
    return [
        Context(
            ",".join(symbols or loaded.config.symbols),
            NamedWindow(span.name, TimeRange(span.start_ms, span.end_ms)),
            with_symbols(loaded, symbols),
        )
        for span in record.windows
        for symbols in _symbols(record.ask)
    ]


def with_symbols(loaded: LoadedSystem, symbols: Sequence[str]) -> LoadedSystem:
    """The system with these symbols; with its own where none are named."""
    return loaded.with_overrides([f"symbols=[{', '.join(symbols)}]"]) if symbols else loaded


def check_metric(name: str) -> None:
    """Raise ConfigError, with the nearest one, for a metric that there is not."""
    if name not in METRICS:
        raise ConfigError(f"--metric {name!r}: there is no such metric: {did_you_mean(name, METRICS)}")


def write_record(folder: Path, record: SweepRecord) -> None:
    """Keep it."""
    write_bytes(folder / RECORD, json_text(msgspec.to_builtins(record)))


def read_record(folder: Path) -> SweepRecord:
    """What was kept. Raises DataError."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=SweepRecord)
    except OSError as error:
        raise DataError(f"{folder / RECORD} cannot be read: {error.strerror or error}") from error
    except msgspec.MsgspecError as error:
        raise DataError(f"{folder / RECORD} is damaged: {error}") from error


def _symbols(ask: SweepAsk) -> list[tuple[str, ...]]:
    """The symbols of each run: one at a time where they are named, else the system's own, together."""
    return [(symbol,) for symbol in dict.fromkeys(ask.symbols)] or [()]


def _windows(ask: SweepAsk, store: HistoricalDataStore, loaded: LoadedSystem) -> list[NamedWindow]:
    """The windows that are meant: those named, or the one from start to end, or the first of the system that the store covers."""
    if ask.windows and (ask.start is not None or ask.end is not None):
        raise ConfigError("give --start and --end, or --windows: not both")
    names = dict.fromkeys(ask.windows)
    return [choose_window(store, loaded.config, name) for name in names] or [choose_window(store, loaded.config, None, ask.start, ask.end)]


def _refuse_twice(ask: SweepAsk, space: Space) -> None:
    """Raise ConfigError for a key that is set and searched."""
    searched = {dimension.key for dimension in space.dimensions}
    twice = [text for text in ask.overrides if text.partition("=")[0].strip() in searched]
    if twice:
        raise ConfigError(f"--set {twice[0]}: this key is searched, too: leave one of the two out")
