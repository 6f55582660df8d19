"""The bars before a session's first decision: from the store, and from the exchange what the store lacks. Then series that grow.

The anchor is a backtest's: exactly ``warmup_bars`` bars of each timeframe before the window, which begins with a decision bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from keel.adapters.store import HistoricalDataStore
from keel.core.actors.live_series import LiveSeries, SeriesState
from keel.core.actors.market_data import SymbolContext
from keel.core.actors.portfolio import Portfolio
from keel.core.errors import DataError
from keel.core.features import FeatureSpec, by_timeframe, default_warmup, extra_columns, parse_features
from keel.core.model.frame import BAR_COLUMNS, Frame
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bar
from keel.core.model.time_range import to_iso
from keel.core.model.timeframe import floor_ts, tf_ms
from keel.core.risk.exits import hidden_features
from keel.core.system.config import SystemConfig
from keel.runners.backtest.preparation import vector_targets
from keel.runners.live.market.inputs import Inputs
from keel.runners.live.market.portfolio_history import PortfolioHistory
from keel.runners.live.startup.program import WarmUpKey
from keel.runners.portfolio.desk import PortfolioSetup
from keel.runners.portfolio.system import history_start, lookback, session_series, setup_over
from keel.runners.user_code import load_function
from keel.strategies.base import BaseStrategy, PortfolioStrategy, VectorStrategy


class BarReader(Protocol):
    """The exchange's history of closed bars."""

    async def bars(self, symbol: str, timeframe: str, start_ms: int, end_ms: int) -> list[Bar]: ...


class ColumnReader(Protocol):
    """What features read beside bars."""

    async def columns(self, frame: Frame, until_ms: int) -> dict[str, Any]: ...


class WarmUp:
    """Loads the frames of a system's timeframes, and makes its contexts out of them."""

    def __init__(self, system: SystemConfig, strategy: BaseStrategy, params: Mapping[str, Any], start_ms: int) -> None:
        declared = {**strategy.features, **system.features, **hidden_features(system.exits, system.sizing)}
        specs = parse_features(declared, params, system.timeframe)
        self.further = extra_columns(specs)
        """What features read beside bars."""
        self._system, self._strategy, self._params = system, strategy, params
        self.groups: dict[str, list[FeatureSpec]] = by_timeframe(specs, system.timeframe)
        self.start_ms = floor_ts(start_ms, system.timeframe)
        given = system.warmup_bars
        bars = {timeframe: default_warmup(group) if given is None else given for timeframe, group in self.groups.items()}
        self._bars = lookback(system, strategy, bars) if isinstance(strategy, PortfolioStrategy) else bars
        self.history = self._history(strategy) if isinstance(strategy, PortfolioStrategy) else None
        """The series that a portfolio strategy may ask for; None for a signal strategy."""
        self.inputs = Inputs(self.history)
        self.frames: dict[tuple[str, str], Frame] = {}
        self._states: dict[tuple[str, str], SeriesState] = {}

    def wanted(self, timeframe: str) -> int:
        """How many bars of a timeframe come before the window."""
        return self._bars[timeframe]

    def _history(self, strategy: PortfolioStrategy) -> PortfolioHistory:
        system = self._system
        bases, types = session_series(system, strategy)
        since = history_start(system, self.start_ms, self.wanted(system.timeframe))
        return PortfolioHistory(system.symbols, bases, types, since, self.start_ms)

    def portfolio_setup(self, left_out: Sequence[str]) -> PortfolioSetup | None:
        """What a portfolio strategy is shown, and when it is asked; None for a signal strategy."""
        if self.history is None or not isinstance(self._strategy, PortfolioStrategy):
            return None
        return setup_over(
            self.history, self._system, self._strategy, self.start_ms, self.wanted(self._system.timeframe), left_out=left_out
        )  # fmt: skip

    def restore(self, states: Sequence[SeriesState]) -> None:
        """Take the series of an earlier session in place of history: warm-up and all bars since."""
        for state in states:
            for each in (state, *state.higher):
                self._states[each.symbol, each.timeframe] = each
                self.frames[each.symbol, each.timeframe] = each.frame()

    def recorded(self) -> dict[WarmUpKey, Frame]:
        """All that was loaded: the bars that the system decides on, and the series that a portfolio strategy may ask for."""
        bars: dict[WarmUpKey, Frame] = {(*key, ""): frame for key, frame in self.frames.items()}
        return bars if self.history is None else bars | self.history.frames()

    def take(self, frames: Mapping[WarmUpKey, Frame]) -> bool:
        """Use these series, written down with the journal's beginning, if they are all that is needed; returns whether they are."""
        needed = [(symbol, timeframe) for symbol in self._system.symbols for timeframe in self.groups]
        if any((*key, "") not in frames for key in needed):
            return False
        if self.history is not None and not self.history.take_frames(frames):
            return False
        self.frames = {key: frames[(*key, "")] for key in needed}
        return True

    async def load(self, store: HistoricalDataStore | None, reader: BarReader, inputs: ColumnReader) -> None:
        """Read what is needed of every symbol and timeframe. Raises DataError, naming the first bar that nobody has."""
        for symbol in self._system.symbols:
            for timeframe in self.groups:
                end = floor_ts(self.start_ms, timeframe)
                begin = end - self.wanted(timeframe) * tf_ms(timeframe)
                frame = await self._frame(store, reader, symbol, timeframe, begin, end)
                self.frames[symbol, timeframe] = frame.with_columns(await inputs.columns(frame, self.start_ms)) if self.further else frame

    async def _frame(
        self, store: HistoricalDataStore | None, reader: BarReader, symbol: str, timeframe: str, begin: int, end: int
    ) -> Frame:
        step, category = tf_ms(timeframe), self._system.category
        rows: dict[int, tuple[float, ...]] = {}
        stored = store.find(symbol, timeframe, begin, end, category=category) if store is not None and begin < end else None
        if stored is not None:
            columns = zip(*(stored[name].tolist() for name in BAR_COLUMNS), strict=True)
            rows = dict(zip(stored.ts.tolist(), columns, strict=True))
        missing = [ts for ts in range(begin, end, step) if ts not in rows]
        if missing:
            for bar in await reader.bars(symbol, timeframe, missing[0], missing[-1] + 1):
                rows.setdefault(bar.ts_open, (bar.open, bar.high, bar.low, bar.close, bar.volume))
            missing = [ts for ts in missing if ts not in rows]
        if missing:
            raise DataError(
                f"{symbol} {timeframe}: {self.wanted(timeframe)} warm-up bars are needed before {to_iso(end)}, and neither the store nor"
                f" the exchange has the one of {to_iso(missing[0])}: import earlier history, or set warmup_bars"
            )
        opens = sorted(rows)
        table = np.array([rows[ts] for ts in opens], dtype=np.float64).reshape(len(opens), len(BAR_COLUMNS))
        columns_of = {name: np.ascontiguousarray(table[:, place]) for place, name in enumerate(BAR_COLUMNS)}
        return Frame(np.array(opens, dtype=np.int64), columns_of, symbol=symbol, timeframe=timeframe)

    def contexts(self, instruments: Mapping[str, Instrument], portfolio: Portfolio) -> list[SymbolContext]:
        """A context per symbol over series that stand at the window's beginning."""
        return [self._context(symbol, instruments[symbol], portfolio) for symbol in self._system.symbols]

    def _context(self, symbol: str, instrument: Instrument, portfolio: Portfolio) -> SymbolContext:
        system, strategy, params = self._system, self._strategy, self._params
        above: Sequence[str] = [timeframe for timeframe in self.groups if timeframe != system.timeframe]
        known, state = self.inputs.of(symbol), self._states.get((symbol, system.timeframe))
        higher = {
            timeframe: LiveSeries(self.frames[symbol, timeframe], self.groups[timeframe], load=load_function, inputs=known)
            for timeframe in above
        }

        series = LiveSeries(
            self.frames[symbol, system.timeframe],
            self.groups[system.timeframe],
            load=load_function,
            higher=list(higher.values()),
            targets=_Targets(strategy, params) if isinstance(strategy, VectorStrategy) else None,
            inputs=known,
            qty_grid=instrument.qty_grid,
            builders=None if state is None else state.builders,
        )
        return SymbolContext(symbol, system.timeframe, series, higher, portfolio)


class _Targets:
    """A vector strategy's array over a frame that grows. Whether it looks ahead is looked at when the frame has doubled: a look costs as
    much as dozens of bars, and at each bar there is nothing after it to look at."""

    def __init__(self, strategy: VectorStrategy, params: Mapping[str, Any]) -> None:
        self._strategy, self._params = strategy, params
        self._checked_rows = 0

    def __call__(self, frame: Frame) -> npt.NDArray[np.int8]:
        is_due = len(frame) >= 2 * self._checked_rows
        if is_due:
            self._checked_rows = len(frame)
        return vector_targets(self._strategy, frame, self._params, refuse_peeks=is_due)
