"""Bars of the last price: exactly the warm-up that a timeframe needs, and the window, whole or as whole as the system allows.

A bar is the store's own where it has one, else built out of finer bars that are complete. A coarser bar inside the window must agree with
the execution bars, and a series that was completed with the finer ones. With ``gaps: skip`` and a hole, the window's coarser bars are built
from the execution bars that are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keel.adapters.store import HistoricalDataStore
from keel.adapters.store.gaps import bar_gaps
from keel.adapters.store.importing.agreement import first_disagreement
from keel.adapters.store.records import Disagreement, Gap
from keel.adapters.store.series import short_time
from keel.core.errors import ConfigError, DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.instrument import Category, Instrument
from keel.core.model.time_range import TimeRange, to_iso
from keel.core.model.timeframe import floor_ts, is_finer, tf_ms
from keel.core.system.config import ExecutionConfig


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to load. ``warmup``: bars before the window per timeframe, the decision timeframe and each higher one.

    Raises ConfigError for a window that does not begin and end with a decision bar, and for execution bars that do not divide one.
    """

    symbols: tuple[str, ...]
    category: Category
    timeframe: str
    execution_timeframe: str
    warmup: Mapping[str, int]
    window: TimeRange
    execution: ExecutionConfig
    inputs: frozenset[str] = frozenset()
    """Further inputs that features read: mark_close, funding_rate, open_interest."""
    env: str = "live"

    def __post_init__(self) -> None:
        for moment in self.window.to_tuple_ms():
            if floor_ts(moment, self.timeframe) != moment:
                raise ConfigError(f"the window's {to_iso(moment)} is not the start of a {self.timeframe} bar: move it to one")
        fine, coarse = self.execution_timeframe, self.timeframe
        if fine != coarse and not is_finer(fine, coarse):
            raise ConfigError(f"execution_timeframe: {fine} must be finer than the timeframe {coarse} and divide it")

    @property
    def skips_gaps(self) -> bool:
        """Whether missing bars are left out instead of refused."""
        return self.execution.gaps == "skip"

    def span(self, timeframe: str) -> tuple[int, int]:
        """[start, end) of the bars of a timeframe that close in the window: the first may begin before it."""
        return floor_ts(self.window.start_ms, timeframe), floor_ts(self.window.end_ms, timeframe)


def with_warmup(store: HistoricalDataStore, plan: ReplayPlan, symbol: str, timeframe: str) -> Frame:
    """Exactly the warm-up bars of a timeframe, and what the store has or can build of its window.

    Raises DataError where warm-up bars are missing; with ``gaps: skip`` those before a hole count.
    """
    begin, end = plan.span(timeframe)
    wanted = plan.warmup.get(timeframe, 0)
    anchor = begin - wanted * tf_ms(timeframe)
    frame = _find(store, plan, symbol, timeframe, anchor, end)
    have = int(np.searchsorted(frame.ts, begin))
    if have < wanted and plan.skips_gaps:
        frame = store.find(symbol, timeframe, None, end, env=plan.env, category=plan.category) or frame
        have = int(np.searchsorted(frame.ts, begin))
    if have < wanted and not len(frame):
        store.get_ohlcv(symbol, timeframe, plan.window, env=plan.env, category=plan.category)  # raises: there is nothing of the symbol
    if have < wanted:
        gaps = bar_gaps(frame.ts[:have][frame.ts[:have] >= anchor], timeframe, anchor, begin)
        usable = have if plan.skips_gaps else (begin - gaps[-1].end) // tf_ms(timeframe)  # those after the last hole
        raise DataError(
            f"{symbol} {timeframe}: {wanted} warm-up bars are needed before {short_time(begin)} and {have} are there, missing"
            f" {_in_words(gaps)}; {_what_there_is(store, plan, symbol)}: import earlier history, start the window later, or set"
            f" warmup_bars to {usable} or less"
        )
    part: Frame = frame[have - wanted :]
    return part


def execution_bars(store: HistoricalDataStore, plan: ReplayPlan, symbol: str) -> Frame:
    """The window's bars of an execution timeframe finer than the decision timeframe; needed inside the window only."""
    return store.get_ohlcv(symbol, plan.execution_timeframe, plan.window, env=plan.env, category=plan.category)


def missing_bars(store: HistoricalDataStore, plan: ReplayPlan, frame: Frame) -> int:
    """How many bars a window's frame lacks; DataError names the gap, unless the system skips gaps and there is a bar at all."""
    begin, end = plan.span(frame.timeframe)
    duration = tf_ms(frame.timeframe)
    missing = (end - begin) // duration - len(frame)
    if missing and not (plan.skips_gaps and len(frame)):
        gaps = bar_gaps(frame.ts, frame.timeframe, begin, end)
        there = f"; {_what_there_is(store, plan, frame.symbol)}" if gaps[0].start == begin or gaps[-1].end == end else ""
        ways = [f"import {'them' if missing > 1 else 'it'}", "choose another window" if plan.skips_gaps else "shorten the window"]
        if not plan.skips_gaps:
            ways.append("set execution.gaps to skip")
        raise DataError(
            f"{frame.symbol} {frame.timeframe}: {missing} {'bars are' if missing > 1 else 'bar is'} missing in the window,"
            f" {_in_words(gaps)}{there}: {', '.join(ways[:-1])}{',' if len(ways) > 2 else ''} or {ways[-1]}"
        )
    return missing


def _in_words(gaps: list[Gap]) -> str:
    """Where bars are missing: the one gap, or how many there are and the first."""
    span = f"from {short_time(gaps[0].start)} to {short_time(gaps[0].end)}"
    return span if len(gaps) == 1 else f"in {len(gaps)} gaps, the first {span}"


def coarser_bars(
    store: HistoricalDataStore, plan: ReplayPlan, timeframe: str, execution: Frame, instrument: Instrument, skipped: int
) -> tuple[Frame, int]:
    """Warm-up and window of a timeframe above the execution's, and how many of its bars were built from less than all their fine bars.

    skipped: bars that the execution series lacks. Raises DataError where the two series contradict each other.
    """
    frame = with_warmup(store, plan, execution.symbol, timeframe)
    begin, end = plan.span(timeframe)
    window = frame.between(begin, end)
    _check_agreement(window, execution, instrument)
    if not missing_bars(store, plan, window) and not skipped:
        return frame, 0
    earlier = _find(store, plan, execution.symbol, execution.timeframe, begin, plan.window.start_ms)
    fine = _joined(earlier, execution)
    built, whole = (aggregate(fine, timeframe, complete=complete).between(begin, end) for complete in (False, True))
    stored = window.between(begin, plan.window.start_ms)  # the bar in which the window begins, where there is one
    rest = built.between(int(stored.ts[-1]) + 1, end) if len(stored) else built
    partial = int(np.count_nonzero(~np.isin(rest.ts, whole.ts)))
    return _joined(_joined(frame.between(0, begin), stored), rest), partial


def completed_bars(store: HistoricalDataStore, plan: ReplayPlan, frame: Frame, instrument: Instrument) -> str | None:
    """How many bars of a stored series were built out of finer ones, in words; None: none, or the store has nothing of the timeframe.

    Raises DataError where the finer bars contradict the stored ones beside them: the two are not of one source.
    """
    own = store.span(frame.symbol, frame.timeframe, env=plan.env, category=plan.category)
    if own is None or not len(frame):
        return None
    begin, end = int(frame.ts[0]), int(frame.ts[-1]) + tf_ms(frame.timeframe)
    stored = store.sources(frame.symbol, frame.timeframe, "last", begin, end, plan.env, plan.category)
    built = len(frame) - sum(stored.values())
    if built <= 0:  # with a hole that is skipped, stored bars may be passed over
        return None
    for timeframe in store.timeframes(frame.symbol, env=plan.env, category=plan.category):
        if is_finer(timeframe, frame.timeframe):
            names = (frame.symbol, frame.timeframe, timeframe)
            found = store.disagreement(*names, begin, end, instrument, env=plan.env, category=plan.category)
            if found is not None:
                raise _contradiction(frame, timeframe, found)
    return (
        f"{built:,} of {len(frame):,} {frame.timeframe} bars were built out of finer ones; the stored series is from"
        f" {short_time(own[0])} to {short_time(own[1])}"
    )


def _check_agreement(coarse: Frame, fine: Frame, instrument: Instrument) -> None:
    """A stored coarse bar must be what its fine bars make: O H L C exactly, volume to the quantity step."""
    found = first_disagreement(coarse, aggregate(fine, coarse.timeframe), instrument)
    if found is not None:
        raise _contradiction(coarse, fine.timeframe, found)


def _contradiction(coarse: Frame, fine: str, found: Disagreement) -> DataError:
    return DataError(
        f"{coarse.symbol}: the stored {coarse.timeframe} bar of {to_iso(found.ts)} has {found.column} {found.stored!r}, its"
        f" {fine} bars make {found.built!r}: one of the two series is wrong; import both from one source"
    )


def _find(store: HistoricalDataStore, plan: ReplayPlan, symbol: str, timeframe: str, start: int, end: int) -> Frame:
    """The bars that the store has or can build; an empty frame where there are none."""
    found = store.find(symbol, timeframe, start, end, env=plan.env, category=plan.category) if start < end else None
    if found is not None:
        return found
    return Frame(np.zeros(0, dtype=np.int64), {name: np.zeros(0) for name in BAR_COLUMNS}, symbol=symbol, timeframe=timeframe)


def _joined(first: Frame, second: Frame) -> Frame:
    columns = {name: np.concatenate([first[name], second[name]]) for name in BAR_COLUMNS}
    return Frame(np.concatenate([first.ts, second.ts]), columns, symbol=second.symbol, timeframe=second.timeframe)


def _what_there_is(store: HistoricalDataStore, plan: ReplayPlan, symbol: str) -> str:
    return store.spans_in_words(symbol, env=plan.env, category=plan.category)
