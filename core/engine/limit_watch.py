"""When the account's limits must be looked at, over a history whose quiet stretches nobody walks through.

Limits are observed at the close of every instant. Where equity, whatever the prices of a block of rows do to it, stays above the floor, no
instant of the block can break a limit: they are observed together, later. Where it may come near, equity of the rows ahead is made in
columns, and the first row that breaks a limit is an instant like any other.
"""

from __future__ import annotations

import math

from keel.core.actors.portfolio import Portfolio
from keel.core.actors.risk import RiskActor
from keel.core.engine.equity_rows import EquityRows
from keel.core.errors import InvariantError


class LimitWatch:
    """``is_near``: whether limits may be broken in the block as the account stands; then the rows up to the next event are searched."""

    __slots__ = ("_is_limited", "_limits", "_portfolio", "_risk", "_seen", "_top", "is_near", "rows")

    def __init__(self, risk: RiskActor, portfolio: Portfolio, rows: EquityRows) -> None:
        self._risk, self._portfolio, self.rows, self._limits = risk, portfolio, rows, risk.limits
        self._is_limited = risk.limits.is_limited
        self._seen = 0  # the first row that the limits have not observed
        self._top = -math.inf  # what equity cannot have been above in the rows that they have not observed
        self.is_near = False

    def begin(self) -> None:
        """A block of rows begins; what comes before it has been observed."""
        self._top = -math.inf
        self.judge()

    def judge(self) -> None:
        """See whether limits may be broken in this block, the account being what it is."""
        rows, limits = self.rows, self._limits
        rows.is_changed = False
        if self._is_limited:
            low, high = rows.bounds()
            if high > self._top:
                self._top = high
            is_far = low > limits.floor and self._top <= limits.peak  # what most accounts are at most times
            self.is_near = not (is_far or limits.is_out_of_reach(low, self._top))

    def search(self, end: int) -> int:
        """Near: observe what comes before row ``end`` if nothing else happens; returns the row that breaks a limit, or ``end``."""
        if self._seen < end:
            self._seen += self._limits.follow(self.rows.ahead(self._seen, end))
        return self._seen

    def close(self, row: int, ts: int) -> None:
        """The instant of this row (closed at ts, ms) is over, and the account has changed, or a limit or something else may be due."""
        if self.rows.is_changed:
            self.judge()
            if self.is_near and self._seen < row:  # what has not been observed made the peak unsure
                self.observe_until(row)
                self.judge()
        limits, risk = self._limits, self._risk
        if not (self.is_near or ts >= limits.day_end or ts >= risk.next_due):
            return
        day_end = limits.day_end
        if self._is_limited:
            self.observe_until(row)
            self._seen = row + 1
        risk.on_instant(ts)
        if limits.day_end != day_end:
            self.judge()

    def observe_until(self, row: int) -> None:
        """Let the limits observe the rows before this one that they have not seen: none of them breaks one, but there may be a new peak."""
        limits = self._limits
        if self._is_limited and self._seen < row:
            if self._top > limits.peak:
                first = self.rows.written
                equities = self._portfolio.keep_until(row)[self._seen - first :]
                if limits.follow(equities) < len(equities):
                    raise InvariantError(f"a limit was broken before row {row}, where that was held to be out of reach")
            self._seen = row
        self._top = -math.inf if not self._is_limited else self.rows.bounds()[1]
