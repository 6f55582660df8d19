"""The five actors and who hears what: the same in a backtest, on a demo account and live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.actors.executor import Executor
from core.actors.market_data import MarketData, SymbolContext
from core.actors.portfolio import Portfolio
from core.actors.risk import RiskActor
from core.actors.strategy import StrategyActor
from core.bus import Bus
from core.clock import Clock
from core.config import SystemConfig
from core.instrument import Instrument
from core.messages import (
    AmendOrder,
    Bar,
    CancelAll,
    CancelOrder,
    Fill,
    FundingPayment,
    FundingRate,
    Halt,
    Liquidation,
    MarkPrice,
    Message,
    OrderDenied,
    OrderIntent,
    OrderUpdate,
    Resume,
    SetTradingStop,
    Signal,
    SignalDenied,
    SubmitOrder,
)
from core.ports import Strategy, Venue

LOGGED = (SubmitOrder, AmendOrder, CancelOrder, CancelAll, SetTradingStop, OrderUpdate, Fill, FundingPayment, Liquidation)
"""What the message hash of a run covers, beside its equity."""


@dataclass(slots=True)
class Actors:
    """The actors of one system."""

    portfolio: Portfolio
    executor: Executor
    strategy: StrategyActor
    market_data: MarketData
    risk: RiskActor


def make_actors(
    system: SystemConfig,
    strategy: Strategy,
    params: Mapping[str, Any],
    instruments: Mapping[str, Instrument],
    contexts: Sequence[SymbolContext],
    executor: Executor,
    portfolio: Portfolio,
    bus: Bus,
    clock: Clock,
) -> Actors:
    """The strategy actor, market data and risk, around an executor and a portfolio that are there already (the contexts read them)."""
    host = StrategyActor(strategy, system.strategy, params, tuple(instruments), bus.publish)
    market_data = MarketData(contexts, host.on_snapshot)
    risk = RiskActor(
        system.risk,
        system.sizing,
        system.exits,
        instruments,
        portfolio,
        clock,
        bus.publish,
        timeframe=system.timeframe,
        read_feature=market_data.read_feature,
        allow_short=system.category == "linear",
        working=executor,
    )
    return Actors(portfolio, executor, host, market_data, risk)


def subscribe(bus: Bus, actors: Actors, venue: Venue, record: Mapping[type[Message], Callable[[Any], object]]) -> None:
    """Who hears what, in order. ``record``: who takes notes of a kind of message, before those who act on it."""
    portfolio, executor, strategy = actors.portfolio, actors.executor, actors.strategy
    market_data, risk = actors.market_data, actors.risk
    subscriptions: list[tuple[type[Message], Any]] = [
        *record.items(),
        (Signal, risk.on_signal),
        (OrderIntent, executor.on_intent),
        (SubmitOrder, venue.submit_order),
        (AmendOrder, venue.amend_order),
        (CancelOrder, venue.cancel_order),
        (CancelAll, venue.cancel_all),
        (SetTradingStop, venue.set_trading_stop),
        (OrderUpdate, executor.on_order_update),
        (Fill, portfolio.on_fill),
        (Fill, executor.on_fill),
        (FundingPayment, portfolio.on_funding),
        (Halt, risk.on_halt),
        (Halt, executor.on_halt),
        (Resume, risk.on_resume),
        (SignalDenied, executor.on_denied),
        (OrderDenied, executor.on_denied),
    ]
    if risk.needs_fills:
        subscriptions.append((Fill, risk.on_fill))
    if strategy.hears_fills:
        subscriptions.append((Fill, strategy.on_fill))
    if strategy.hears_orders:
        subscriptions.append((OrderUpdate, strategy.on_order))
    for symbol, line in portfolio.lines.items():
        bus.subscribe(MarkPrice, line.on_mark, symbol)
        bus.subscribe(FundingRate, line.on_funding_rate, symbol)
        bus.subscribe(Bar, line.on_bar, symbol)
        bus.subscribe(Bar, market_data.contexts[symbol].on_bar, symbol)
    for kind, handler in subscriptions:
        bus.subscribe(kind, handler)
