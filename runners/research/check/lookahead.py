"""Whether anything in a system looks ahead: what it computed and decided at every bar, with the whole history there and without the rest.

The system runs twice over a window: once over growing history (runners/research/check/growing.py), in which nothing later exists, and once
as every backtest runs it, over columns that were computed from the whole. Features, higher timeframes, a vector strategy's array and the
decisions are compared at each bar.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from keel.adapters.store import HistoricalDataStore
from keel.core.features import extra_columns
from keel.core.features.lookahead_guard import first_peek
from keel.core.model.messages import Signal
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import tf_ms
from keel.core.strategy.portfolio_order import Order
from keel.runners.backtest.preparation import LoadPlan, Prepared, SymbolColumns, SymbolInputs, load_inputs, make_plan, with_inputs
from keel.runners.backtest.windows import NamedWindow
from keel.runners.research.check.growing import Grown, GrownRun, Tick, run_growing
from keel.runners.research.check.whole import Decision, by_symbol, portfolio_setup, run_whole
from keel.runners.systems import LoadedSystem

TOLERANCE = 1e-9
"""Relative: sums whose order depends on the length differ in the last bits. Arrays and decisions must be equal."""

Reload = Callable[[], LoadedSystem]
"""Loads the system anew: its strategy has kept nothing of another run."""


class Looked(msgspec.Struct, frozen=True):
    """One thing that was compared at every bar. kind: feature, array, decision, bars (which higher bar is the last), input.

    ts: the decision time (a bar's close, ms) of the first difference, with both values; None where there is none.
    """

    kind: str
    name: str
    symbol: str
    timeframe: str
    compared: int
    differing: int = 0
    ts: int | None = None
    whole: str = ""
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Lookahead:
    """All that was compared. bars: decision bars of the window over all symbols."""

    bars: int
    looked: list[Looked]

    @property
    def found(self) -> list[Looked]:
        """What looks ahead, the earliest first."""
        return sorted((entry for entry in self.looked if entry.ts is not None), key=lambda entry: (entry.ts, _ORDER[entry.kind]))


_ORDER = {"input": 0, "bars": 1, "feature": 2, "array": 3, "decision": 4}


def check_lookahead(store: HistoricalDataStore, window: NamedWindow, load: Reload, tick: Tick | None = None) -> Lookahead:
    """Compare a system with itself over history that is cut off at every bar of a window. Raises KeelErrors of loading and running."""
    loaded = load()
    system, params = loaded.config, loaded.params
    plan = make_plan(system, window.span, loaded.strategy(), params)
    inputs = load_inputs(store, plan.replay)
    # The growing run comes first: nothing that a strategy or a function keeps can then come from the whole history.
    strategy = loaded.strategy()
    grown = run_growing(plan, system, strategy, params, inputs, portfolio_setup(store, plan, loaded, strategy), tick)
    run = run_whole(store, plan, load(), inputs)
    whole = run.prepared
    if run.failure is not None and (grown.failure is None or run.reached == max(entry.reached for entry in grown.symbols)):
        raise run.failure  # it raises by itself, whatever it is shown
    looked = _inputs_looked_at(store, plan, inputs)
    for columns, seen in zip(whole.columns, grown.symbols, strict=True):
        looked += _symbol_looked_at(columns, seen, plan)
    looked += _decisions(run.decisions, grown, whole)
    bars = sum(len(columns.decision) - columns.first for columns in whole.columns)
    return Lookahead(bars, looked)


# --- what is compared ------------------------------------------------------------------------------------------------


def _inputs_looked_at(store: HistoricalDataStore, plan: LoadPlan, inputs: Sequence[SymbolInputs]) -> list[Looked]:
    """Marks, funding and open interest as features read them: read anew from frames that are cut at dozens of bars."""
    looked = []
    for entry in inputs:
        for timeframe, frame in entry.frames.items():
            bare = entry.history.decision if timeframe == plan.replay.timeframe else entry.history.higher[timeframe]
            for name in extra_columns(plan.groups[timeframe]):
                first = plan.replay.warmup[timeframe]

                def over(length: int, name: str = name, bare: Any = bare) -> npt.NDArray[np.float64]:
                    column: npt.NDArray[np.float64] = with_inputs(store, plan.replay, bare[:length])[name]
                    return column

                row = first_peek(frame[name], over, first)
                about = ("input", name, frame.symbol, timeframe, len(frame) - first)
                if row is None:
                    looked.append(Looked(*about))
                else:
                    ts, value = int(frame.ts[row]) + tf_ms(timeframe), float(over(row + 1)[row])
                    looked.append(Looked(*about, 1, ts, _number(frame[name][row]), _number(value)))
    return looked


def _symbol_looked_at(columns: SymbolColumns, seen: Grown, plan: LoadPlan) -> list[Looked]:
    base = plan.replay.timeframe
    decision, first = columns.decision, columns.first
    above = {name for _, names in columns.higher.values() for name in names}
    looked = []
    for timeframe, (frame, names) in columns.higher.items():
        known = seen.higher.get(timeframe)
        begin = max(0, plan.replay.warmup[timeframe] - 1)  # the window's first bars are shown the last one of the warm-up
        end = 0 if known is None else len(known)
        for name in names:
            cut = frame[name][:0] if known is None else known[name][begin:end]
            closes = frame.ts[begin:end] + tf_ms(timeframe)
            looked.append(_numbers("feature", name, decision.symbol, timeframe, closes, frame[name][begin:end], cut))
        looked.append(_last_bars(columns, seen, timeframe))
    rows = slice(first, len(seen.decision))
    closes = decision.ts[rows] + tf_ms(base)
    for name in columns.feature_names:
        label = f"{name}, as known at {base}" if name in above else name
        looked.append(_numbers("feature", label, decision.symbol, base, closes, decision[name][rows], seen.decision[name][rows]))
    if columns.targets is not None and seen.targets is not None:
        values = columns.targets[first : first + len(seen.targets)]
        looked.append(_numbers("array", "signals", decision.symbol, base, closes, values, seen.targets))
    return looked


def _last_bars(columns: SymbolColumns, seen: Grown, timeframe: str) -> Looked:
    """Which higher bar a strategy is shown at each decision bar, by its open."""
    frame, _ = columns.higher[timeframe]
    base = columns.decision.timeframe
    cut = np.array(seen.shown[timeframe], dtype=np.float64)
    closes = columns.decision.ts[columns.first : columns.first + len(cut)] + tf_ms(base)
    rows = np.searchsorted(frame.ts, closes - tf_ms(timeframe), side="right") - 1
    whole = np.where(rows >= 0, frame.ts[np.maximum(rows, 0)], -1).astype(np.float64)
    found = _numbers("bars", f"last closed {timeframe} bar", columns.decision.symbol, base, closes, whole, cut)
    if found.ts is None:
        return found
    row = int(np.searchsorted(closes, found.ts))
    return msgspec.structs.replace(found, whole=_open(whole[row]), cut=_open(cut[row]))


def _numbers(
    kind: str,
    name: str,
    symbol: str,
    timeframe: str,
    closes: npt.NDArray[np.int64],
    whole: npt.NDArray[Any],
    cut: npt.NDArray[Any],
) -> Looked:
    known, then = np.asarray(whole, dtype=np.float64), np.asarray(cut, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        close = np.abs(known - then) <= TOLERANCE * np.maximum(np.abs(known), np.abs(then))
    differs = ~((known == then) | (np.isnan(known) & np.isnan(then)) | (close & (kind == "feature" or kind == "bars")))
    about = (kind, name, symbol, timeframe, len(known))
    if not differs.any():
        return Looked(*about)
    row = int(np.argmax(differs))
    return Looked(*about, int(differs.sum()), int(closes[row]), _number(known[row]), _number(then[row]))


def _decisions(decisions: Sequence[Decision], grown: GrownRun, whole: Prepared) -> list[Looked]:
    """Signals and orders, symbol by symbol; what follows the first that differs may be its consequence."""
    looked = []
    for columns, seen in zip(whole.columns, grown.symbols, strict=True):
        symbol, timeframe = columns.decision.symbol, columns.decision.timeframe
        full = _by_time((ts, decision) for ts, decision in by_symbol(decisions, symbol) if ts <= seen.reached)
        cut = _by_time(by_symbol(grown.decisions, symbol))
        if grown.failure is not None and seen.reached == max(entry.reached for entry in grown.symbols):
            cut[seen.reached] = f"raises: {grown.failure}"
        times = [ts for ts in sorted({*full, *cut}) if full.get(ts) != cut.get(ts)]
        about = ("decision", whole.system.strategy, symbol, timeframe, len(seen.decision) - columns.first)
        if times:
            looked.append(Looked(*about, len(times), times[0], full.get(times[0], "nothing"), cut.get(times[0], "nothing")))
        else:
            looked.append(Looked(*about))
    return looked


def _by_time(decisions: Iterable[tuple[int, Signal | Order]]) -> dict[int, str]:
    """Decisions in words by their time."""
    found: dict[int, str] = {}
    for ts, decision in decisions:
        words = _words(decision) if isinstance(decision, Signal) else f"{decision.side} {_value(decision.value)}"
        found[ts] = f"{found[ts]}; {words}" if ts in found else words
    return found


def _words(signal: Signal) -> str:
    """A decision in words: everything that an order comes from."""
    parts: Mapping[str, Any] = {
        "size": signal.size_usd or None,
        "stop": signal.stop_loss,
        "target": signal.take_profit,
        "trailing": signal.trailing,
        "type": None if signal.order_type == "market" else signal.order_type,
        "limit": signal.limit_price,
    }
    return " ".join([signal.direction, *(f"{name} {_value(value)}" for name, value in parts.items() if value is not None)])


def _value(value: Any) -> str:
    return _number(value) if isinstance(value, float) else str(value)


def _open(ts: float) -> str:
    return "none" if ts < 0 else to_iso(int(ts))


def _number(value: float) -> str:
    return f"{float(value):.10g}"
