"""The backtest runner: history in, a result that can be believed out.

``run_system`` runs a whole system over a window; ``BacktestEngine`` is the face for scripts that bring a strategy of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from keel.adapters.store import HistoricalDataStore
from keel.core.actors.portfolio_risk import PortfolioRiskActor
from keel.core.errors import ConfigError, InvariantError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Category
from keel.core.model.messages import Signal
from keel.core.model.money import to_text
from keel.core.model.time_range import Moment, TimeRange
from keel.core.model.timeframe import tf_ms
from keel.core.model.trade import Trade
from keel.core.model.words import check_number
from keel.core.results.result import BacktestResult
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig, SystemConfig
from keel.runners.backtest.curve import buy_and_hold, equity_curve
from keel.runners.backtest.funnel import whole_funnel
from keel.runners.backtest.outcome import made_result, message_hash, reconcile, trust
from keel.runners.backtest.preparation import Prepared, prepare
from keel.runners.backtest.replay import replay
from keel.runners.backtest.warnings import run_warnings
from keel.runners.backtest.wiring import BacktestParts, wire_backtest
from keel.runners.lifecycle.current_run import emit_configuration
from keel.runners.lifecycle.identity import engine_config
from keel.runners.lifecycle.lineage import fingerprint_of, is_named, reference_of, short_name, state_of
from keel.runners.portfolio.archive import StoredArchive
from keel.runners.portfolio.system import session_refusals
from keel.runners.user_code import load_function
from keel.strategies.base import BaseStrategy, PortfolioStrategy
from keel.strategies.registry import check_params

Progress = Callable[[int, int], None]
StrategyFunction = Callable[[RuntimeSnapshot, Mapping[str, Any]], Signal | None]


def run_system(
    store: HistoricalDataStore,
    system: SystemConfig,
    window: TimeRange,
    strategy: BaseStrategy,
    params: Mapping[str, Any],
    *,
    env: str = "live",
    uid: str = "",
    progress: Progress | None = None,
) -> BacktestResult:
    """Run a system over a window of the store's history. Raises KeelErrors for what a person can mend."""
    began = time.perf_counter()
    prepared = prepare(store, system, window, strategy, params, load_function=load_function, env=env)
    return run_prepared(prepared, uid=uid, progress=progress, load_s=time.perf_counter() - began)


def run_prepared(prepared: Prepared, *, uid: str = "", progress: Progress | None = None, load_s: float = 0.0) -> BacktestResult:
    """Run what ``prepare`` has loaded. load_s: how long that took, for the timing. Raises KeelErrors for what a person can mend.

    An error ends a backtest where it is raised, whatever the system's ``on_fault`` says: that key tells demo and live what to do with
    positions at a real exchange, and here there are none.
    """
    return run_wired(prepared, wire_backtest(prepared, (uid or "0" * 8)[:8]), uid=uid, progress=progress, load_s=load_s)


def run_wired(
    prepared: Prepared, parts: BacktestParts, *, uid: str = "", progress: Progress | None = None, load_s: float = 0.0
) -> BacktestResult:
    """Run parts that the caller has wired, and can read afterwards."""
    began = time.perf_counter()
    bars = replay(parts.feed, parts.engine, parts.venue, progress)
    ran = time.perf_counter()
    result = _result(prepared, parts)
    result.system_uid = uid
    ended = time.perf_counter()
    result.timing = {
        "bars": bars,
        "load_s": round(load_s, 4),
        "run_s": round(ran - began, 4),
        "metrics_s": round(ended - ran, 4),
        "bars_per_s": round(bars / (ran - began)) if bars else 0,
        "total_s": round(load_s + ended - began, 4),
    }
    return result


def _result(prepared: Prepared, parts: BacktestParts) -> BacktestResult:
    system, portfolio, venue = prepared.system, parts.portfolio, parts.venue
    equity = np.frombuffer(portfolio.equity_values, dtype=np.float64)
    times = parts.feed.closes[: len(equity)]
    instruments = {history.symbol: history.instrument for history in prepared.histories}
    quote = prepared.histories[0].instrument.quote
    reconciliation = reconcile(portfolio, venue, instruments, venue.fills)
    if reconciliation.difference:
        raise InvariantError(f"the run does not add up: {to_text(reconciliation.difference)} are missing in {reconciliation}")
    of_run = (times, equity, prepared.histories, venue.position_log, prepared.window.start_ms, system.initial_equity)
    curve = equity_curve(*of_run, detailed=False)
    deferred: dict[str, Callable[[], Any]] = {
        "equity_curve": lambda: equity_curve(*of_run),
        "trust": lambda: trust(system, prepared.histories, venue),
        "message_hash": lambda: message_hash(parts.messages, equity),
        "funnel": lambda: whole_funnel(parts.risk, parts.executor, portfolio, fills=len(venue.fills), takeovers=len(venue.liquidations)),
        "warnings": lambda: [
            *run_warnings(result, parts.halts, parts.executor.memory.order_log.counts, quote=quote),
            *_of_the_portfolio(prepared, parts),
        ],
    }
    if system.benchmark == "hold":
        first, start = prepared.histories[0], prepared.window.start_ms
        deferred["benchmark"] = lambda: buy_and_hold(first, times, start, system.initial_equity, system.execution)
    result = made_result(
        system,
        prepared.window,
        portfolio,
        curve,
        system.initial_equity,
        metrics={},
        deferred=deferred,
        fills=venue.fills,
        funding_payments=venue.funding_payments,
        liquidations=venue.liquidations,
        reconciliation=reconciliation,
        trust={},
        timing={},
        stop_reason=venue.stop_reason,
        bars={history.symbol: history.execution for history in prepared.histories},
        order_log=parts.executor.memory.order_log.entries,
    )
    return result


def _of_the_portfolio(prepared: Prepared, parts: BacktestParts) -> Iterator[str]:
    """What is to be known of a system's portfolio strategy: symbols that could not be screened, and questions that a session refuses."""
    setup, strategy, risk = prepared.portfolio, prepared.strategy, parts.risk
    if setup is None or setup.position_manager is not None or not isinstance(strategy, PortfolioStrategy):
        return  # a signal strategy; or a script's, which has notes of its own
    if isinstance(risk, PortfolioRiskActor):
        yield from (f"not screened: {note}" for note in getattr(risk.position_manager, "notes", ()))
    if isinstance(setup.archive, StoredArchive):
        yield from session_refusals(setup.archive, prepared.system, strategy, setup.start)


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """The decision bars of a backtest. ``df``: the window's; ``full_df``: with warm-up, and features; times in ms UTC.

    first_valid_index: the first row of ``full_df`` at which every feature has a value.
    """

    df: Frame
    full_df: Frame
    warmup_bars: int
    simulation_start: int
    first_valid_index: int


class FunctionStrategy(BaseStrategy):
    """A plain function ``(snapshot, params) -> Signal | None`` as a strategy."""

    def __init__(self, function: StrategyFunction) -> None:
        self.function = function

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        return self.function(snapshot, params)


class BacktestEngine:
    """One symbol, one strategy of your own, over stored history.

    start, end: datetime, date or ISO text, UTC; the end is not part of the window. ``store`` None: the home's data/keel.duckdb.
    execution, risk and sizing are the system file's sections; execution_timeframe: finer bars on which orders fill.
    """

    def __init__(
        self,
        symbol: str,
        timeframe: str,
        start: Moment,
        end: Moment,
        initial_capital: float = 10_000.0,
        data_env: str = "live",
        *,
        store: HistoricalDataStore | None = None,
        category: Category = "linear",
        execution: ExecutionConfig | None = None,
        risk: RiskConfig | None = None,
        sizing: SizingConfig | None = None,
        execution_timeframe: str | None = None,
    ) -> None:
        if category not in ("linear", "spot"):
            raise ConfigError(f"category {category!r}: use linear or spot")
        tf_ms(timeframe)
        check_number(initial_capital, "initial_capital", above=0.0)
        self.window = TimeRange.from_dates(start, end)
        self.system = SystemConfig(
            system="engine",
            strategy="engine",
            symbols=[symbol],
            category=category,
            timeframe=timeframe,
            execution_timeframe=execution_timeframe,
            initial_equity=initial_capital,
            execution=execution or ExecutionConfig(),
            risk=risk or RiskConfig(),
            sizing=sizing or SizingConfig(),
        )
        self._env = data_env
        self._store = store
        self._from_file = False
        self._strategy: BaseStrategy | None = None
        self._params: Mapping[str, Any] = {}
        self._result: BacktestResult | None = None

    @classmethod
    def from_system(
        cls, system: SystemConfig, window: TimeRange, *, store: HistoricalDataStore | None = None, data_env: str = "live"
    ) -> BacktestEngine:
        """The engine of a whole system file over a window (its strategy is given to ``run``, or loaded by the caller)."""
        engine = cls(system.symbols[0], system.timeframe, window.start_ms, window.end_ms, system.initial_equity, data_env, store=store)
        engine.system, engine._from_file = system, True
        return engine

    def prepare_backtest_frame(self) -> PreparedFrame:
        """The frames of the strategy that was run, or of plain bars before any run."""
        with _opened(self._store) as store:
            strategy = self._strategy or BaseStrategy()
            prepared = prepare(store, self.system, self.window, strategy, self._params, load_function=load_function, env=self._env)
        columns = prepared.columns[0]
        full = columns.decision
        features = [full[name] for name in columns.feature_names]
        finite = np.isfinite(np.vstack(features)).all(axis=0) if features else np.ones(len(full), dtype=bool)
        first_valid = int(np.argmax(finite)) if finite.any() else len(full)
        return PreparedFrame(full[columns.first :], full, columns.first, self.window.start_ms, first_valid)

    def run(
        self, strategy: BaseStrategy | type[BaseStrategy] | StrategyFunction, config: Mapping[str, Any] | None = None
    ) -> BacktestResult:
        """Run a strategy (an instance, a class, or a plain function); ``config`` holds its parameters, None: those of the system."""
        self._strategy = _instance(strategy)
        given = dict(self.system.params if config is None else config)
        made = self._strategy
        self._params = given if isinstance(made, FunctionStrategy) else check_params(type(made), given)
        code, state = (made.function, {}) if isinstance(made, FunctionStrategy) else (type(made), state_of(made))
        system = msgspec.structs.replace(self.system, **self._names_of(code), params=dict(self._params))
        began = time.perf_counter()
        with _opened(self._store) as store:
            prepared = prepare(store, system, self.window, made, self._params, load_function=load_function, env=self._env)
            config = engine_config(prepared, fingerprint_of(code), env=self._env, state=state)
            emit_configuration(config)
            self._result = run_prepared(prepared, uid=config["system_uid"], load_s=time.perf_counter() - began)
        self._result.effective_config = config
        return self._result

    def _names_of(self, code: Any) -> dict[str, str]:
        """The strategy that runs, as a system file names it. A system file's own name of the same code stays; without one it names both."""
        if self._from_file and is_named(code, self.system.strategy):
            return {}
        reference = reference_of(code)
        return {"strategy": reference} if self._from_file else {"system": short_name(reference), "strategy": reference}

    def get_equity_curve(self) -> Frame:
        """The equity curve of the last run (see BacktestResult)."""
        return self._last().equity_curve

    def get_trades(self) -> list[Trade]:
        """The closed trades of the last run."""
        return self._last().trades

    def _last(self) -> BacktestResult:
        if self._result is None:
            raise ConfigError("the engine has not run yet: call run(strategy, config) first")
        return self._result


class _opened:
    """The given store, left open; or the current folder's, closed again."""

    def __init__(self, store: HistoricalDataStore | None) -> None:
        self._given = store
        self._own: HistoricalDataStore | None = None

    def __enter__(self) -> HistoricalDataStore:
        if self._given is not None:
            return self._given
        self._own = HistoricalDataStore(read_only=True)
        return self._own

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._own.close()


def _instance(strategy: Any) -> BaseStrategy:
    if isinstance(strategy, type):
        strategy = strategy()
    if hasattr(strategy, "generate_signal"):
        found: BaseStrategy = strategy
        return found
    if callable(strategy):
        return FunctionStrategy(strategy)
    raise ConfigError(f"{strategy!r} is neither a strategy nor a function (snapshot, params) -> Signal | None")
