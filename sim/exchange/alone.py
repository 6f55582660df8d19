"""The account of an exchange that stands alone: equity over time in the columns of a backtest's, and round trips.

In a run the portfolio actor keeps these, and the exchange none; here the exchange's own fills and positions are all there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from typing import Any

import numpy as np

from keel.core.errors import FieldError
from keel.core.model.frame import Frame
from keel.core.model.messages import Bar
from keel.core.model.money import UNIT
from keel.core.model.words import check_number
from keel.sim.exchange.book import SymbolBook
from keel.sim.margin.cross import shown

COLUMNS = ("equity", "equity_worst", "gross_notional", "margin", "liquidation_distance_pct")
Row = tuple[float, float, float, float, float]
Span = tuple[int, int, float, float]
"""A bar of a symbol: open and close in ms, the lowest and the highest price that values positions."""


class EquityLog:
    """One row per instant at which bars closed; the first row is the first bar's open, with the equity of the beginning.

    The columns are those of ``BacktestResult.equity_curve``, by the same rules: a position that changed after its bar's open is valued at
    the close in ``equity_worst``, and a symbol without a bar at an instant with its latest price.
    """

    def __init__(self, books: Mapping[str, SymbolBook], initial_equity: float) -> None:
        self._books = books
        self._ts: list[int] = []
        self._rows: list[Row] = []
        self._first: Row = (initial_equity, initial_equity, 0.0, 0.0, nan)
        self._spans: dict[str, Span] = {}

    def note(self, book: SymbolBook, span: Span, equity: float) -> None:
        """A bar of this symbol was stepped. equity: of the account, after it."""
        self._spans[book.symbol] = span
        ts = span[1]
        row = self._row(ts, equity)
        if not self._ts:
            self._ts.append(span[0])
            self._rows.append(self._first)
        if self._ts[-1] == ts:
            self._rows[-1] = row
        else:
            self._ts.append(ts)
            self._rows.append(row)

    def frame(self) -> Frame:
        """The curve so far; empty before the first bar."""
        columns = np.array(self._rows, dtype=np.float64).reshape(-1, len(COLUMNS)).T
        return Frame(np.array(self._ts, dtype=np.int64), dict(zip(COLUMNS, columns, strict=True)), kind="equity")

    def _row(self, ts: int, equity: float) -> Row:
        worst, gross, margins, nearest = equity, 0.0, 0.0, inf
        for book in self._books.values():
            close = book.last if book.is_spot else book.mark
            low, high = self._extremes(book, ts, close)
            for position in book.positions:
                if position.steps:
                    margin, liquidation_price = _as_logged(book) if len(book.positions) == 1 else shown(book, position)
                    extreme = low if position.qty > 0 else high
                    worst += position.qty * (extreme - close)
                    gross += abs(position.qty) * close
                    margins += margin / UNIT
                    if liquidation_price > 0.0:
                        away = (extreme - liquidation_price) / extreme * 100.0
                        nearest = min(nearest, max(away if position.qty > 0 else -away, 0.0))
        return equity, worst, gross, margins, nan if nearest == inf else nearest

    def _extremes(self, book: SymbolBook, ts: int, close: float) -> tuple[float, float]:
        """The prices between which the positions of this instant were valued; the close where they have only just become what they are."""
        opened, closed, low, high = self._spans.get(book.symbol, (ts, -1, close, close))
        changed = bool(book.position_log) and book.position_log[-1][0] > opened
        return (min(low, close), max(high, close)) if closed == ts and not changed else (close, close)


def check_bars(**bars: Bar | None) -> None:
    """Raises FieldError for a bar, by the argument's name, whose numbers are none, or are no prices of one span of time."""
    for name, bar in bars.items():
        if bar is None:
            continue
        if bar.__class__ is not Bar:
            raise FieldError(f"{name}: a Bar is needed here, not {type(bar).__name__} ({bar!r})")
        told = f"{name}: bar of {bar.symbol} at {bar.ts_open}"
        for field in ("open", "high", "low", "close"):
            check_number(getattr(bar, field), f"{told}: {field}", above=0.0)
        check_number(bar.volume, f"{told}: volume", at_least=0.0)
        if not (_is_time(bar.ts_open) and _is_time(bar.ts_close) and bar.ts_open < bar.ts_close):
            raise FieldError(f"{told}: ts_open and ts_close are whole ms, the open first, not {bar.ts_open!r} and {bar.ts_close!r}")
        if not (bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high):
            raise FieldError(f"{told}: open {bar.open} and close {bar.close} must lie from low {bar.low} to high {bar.high}")


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and abs(int(value)) < 2**62


def _as_logged(book: SymbolBook) -> tuple[int, float]:
    """(margin, liquidation price) as of the position's last change: what a backtest's curve shows."""
    _, _, _, margin, liquidation_price = book.position_log[-1]
    return margin, liquidation_price
