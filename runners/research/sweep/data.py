"""The histories that a sweep's points read: loaded once for each kind of run, with the longest warm-up that any point has asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from keel.adapters.replay.bars import ReplayPlan
from keel.adapters.store import HistoricalDataStore
from keel.core.errors import DataError
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import DAY_MS, floor_ts, is_finer, tf_ms
from keel.core.system.config import SystemConfig
from keel.runners.backtest.preparation import SymbolInputs, load_inputs, shortened
from keel.runners.backtest.windows import NamedWindow, stored_span
from keel.runners.lifecycle.identity import data_fingerprint

OnLoad = Callable[[str, list[SymbolInputs]], None]
"""Told of histories that have been loaded, by name."""


@dataclass(frozen=True, slots=True)
class DataPart:
    """Histories by name, what of their beginning a warm-up does not reach, and the fingerprint of what is left."""

    name: str
    dropped: dict[str, int]
    fingerprint: str


class HistoryCache:
    """Loads histories out of a store."""

    def __init__(self, store: HistoricalDataStore) -> None:
        self._store = store
        self._listeners: list[OnLoad] = []
        self._warmup: dict[str, dict[str, int]] = {}
        self._names: dict[str, str] = {}
        self._loaded: dict[str, list[SymbolInputs]] = {}
        self._parts: dict[tuple[str, str], DataPart] = {}

    def expect(self, plan: ReplayPlan) -> None:
        """A plan that will be asked for: its warm-up is loaded with the first of its kind."""
        known = self._warmup.setdefault(_kind(plan), {})
        for timeframe, bars in plan.warmup.items():
            known[timeframe] = max(bars, known.get(timeframe, 0))

    def add_listener(self, listener: OnLoad) -> None:
        """Call `listener` for all histories that are loaded, and for each that will be, so that workers find them."""
        for name, loaded in self._loaded.items():
            listener(name, loaded)
        self._listeners.append(listener)

    def part(self, plan: ReplayPlan) -> DataPart:
        """What a plan reads. Raises DataError where it is not there."""
        kind = _kind(plan)
        key = (kind, repr(sorted(plan.warmup.items())))
        if key not in self._parts:
            self._parts[key] = self._made(kind, plan)
        return self._parts[key]

    def histories(self, name: str) -> list[SymbolInputs]:
        """Histories by name."""
        return self._loaded[name]

    def _made(self, kind: str, plan: ReplayPlan) -> DataPart:
        have = self._warmup.get(kind, {})
        if kind not in self._names or any(bars > have.get(timeframe, 0) for timeframe, bars in plan.warmup.items()):
            self.expect(plan)
            self._load(kind, plan)
        name = self._names[kind]
        dropped = {timeframe: self._warmup[kind][timeframe] - bars for timeframe, bars in plan.warmup.items()}
        histories = [shortened(entry, dropped).history for entry in self._loaded[name]]
        return DataPart(name, dropped, data_fingerprint(histories))

    def _load(self, kind: str, plan: ReplayPlan) -> None:
        longest = ReplayPlan(**{name: getattr(plan, name) for name in _FIELDS}, warmup=dict(self._warmup[kind]))
        loaded = load_inputs(self._store, longest)
        self._names[kind] = f"{kind}-{len(self._loaded)}"
        self._loaded[self._names[kind]] = loaded
        for listener in self._listeners:
            listener(self._names[kind], loaded)


_FIELDS = ("symbols", "category", "timeframe", "execution_timeframe", "window", "execution", "inputs", "env")


def _kind(plan: ReplayPlan) -> str:
    """Plans of one kind read the same series, but for how far back."""
    execution = plan.execution
    read = (execution.funding, execution.gaps, execution.impact)  # the rest of it is how orders fill
    parts = (plan.symbols, plan.category, plan.timeframe, plan.execution_timeframe, plan.window.to_tuple_ms(), sorted(plan.inputs))
    text = msgspec.json.encode([*parts, sorted(plan.warmup), *(msgspec.to_builtins(entry) for entry in read), plan.env])
    return blake2b(text, digest_size=6).hexdigest()


# --- windows that all symbols have -----------------------------------------------------------------------------------


def aligned(
    store: HistoricalDataStore, windows: Sequence[NamedWindow], needs: Sequence[tuple[SystemConfig, Mapping[str, int]]]
) -> tuple[list[NamedWindow], list[str]]:
    """The windows as far as every symbol has history for them, warm-up included, and a sentence for each that had to give way.

    needs: configurations with the warm-up of their points, by timeframe. Raises DataError for a window of which nothing is left.
    """
    earliest: dict[str, int] = {}
    latest: dict[str, int] = {}
    for system, warmup in needs:
        for symbol in system.symbols:
            span = stored_span(store, system, symbol)
            begin = max([span.start_ms, *(_warm_from(store, system, symbol, timeframe, bars) for timeframe, bars in warmup.items())])
            earliest[symbol] = max(begin, earliest.get(symbol, 0))
            latest[symbol] = min(span.end_ms, latest.get(symbol, span.end_ms))
    late, short = max(earliest, key=lambda name: earliest[name]), min(latest, key=lambda name: latest[name])
    start_day, end = -(-earliest[late] // DAY_MS) * DAY_MS, min(latest.values())
    found, notes = [], []
    for window in windows:
        span = window.span
        begin = span.start_ms if span.start_ms >= earliest[late] else start_day
        until = span.end_ms if span.end_ms <= end else floor_ts(end, "1d")
        label = window.name or "the window"
        if begin >= until:
            raise DataError(
                f"{label} ({span}): {late} can be traded from {to_iso(earliest[late])} (its warm-up included) and {short} has history until"
                f" {to_iso(end)}: nothing of it is left; import earlier history, take other windows or a shorter warm-up (warmup_bars)"
            )
        if begin != span.start_ms:
            notes.append(
                f"{label} begins {to_iso(begin)[:10]}, not {to_iso(span.start_ms)[:10]}: {late} has no earlier history to warm up on"
            )
        if until != span.end_ms:
            notes.append(f"{label} ends {to_iso(until)[:10]}, not {to_iso(span.end_ms)[:10]}: {short} has no later history")
        found.append(NamedWindow(window.name, TimeRange(begin, until), window.note))
    return found, notes


def _warm_from(store: HistoricalDataStore, system: SystemConfig, symbol: str, timeframe: str, bars: int) -> int:
    """The earliest moment before which so many bars of a timeframe are stored, or can be built."""
    stored = store.timeframes(symbol, category=system.category)
    usable = [timeframe] if timeframe in stored else [name for name in stored if is_finer(name, timeframe)]
    firsts = [span[0] for name in usable if (span := store.span(symbol, name, category=system.category)) is not None]
    first = min(firsts, default=0)
    begin = floor_ts(first, timeframe)
    return (begin if begin == first else begin + tf_ms(timeframe)) + bars * tf_ms(timeframe)
