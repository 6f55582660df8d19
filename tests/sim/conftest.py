"""A venue to talk to in few words: bars of one hour from hour 0 on, and events as short lines of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keel.core.costs import CostModels
from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Grid, Instrument, build_tiers, generic_tiers
from keel.core.model.messages import (
    AmendOrder,
    Bracket,
    CancelAll,
    CancelOrder,
    Fill,
    FundingPayment,
    Liquidation,
    OrderUpdate,
    SetTradingStop,
    SubmitOrder,
)
from keel.core.model.money import UNIT, to_text, to_units
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange

HOUR = 3_600_000
FREE_OF_COSTS = ExecutionConfig(slippage_bps=0.0, taker_fee=0.0, maker_fee=0.0)
NO_SLIPPAGE = ExecutionConfig(slippage_bps=0.0)


def perpetual(tick: str = "1", step: str = "0.01", **changes: Any) -> Instrument:
    """A linear contract; by default without a smallest notional."""
    values: dict[str, Any] = {
        "symbol": "XUSDT", "category": "linear", "base": "X", "quote": "USDT", "price_grid": Grid.from_text(tick),
        "qty_grid": Grid.from_text(step), "min_qty": float(step), "max_qty": 1e6, "max_market_qty": 1e6, "min_notional": 0,
        "taker_fee": to_units("0.00055"), "maker_fee": to_units("0.0002"), "max_leverage": 100 * UNIT, "tiers": generic_tiers(),
    }  # fmt: skip
    return Instrument(**(values | changes))


def spot(tick: str = "1", step: str = "0.01", **changes: Any) -> Instrument:
    """A spot pair at 0.1 %."""
    rate = to_units("0.001")
    return perpetual(tick, step, **({"category": "spot", "taker_fee": rate, "maker_fee": rate, "tiers": ()} | changes))


class Venue:
    """One exchange with one symbol, and what it has said since the last bar."""

    def __init__(
        self,
        instrument: Instrument | None = None,
        *,
        config: ExecutionConfig = FREE_OF_COSTS,
        capital: float = 10_000.0,
        leverage: float = 1.0,
        hedge: bool = False,
        costs: CostModels | None = None,
    ) -> None:
        self.instrument = instrument or perpetual()
        self.symbol = self.instrument.symbol
        self.events: list[Any] = []
        self.clock = ReplayClock()
        self.exchange = SimulatedExchange(
            self.symbol, capital, config, RiskProfileConfig(leverage=leverage),
            instruments={self.symbol: self.instrument}, clock=self.clock, emit=self.events.append, hedge_mode=hedge,
            costs=costs,
        )  # fmt: skip
        self.book = self.exchange.books[self.symbol]
        self.hour = 0

    def send(self, name: str, side: str, qty: float, **more: Any) -> Venue:
        """Submit an order: market, or what the price and trigger make it."""
        kinds = {(False, False): "market", (True, False): "limit", (False, True): "stop_market", (True, True): "stop_limit"}
        kind = kinds["price" in more, "trigger_price" in more]
        self.exchange.submit_order(SubmitOrder(name, self.symbol, side, kind, qty, self.clock.now_ms, **more))
        return self

    def amend(self, name: str, **more: Any) -> Venue:
        """Amend an order."""
        self.exchange.amend_order(AmendOrder(name, self.symbol, self.clock.now_ms, **more))
        return self

    def cancel(self, name: str) -> Venue:
        """Cancel an order."""
        self.exchange.cancel_order(CancelOrder(name, self.symbol, self.clock.now_ms))
        return self

    def cancel_all(self) -> Venue:
        """Cancel everything."""
        self.exchange.cancel_all(CancelAll(self.clock.now_ms))
        return self

    def exits(self, idx: int = 0, **more: Any) -> Venue:
        """Set the position's exits."""
        self.exchange.set_trading_stop(SetTradingStop(self.symbol, self.clock.now_ms, Bracket(**more), idx))
        return self

    def funding(self, *rows: tuple[int, str, float]) -> Venue:
        """(hour, rate, mark) of every stamp."""
        self.exchange.set_funding(
            self.symbol,
            [hour * HOUR for hour, _, _ in rows],
            [to_units(rate) for _, rate, _ in rows],
            [round(mark * UNIT) for _, _, mark in rows],
        )
        return self

    def bar(
        self,
        last: tuple[float, float, float, float],
        mark: tuple[float, float, float, float] | None = None,
        index: tuple[float, float, float, float] | None = None,
        volume: float = 1000.0,
        volatility_bps: float = 0.0,
    ) -> list[str]:
        """Process the next hour and return what was said in it."""
        self.events.clear()
        mark = mark or last
        start = self.hour * HOUR
        self.exchange.step(self.book, start, start + HOUR, *last, volume, *mark, *(index or mark), volatility_bps)
        self.hour += 1
        self.clock.now_ms = self.hour * HOUR
        return [line(event) for event in self.events]

    @property
    def steps(self) -> int:
        """The one-way position, signed, in steps."""
        return self.book.positions[0].steps

    @property
    def account(self) -> dict[str, str]:
        """Accounts of the quote coin that are not zero, as text."""
        names = ("free", "order", "position", "fees", "funding", "pnl", "insurance")
        return {name: to_text(value) for name, value in zip(names, self.book.accounts, strict=False) if value}


def line(event: Any) -> str:
    """An event as text; a fill with its price, an end with its reason's first word."""
    if isinstance(event, Fill):
        how = "bust" if event.kind == "bust" else "maker" if event.maker else "taker"
        return f"fill {event.client_order_id} {event.side} {event.qty:g} @ {event.price:g} {how}"
    if isinstance(event, OrderUpdate):
        return " ".join([event.status, event.client_order_id, event.reason.split(" ")[0]]).strip()
    if isinstance(event, FundingPayment):
        return f"funding {to_text(event.amount)}"
    if isinstance(event, Liquidation):
        return f"liquidation {event.side} {event.qty:g}"
    raise TypeError(type(event).__name__)


@pytest.fixture
def venue() -> Callable[..., Venue]:
    """Makes a venue."""
    return Venue


@pytest.fixture
def make_perpetual() -> Callable[..., Instrument]:
    """Makes a linear instrument."""
    return perpetual


@pytest.fixture
def make_spot() -> Callable[..., Instrument]:
    """Makes a spot instrument."""
    return spot


@pytest.fixture
def tiers() -> Callable[..., Any]:
    """Makes a risk table from rows of (limit, maintenance rate, maximum leverage) in text."""
    return lambda *rows: build_tiers([(to_units(limit), to_units(rate), to_units(leverage)) for limit, rate, leverage in rows])
