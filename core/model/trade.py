"""Round trips: from flat to flat, or to a flip. The portfolio actor makes them out of fills; metrics, artifacts and reports read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec


class Trade(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One round trip of one symbol (or, with exit_ts None, what is still open).

    Times in ms UTC, prices in quote per base, qty in base units (the largest that was open), money in 1e-8 of the quote coin.
    Entry and exit prices are volume-weighted over their fills. ``gross_pnl`` is at fill prices, before fees and funding.
    """

    number: int
    symbol: str
    side: Literal["LONG", "SHORT"]
    entry_ts: int
    entry_price: float
    qty: float
    entry_notional: int
    """Sum of the notionals of all opening fills."""
    exit_ts: int | None = None
    exit_price: float | None = None
    exit_notional: int = 0
    gross_pnl: int = 0
    fees: int = 0
    funding: int = 0
    """Paid is positive."""
    slippage: int = 0
    """Sum of |fill price - reference| x size over its fills."""
    entry_fees: int = 0
    entry_slippage: int = 0
    entry_order: int = 0
    exit_order: int = 0
    """The executor's order numbers."""
    fills: int = 0
    exit_reason: str = ""
    """signal, stop_loss, take_profit, trailing, liquidation, max_bars, limit, ..."""
    strategy: str = ""

    @property
    def net_pnl(self) -> int:
        """gross - fees - funding, in 1e-8."""
        return self.gross_pnl - self.fees - self.funding

    @property
    def return_pct(self) -> float:
        """Net PnL in percent of the entry notional."""
        return 100.0 * self.net_pnl / self.entry_notional if self.entry_notional else 0.0

    @property
    def holding_ms(self) -> int | None:
        """Time from the first fill to the last; None while open."""
        return None if self.exit_ts is None else self.exit_ts - self.entry_ts


class Trades(list[Trade]):
    """Closed round trips by exit time. ``open``: the trades that are still open beside them, which the metrics want to know, too."""

    def __init__(self, closed: Iterable[Trade] = (), open: Sequence[Trade] = ()) -> None:
        super().__init__(closed)
        self.open = list(open)
