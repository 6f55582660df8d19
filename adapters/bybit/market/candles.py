"""Candles of one symbol and timeframe in order: each start once, the first one wins, no hole is ever passed over. Pure.

The stream pushes closed candles without history, sometimes twice, sometimes late, and forgets what fell into a gap. Nothing is given out
while an earlier candle is missing: what comes meanwhile waits, and REST fills the hole first.
"""

from __future__ import annotations

from typing import Final

from keel.core.model.messages import Bar

_REMEMBERED: Final = 20
"""How many candles back a later push is still compared with what it said first."""


class CandleSequence:
    """Orders the candles of one series. ``next_open``: start of the candle that is due (None: whichever comes first)."""

    def __init__(self, next_open: int | None = None) -> None:
        self.next_open = next_open
        self._given: dict[int, Bar] = {}
        """The candles that were given out lately."""
        self.duplicates = 0
        self.differing: list[Bar] = []
        """Later pushes of a candle that said something else: kept for the record, never acted on."""
        self._waiting: dict[int, Bar] = {}

    def push(self, bar: Bar) -> list[Bar]:
        """A closed candle from anywhere; returns what may be given out now, oldest first."""
        if self.next_open is not None and bar.ts_open < self.next_open:
            self._note_repeat(bar, self._given.get(bar.ts_open))
            return []
        if bar.ts_open in self._waiting:
            self._note_repeat(bar, self._waiting[bar.ts_open])
            return []
        self._waiting[bar.ts_open] = bar
        return self._release()

    @property
    def gap(self) -> tuple[int, int] | None:
        """[start, end) that is missing before a candle that is here already; None when nothing is."""
        if not self._waiting or self.next_open is None:
            return None
        return self.next_open, min(self._waiting)

    def skip_to(self, ts_open: int) -> list[Bar]:
        """Give up on what is missing before this start; returns what may be given out then."""
        self.next_open = ts_open
        return self._release()

    def _release(self) -> list[Bar]:
        if self.next_open is None:
            self.next_open = min(self._waiting)
        free: list[Bar] = []
        while self.next_open in self._waiting:
            bar = self._waiting.pop(self.next_open)
            self._given[bar.ts_open] = bar
            self.next_open = bar.ts_close
            free.append(bar)
        while len(self._given) > _REMEMBERED:
            del self._given[next(iter(self._given))]
        return free

    def _note_repeat(self, bar: Bar, first: Bar | None) -> None:
        self.duplicates += 1
        if first is not None and first != bar and len(self.differing) < 100:
            self.differing.append(bar)
