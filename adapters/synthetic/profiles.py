"""What is invented about a symbol: its grid and limits (as on the exchange), where its price begins, how it moves and trades."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from zlib import crc32

from keel.core.errors import ConfigError
from keel.core.model.instrument import PERPETUAL_MAKER, PERPETUAL_TAKER, Grid, Instrument, generic_tiers
from keel.core.model.money import to_units

FUNDING_INTERVAL_MIN = 480
_SYMBOL = re.compile(r"^([A-Z0-9]{1,20}?)(USDT|USDC)$")


@dataclass(frozen=True, slots=True)
class Profile:
    """Prices in quote, quantities in base units."""

    first_price: float
    tick: str
    step: str
    max_qty: float
    max_market_qty: float
    minute_volume: float
    """Mean volume of a minute."""
    open_interest: float
    relative_volatility: float
    """Against the volatility that was asked for."""
    market_share: float
    """Correlation with the market factor."""


_KNOWN = {
    "BTCUSDT": Profile(42_300.0, "0.1", "0.001", 1_190.0, 500.0, 55.0, 58_000.0, 1.0, 0.95),
    "ETHUSDT": Profile(2_280.0, "0.01", "0.01", 7_240.0, 3_620.0, 900.0, 950_000.0, 1.2, 0.88),
}


def profile_of(symbol: str) -> Profile:
    """The profile of a symbol; one that is not known gets a price and grid from its name, always the same."""
    return _KNOWN.get(symbol) or _invent(symbol)


def instrument_of(symbol: str, known_since: int) -> Instrument:
    """The synthetic linear perpetual. Raises ConfigError unless the symbol is a base coin followed by USDT or USDC."""
    match = _SYMBOL.match(symbol)
    if match is None:
        raise ConfigError(f"{symbol!r} cannot be made up: use upper-case letters and digits that end in USDT or USDC, such as BTCUSDT")
    profile = profile_of(symbol)
    return Instrument(
        symbol=symbol,
        category="linear",
        base=match[1],
        quote=match[2],
        price_grid=Grid.from_text(profile.tick),
        qty_grid=Grid.from_text(profile.step),
        min_qty=float(profile.step),
        max_qty=profile.max_qty,
        max_market_qty=profile.max_market_qty,
        min_notional=to_units("5"),
        taker_fee=PERPETUAL_TAKER,
        maker_fee=PERPETUAL_MAKER,
        tiers=generic_tiers(match[1]),
        funding_interval_min=FUNDING_INTERVAL_MIN,
        price_limit_x=to_units("0.01"),
        price_limit_y=to_units("0.02"),
        known_since=known_since,
        source="synthetic",
    )


def _invent(symbol: str) -> Profile:
    """A price between 0.1 and 1000 with five digits, and a step worth roughly one to ten quote coins."""
    number = crc32(symbol.encode())
    exponent = number % 4 - 1
    price = Decimal(100 + number // 4 % 900).scaleb(exponent - 2)
    step = Decimal(1).scaleb(-exponent)
    steps_a_minute = 20_000
    return Profile(
        first_price=float(price),
        tick=f"{Decimal(1).scaleb(exponent - 4):f}",
        step=f"{step:f}",
        max_qty=float(step * 1_000_000),
        max_market_qty=float(step * 200_000),
        minute_volume=float(step * steps_a_minute),
        open_interest=float(step * steps_a_minute * 1_000),
        relative_volatility=1.5,
        market_share=0.7,
    )
