"""When funding is due, and how much. A stamp belongs to the bar with ts_open <= stamp < ts_close; only what is open at it pays."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from keel.core.errors import DataError
from keel.core.model.money import UNIT, mul_div_ceil, mul_div_floor
from keel.core.model.timeframe import NEVER


def funding_payment(mark: int, steps: int, num: int, den: int, rate: int) -> int:
    """What a position pays (negative: receives) at a stamp, in 1e-8 of the quote coin, rounded up against the trader.

    mark: in 1e-8.  steps: signed, one of them is num/den base units.  rate: in 1e-8 per interval; longs pay when it is positive.
    Source: Bybit help centre, "Introduction to Funding Rate": size x mark x rate.
    """
    pays = (steps > 0) == (rate > 0)
    size = abs(steps) * num
    value = mul_div_ceil(mark, size, den) if pays else mul_div_floor(mark, size, den)
    return mul_div_ceil(value if steps > 0 else -value, rate, UNIT)


def charge_parts(owed: int, free: int, margin: int) -> tuple[int, int, int]:
    """What free cash, then the position's margin, then insurance pay of a payment; what is received goes to free cash."""
    from_free = min(owed, free)
    from_margin = min(owed - from_free, margin)
    return from_free, from_margin, owed - from_free - from_margin


class FundingSchedule:
    """The stamps of one symbol in ascending order, with rates and marks in 1e-8, and a cursor at the next that is not settled."""

    __slots__ = ("cursor", "marks", "next_stamp", "rates", "stamps")

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.rates: list[int] = []
        self.marks: list[int] = []
        self.cursor = 0
        self.next_stamp = NEVER

    def load(self, symbol: str, stamps: list[int], rates: list[int], marks: list[int]) -> None:
        """Replace the whole schedule. Raises DataError unless times ascend strictly and the three lists are of one length."""
        if not len(stamps) == len(rates) == len(marks):
            raise DataError(f"{symbol}: funding has {len(stamps)} stamps, {len(rates)} rates and {len(marks)} marks; each stamp needs both")
        for earlier, later in pairwise(stamps):
            if later <= earlier:
                raise DataError(f"{symbol}: funding stamps must ascend; {later} follows {earlier}")
        self.stamps, self.rates, self.marks = stamps, rates, marks
        self.seek(0)

    def append(self, stamp: int, rate: int, mark: int) -> None:
        """Add one stamp later than all others (stand-alone use, where rates come bar by bar)."""
        self.stamps.append(stamp)
        self.rates.append(rate)
        self.marks.append(mark)
        if self.next_stamp == NEVER:
            self.next_stamp = self.stamps[self.cursor]

    def seek(self, ts: int) -> None:
        """Go to the first stamp at or after ts: what lies before was paid, or found no position."""
        self.cursor = bisect_left(self.stamps, ts)
        self.next_stamp = self.stamps[self.cursor] if self.cursor < len(self.stamps) else NEVER

    def advance(self) -> None:
        """Go past the stamp at the cursor."""
        self.cursor += 1
        self.next_stamp = self.stamps[self.cursor] if self.cursor < len(self.stamps) else NEVER
