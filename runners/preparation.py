"""From a system, a window and a store to what the loop replays: bars, features, and a vector strategy's array, computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.replay.history import SymbolHistory
from adapters.replay.loader import ReplayPlan, load_histories
from adapters.replay.marks import price_columns
from adapters.store import HistoricalDataStore
from core.causality import first_peek
from core.config import SystemConfig
from core.errors import DataError, KeelError, StrategyError
from core.features import FeatureSpec, VectorEngine, by_timeframe, default_warmup, extra_columns, parse_features
from core.frame import Frame
from core.projection import project
from core.risk.exits import hidden_features
from core.time_range import TimeRange, to_iso
from core.timeframe import tf_ms
from strategies.base import HOLD, BaseStrategy, VectorStrategy

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
    declared = {**strategy.features, **system.features, **hidden_features(system.exits, system.sizing)}
    specs = parse_features(declared, params, system.timeframe)
    groups = by_timeframe(specs, system.timeframe)
    warmup = {timeframe: _warmup(system, group) for timeframe, group in groups.items()}
    plan = ReplayPlan(
        symbols=tuple(system.symbols),
        category=system.category,
        timeframe=system.timeframe,
        execution_timeframe=system.execution_timeframe or system.timeframe,
        warmup=warmup,
        window=window,
        execution=system.execution,
        inputs=frozenset(extra_columns(specs)),
        env=env,
    )
    histories = load_histories(store, plan)
    engine = VectorEngine(load_function)
    columns = [_columns_of(store, plan, history, groups, engine, strategy, params) for history in histories]
    return Prepared(system, window, strategy, params, histories, columns, warmup)


def _warmup(system: SystemConfig, specs: Sequence[FeatureSpec]) -> int:
    return default_warmup(specs) if system.warmup_bars is None else system.warmup_bars


def _columns_of(
    store: HistoricalDataStore,
    plan: ReplayPlan,
    history: SymbolHistory,
    groups: Mapping[str, Sequence[FeatureSpec]],
    engine: VectorEngine,
    strategy: BaseStrategy,
    params: Mapping[str, Any],
) -> SymbolColumns:
    higher: dict[str, tuple[Frame, tuple[str, ...]]] = {}
    projected: dict[str, npt.NDArray[np.float64]] = {}
    for timeframe, frame in history.higher.items():
        values = _computed(engine, groups[timeframe], _with_inputs(store, plan, frame), plan.warmup[timeframe])
        higher[timeframe] = (frame.with_columns(values), tuple(values))
        projected |= {name: project(frame, column, history.decision) for name, column in values.items()}
    own = _computed(engine, groups[plan.timeframe], _with_inputs(store, plan, history.decision), plan.warmup[plan.timeframe])
    decision = history.decision.with_columns({**own, **projected})
    first = int(np.searchsorted(decision.ts, plan.window.start_ms))
    targets = vector_targets(strategy, decision, params, first) if isinstance(strategy, VectorStrategy) else None
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


def _with_inputs(store: HistoricalDataStore, plan: ReplayPlan, frame: Frame) -> Frame:
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
            extra[name] = _as_known(points, name, frame)
    return frame.with_columns(extra) if extra else frame


_POINTS = {"funding_rate": "funding", "open_interest": "open_interest"}
"""Inputs that are series of points in time, and the store's kind of each."""


def _as_known(series: Frame | None, name: str, frame: Frame) -> npt.NDArray[np.float64]:
    """A series' last value at or before each bar's close; nan before the first."""
    if series is None:
        return np.full(len(frame), np.nan)
    rows = np.searchsorted(series.ts, frame.ts + tf_ms(frame.timeframe), side="right") - 1
    known: npt.NDArray[np.float64] = np.where(rows >= 0, series[name][np.maximum(rows, 0)], np.nan)
    return known


def vector_targets(strategy: VectorStrategy, frame: Frame, params: Mapping[str, Any], first: int = 0) -> npt.NDArray[np.int8]:
    """The strategy's array over the frame (which it cannot change), checked: one value per bar, each of 1, -1, 0, HOLD, and none that
    changes when the bars after it are taken away. ``first``: the row of the window's first bar."""
    targets = _signals(strategy, frame, params)
    peek = first_peek(targets, lambda length: _signals(strategy, frame[:length], params), first)
    _refuse_peek(f"{type(strategy).__name__}.signals", frame, peek)
    return targets


def _signals(strategy: VectorStrategy, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
    name = type(strategy).__name__
    try:
        values = np.asarray(strategy.signals(_read_only(frame), params))
    except KeelError:
        raise
    except (Exception, SystemExit) as error:
        raise StrategyError(f"{name}.signals raised {type(error).__name__} for {frame.symbol}: {error}") from error
    if values.shape != (len(frame),):
        raise StrategyError(f"{name}.signals gave {values.shape} values for {len(frame)} bars of {frame.symbol}: one per bar is needed")
    allowed = np.isin(values, (-1, 0, 1, HOLD)) if values.dtype.kind in "biuf" else np.zeros(len(values), dtype=bool)
    if not allowed.all():
        row = int(np.argmin(allowed))
        raise StrategyError(f"{name}.signals gave {values[row]!r} for {frame.symbol} at row {row}: use 1, -1, 0 or HOLD")
    return values.astype(np.int8)


def _read_only(frame: Frame) -> Frame:
    """The same columns as views that cannot be written."""
    views = {name: column.view() for name, column in frame.to_dict().items()}
    for view in views.values():
        view.flags.writeable = False
    ts = views.pop("ts")
    return Frame(ts, views, symbol=frame.symbol, timeframe=frame.timeframe, kind=frame.kind)
