"""What portfolio strategies say and see: target orders, and read-only views on the account and on history.

Signal strategies (one symbol at a time) do not meet these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import msgspec

from core.frame import Frame


class Order(msgspec.Struct, frozen=True):
    """A target for one symbol. ``value`` is the target notional in USDT, not a change: the same order twice changes nothing.

    None leaves the value to the position manager. CLOSE, or a value of 0, closes what is open.
    """

    symbol: str
    instrument_type: Literal["future", "spot"]
    side: Literal["LONG", "SHORT", "CLOSE"]
    value: float | None = None


class OMSView(Protocol):
    """The account as a portfolio strategy sees it: readable only, as of ``current_time`` (UTC, the close of the last closed bar)."""

    @property
    def current_time(self) -> datetime: ...
    @property
    def timestep(self) -> timedelta: ...
    @property
    def balance(self) -> Mapping[str, float]: ...
    @property
    def positions(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def trade_history(self) -> Sequence[Mapping[str, Any]]: ...
    def get_current_price(self, symbol: str) -> float: ...
    def get_total_portfolio_value(self) -> float: ...


class DataView(Protocol):
    """History up to the present, by symbol.

    ``data_type``: ohlcv_spot, index_ohlcv_futures, mark_ohlcv_futures, funding_rates or open_interest.
    """

    def load_data_period(self, symbol: str, timeframe: str, data_type: str, start: datetime, end: datetime) -> Frame: ...
