"""Any plain picture of an account as a PortfolioView, for those who ask the RiskManager without the actors.

A picture is a mapping, or an object with attributes of the same names: ``equity`` (quote coins; also read from ``balance``), and
optionally ``ts`` (when; a time in any form), ``cash``, ``prices`` {symbol: price} and ``positions`` {symbol: signed quantity, or a mapping
or object with ``qty`` or ``quantity``, ``side``, ``entry_price``, ``mark_price``}, or a list of such with a ``symbol`` each: what the
``state`` of a SimulatedExchange is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, cast

from keel.core.errors import ConfigError
from keel.core.model.instrument import Instrument
from keel.core.model.money import to_units
from keel.core.model.time_range import to_ms
from keel.core.risk.view import PortfolioView
from keel.core.system.suggestions import did_you_mean

_SIDES: Final = ("LONG", "SHORT", "BUY", "SELL", "FLAT", "NONE")
"""What a position of a picture may call its side, in any case; exchanges say Buy and Sell, and an empty one says that the sign counts."""


def as_view(picture: Any, instruments: Mapping[str, Instrument]) -> PortfolioView:
    """The picture itself where it is a view already. Raises ConfigError for one without an equity."""
    if hasattr(picture, "gross_notional"):
        return cast(PortfolioView, picture)
    return SnapshotView(picture, instruments)


class SnapshotView:
    """A PortfolioView over a plain picture. A price that it does not hold is nan."""

    __slots__ = ("_instruments", "_positions", "_prices", "cash", "equity", "ts")

    def __init__(self, picture: Any, instruments: Mapping[str, Instrument]) -> None:
        equity = _read(picture, "equity", _read(picture, "balance", None))
        if not isinstance(equity, (int, float)) or not math.isfinite(equity):
            raise ConfigError(f"a portfolio snapshot needs a finite number under 'equity', not {equity!r}")
        self.equity = float(equity)
        ts = _read(picture, "ts", None)
        self.ts: int | None = None if ts is None else to_ms(ts)
        """When, ms UTC; None where the picture does not say."""
        self.cash = to_units(_read(picture, "cash", self.equity))
        self._prices: Mapping[str, float] = _read(picture, "prices", None) or {}
        self._positions: Mapping[str, Any] = _by_symbol(_read(picture, "positions", None) or {})
        self._instruments = instruments

    def steps(self, symbol: str) -> int:
        """The position in steps; where the grid is not known, in 1e-8 of the base coin."""
        instrument = self._instruments.get(symbol)
        qty = self.position_qty(symbol)
        return instrument.qty_grid.count(qty) if instrument is not None else to_units(qty)

    def position_qty(self, symbol: str) -> float:
        """The position in base units."""
        position = self._positions.get(symbol)
        if position is None:
            return 0.0
        if isinstance(position, (int, float)):
            return float(position)
        return _signed(position)

    def entry_price(self, symbol: str) -> float:
        """Average entry price; 0 where it is not told."""
        return float(_read(self._positions.get(symbol), "entry_price", 0.0))

    def mark(self, symbol: str) -> float:
        """The position's mark price, else the symbol's price, else its entry price, else nan."""
        position = self._positions.get(symbol)
        price = _read(position, "mark_price", self._prices.get(symbol)) or _read(position, "entry_price", None)
        return float(price) if price else math.nan

    def last(self, symbol: str) -> float:
        """The symbol's price, else its mark."""
        price = self._prices.get(symbol)
        return float(price) if price else self.mark(symbol)

    def notional(self, symbol: str) -> float:
        """|position| at mark. Raises ConfigError for a position that has no price."""
        qty = abs(self.position_qty(symbol))
        value = qty * self.mark(symbol) if qty else 0.0
        if math.isnan(value):
            raise ConfigError(f"the portfolio snapshot holds {symbol} but no price of it: add it under 'prices'")
        return value

    def gross_notional(self) -> float:
        """Sum of |position| at mark."""
        return sum(self.notional(symbol) for symbol in self._positions)

    def open_positions(self) -> int:
        """How many symbols have a position."""
        return sum(1 for symbol in self._positions if self.position_qty(symbol))


def _by_symbol(positions: Any) -> Mapping[str, Any]:
    """Positions by symbol; of a list, both sides of a hedge together, at the entry price of the larger one. Raises ConfigError."""
    if isinstance(positions, Mapping):
        return positions
    found: dict[str, Any] = {}
    for row in positions:
        symbol = _read(row, "symbol", None)
        if not isinstance(symbol, str):
            raise ConfigError(f"a position of the portfolio snapshot has no symbol: {row!r}")
        before = found.get(symbol)
        if before is None:
            found[symbol] = row
        else:
            larger = max((before, row), key=lambda one: abs(_signed(one)))
            prices = {name: _read(larger, name, None) for name in ("entry_price", "mark_price")}
            found[symbol] = {"qty": _signed(before) + _signed(row), **{name: value for name, value in prices.items() if value is not None}}
    return found


def _signed(position: Any) -> float:
    qty = float(_read(position, "qty", _read(position, "quantity", 0.0)))
    side = str(_read(position, "side", "") or "").upper()
    if side and side not in _SIDES:
        raise ConfigError(f"the portfolio snapshot has a position of side {_read(position, 'side', '')!r}: {did_you_mean(side, _SIDES)}")
    return -abs(qty) if side in ("SHORT", "SELL") else qty


def _read(picture: Any, name: str, default: Any) -> Any:
    if isinstance(picture, Mapping):
        return picture.get(name, default)
    return getattr(picture, name, default)
