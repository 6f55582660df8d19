"""The latest that is known of the market between two instants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from keel.core.model.messages import FundingRate
from keel.runners.live.market.bar_synchronizer import Gathered
from keel.runners.live.memory.records import InputsKnown


class Valued(Protocol):
    """The account's own prices (the portfolio)."""

    def mark(self, symbol: str) -> float: ...
    def last(self, symbol: str) -> float: ...


@dataclass(slots=True)
class Prices:
    """By symbol. ``rates``: settled funding rates that wait for their instant."""

    mark: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    rates: list[FundingRate] = field(default_factory=list)
    inputs: dict[tuple[str, int], InputsKnown] = field(default_factory=dict)
    """By symbol and close: what features read beside a decision bar that waits for its instant."""
    unheard: set[str] = field(default_factory=set)
    """Symbols whose mark has come since the latest instant."""

    def marks_of(self, instant: Gathered, account: Valued, *, is_news: bool) -> dict[str, float]:
        """Mark prices at an instant: the latest, where it is news. Of one that lies back the latest would be from its future: there it is
        the bar's close times mark / last as they were known before, as in a backtest over a hole in the marks."""
        if is_news:
            return self.mark
        found: dict[str, float] = {}
        for bar in instant.bars:
            mark, last = account.mark(bar.symbol), account.last(bar.symbol)
            if bar.symbol in self.mark and mark > 0.0 and last > 0.0:
                found.setdefault(bar.symbol, bar.close * mark / last)
        return found

    def inputs_of(self, instant: Gathered) -> list[InputsKnown]:
        """Those of an instant's bars, each given once."""
        found = (self.inputs.pop((bar.symbol, bar.ts_close), None) for bar in instant.bars)
        return [known for known in found if known is not None]

    def due_rates(self, ts: int) -> list[FundingRate]:
        """Rates that were settled at or before ts, each given once."""
        due = sorted((rate for rate in self.rates if rate.ts <= ts), key=lambda rate: (rate.ts, rate.symbol))
        self.rates = [rate for rate in self.rates if rate.ts > ts]
        return due
