"""A series that grows by each closed bar: what a replay reveals out of columns computed up front, computed as the bars come.

It opens on its warm-up bars, the first of which is the anchor, and gives the same bits as a replay from the same anchor; a test holds that.
Features come from StreamEngine. Higher timeframes are built out of this series' own bars and move before its target is asked for, so that
at a common close the higher bar counts. A vector strategy's array is computed anew over all bars from the anchor; its last value counts.
Bars that never came are told (FeedGap) and never filled.

Its state is its bars (and further inputs): features are computed anew out of them, and come out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from keel.core.actors.bar_builder import BarBuilder, BuilderState, Report
from keel.core.actors.market_data import HistoryBuffer
from keel.core.errors import DataError, InvariantError
from keel.core.features import FeatureSpec, Load, StreamEngine, extra_columns
from keel.core.features.htf_alignment import project
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.instrument import Grid
from keel.core.model.messages import Bar, FeedGap
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import floor_ts, tf_ms

Targets = Callable[[Frame], npt.NDArray[np.int8]]
"""A vector strategy's array over a frame of bars and features."""
Inputs = Callable[[Bar], Mapping[str, float]]
"""Further inputs of features (mark_close, funding_rate, open_interest) as known at a bar's close; nan before the first one."""


class SeriesState(msgspec.Struct, frozen=True):
    """A series as plain data: the bytes of ts (int64) and of the columns of bars and inputs (float64), and what grows out of them."""

    symbol: str
    timeframe: str
    ts: bytes
    columns: dict[str, bytes]
    higher: list[SeriesState]
    builders: list[BuilderState]

    def frame(self) -> Frame:
        """The bars, and the inputs that features read."""
        columns = {name: np.frombuffer(column, dtype=np.float64) for name, column in self.columns.items()}
        return Frame(np.frombuffer(self.ts, dtype=np.int64), columns, symbol=self.symbol, timeframe=self.timeframe)


class LiveSeries:
    """Bars, features and vector target of one symbol and timeframe, up to the last closed bar (``index``; -1: none yet).

    warmup: bars from the anchor on, with a column for each further input that features read.  specs: of this timeframe, in the order of
    parse_features.  higher: series of coarser timeframes, whose features are shown here, too, as known at each bar; from now on this series
    advances them, and nobody else does.  inputs: needed where features read any.  report: hears of bars that never came.
    qty_grid: see BarBuilder.  builders: those of a state, one per higher series; None: they hear the warm-up bars.
    """

    def __init__(
        self,
        warmup: Frame,
        specs: Sequence[FeatureSpec],
        *,
        load: Load | None = None,
        higher: Sequence[LiveSeries] = (),
        targets: Targets | None = None,
        inputs: Inputs | None = None,
        report: Report | None = None,
        qty_grid: Grid | None = None,
        builders: Sequence[BuilderState] | None = None,
    ) -> None:
        self.symbol, self.timeframe = warmup.symbol, warmup.timeframe
        self.duration = tf_ms(warmup.timeframe)
        wanted = extra_columns(specs)
        if wanted and inputs is None:
            raise InvariantError(f"{self.symbol} {self.timeframe}: features read {', '.join(wanted)}; the series needs its inputs")
        self._inputs, self._targets, self._report = inputs if wanted else None, targets, report
        self._known = HistoryBuffer(self.symbol, self.timeframe, wanted)
        self._known.extend_to(len(warmup), warmup.ts, warmup.to_dict())
        self._engine = StreamEngine(specs, warmup, load)
        self._higher = tuple(higher)
        own = self._engine.columns()
        projected = {name: column for series in self._higher for name, column in _projected(series, warmup).items()}
        self.feature_names = (*own, *projected)
        self._rows = HistoryBuffer(self.symbol, self.timeframe, (*BAR_COLUMNS, *self.feature_names))
        self._rows.extend_to(len(warmup), warmup.ts, {**warmup.to_dict(), **own, **projected})
        self.index = len(warmup) - 1
        self._builders = [
            BarBuilder(self.symbol, self.timeframe, each.timeframe, report=report, qty_grid=qty_grid) for each in self._higher
        ]
        if builders is None:
            for builder, series in zip(self._builders, self._higher, strict=True):
                self._let_hear(builder, series)
        else:
            for builder, state in zip(self._builders, builders, strict=True):
                builder.restore(state)

    def __len__(self) -> int:
        return self.index + 1

    def advance(self, bar: Bar) -> int:
        """Take the next closed bar and return the vector target at it (0 without an array). DataError for a bar that is not later."""
        if bar.symbol != self.symbol or bar.tf != self.timeframe:
            raise InvariantError(f"a {bar.symbol} {bar.tf} bar came to the series {self.symbol} {self.timeframe}")
        row: dict[str, float] = {"ts": bar.ts_open, **{name: getattr(bar, name) for name in BAR_COLUMNS}}
        inputs = self._inputs(bar) if self._inputs is not None else {}
        values = self._engine.update({**row, **inputs})
        self._known.append(bar.ts_open, inputs)
        self._warn_of_gap(bar)
        for builder, series in zip(self._builders, self._higher, strict=True):
            closed = builder.add(bar)
            if closed is not None:
                series.advance(closed)
            values |= series.latest()
        self._rows.append(bar.ts_open, {**row, **values})
        self.index += 1
        return 0 if self._targets is None else int(self._targets(self.history_to(self.index))[-1])

    def latest(self) -> dict[str, float]:
        """The features at the last closed bar, nan where there is none."""
        return {name: self._rows.value(name, self.index) if self.index >= 0 else np.nan for name in self.feature_names}

    def value(self, name: str, index: int) -> float:
        """A column's value at a row."""
        self._check(index)
        return self._rows.value(name, index)

    def bar_at(self, index: int) -> Bar:
        """The bar of a row."""
        self._check(index)
        ts_open = int(self._rows.ts[index])
        prices = (self._rows.value(name, index) for name in BAR_COLUMNS)
        return Bar(self.symbol, self.timeframe, ts_open, ts_open + self.duration, *prices)

    def history_to(self, index: int) -> Frame:
        """All rows up to and including one, read-only."""
        self._check(index)
        return self._rows.frame(index + 1)

    def row_closed_by(self, ts: int) -> int:
        """The last row whose bar had closed at ``ts``; -1 when there is none."""
        return int(np.searchsorted(self._rows.ts, ts - self.duration, side="right")) - 1

    def state(self) -> SeriesState:
        """What it holds, to be written at once."""
        bars = self._rows.frame(len(self))
        columns = {name: bars[name].tobytes() for name in BAR_COLUMNS}
        columns |= {name: column.tobytes() for name, column in self._known.frame(len(self)).to_dict().items() if name != "ts"}
        return SeriesState(
            self.symbol, self.timeframe, bars.ts.tobytes(), columns, [each.state() for each in self._higher],
            [builder.state() for builder in self._builders],
        )  # fmt: skip

    def _check(self, index: int) -> None:
        if not 0 <= index <= self.index:
            raise DataError(f"{self.symbol} {self.timeframe}: row {index} is not known yet (the last known is {self.index})")

    def _warn_of_gap(self, bar: Bar) -> None:
        if self.index >= 0 and self._report is not None:
            expected = int(self._rows.ts[self.index]) + self.duration
            if bar.ts_open > expected:
                self._report(FeedGap(self.symbol, self.timeframe, expected, bar.ts_open))

    def _let_hear(self, builder: BarBuilder, series: LiveSeries) -> None:
        """The warm-up bars of the higher bar that is growing."""
        if self.index < 0:
            return
        start = floor_ts(self.bar_at(self.index).ts_close, series.timeframe)
        if series.index >= 0 and (ends := series.bar_at(series.index).ts_close) != start:
            raise DataError(f"{self.symbol}: the {series.timeframe} warm-up ends at {to_iso(ends)}, where {to_iso(start)} is needed")
        for index in range(int(np.searchsorted(self._rows.ts, start)), len(self)):
            builder.add(self.bar_at(index))


def _projected(series: LiveSeries, decision: Frame) -> dict[str, npt.NDArray[np.float64]]:
    if series.index < 0:
        return {name: np.full(len(decision), np.nan) for name in series.feature_names}
    frame = series.history_to(series.index)
    return {name: project(frame, frame[name], decision) for name in series.feature_names}
