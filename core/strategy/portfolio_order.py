"""What portfolio strategies say and see: target orders, and read-only views on the account and on history.

Signal strategies (one symbol at a time) do not meet these. Names: with perpetuals ``BTC-USDT``, ``BTC-USDT-PERP`` and ``BTCUSDT`` are the
perpetual; on spot ``BTC-USDT`` and ``BTCUSDT`` are the spot pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol

import msgspec

from keel.core.errors import ConfigError
from keel.core.model.frame import Frame
from keel.core.model.instrument import Category
from keel.core.model.messages import Message
from keel.core.model.words import check_fields

InstrumentType = Literal["future", "spot"]
TargetSide = Literal["LONG", "SHORT", "CLOSE"]
INSTRUMENT_TYPES: Final[Mapping[Category, InstrumentType]] = {"linear": "future", "spot": "spot"}
_PERPETUAL: Final = "-PERP"


class Order(msgspec.Struct, frozen=True):
    """A target for one symbol. ``value`` is the target notional in USDT, not a change: the same order twice changes nothing.

    None leaves the value to the position manager. CLOSE, or a value of 0, closes what is open.
    """

    symbol: str
    instrument_type: InstrumentType
    side: TargetSide
    value: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)


class PortfolioOrders(Message, frozen=True):
    """What a portfolio strategy wants at one instant, as it said it: neither screened nor sized."""

    ts: int
    strategy: str
    orders: tuple[Order, ...]


class TargetPosition(Message, frozen=True):
    """What one symbol's position is to be: ``value`` is its notional in quote coins, 0 none; None leaves it to the sizer."""

    symbol: str
    ts: int
    side: TargetSide
    value: float | None = None
    strategy: str = ""

    def __post_init__(self) -> None:
        check_fields(self)


def market_symbol(name: str, category: Category) -> str:
    """The symbol as the exchange writes it, of any of its names. Raises ConfigError for a perpetual's name on spot."""
    text = name.strip().upper()
    if text.endswith(_PERPETUAL):
        if category == "spot":
            raise ConfigError(f"{name!r} is a perpetual, and this is spot: use {text.removesuffix(_PERPETUAL)}")
        text = text.removesuffix(_PERPETUAL)
    symbol = text.replace("-", "")
    if not symbol.isalnum():
        raise ConfigError(f"{name!r} is not a symbol: use a name such as BTC-USDT or BTCUSDT")
    return symbol


class OMSView(Protocol):
    """The account as a portfolio strategy sees it: readable only, as of ``current_time`` (UTC, the close of the last closed bar)."""

    @property
    def instrument_type(self) -> InstrumentType: ...
    @property
    def current_time(self) -> datetime: ...
    @property
    def timestep(self) -> timedelta: ...
    @property
    def data_manager(self) -> DataView: ...
    @property
    def balance(self) -> Mapping[str, float]: ...
    @property
    def positions(self) -> Mapping[str, Mapping[str, Any]]: ...
    @property
    def trade_history(self) -> Sequence[Mapping[str, Any]]: ...
    def get_current_price(self, symbol: str) -> float: ...
    def get_total_portfolio_value(self) -> float: ...


class DataView(Protocol):
    """History up to the present: bars that have closed, points that have come. Frames cannot be written to.

    ``data_type``: ohlcv_spot, index_ohlcv_futures, mark_ohlcv_futures, funding_rates or open_interest. The mappings are by symbol, bars of
    the run's own timeframe, from the lookback's beginning on.
    """

    @property
    def spot_ohlcv_data(self) -> Mapping[str, Frame]: ...
    @property
    def perpetual_index_ohlcv_data(self) -> Mapping[str, Frame]: ...
    @property
    def perpetual_mark_ohlcv_data(self) -> Mapping[str, Frame]: ...
    @property
    def funding_rates_data(self) -> Mapping[str, Frame]: ...
    @property
    def open_interest_data(self) -> Mapping[str, Frame]: ...
    def load_data_period(self, symbol: str, timeframe: str, data_type: str, start: datetime, end: datetime) -> Frame: ...
