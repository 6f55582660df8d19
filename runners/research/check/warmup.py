"""How much each feature and decision still depends on where history starts.

The features are computed once from the longest history that the store has (the reference) and again from later starts. A start settles
when, from some row on, the values stay those of the reference: within 1e-6, or to the last bit. A difference is relative to the larger of
the two values and the feature's own median size, so that one that passes through zero is judged by its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from keel.adapters.store import HistoricalDataStore
from keel.core.features import FeatureSpec, VectorEngine
from keel.core.model.frame import Frame
from keel.core.model.messages import Signal
from keel.core.model.timeframe import floor_ts, tf_ms
from keel.core.strategy.portfolio_order import Order
from keel.runners.backtest.preparation import LoadPlan, SymbolInputs, load_inputs, make_plan, shortened
from keel.runners.backtest.windows import NamedWindow
from keel.runners.research.check.whole import Decision, by_symbol, run_whole
from keel.runners.systems import LoadedSystem
from keel.runners.user_code import load_function

CLOSE = 1e-6
"""Relative difference under which a value counts as settled."""
STARTS = 8
"""Starts of history that are tried, spread over the stored history; the slowest counts."""
LONGEST = 10
"""At most so many times the system's warm-up is loaded, and at least ``LEAST_ROWS`` bars, where the store has them."""
LEAST_ROWS = 5_000
_TAIL = 0.05
"""What still differs in the last part of the rows has not settled: its end is only the end of the history."""

Floats = npt.NDArray[np.float64]


class Settled(msgspec.Struct, frozen=True):
    """One feature. difference: at the window's first decision, relative; None where the store has no longer history.

    close_after, equal_after: bars of history after which it stays within 1e-6, and the same to the last bit; None: not within ``rows``.
    """

    name: str
    symbol: str
    timeframe: str
    warmup: int
    rows: int
    difference: float | None
    close_after: int | None
    equal_after: int | None

    @property
    def is_settled(self) -> bool:
        """Whether the system's warm-up is long enough for it: by the difference itself where there is one to see, else by other starts."""
        if self.close_after is None:
            return False
        return self.close_after <= self.warmup if self.difference is None else self.difference <= CLOSE


class Changed(msgspec.Struct, frozen=True):
    """Decisions of one symbol with the system's warm-up beside those with the longest: how many differ, and the first."""

    symbol: str
    decisions: int
    changed: int
    ts: int | None = None
    short: str = ""
    long: str = ""


@dataclass(frozen=True, slots=True)
class Warmup:
    """The whole check. warmup, longest: bars by timeframe; decisions: None where there is no longer history to compare with."""

    warmup: dict[str, int]
    longest: dict[str, int]
    features: list[Settled]
    decisions: list[Changed] | None

    @property
    def ok(self) -> bool:
        """Every feature has settled by the first decision, and no decision depends on where history starts."""
        return all(entry.is_settled for entry in self.features) and not any(entry.changed for entry in self.decisions or ())

    @property
    def advice(self) -> int | None:
        """The warmup_bars with which everything that settles is within 1e-6, rounded up to tens; None where nothing was found to settle."""
        needed = [entry.close_after for entry in self.features if entry.close_after is not None]
        return -(-max(needed) // 10) * 10 if needed else None

    @property
    def advice_for_bits(self) -> int | None:
        """The warmup_bars with which everything settles to the last bit; None where something never does."""
        needed = [entry.equal_after for entry in self.features if entry.close_after is not None]
        known = [bars for bars in needed if bars is not None]
        return -(-max(known) // 10) * 10 if known and len(known) == len(needed) else None


def check_warmup(store: HistoricalDataStore, window: NamedWindow, loaded: LoadedSystem) -> Warmup:
    """How far a system's warm-up reaches over a window. Raises KeelErrors of loading and running."""
    plan = make_plan(loaded.config, window.span, loaded.strategy(), loaded.params)
    warmup = dict(plan.replay.warmup)
    longest = {timeframe: max(bars, _available(store, plan, timeframe, bars)) for timeframe, bars in warmup.items()}
    long_plan = make_plan(loaded.config, window.span, loaded.strategy(), loaded.params, warmup=longest)
    long = load_inputs(store, long_plan.replay)
    dropped = {timeframe: longest[timeframe] - bars for timeframe, bars in warmup.items()}
    engine = VectorEngine(load_function)
    features = [entry for inputs in long for entry in _features(engine, plan, inputs, longest)]
    decisions = None
    if any(dropped.values()):
        short = [shortened(inputs, dropped) for inputs in long]
        runs = [run_whole(store, plan, loaded, short), run_whole(store, long_plan, loaded, long)]
        for run in runs:
            if run.failure is not None:
                raise run.failure
        decisions = _decisions(loaded, runs[0].decisions, runs[1].decisions)
    return Warmup(warmup, longest, features, decisions)


def _available(store: HistoricalDataStore, plan: LoadPlan, timeframe: str, wanted: int) -> int:
    """Bars before the window that every symbol has without a hole, at most as many as are worth loading."""
    replay = plan.replay
    begin = floor_ts(replay.window.start_ms, timeframe)
    most = max(LONGEST * wanted, LEAST_ROWS)
    found = most
    for symbol in replay.symbols:
        frame = store.find(symbol, timeframe, begin - most * tf_ms(timeframe), begin, env=replay.env, category=replay.category)
        found = min(found, 0 if frame is None else _unbroken(frame, begin))
    return found


def _unbroken(frame: Frame, end: int) -> int:
    """How many bars before ``end`` follow on one another."""
    duration = tf_ms(frame.timeframe)
    expected = end - duration * np.arange(len(frame), 0, -1)
    apart = np.flatnonzero(frame.ts != expected)
    return len(frame) - (int(apart[-1]) + 1 if len(apart) else 0)


# --- features --------------------------------------------------------------------------------------------------------


def _features(engine: VectorEngine, plan: LoadPlan, inputs: SymbolInputs, longest: dict[str, int]) -> list[Settled]:
    found = []
    for timeframe, specs in plan.groups.items():
        if specs:
            found += _of_timeframe(engine, specs, inputs.frames[timeframe], longest[timeframe], plan.replay.warmup[timeframe])
    return found


def _of_timeframe(engine: VectorEngine, specs: Sequence[FeatureSpec], frame: Frame, first: int, warmup: int) -> list[Settled]:
    """first: the row of the first bar of the window, before which the frame has all the history that there is."""
    whole = engine.compute(specs, frame)
    scales = {name: float(np.nanmedian(np.abs(column))) if np.isfinite(column).any() else 0.0 for name, column in whole.items()}
    rows = len(frame)
    starts = sorted({int(row) for row in np.linspace(rows // 4, rows // 2, STARTS)})
    close: dict[str, list[int | None]] = {name: [] for name in whole}
    equal: dict[str, list[int | None]] = {name: [] for name in whole}
    for start in starts:
        later = engine.compute(specs, frame[start:])
        for name, column in later.items():
            reference = whole[name][start:]
            close[name].append(_settled(_difference(reference, column, scales[name]) > CLOSE))
            equal[name].append(_settled((reference != column) & ~(np.isnan(reference) & np.isnan(column))))
    at_first = engine.compute(specs, frame[first - warmup :]) if first > warmup and first < rows else None
    return [
        Settled(
            spec.name,
            frame.symbol,
            frame.timeframe,
            warmup,
            rows - starts[-1],
            None if at_first is None else _at(whole[spec.name][first], at_first[spec.name][warmup], scales[spec.name]),
            _slowest(close[spec.name]),
            _slowest(equal[spec.name]),
        )
        for spec in specs
    ]


def _difference(reference: Floats, column: Floats, scale: float) -> Floats:
    """Relative; 1 where one is known and the other is not."""
    size = np.maximum(np.maximum(np.abs(reference), np.abs(column)), scale)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.abs(reference - column) / size
    found[reference == column] = 0.0
    found[np.isnan(reference) & np.isnan(column)] = 0.0
    found[np.isnan(reference) != np.isnan(column)] = 1.0
    return found


def _at(reference: float, value: float, scale: float) -> float:
    return float(_difference(np.array([reference]), np.array([value]), scale)[0])


def _settled(differs: npt.NDArray[np.bool_]) -> int | None:
    """Bars of history after which nothing differs any more; None where something still does near the end."""
    last = np.flatnonzero(differs)
    if not len(last):
        return 0
    return int(last[-1]) + 1 if last[-1] < len(differs) * (1.0 - _TAIL) else None


def _slowest(bars: Sequence[int | None]) -> int | None:
    known = [count for count in bars if count is not None]
    return max(known) if len(known) == len(bars) else None


# --- decisions -------------------------------------------------------------------------------------------------------


def _decisions(loaded: LoadedSystem, short: Sequence[Decision], long: Sequence[Decision]) -> list[Changed]:
    """Direction and time count: a stop that moves by a millionth is the feature's difference, and no other decision."""
    found = []
    for symbol in loaded.config.symbols:
        ours, theirs = ({ts: _direction(each) for ts, each in by_symbol(decisions, symbol)} for decisions in (short, long))
        times = [ts for ts in sorted({*ours, *theirs}) if ours.get(ts) != theirs.get(ts)]
        if times:
            words = (str(ours.get(times[0], "nothing")), str(theirs.get(times[0], "nothing")))
            found.append(Changed(symbol, len(ours), len(times), times[0], *words))
        else:
            found.append(Changed(symbol, len(ours), 0))
    return found


def _direction(decision: Signal | Order) -> str:
    return decision.direction if isinstance(decision, Signal) else decision.side
