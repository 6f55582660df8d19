"""What features read beside bars (mark_close, funding_rate, open_interest), as known at the close of each decision bar.

It is heard, and written into the journal, before its bar: a restart has what the decision had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from keel.core.errors import InvariantError
from keel.core.model.messages import Bar
from keel.runners.live.market.portfolio_history import PortfolioHistory
from keel.runners.live.memory.records import InputsKnown


class Inputs:
    """The latest of each symbol. history: takes the series that a portfolio strategy may ask for."""

    def __init__(self, history: PortfolioHistory | None = None) -> None:
        self.latest: dict[str, InputsKnown] = {}
        self.history = history

    def take(self, known: InputsKnown) -> None:
        """What is known from now on."""
        if self.history is not None:
            self.history.take(known.symbol, known.series)
            known = InputsKnown(known.ts, known.symbol, known.values)  # the rows are kept there
        self.latest[known.symbol] = known

    def of(self, symbol: str) -> Callable[[Bar], Mapping[str, float]]:
        """What a series of the symbol asks at a bar. Its own bars and those of coarser timeframes that close with them have the same."""

        def at(bar: Bar) -> Mapping[str, float]:
            known = self.latest.get(symbol)
            if known is None or known.ts != bar.ts_close:
                stands = "nothing" if known is None else str(known.ts)
                raise InvariantError(f"{symbol} {bar.tf}: the inputs of {bar.ts_close} were not heard before the bar (there is {stands})")
            return known.values

        return at

    def restore(self, state: list[InputsKnown]) -> None:
        """Go on from what was latest."""
        self.latest = {known.symbol: known for known in state}
