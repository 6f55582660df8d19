"""What a cost model is told about the fill or the funding time that it is asked about. Nothing of it can be changed."""

from __future__ import annotations

from typing import Literal

import msgspec


class FillInputs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One execution, before it is booked.

    ts: ms UTC.  qty: base units.  price: for a fee the price of the fill, for slippage and impact the price of the path, before any cost.
    notional: qty x price, in quote coins.  volume: of the bar in which it is filled, base units.  volatility_bps: deviation of the log
    returns of the bars before it (``execution.impact.window``, else 60).  traded_30d: what the account traded in the 30 days before, quote
    coins, all symbols.  built_in: what the built-in model says, in the unit of the answer.
    """

    symbol: str
    ts: int
    side: Literal["BUY", "SELL"]
    qty: float
    price: float
    notional: float
    is_maker: bool
    order_type: str
    volume: float
    volatility_bps: float
    traded_30d: float
    built_in: float


class FundingInputs(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One position at one funding time.

    ts: the funding time, ms UTC.  qty: base units, negative when short.  mark_price: at that time.  notional: |qty| x mark_price, in quote
    coins.  built_in: the rate of the series (``execution.funding``), a fraction.
    """

    symbol: str
    ts: int
    qty: float
    mark_price: float
    notional: float
    built_in: float
