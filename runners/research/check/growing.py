"""A system over history that grows bar by bar: at each bar nothing later exists for whatever the system computes or is shown.

Features come from TA-Lib's stream handles, which hold no later bar; a user's function and a vector strategy's array are computed anew
over the rows up to each bar. Higher timeframes' bars are the stored ones, handed over when they have closed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from keel.core.actors.live_series import LiveSeries
from keel.core.actors.market_data import HistoryBuffer, SymbolContext
from keel.core.actors.portfolio import Portfolio
from keel.core.errors import StrategyError
from keel.core.features.htf_alignment import project
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.messages import Bar
from keel.core.model.timeframe import tf_ms
from keel.core.system.config import SystemConfig
from keel.runners.backtest.preparation import LoadPlan, Prepared, SymbolInputs, vector_targets
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.runners.portfolio.archive import Archive, DataType, known_rows
from keel.runners.portfolio.desk import PortfolioSetup
from keel.runners.research.check.whole import Decision, note_decisions
from keel.runners.user_code import load_function
from keel.strategies.base import BaseStrategy, VectorStrategy

Tick = Callable[[int, int], None]
"""(bars done, of how many)."""


@dataclass(slots=True)
class Grown:
    """One symbol as it was known bar by bar: its frame with features from the anchor on, and each higher timeframe's."""

    decision: Frame
    higher: dict[str, Frame]
    targets: npt.NDArray[np.int8] | None
    """A vector strategy's value at each bar of the window."""
    shown: dict[str, list[int]]
    """By higher timeframe: the open of the last closed bar that each bar of the window was shown; -1 where there was none."""
    reached: int
    """The close of the last bar that was begun, ms; that of the bar at which something raised."""


@dataclass(slots=True)
class GrownRun:
    """A whole run over growing series. failure: what stopped it, where something raised."""

    symbols: list[Grown]
    decisions: list[Decision]
    failure: StrategyError | None


def run_growing(
    plan: LoadPlan,
    system: SystemConfig,
    strategy: BaseStrategy,
    params: Mapping[str, Any],
    loaded: list[SymbolInputs],
    portfolio: PortfolioSetup | None,
    tick: Tick | None = None,
) -> GrownRun:
    """Run a system, its history cut off at every bar. A StrategyError ends it and is kept; other KeelErrors are raised.

    portfolio: what a portfolio strategy is shown of the store; it, too, ends at each bar.
    """
    made = [_GrowingSymbol(plan, strategy, params, inputs) for inputs in loaded]
    _count(made, tick)

    def contexts(_: Prepared, account: Portfolio) -> list[SymbolContext]:
        return [SymbolContext(growing.symbol, system.timeframe, growing, growing.higher, account) for growing in made]

    # Bars of higher timeframes come through the growing series, and not from the feed, too.
    histories = [replace(inputs.history, higher={}) for inputs in loaded]
    prepared = Prepared(system, plan.replay.window, strategy, params, histories, [], dict(plan.replay.warmup))
    if portfolio is not None:
        archive = _CutArchive(portfolio.archive, plan.replay.window.start_ms)
        prepared.portfolio = replace(portfolio, archive=archive)
        for growing in made:
            growing.archive = archive
    parts = wire_backtest(prepared, "0" * 8, make_contexts=contexts)
    decisions = note_decisions(parts.engine.bus)
    try:
        replay(parts.feed, parts.engine, parts.venue)
        for growing in made:
            growing.go_on()  # a run may stop early: its features are looked at to the end of the window
    except StrategyError as error:
        return GrownRun([growing.grown() for growing in made], decisions, error)
    return GrownRun([growing.grown() for growing in made], decisions, None)


class _GrowingSymbol:
    """One symbol's growing series (a ``Series`` of market_data), which notes what each bar was shown."""

    def __init__(self, plan: LoadPlan, strategy: BaseStrategy, params: Mapping[str, Any], inputs: SymbolInputs) -> None:
        base, start = plan.replay.timeframe, plan.replay.window.start_ms
        frame = inputs.frames[base]
        first = int(np.searchsorted(frame.ts, start))
        above = {timeframe: rows for timeframe, rows in inputs.frames.items() if timeframe != base}
        self.symbol, self.timeframe = frame.symbol, base
        self.higher = {timeframe: _series(rows, _closed(rows, start), plan) for timeframe, rows in above.items()}
        self._due = {timeframe: deque(_bars(rows, _closed(rows, start))) for timeframe, rows in above.items()}
        self._own = _series(frame, first, plan)
        self._strategy, self._params = strategy, params
        self.feature_names = (*self._own.feature_names, *(name for series in self.higher.values() for name in series.feature_names))
        self._rows = HistoryBuffer(self.symbol, base, (*BAR_COLUMNS, *self.feature_names))
        self._begin(known(frame, first))
        self._rest = deque(_bars(frame, first))
        self.bars = len(self._rest)
        self._reached = start
        self._noted: list[int] = []
        self._shown: dict[str, list[int]] = {timeframe: [] for timeframe in above}
        self.tick: Callable[[], None] | None = None
        self.archive: _CutArchive | None = None

    def advance(self, bar: Bar) -> int:
        """Take the next bar, and before it the higher bars that have closed by its close; the vector target at it."""
        self._rest.popleft()
        self._reached = bar.ts_close
        if self.archive is not None:
            self.archive.now = bar.ts_close
        for timeframe, due in self._due.items():
            while due and due[0].ts_close <= bar.ts_close:
                self.higher[timeframe].advance(due.popleft())
        self._own.advance(bar)
        values = self._own.latest()
        for timeframe, series in self.higher.items():
            values |= series.latest()
            self._shown[timeframe].append(series.bar_at(series.index).ts_open if series.index >= 0 else -1)
        self._rows.append(bar.ts_open, {**{name: getattr(bar, name) for name in BAR_COLUMNS}, **values})
        self.index += 1
        target = 0
        if isinstance(self._strategy, VectorStrategy):
            rows = self.history_to(self.index)
            target = int(vector_targets(self._strategy, rows, self._params, refuse_peeks=False)[-1])
        self._noted.append(target)
        if self.tick is not None:
            self.tick()
        return target

    def value(self, name: str, index: int) -> float:
        """A column's value at a row."""
        return self._rows.value(name, index)

    def bar_at(self, index: int) -> Bar:
        """The bar of a row."""
        return _bar(self.history_to(index), index)

    def history_to(self, index: int) -> Frame:
        """All rows up to and including one."""
        return self._rows.frame(index + 1)

    def row_closed_by(self, ts: int) -> int:
        """The last row whose bar had closed at ``ts``; -1 when there is none."""
        return int(np.searchsorted(self._rows.ts, ts - tf_ms(self.timeframe), side="right")) - 1

    def go_on(self) -> None:
        """Take the bars that the run did not come to."""
        while self._rest:
            self.advance(self._rest[0])

    def grown(self) -> Grown:
        """What is known now, and was known at each bar."""
        higher = {timeframe: series.history_to(series.index) for timeframe, series in self.higher.items() if series.index >= 0}
        targets = np.array(self._noted, dtype=np.int8) if isinstance(self._strategy, VectorStrategy) else None
        return Grown(self._rows.frame(self.index + 1), higher, targets, self._shown, self._reached)

    def _begin(self, warmup: Frame) -> None:
        """The warm-up bars with their features, those of higher timeframes as known at each."""
        own = self._own.history_to(self._own.index) if self._own.index >= 0 else warmup
        columns = {name: own[name] if name in own else np.zeros(0) for name in (*BAR_COLUMNS, *self._own.feature_names)}
        for series in self.higher.values():
            rows = series.history_to(series.index) if series.index >= 0 else None
            for name in series.feature_names:
                columns[name] = np.full(len(warmup), np.nan) if rows is None else project(rows, rows[name], warmup)
        self._rows.extend_to(len(warmup), warmup.ts, columns)
        self.index = len(warmup) - 1


def _series(frame: Frame, rows: int, plan: LoadPlan) -> LiveSeries:
    """A growing series that has its first rows."""
    return LiveSeries(known(frame, rows), plan.groups[frame.timeframe], load=load_function, inputs=_inputs(frame))


@dataclass(slots=True)
class _CutArchive:
    """An archive whose series end at the present."""

    whole: Archive
    now: int
    holds_the_known: bool = False

    def series(self, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame:
        frame = self.whole.series(symbol, timeframe, data_type, since)
        rows = known_rows(frame, self.now)
        cut = Frame(frame.ts[:rows].copy(), {name: frame[name][:rows].copy() for name in frame}, kind=frame.kind)
        cut.symbol, cut.timeframe = frame.symbol, frame.timeframe
        return cut


def known(frame: Frame, rows: int) -> Frame:
    """The first rows, copied: no view leads to the rest."""
    columns = {name: frame[name][:rows].copy() for name in frame}
    return Frame(frame.ts[:rows].copy(), columns, symbol=frame.symbol, timeframe=frame.timeframe)


def _closed(frame: Frame, ts: int) -> int:
    return int(np.searchsorted(frame.ts + tf_ms(frame.timeframe), ts, side="right"))


def _inputs(frame: Frame) -> Callable[[Bar], Mapping[str, float]] | None:
    """Further inputs as known at a bar's close; None where the frame has none."""
    extra = [name for name in frame if name not in BAR_COLUMNS]
    if not extra:
        return None
    rows = {ts: row for row, ts in enumerate(frame.ts.tolist())}
    return lambda bar: {name: float(frame[name][rows[bar.ts_open]]) for name in extra}


def _bars(frame: Frame, first: int) -> Iterator[Bar]:
    return (_bar(frame, row) for row in range(first, len(frame)))


def _bar(frame: Frame, row: int) -> Bar:
    ts = int(frame.ts[row])
    return Bar(frame.symbol, frame.timeframe, ts, ts + tf_ms(frame.timeframe), *(float(frame[name][row]) for name in BAR_COLUMNS))


def _count(all_growing: list[_GrowingSymbol], tick: Tick | None) -> None:
    """Have the lanes tell how many of all their bars are done."""
    if tick is None:
        return
    done, total = 0, sum(growing.bars for growing in all_growing)

    def one() -> None:
        nonlocal done
        done += 1
        tick(done, total)

    for growing in all_growing:
        growing.tick = one
