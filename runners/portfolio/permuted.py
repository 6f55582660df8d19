"""The series of a permuted run: up to the window as they were, in it as the permuted bars make them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keel.core.errors import DataError
from keel.core.features.aggregate import aggregate
from keel.core.model.frame import Frame
from keel.core.model.instrument import Grid
from keel.core.model.timeframe import is_finer, tf_ms
from keel.runners.portfolio.archive import POINTS, Archive, DataType
from keel.runners.research.permutation import BarOrder, follow, travel


class PermutedArchive:
    """An archive whose ``executed`` series has been permuted from ``start`` (ms) on; both by symbol, at the execution timeframe."""

    holds_the_known = False

    def __init__(
        self, archive: Archive, executed: DataType, original: Mapping[str, Frame], permuted: Mapping[str, Frame], order: BarOrder,
        grids: Mapping[str, Grid], start: int, end: int,
    ) -> None:  # fmt: skip
        self._archive, self._executed, self._order, self._grids = archive, executed, order, grids
        self._original, self._permuted = original, permuted
        self._start, self._end = start, end
        self._timeframe = next(iter(original.values())).timeframe
        self._made: dict[tuple[str, str, DataType], tuple[Frame, Frame]] = {}

    def series(self, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame:
        """See Archive. Raises DataError for a timeframe that neither divides the execution timeframe nor is made of it."""
        whole = self._archive.series(symbol, timeframe, data_type, since)
        if data_type in POINTS:
            return whole
        key = (symbol, timeframe, data_type)
        made = self._made.get(key)
        if made is None or made[0] is not whole:
            made = self._made[key] = (whole, self._make(whole, symbol, timeframe, data_type, since))
        return made[1]

    def _make(self, whole: Frame, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame:
        before = whole[: int(np.searchsorted(whole.ts, self._start - tf_ms(timeframe), side="right"))]  # what had closed by then
        if is_finer(self._timeframe, timeframe):
            base = self.series(symbol, self._timeframe, data_type, since)
            built = aggregate(base, timeframe)
            return _joined(before, built.between(int(before.ts[-1]) + 1 if len(before) else 0, self._end), whole)
        window = whole.between(self._start, self._end)
        if timeframe == self._timeframe:
            is_own = data_type == self._executed
            inside = self._permuted[symbol] if is_own else follow(window, self._original[symbol], self._permuted[symbol])
        elif is_finer(timeframe, self._timeframe):
            inside = self._finer(window, symbol, timeframe, data_type, since)
        else:
            raise DataError(f"{symbol}: there are no {timeframe} candles in a permutation of {self._timeframe} candles")
        return _joined(before, inside, whole)

    def _finer(self, window: Frame, symbol: str, timeframe: str, data_type: DataType, since: int) -> Frame:
        original, permuted = self._original[symbol], self._permuted[symbol]
        if data_type == self._executed:
            return travel(window, original, permuted, self._order, self._grids[symbol])
        own = self._archive.series(symbol, timeframe, self._executed, since).between(self._start, self._end)
        return follow(window, own, travel(own, original, permuted, self._order, self._grids[symbol]))


def _joined(before: Frame, inside: Frame, whole: Frame) -> Frame:
    columns = {name: np.concatenate([before[name], inside[name]]) for name in whole}
    ts = np.concatenate([before.ts, inside.ts])
    return Frame(ts, columns, symbol=whole.symbol, timeframe=whole.timeframe, kind=whole.kind)
