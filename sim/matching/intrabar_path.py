"""The path of last, mark and index inside a bar: O -> L -> H -> C or O -> H -> L -> C; the usual one is the latter where it closed lower.

Four points at places 0, 1/3, 2/3 and 1, straight lines between. A place is (leg 0..2, fraction 0..1 of the leg).
"""

from __future__ import annotations

from typing import Final

from keel.sim.exchange.book import INDEX, LAST, MARK, SymbolBook
from keel.sim.matching.triggers import Level

Points = tuple[float, float, float, float]


def low_comes_first(open_: float, close: float) -> bool:
    """Which extreme the usual path visits first: the low where the bar closed at or above its open."""
    return close >= open_


def points(ohlc: Points, low_first: bool) -> Points:
    """The corners of one path."""
    open_, high, low, close = ohlc
    return (open_, low, high, close) if low_first else (open_, high, low, close)


class Path:
    """One bar's paths by source."""

    __slots__ = ("_paths", "duration", "ts_open")

    def __init__(self, ts_open: int, duration: int, last: Points, mark: Points, index: Points) -> None:
        self.ts_open = ts_open
        self.duration = duration
        self._paths = (last, mark, index)

    def fraction_of(self, book: SymbolBook, leg: int, level: Level) -> float | None:
        """Where on this leg the level is met, coming from the present moment; None when it is not ahead."""
        source, rising, price = level
        current, end = book.price(source), self._paths[source][leg + 1]
        fraction = fraction_met(price, rising, current, self._paths[source][leg], end)
        return fraction if fraction >= 0.0 else None

    def fraction_of_time(self, ts: int, leg: int) -> float | None:
        """Where on this leg a time lies; None when it lies beyond its end."""
        fraction = fraction_due(ts, self.ts_open, self.duration, leg)
        return fraction if fraction >= 0.0 else None

    def time_at(self, leg: int, fraction: float) -> int:
        """The time of a place, in whole ms; that of the last point is the bar's last: its close belongs to the next bar."""
        return time_at(self.ts_open, self.duration, leg, fraction)

    def move(self, book: SymbolBook, leg: int, fraction: float) -> None:
        """Bring the book's prices to a place of the path."""
        book.last, book.mark, book.index = (price_at(corners[leg], corners[leg + 1], fraction) for corners in self._paths)


def set_price(book: SymbolBook, source: int, price: float) -> None:
    """The exact price of a source at a level that it meets (interpolation may be off by the last bit)."""
    if source == LAST:
        book.last = price
    elif source == MARK:
        book.mark = price
    elif source == INDEX:
        book.index = price


# --- as functions of numbers, for code that is compiled, too ---

NOT_AHEAD: Final = -1.0


def fraction_met(price: float, rising: bool, current: float, start: float, end: float) -> float:
    """Where on a leg from ``start`` to ``end`` a price is met, coming from ``current``; NOT_AHEAD where it is not."""
    if not (current < price <= end if rising else current > price >= end):
        return NOT_AHEAD
    return max(0.0, (price - start) / (end - start))


def fraction_due(ts: int, ts_open: int, duration: int, leg: int) -> float:
    """Where on a leg a time lies (0.0: at its beginning, or before it); NOT_AHEAD beyond its end."""
    offset = 3 * (ts - ts_open) - leg * duration
    return max(0.0, float(offset) / duration) if offset <= duration else NOT_AHEAD


def time_at(ts_open: int, duration: int, leg: int, fraction: float) -> int:
    """The time of a place, in whole ms, within the bar."""
    return ts_open + min(int(duration * (leg + fraction) / 3.0), duration - 1)


def price_at(start: float, end: float, fraction: float) -> float:
    """The price at a place of a leg."""
    return end if fraction >= 1.0 else start + (end - start) * fraction
