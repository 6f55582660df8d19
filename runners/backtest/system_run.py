"""One backtest of a system as a run that is kept: data, identity, artifacts, verdict, report.

The history is loaded before the run begins, so that what is missing in it is told before anything is written, and so that config.json
holds the fingerprint of the data that is about to be replayed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from keel.adapters.artifacts import read_trades
from keel.adapters.curve_files import read_equity
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError, StrategyError
from keel.core.model.time_range import TimeRange
from keel.core.results.result import BacktestResult
from keel.core.system.config import SystemConfig
from keel.runners.backtest.engine import run_prepared
from keel.runners.backtest.preparation import Prepared, plan_of, prepare
from keel.runners.backtest.windows import NamedWindow, aligned_window
from keel.runners.backtest.wiring import check_venue
from keel.runners.home import Home
from keel.runners.lifecycle.epoch_run import EpochRun
from keel.runners.lifecycle.identity import data_fingerprint, effective_config
from keel.runners.lifecycle.registry import RunInfo
from keel.runners.lifecycle.stages import StrategyEpoch
from keel.runners.lifecycle.tracker import EpochResult, StrategyEpochTracker
from keel.runners.systems import LoadedSystem, load_recorded
from keel.runners.user_code import load_function

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ReadySystem:
    """A system with its history. ``prepared`` is None when the strategy itself failed while its array was computed: ``failure``."""

    loaded: LoadedSystem
    window: NamedWindow
    prepared: Prepared | None
    failure: StrategyError | None
    load_s: float

    @property
    def reads_store(self) -> bool:
        """Whether the run goes on reading the store: a portfolio strategy may ask for any series of it."""
        return self.prepared is not None and self.prepared.portfolio is not None

    def under(self, loaded: LoadedSystem) -> ReadySystem:
        """This history under a configuration that differs in how orders fill, with a strategy that has kept nothing."""
        if self.prepared is None:
            return self
        prepared = replace(self.prepared, system=loaded.config, strategy=loaded.strategy(), params=loaded.params)
        return replace(self, loaded=loaded, prepared=prepared, load_s=0.0)


@dataclass(frozen=True, slots=True)
class SystemRun:
    """What became of one run. report: the HTML file, None where none was wanted."""

    epoch: EpochResult
    result: BacktestResult
    window: NamedWindow
    report: Path | None


def make_ready(loaded: LoadedSystem, window: NamedWindow, store: HistoricalDataStore) -> ReadySystem:
    """Load history and compute features. Raises DataError and ConfigError: no run has begun.

    Where the history of some symbols begins later than that of others, the window does, too, and its note says so.
    """
    began = time.perf_counter()
    system, strategy = loaded.config, loaded.strategy()
    if len(system.symbols) > 1:
        window = aligned_window(store, system, plan_of(system, window.span, strategy, loaded.params).replay.warmup, window)
    try:
        prepared = prepare(store, system, window.span, strategy, loaded.params, load_function=load_function)
    except StrategyError as error:
        return ReadySystem(loaded, window, None, error, time.perf_counter() - began)
    prepared.cost_places = loaded.cost_places
    check_venue(loaded.config, {history.symbol: history.instrument for history in prepared.histories}, loaded.cost_places)
    return ReadySystem(loaded, window, prepared, None, time.perf_counter() - began)


def run_backtest(
    ready: ReadySystem,
    home: Home,
    *,
    seed: int | None = None,
    report: bool = True,
    promote: bool = True,
    progress: Progress | None = None,
) -> SystemRun:
    """Run it as its BACKTEST epoch. What is raised inside marks the run failed and is raised again, with the run named in a note.

    seed: recorded; ``load_system`` has handed it to the strategy already. promote: judge the system's rules for the next epoch.
    """
    config = effective_config(ready.loaded, ready.window, ready.prepared, seed)
    system = ready.loaded.config
    rules = system.promotion.get("demo") if promote else None
    run = EpochRun(
        StrategyEpochTracker(system.system, system.description, home=home), StrategyEpoch.BACKTEST, ",".join(system.symbols),
        timeframes_of(system), rules, StrategyEpoch.DEMO if rules else None, effective_config=config,
    )  # fmt: skip
    with run:
        if ready.prepared is None:
            raise ready.failure or StrategyError(f"{system.system}: the strategy failed")
        result = run_prepared(ready.prepared, uid=config["system_uid"], progress=progress, load_s=ready.load_s)
        done = run.complete(result)
    path = write_run_report(result, done.artifacts) if report else None
    return SystemRun(done, result, ready.window, path)


def timeframes_of(system: SystemConfig) -> list[str]:
    """The timeframes that a run is listed under: of decisions and of execution."""
    return list(dict.fromkeys([system.timeframe, system.execution_timeframe or system.timeframe]))


def write_run_report(result: BacktestResult, folder: Path, kind: str = "backtest") -> Path:
    """report.html in a run's folder. Raises DataError when it cannot be written; the run's other files are whole."""
    from keel.adapters.report import write_report

    return write_report(result, folder / "report.html", kind=kind, source_label=", ".join(result.trust.get("data_sources", ())) or None)


def run_again(run: RunInfo, store: HistoricalDataStore, home: Home) -> BacktestResult:
    """The result of a kept run, computed anew from its own configuration and held against its artifacts.

    Raises DataError when the data, the trades or the equity are no longer those of the run, ConfigError when it is no system's backtest.
    """
    files = run.read()
    config = (files.config or {}).get("config") or {}
    if run.epoch != StrategyEpoch.BACKTEST or run.status != "completed" or "system" not in config:
        raise DataError(f"{run.run_id} ({run.epoch}, {run.status}) is not the finished backtest of a system: it cannot be run again")
    loaded = load_recorded(
        config["system"], config["system_file"], f"{run.folder}/config.json", home, fingerprint=config["strategy_fingerprint"],
        functions=config.get("function_fingerprints", {}),
    )  # fmt: skip
    span = TimeRange(config["window"]["start_ms"], config["window"]["end_ms"])
    ready = make_ready(loaded, NamedWindow(config["window"]["name"], span), store)
    if ready.prepared is None:
        raise ready.failure or StrategyError(f"{run.run_id}: the strategy failed")
    if loaded.strategy_fingerprint != config["strategy_fingerprint"]:
        raise DataError(f"{run.run_id}: the code of strategy {loaded.config.strategy} has changed since: run the system anew")
    if data_fingerprint(ready.prepared.histories) != config["data_fingerprint"]:
        raise DataError(f"{run.run_id}: the store's history has changed since: run the system anew")
    result = run_prepared(ready.prepared, uid=config["system_uid"])
    curve = read_equity(run.folder)
    if result.trades != read_trades(run.folder) or not (curve.ts.tobytes() == result.equity_curve.ts.tobytes()):
        raise DataError(f"{run.run_id}: running it again gives other trades: the program has changed since; run the system anew")
    if curve["equity"].tobytes() != result.equity_curve["equity"].tobytes():
        raise DataError(f"{run.run_id}: running it again gives another equity: the program has changed since; run the system anew")
    result.run_id, result.artifacts = run.run_id, run.folder
    return result
