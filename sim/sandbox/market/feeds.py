"""The two feeds: an invented market that never ends, and history that was handed in."""

from __future__ import annotations

import numpy as np

from keel.core.errors import ConfigError
from keel.core.model.instrument import Category, Instrument
from keel.core.model.money import UNIT
from keel.core.model.timeframe import MINUTE_MS
from keel.sim.sandbox.engine import Move, Schedule
from keel.sim.sandbox.market.bar_source import BarSource, Floats, SymbolSeries
from keel.sim.sandbox.market.random_walk import FUNDING_MS, HISTORY_BARS, Piece, RandomWalk, is_traded, walk_instrument
from keel.sim.sandbox.market.symbol_market import book_name


class WalkFeed:
    """A random walk per symbol, for the perpetual and, with the same index, the spot pair. Base bars are minutes, or longer ones that
    divide the eight hours of a funding interval (raises ConfigError)."""

    is_now = True
    is_synthetic = True

    def __init__(
        self, symbols: list[str], start_ms: int, seed: int, *, bars: int = HISTORY_BARS, spot: bool = True, duration_ms: int = MINUTE_MS
    ) -> None:  # fmt: skip
        if FUNDING_MS % duration_ms:
            raise ConfigError("the bars of a walk divide eight hours, in which its funding is settled: use 1m to 4h")
        self.duration_ms = duration_ms
        self._now = self._start = start_ms - start_ms % duration_ms
        categories: tuple[Category, ...] = ("linear", "spot") if spot else ("linear",)
        self._instruments = [
            walk_instrument(symbol, category) for category in categories for symbol in symbols if is_traded(symbol, category)
        ]
        self._walks = {symbol: RandomWalk(walk_instrument(symbol, "linear"), seed, number) for number, symbol in enumerate(symbols)}
        self._history: dict[str, SymbolSeries] = {}
        for symbol, walk in self._walks.items():
            series = walk.history(self._start, bars, duration_ms)
            self._history[symbol] = series
            if spot and is_traded(symbol, "spot"):
                self._history[book_name("spot", symbol)] = self._spot_history(series, symbol)

    def _spot_history(self, series: SymbolSeries, symbol: str) -> SymbolSeries:
        instrument = walk_instrument(symbol, "spot")
        index = series.index or series.last
        grid = instrument.price_grid
        last = tuple(np.maximum(1, np.rint(column * grid.den / grid.num)) * grid.num / grid.den for column in index)
        return SymbolSeries(instrument, series.ts, last, series.volume, series.first, index, index)  # type: ignore[arg-type]  # four columns

    def instruments(self) -> list[Instrument]:
        """Perpetuals first, then spot pairs."""
        return self._instruments

    def history(self, name: str) -> SymbolSeries | None:
        """Bars before the start."""
        return self._history.pop(name, None)

    def schedule(self, name: str) -> Schedule | None:
        """Not known beforehand."""
        return None

    def start_ms(self) -> int:
        """The open of the bar in which it begins."""
        return self._start

    def bars_left(self) -> int | None:
        """It never ends."""
        return None

    def next_bar(self) -> Move | None:
        """What is left of the bar: a whole one in lock-step."""
        return self.next_move(self.duration_ms)

    def next_move(self, length_ms: int) -> Move | None:
        """So many ms, which never cross the end of a bar."""
        start = self._now
        length = min(length_ms, self.duration_ms - start % self.duration_ms)
        pieces: dict[str, Piece] = {}
        linear = {symbol: walk.advance(length) for symbol, walk in self._walks.items()}
        for instrument in self._instruments:
            piece = linear[instrument.symbol]
            pieces[book_name(instrument.category, instrument.symbol)] = (
                piece if instrument.category == "linear" else _spot(piece, instrument)
            )
        self._now += length
        return Move(start, start + length, pieces)

    def funding_due(self, ts_open: int) -> list[tuple[str, int, int, int]]:
        """What is settled at this very time: (book name, stamp, rate, mark)."""
        if ts_open % FUNDING_MS:
            return []
        return [
            (symbol, ts_open, walk.funding_rate(), round(walk.mark * UNIT))
            for symbol, walk in self._walks.items()
            if is_traded(symbol, "linear")
        ]

    def next_funding(self, name: str, ts: int) -> tuple[int, int] | None:
        """The next stamp, and the rate as it would be now."""
        walk = self._walks.get(name)
        return None if walk is None else (ts - ts % FUNDING_MS + FUNDING_MS, walk.funding_rate())


def _spot(piece: Piece, instrument: Instrument) -> Piece:
    grid, lots = instrument.price_grid, instrument.qty_grid
    index = piece.prices[8:]
    last = tuple(grid.value(max(1, grid.count(price))) for price in index)
    steps = max(1, lots.count(piece.volume))
    return Piece((*last, *index, *index), lots.value(steps))


class BarFeed:
    """Bars that were handed in. A symbol without a bar at an instant stands still there. ``is_now``: its dates are the wall's."""

    def __init__(self, source: BarSource, *, is_now: bool = False) -> None:
        self.is_now = is_now
        self.duration_ms = source.duration_ms
        self._series = {book_name(series.instrument.category, series.instrument.symbol): series for series in source.series()}
        self.is_synthetic = any(series.is_synthetic for series in self._series.values())
        rows = [series.ts[series.first :] for series in self._series.values()]
        self._opens: list[int] = np.unique(np.concatenate(rows)).tolist()
        self._at = 0
        self._rows = {name: series.first for name, series in self._series.items()}
        self._place = 0
        self._columns = {name: _columns(series) for name, series in self._series.items()}

    def instruments(self) -> list[Instrument]:
        """In the order of the source."""
        return [series.instrument for series in self._series.values()]

    def history(self, name: str) -> SymbolSeries | None:
        """The series, of which the first rows are the past."""
        return self._series[name]

    def schedule(self, name: str) -> Schedule | None:
        """All of it."""
        return self._series[name].funding

    def start_ms(self) -> int:
        """The open of the first bar to be played."""
        return self._opens[0]

    def bars_left(self) -> int | None:
        """Bars that are still to come."""
        return len(self._opens) - self._at

    def funding_due(self, ts_open: int) -> list[tuple[str, int, int, int]]:
        """The schedule is known beforehand."""
        return []

    def next_funding(self, name: str, ts: int) -> tuple[int, int] | None:
        """The schedule says it."""
        return None

    def next_bar(self) -> Move | None:
        """The next bar of every symbol that has one."""
        if self._at >= len(self._opens):
            return None
        start = self._opens[self._at]
        move = Move(start, start + self.duration_ms, {})
        for name, series in self._series.items():
            row = self._rows[name]
            if row < len(series.ts) and series.ts[row] == start:
                values = self._columns[name][row].tolist()
                move.pieces[name] = Piece(tuple(values[:12]), values[12])
                if series.mark_closes is not None:
                    move.marks[name] = float(series.mark_closes[row])
                if series.volatility_bps is not None:
                    move.volatility[name] = float(series.volatility_bps[row])
                self._rows[name] = row + 1
        self._at += 1
        return move

    def next_move(self, length_ms: int) -> Move | None:
        """A part of the next bar, along its path; ``length_ms`` divides the bar."""
        if length_ms >= self.duration_ms:
            return self.next_bar()
        if self._place == 0:
            self._bar = self.next_bar()
        bar = self._bar
        if bar is None:
            return None
        begin, end = self._place / self.duration_ms, min(1.0, (self._place + length_ms) / self.duration_ms)
        start = bar.ts_open + self._place
        self._place = (self._place + length_ms) % self.duration_ms
        pieces = {name: _part(piece, begin, end) for name, piece in bar.pieces.items()}
        return Move(start, start + length_ms, pieces, bar.volatility, bar.marks if end == 1.0 else {})

    _bar: Move | None = None


def _columns(series: SymbolSeries) -> Floats:
    mark = series.mark or series.last
    return np.stack((*series.last, *mark, *(series.index or mark), series.volume), axis=1)


def _part(piece: Piece, begin: float, end: float) -> Piece:
    """What lies between two places of a bar's path (docs/fills.md: O -> L -> H -> C, or O -> H -> L -> C where it closed lower)."""
    low_first = piece.prices[3] >= piece.prices[0]
    prices: list[float] = []
    for at in (0, 4, 8):
        open_, high, low, close = piece.prices[at : at + 4]
        corners = (open_, low, high, close) if low_first else (open_, high, low, close)
        here, there = _along(corners, begin), _along(corners, end)
        between = [corners[corner] for corner in (1, 2) if begin < corner / 3 < end]
        prices += [here, max(here, there, *between), min(here, there, *between), there]
    return Piece(tuple(prices), piece.volume * (end - begin))


def _along(corners: tuple[float, float, float, float], place: float) -> float:
    leg = min(2, int(place * 3))
    return corners[leg] + (corners[leg + 1] - corners[leg]) * (place * 3 - leg)
