"""Candles as the JSON of an answer. What a client asks for again and again does not change: the text of a candle that another one follows
is kept, and only what is new is written.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from keel.sim.sandbox import texts
from keel.sim.sandbox.http.endpoints.json_columns import as_published, decimal_columns, json_rows, whole_numbers
from keel.sim.sandbox.market.bar_source import Floats, Ints
from keel.sim.sandbox.market.candles import INDEX, LAST, MARK, Candles

PREMIUM: Final = 3
"""A kind of its own beside last, mark and index: (mark - index) / index; open and close are exact, the extremes those of the two
(ASSUMED)."""
_KEPT: Final = 20_000
"""Texts of each kind and interval; with more all are forgotten."""
_FEW: Final = 32
"""So many candles are written one by one sooner."""
_BETWEEN: Final = b"],["


class KlineTexts:
    """Of one symbol, whose prices have so many decimals."""

    def __init__(self, candles: Candles, places: int) -> None:
        self._candles, self._places = candles, places
        self._kept: dict[tuple[str, int], dict[int, bytes]] = {}

    def rows(self, interval: str, kind: int, since: int | None, until: int | None, limit: int, *, is_oldest: bool) -> msgspec.Raw:
        """``Candles.table``, newest first: rows of decimal strings; those of the last price have volume and turnover."""
        starts = self._candles.starts(interval, since, until, limit, is_oldest=is_oldest).tolist()
        if not starts:
            return msgspec.Raw(b"[]")
        known = self._kept.setdefault((interval, kind), {})
        found = list(map(known.get, starts))
        if not all(found):  # no text is empty; often it is the newest candle alone that is not kept
            begin = len(found) - 1 if all(found[:-1]) else found.index(None)
            end = len(found) - found[::-1].index(None)
            found[begin:end] = self._written(interval, kind, starts[begin:end], known)
        found.reverse()
        return msgspec.Raw(b"[[" + _BETWEEN.join(found) + b"]]")  # type: ignore[arg-type]  # none is missing any more

    def _written(self, interval: str, kind: int, starts: list[int], known: dict[int, bytes]) -> list[bytes]:
        """Their texts; all but the newest candle that there is are kept."""
        made = self._made(interval, kind, starts)
        rows = self._one_by_one(kind, starts, made) if len(starts) <= _FEW else self._at_once(kind, np.array(starts), made)
        if len(known) + len(rows) > _KEPT:
            known.clear()
        known.update(zip(starts, rows, strict=True))
        known.pop(self._candles.newest_start(interval), None)
        return rows

    def _made(self, interval: str, kind: int, starts: list[int]) -> Floats:
        span = (interval, starts[0], starts[-1], len(starts))
        if kind != PREMIUM:
            return self._candles.table(*span, kind)[1]
        mark, index = (as_published(self._candles.table(*span, each)[1][[0, 3]].ravel(), self._places) for each in (MARK, INDEX))
        first, last = (mark / index - 1.0).reshape(2, -1)
        return np.stack((first, np.maximum(first, last), np.minimum(first, last), last))

    def _at_once(self, kind: int, starts: Ints, made: Floats) -> list[bytes]:
        prices = decimal_columns(made[:4], [6 if kind == PREMIUM else self._places] * 4, is_short=kind == PREMIUM)
        sums = decimal_columns(made[4:], [8, 4], is_short=True) if kind == LAST else []
        return bytes(json_rows([whole_numbers(starts), *prices, *sums]))[2:-2].split(_BETWEEN)

    def _one_by_one(self, kind: int, starts: list[int], made: Floats) -> list[bytes]:
        rows = []
        for start, values in zip(starts, made.T.tolist(), strict=True):
            if kind == PREMIUM:
                row = [texts.decimal(value, 6) for value in values]
            else:
                row = [f"{value:.{self._places}f}" for value in values[:4]]
            if kind == LAST:
                row += [texts.decimal(values[4]), texts.decimal(values[5], 4)]
            rows.append(('"' + '","'.join((str(start), *row)) + '"').encode())
        return rows
