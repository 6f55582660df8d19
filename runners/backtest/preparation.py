"""From a system, a window and a store to what the loop replays: bars, features, and a vector strategy's array, computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.adapters.replay.history import SymbolHistory
from keel.adapters.replay.loader import ReplayPlan, load_histories
from keel.adapters.replay.marks import price_columns
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError, KeelError, StrategyError
from keel.core.features import FeatureSpec, VectorEngine, by_timeframe, default_warmup, extra_columns, parse_features
from keel.core.features.htf_alignment import project
from keel.core.features.lookahead_guard import first_peek
from keel.core.model.frame import Frame, as_known
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import tf_ms
from keel.core.risk.exits import hidden_features
from keel.core.strategy.raised import seen_in, user_error
from keel.core.system.config import SystemConfig
from keel.runners.portfolio.desk import PortfolioSetup
from keel.runners.portfolio.system import lookback, system_setup
from keel.strategies.base import HOLD, BaseStrategy, PortfolioStrategy, VectorStrategy

Load = Callable[[str], Callable[..., Any]]


@dataclass(slots=True)
class SymbolColumns:
    """One symbol's frames with their features: the decision frame has the higher timeframes' features too, as known at each bar."""

    decision: Frame
    feature_names: tuple[str, ...]
    higher: dict[str, tuple[Frame, tuple[str, ...]]]
    targets: npt.NDArray[np.int8] | None
    first: int
    """Row of the decision frame that is the window's first."""


@dataclass(slots=True)
class Prepared:
    """Everything that a run needs, loaded and computed."""

    system: SystemConfig
    window: TimeRange
    strategy: BaseStrategy
    params: Mapping[str, Any]
    histories: list[SymbolHistory]
    columns: list[SymbolColumns]
    warmup: dict[str, int]
    portfolio: PortfolioSetup | None = None
    """What a portfolio strategy is shown and when; None for signal strategies."""
    cost_places: Mapping[str, str] = field(default_factory=dict)
    """Kind of cost model -> where the system file names it; empty where nobody knows a file."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What a system reads under its parameters: the history to load, and the features of each timeframe."""

    replay: ReplayPlan
    groups: Mapping[str, Sequence[FeatureSpec]]


@dataclass(slots=True)
class SymbolInputs:
    """One symbol's history, and each timeframe's bars with the further inputs that features read."""

    history: SymbolHistory
    frames: Mapping[str, Frame]


def prepare(
    store: HistoricalDataStore,
    system: SystemConfig,
    window: TimeRange,
    strategy: BaseStrategy,
    params: Mapping[str, Any],
    *,
    load_function: Load,
    env: str = "live",
) -> Prepared:
    """Load history and compute features. Raises DataError or ConfigError, naming symbol, timeframe, feature and time."""
    plan = make_plan(system, window, strategy, params, env=env)
    prepared = assemble(plan, system, strategy, params, load_inputs(store, plan.replay), guarded(VectorEngine(load_function)))
    if isinstance(strategy, PortfolioStrategy):
        prepared.portfolio = system_setup(store, system, window, strategy, plan.replay.warmup[system.timeframe], env)
    return prepared


def plan_of(system: SystemConfig, window: TimeRange, strategy: BaseStrategy, params: Mapping[str, Any], *, env: str = "live") -> LoadPlan:
    """``make_plan`` with the lookback of a portfolio strategy."""
    plan = make_plan(system, window, strategy, params, env=env)
    if not isinstance(strategy, PortfolioStrategy):
        return plan
    return make_plan(system, window, strategy, params, env=env, warmup=lookback(system, strategy, plan.replay.warmup))


def make_plan(
    system: SystemConfig,
    window: TimeRange,
    strategy: BaseStrategy,
    params: Mapping[str, Any],
    *,
    env: str = "live",
    warmup: Mapping[str, int] | None = None,
) -> LoadPlan:
    """What a run will read. warmup: bars before the window by timeframe, in place of the system's. Raises ConfigError."""
    declared = {**strategy.features, **system.features, **hidden_features(system.exits, system.sizing)}
    specs = parse_features(declared, params, system.timeframe)
    groups = by_timeframe(specs, system.timeframe)
    bars = {timeframe: _warmup(system, group) for timeframe, group in groups.items()}
    if isinstance(strategy, PortfolioStrategy):
        bars = lookback(system, strategy, bars)
    replay = ReplayPlan(
        symbols=tuple(system.symbols),
        category=system.category,
        timeframe=system.timeframe,
        execution_timeframe=system.execution_timeframe or system.timeframe,
        warmup=bars | dict(warmup or {}),
        window=window,
        execution=system.execution,
        inputs=frozenset(extra_columns(specs)),
        env=env,
    )
    return LoadPlan(replay, groups)


def load_inputs(store: HistoricalDataStore, plan: ReplayPlan) -> list[SymbolInputs]:
    """The histories of a plan, with what its features read. Raises DataError for what is not there."""
    loaded = []
    for history in load_histories(store, plan):
        frames = {**history.higher, plan.timeframe: history.decision}
        loaded.append(SymbolInputs(history, {timeframe: with_inputs(store, plan, frame) for timeframe, frame in frames.items()}))
    return loaded


def shortened(inputs: SymbolInputs, dropped: Mapping[str, int]) -> SymbolInputs:
    """The symbol's inputs without so many of their first bars, by timeframe: what a shorter warm-up would have loaded."""
    history = inputs.history
    higher = {timeframe: frame[dropped.get(timeframe, 0) :] for timeframe, frame in history.higher.items()}
    decision = history.decision[dropped.get(history.decision.timeframe, 0) :]
    frames = {timeframe: frame[dropped.get(timeframe, 0) :] for timeframe, frame in inputs.frames.items()}
    return SymbolInputs(replace(history, decision=decision, higher=higher), frames)


Compute = Callable[[Sequence[FeatureSpec], Frame, int], dict[str, npt.NDArray[np.float64]]]
"""(specs of one timeframe, its frame, the window's first row in it) -> columns by name."""


def assemble(
    plan: LoadPlan,
    system: SystemConfig,
    strategy: BaseStrategy,
    params: Mapping[str, Any],
    loaded: Sequence[SymbolInputs],
    compute: Compute,
    *,
    refuse_peeks: bool = True,
) -> Prepared:
    """A run out of what was loaded. refuse_peeks: look for a strategy's array that looks ahead (``compute`` looks at features)."""
    columns = [_columns_of(plan, inputs, compute, strategy, params, refuse_peeks) for inputs in loaded]
    histories = [inputs.history for inputs in loaded]
    return Prepared(system, plan.replay.window, strategy, params, histories, columns, dict(plan.replay.warmup))


def guarded(engine: VectorEngine) -> Compute:
    """Features by an engine; a user's function that looks ahead is refused."""
    return lambda specs, frame, first: _computed(engine, specs, frame, first)


def _warmup(system: SystemConfig, specs: Sequence[FeatureSpec]) -> int:
    return default_warmup(specs) if system.warmup_bars is None else system.warmup_bars


def _columns_of(
    plan: LoadPlan, inputs: SymbolInputs, compute: Compute, strategy: BaseStrategy, params: Mapping[str, Any], refuse_peeks: bool
) -> SymbolColumns:
    higher: dict[str, tuple[Frame, tuple[str, ...]]] = {}
    projected: dict[str, npt.NDArray[np.float64]] = {}
    history, replay = inputs.history, plan.replay
    for timeframe, frame in history.higher.items():
        values = compute(plan.groups[timeframe], inputs.frames[timeframe], replay.warmup[timeframe])
        higher[timeframe] = (frame.with_columns(values), tuple(values))
        projected |= {name: project(frame, column, history.decision) for name, column in values.items()}
    own = compute(plan.groups[replay.timeframe], inputs.frames[replay.timeframe], replay.warmup[replay.timeframe])
    decision = history.decision.with_columns({**own, **projected})
    first = int(np.searchsorted(decision.ts, replay.window.start_ms))
    targets = vector_targets(strategy, decision, params, first, refuse_peeks) if isinstance(strategy, VectorStrategy) else None
    return SymbolColumns(decision, (*own, *projected), higher, targets, first)


def _computed(engine: VectorEngine, specs: Sequence[FeatureSpec], frame: Frame, first: int) -> dict[str, npt.NDArray[np.float64]]:
    """The features of one frame; a user's function that looks ahead is refused (TA-Lib's do not: tests hold that)."""
    columns = engine.compute(specs, frame)
    for spec in specs:
        if spec.is_user_function:
            chain = _chain(spec, specs)

            def over(length: int, name: str = spec.name, chain: Sequence[FeatureSpec] = chain) -> npt.NDArray[np.float64]:
                return engine.compute(chain, frame[:length])[name]

            _refuse_peek(f"feature {spec.name!r} ({spec.fn})", frame, first_peek(columns[spec.name], over, first))
    return columns


def _chain(spec: FeatureSpec, specs: Sequence[FeatureSpec]) -> list[FeatureSpec]:
    """The specs that one feature needs, itself last."""
    by_name = {other.name: other for other in specs}
    needed = {spec.name: spec}
    for name in spec.inputs:
        if name in by_name:
            needed = {other.name: other for other in _chain(by_name[name], specs)} | needed
    return [other for other in specs if other.name in needed]


def _refuse_peek(what: str, frame: Frame, row: int | None) -> None:
    if row is not None:
        raise StrategyError(
            f"{what} looks ahead: for {frame.symbol} {frame.timeframe} its value at {to_iso(int(frame.ts[row]) + tf_ms(frame.timeframe))}"
            " changes when the bars after it are taken away; use only rows up to the one that is decided"
        )


def with_inputs(store: HistoricalDataStore, plan: ReplayPlan, frame: Frame) -> Frame:
    """The frame with the further inputs that features read, each as known at the bar's close."""
    extra: dict[str, npt.NDArray[np.float64]] = {}
    until = int(frame.ts[-1]) + tf_ms(frame.timeframe) + 1 if len(frame) else 1
    where = {"env": plan.env, "category": plan.category}
    if "mark_close" in plan.inputs:
        marks = price_columns(store, frame, "mark", env=plan.env, category=plan.category)
        extra["mark_close"] = frame["close"] if marks is None else marks.valuation
    for name, kind in _POINTS.items():
        if name in plan.inputs:
            points = store.find(frame.symbol, "", 0, until, kind=kind, **where)
            if points is None and not store.has_series(frame.symbol, kind=kind, **where):
                raise DataError(
                    f"{frame.symbol}: a feature takes {name}, and the store has none: import it with `keel data import FILE --kind {kind}`,"
                    " or leave the feature out"
                )
            closes = frame.ts + tf_ms(frame.timeframe)
            extra[name] = np.full(len(closes), np.nan) if points is None else as_known(points.ts, points[name], closes)
    return frame.with_columns(extra) if extra else frame


_POINTS = {"funding_rate": "funding", "open_interest": "open_interest"}
"""Inputs that are series of points in time, and the store's kind of each."""


def vector_targets(
    strategy: VectorStrategy, frame: Frame, params: Mapping[str, Any], first: int = 0, refuse_peeks: bool = True
) -> npt.NDArray[np.int8]:
    """The strategy's array over the frame (which it cannot change), checked: one value per bar, each of 1, -1, 0, HOLD, and (unless
    refuse_peeks is off) none that changes when the bars after it are taken away. ``first``: the row of the window's first bar."""
    targets = _signals(strategy, frame, params)
    if refuse_peeks:
        refuse_peeking(strategy, frame, params, targets, first)
    return targets


def refuse_peeking(strategy: VectorStrategy, frame: Frame, params: Mapping[str, Any], targets: npt.NDArray[np.int8], first: int) -> None:
    """Raise StrategyError where a strategy's array over a frame changes when the bars after it are taken away."""
    peek = first_peek(targets, lambda length: _signals(strategy, frame[:length], params), first)
    _refuse_peek(f"{type(strategy).__name__}.signals", frame, peek)


def _signals(strategy: VectorStrategy, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
    name = type(strategy).__name__
    try:
        values = np.asarray(strategy.signals(_read_only(frame), params))
    except KeelError:
        raise
    except (Exception, SystemExit) as error:
        told = f"{name}.signals raised {type(error).__name__} for {frame.symbol}: {error}"
        raise user_error(told, error, seen_in(frame)) from error
    if values.shape != (len(frame),):
        raise StrategyError(f"{name}.signals gave {values.shape} values for {len(frame)} bars of {frame.symbol}: one per bar is needed")
    if values.dtype == np.int8 and (not len(values) or (values.min() >= -1 and values.max() <= HOLD)):
        return values.copy()  # -1, 0, 1 and HOLD are neighbours: a fortieth of the time that isin takes
    if values.dtype.kind in "biuf":
        allowed = np.isin(values, (-1, 0, 1, HOLD))
    else:
        allowed = np.array([isinstance(value, (int, float)) and value in (-1, 0, 1, HOLD) for value in values.tolist()], dtype=bool)
        if allowed.all():
            raise StrategyError(f"{name}.signals gave an array of {values.dtype} for {frame.symbol}: use int8")
    if not allowed.all():
        row = int(np.argmin(allowed))
        closes = to_iso(int(frame.ts[row]) + tf_ms(frame.timeframe))
        raise StrategyError(
            f"{name}.signals gave {values[row]!r} for {frame.symbol} at the bar that closed at {closes} (row {row}): use 1, -1, 0 or HOLD"
        )
    return values.astype(np.int8)


def _read_only(frame: Frame) -> Frame:
    """A frame of views on the columns that cannot be written."""
    views = {name: column.view() for name, column in frame.to_dict().items()}
    for view in views.values():
        view.flags.writeable = False
    ts = views.pop("ts")
    return Frame(ts, views, symbol=frame.symbol, timeframe=frame.timeframe, kind=frame.kind)
