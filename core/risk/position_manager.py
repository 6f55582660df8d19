"""The position manager of portfolio strategies: screens orders by volatility, sizes them by inverse volatility, keeps to the cash.

The rules: CLOSE is neither screened nor sized. Where a symbol's volatility is above the limit its order's value becomes 0, which closes
what is open. An order that brings its own value keeps it; the others share the budget in proportion to 1 / volatility. Where all values
together are more than the cash, only the CLOSE orders are left.

Volatility: sample deviation (n - 1) of the log returns of the latest candles, times sqrt(candles per day).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import sqrt
from typing import Any, Final

import msgspec
import numpy as np

from keel.core.errors import ConfigError, DataError
from keel.core.model.timeframe import DAY_MS, tf_ms
from keel.core.model.words import check_again
from keel.core.risk.decision import RiskDecision, denied
from keel.core.strategy.portfolio_order import DataView, InstrumentType, OMSView, Order
from keel.core.system.suggestions import did_you_mean

DATA_TYPES: Final[Mapping[InstrumentType, str]] = {"future": "mark_ohlcv_futures", "spot": "ohlcv_spot"}
"""The candles by which an instrument is screened and weighed."""


class PositionManager:
    """budget_percent: of the cash, shared by orders without a value.  max_daily_volatility: a fraction; above it nothing is held.

    window, timeframe: the candles that volatility is measured on; with fewer than ``min_returns`` of them an order is not screened, and
    weighs as much as the others do on average. ``notes`` tells each such symbol once.
    """

    def __init__(
        self,
        budget_percent: float = 10.0,
        max_daily_volatility: float = 0.1,
        *,
        window: timedelta = timedelta(hours=4),
        timeframe: str = "15m",
        min_returns: int = 8,
    ) -> None:
        if not 0.0 < budget_percent <= 100.0:
            raise ConfigError(f"budget_percent must be above 0 and at most 100, not {budget_percent!r}")
        if not max_daily_volatility > 0.0:
            raise ConfigError(f"max_daily_volatility must be above 0, not {max_daily_volatility!r}")
        if min_returns < 2 or window < (min_returns + 1) * timedelta(milliseconds=tf_ms(timeframe)):
            raise ConfigError(f"a window of {window} holds no {min_returns} returns of {timeframe} candles (at least 2 are needed)")
        self.budget_percent, self.max_daily_volatility = budget_percent, max_daily_volatility
        self.window, self.timeframe, self.min_returns = window, timeframe, min_returns
        self._per_day = sqrt(DAY_MS / tf_ms(timeframe))
        self._told: dict[str, str] = {}
        self.refusals: dict[str, RiskDecision] = {}
        """Which orders of the latest step may not be executed and why, by symbol."""

    @property
    def notes(self) -> list[str]:
        """What could not be screened and why, a sentence for each symbol."""
        return list(self._told.values())

    def on_start(self) -> None:
        """A run begins: forget the notes of the one before."""
        self._told.clear()

    def state(self) -> dict[str, str]:
        """What it has told so far, by symbol: plain data for a strategy's ``state()``."""
        return dict(self._told)

    def restore(self, state: Mapping[str, str]) -> None:
        """Go on from a ``state()``: what was told is not told again."""
        self._told = dict(state)

    def filter_orders(self, orders: Sequence[Order | Mapping[str, Any]], oms_client: OMSView, data_manager: DataView) -> list[Order]:
        """The orders that may be executed, with their values: CLOSE first, then the others, each in the order in which they came.

        The cash is the first balance, the quote coin's. Raises ConfigError for what is no order.
        """
        wanted = [as_order(order) for order in orders]
        closes = [order for order in wanted if order.side == "CLOSE"]
        opens = [order for order in wanted if order.side != "CLOSE"]
        self.refusals = {}
        if not opens:
            return closes
        cash = next(iter(oms_client.balance.values()))
        known = {order.symbol: self._volatility(order, oms_client, data_manager) for order in opens}
        values = self._values(opens, known, cash * self.budget_percent / 100.0)
        if sum(values) > cash:
            self.refusals |= {order.symbol: denied("beyond_cash", sum(values), cash) for order in opens}
            return closes
        return closes + [msgspec.structs.replace(order, value=value) for order, value in zip(opens, values, strict=True)]

    def _values(self, opens: Sequence[Order], volatility: Mapping[str, float | None], budget: float) -> list[float]:
        limit = self.max_daily_volatility
        screened = {symbol: value for symbol, value in volatility.items() if value is not None and value > limit}
        self.refusals |= {symbol: denied("max_daily_volatility", value, limit) for symbol, value in screened.items()}
        sharing = [order for order in opens if order.symbol not in screened and order.value is None]
        weights = inverse_weights([volatility[order.symbol] for order in sharing])
        shares = iter([budget * weight for weight in weights])
        return [0.0 if order.symbol in screened else next(shares) if order.value is None else order.value for order in opens]

    def _volatility(self, order: Order, oms_client: OMSView, data_manager: DataView) -> float | None:
        """A fraction per day; None where the candles do not tell it."""
        now = oms_client.current_time
        try:
            candles = data_manager.load_data_period(order.symbol, self.timeframe, DATA_TYPES[order.instrument_type], now - self.window, now)
        except DataError as error:
            self._notify(order.symbol, str(error))
            return None
        closes = np.asarray(candles["close"], dtype=np.float64)
        if len(closes) <= self.min_returns:
            self._notify(order.symbol, f"{max(0, len(closes) - 1)} returns of {self.timeframe} candles, {self.min_returns} are needed")
            return None
        return float(np.diff(np.log(closes)).std(ddof=1)) * self._per_day

    def _notify(self, symbol: str, why: str) -> None:
        self._told.setdefault(symbol, f"{symbol} was not screened by volatility, at least once: {why}")


def inverse_weights(volatilities: Sequence[float | None]) -> list[float]:
    """Shares of 1 in proportion to 1 / volatility; one that is unknown or 0 weighs as much as the known ones do on average."""
    inverse = [1.0 / value if value else 0.0 for value in volatilities]
    known = [weight for weight in inverse if weight]
    usual = sum(known) / len(known) if known else 1.0
    filled = [weight or usual for weight in inverse]
    return [weight / sum(filled) for weight in filled]


def as_order(order: Order | Mapping[str, Any]) -> Order:
    """The order itself, or one made of a mapping of the same keys. Raises ConfigError that names what is wrong with it."""
    if not isinstance(order, Order):
        if not isinstance(order, Mapping):
            raise ConfigError(f"{order!r} is no order: return Order, or a mapping of symbol, instrument_type, side and value")
        unknown = [str(key) for key in order if key not in Order.__struct_fields__]
        if unknown:
            raise ConfigError(f"the order {dict(order)!r} has the key {unknown[0]!r}: {did_you_mean(unknown[0], Order.__struct_fields__)}")
        order = _converted(dict(order))
    elif order.__class__ is Order:
        check_again(order, Order)
    else:
        order = _converted(msgspec.structs.asdict(order))
    if order.value is not None and not 0.0 <= order.value < float("inf"):
        raise ConfigError(f"the order for {order.symbol} has the value {order.value!r}: a notional is finite and not negative")
    return order


def _converted(fields: dict[str, Any]) -> Order:
    missing = [name for name in ("symbol", "instrument_type", "side") if name not in fields]
    if missing:
        raise ConfigError(f"the order {fields!r} lacks {', '.join(missing)}")
    return Order(**fields)
