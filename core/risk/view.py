"""The account as risk sees it: read-only views of what the portfolio and the executor own, and of what is on its way between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from keel.core.model.costs import taker_ticks
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Direction, OrderIntent, SubmitOrder
from keel.core.model.orders import OrderRecord
from keel.core.risk.exposure import largest
from keel.core.risk.market import Market


class PortfolioView(Protocol):
    """The account. Money in quote coins unless told otherwise; quantities and steps are negative when short."""

    @property
    def equity(self) -> float:
        """Wallet and unrealised PnL, marked at the latest bar."""

    @property
    def cash(self) -> int:
        """The wallet in 1e-8: margin of open positions included, unrealised PnL not."""

    def steps(self, symbol: str) -> int:
        """The position in steps of the quantity grid; what of a spot holding is dust (core/model/dust.py) is none."""

    def position_qty(self, symbol: str) -> float:
        """The position in base units."""

    def entry_price(self, symbol: str) -> float:
        """Average entry price; 0 when flat."""

    def mark(self, symbol: str) -> float:
        """The latest mark price."""

    def last(self, symbol: str) -> float:
        """The last close: the price at which decisions are made."""

    def notional(self, symbol: str) -> float:
        """|position| at mark."""

    def gross_notional(self) -> float:
        """Sum of |position| at mark over all symbols."""

    def open_positions(self) -> int:
        """How many symbols have a position."""


class WorkingOrders(Protocol):
    """The executor, as risk sees it."""

    @property
    def received(self) -> int:
        """How many intents it has taken so far."""

    @property
    def own_open(self) -> int:
        """How many orders are open that came from intents (the venue's bracket orders are not counted)."""

    def open_orders(self, symbol: str | None = None) -> Iterable[OrderRecord]:
        """Those orders, oldest first."""


class InFlight(NamedTuple):
    """One order that is not yet in the position. ``steps`` is what is still to be filled, signed.

    ``certain``: a market order that the venue has not answered yet: it can no longer be called back.
    """

    symbol: str
    steps: int
    certain: bool
    reduce_only: bool


_OUTBOX_KEPT = 32
"""Intents that may have been taken already are let go of when there are more than these: not at each one, which costs time."""


class Flights:
    """What is between risk and the position: intents that the executor has not taken yet, and its open orders."""

    __slots__ = ("_instruments", "_outbox", "_sent", "_working")

    def __init__(self, working: WorkingOrders, instruments: Mapping[str, Instrument]) -> None:
        self._working = working
        self._instruments = instruments
        self._sent = working.received
        self._outbox: list[OrderIntent] = []

    def note(self, intent: OrderIntent) -> None:
        """An intent goes out."""
        self._sent += 1
        self._outbox.append(intent)
        if len(self._outbox) > _OUTBOX_KEPT:
            self._forget_taken()

    def begin(self) -> None:
        """The executor has taken every intent so far: after its state was restored."""
        self._sent = self._working.received
        self._outbox.clear()

    def is_empty(self) -> bool:
        """Whether nothing is on its way."""
        return self._sent == self._working.received and not self._working.own_open

    def listed(self) -> list[InFlight]:
        """All that is on its way, oldest first."""
        self._forget_taken()
        flights: list[InFlight] = []
        for record in self._working.open_orders():
            command = record.command
            if command is not None:
                flights.append(self._flight(command, command.qty - record.filled_qty, _is_certain(record)))
        for intent in self._outbox:
            if intent.qty:
                flights.append(self._flight(intent, intent.qty, intent.order_type == "market"))
        return flights

    def has_against(self, symbol: str, direction: Direction) -> bool:
        """Whether an order waits that would lead away from the target: for FLAT any order, else one of the other side."""
        return bool(self._working.own_open) and any(True for _ in self._against(symbol, direction))

    def can_withdraw(self, symbol: str, direction: Direction) -> bool:
        """Whether one of these orders can still be called back."""
        return bool(self._working.own_open) and not all(_is_certain(record) for record in self._against(symbol, direction))

    def _against(self, symbol: str, direction: Direction) -> Iterator[OrderRecord]:
        kept = "BUY" if direction == "LONG" else "SELL" if direction == "SHORT" else ""
        return (record for record in self._working.open_orders(symbol) if record.side != kept)

    def _flight(self, order: SubmitOrder | OrderIntent, leaves: float, certain: bool) -> InFlight:
        steps = self._instruments[order.symbol].qty_grid.count(leaves)
        return InFlight(order.symbol, steps if order.side == "BUY" else -steps, certain, order.reduce_only)

    def _forget_taken(self) -> None:
        waiting = self._sent - self._working.received
        del self._outbox[: len(self._outbox) - waiting]


def _is_certain(record: OrderRecord) -> bool:
    command = record.command
    return command is not None and command.order_type == "market" and record.told == "pending_submit"


class ExpectedView:
    """The account with what is in flight counted in: positions by what is certain, exposure by the worst that may come.

    Without it, two entries of one instant would each see the room that only one of them may take.
    """

    __slots__ = ("_base", "_flights", "_instruments", "_markets", "cash", "equity")

    def __init__(
        self, base: PortfolioView, instruments: Mapping[str, Instrument], flights: list[InFlight], markets: Mapping[str, Market]
    ) -> None:
        self._base = base
        self._instruments = instruments
        self._flights = flights
        self._markets = markets
        self.equity = base.equity
        self.cash = base.cash - self._promised()

    def steps(self, symbol: str) -> int:
        """The position when all that is certain has been filled."""
        return self._base.steps(symbol) + sum(flight.steps for flight in self._flights if flight.certain and flight.symbol == symbol)

    def position_qty(self, symbol: str) -> float:
        """``steps`` in base units."""
        return self._instruments[symbol].qty_grid.value(self.steps(symbol))

    def entry_price(self, symbol: str) -> float:
        """Average entry price of what is filled."""
        return self._base.entry_price(symbol)

    def mark(self, symbol: str) -> float:
        """The latest mark price."""
        return self._base.mark(symbol)

    def last(self, symbol: str) -> float:
        """The last close."""
        return self._base.last(symbol)

    def notional(self, symbol: str) -> float:
        """The most that may be held of what is in flight (core/risk/exposure.py), at mark."""
        held, buys, sells = self._base.steps(symbol), 0, 0
        for flight in self._flights:
            if flight.symbol == symbol and not flight.reduce_only:
                if flight.steps > 0:
                    buys += flight.steps
                else:
                    sells -= flight.steps
        most = largest(held, buys, sells)
        if most == abs(held):
            return self._base.notional(symbol)
        return self._instruments[symbol].qty_grid.value(most) * self._base.mark(symbol)

    def gross_notional(self) -> float:
        """Sum of ``notional`` over all symbols."""
        return self._base.gross_notional() + sum(self.notional(s) - self._base.notional(s) for s in self._symbols())

    def open_positions(self) -> int:
        """Symbols with a position, or with an entry in flight."""
        return self._base.open_positions() + sum(1 for s in self._symbols() if not self._base.steps(s) and self.notional(s) > 0.0)

    def _promised(self) -> int:
        """What spot orders in flight will take out of the wallet, in 1e-8; on perpetuals nothing leaves it."""
        promised = 0
        for flight in self._flights:
            instrument = self._instruments[flight.symbol]
            if instrument.category == "spot" and flight.steps > 0:
                ticks = taker_ticks(instrument.price_grid.ceil(self._base.mark(flight.symbol)), self._markets[flight.symbol].cost_rate, 1)
                promised += instrument.notional(ticks, flight.steps, up=True)
        return promised

    def _symbols(self) -> Iterable[str]:
        return dict.fromkeys(flight.symbol for flight in self._flights)
