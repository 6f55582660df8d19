"""The five actors and who hears what: the same in a backtest, on a demo account and live.

A portfolio strategy has a host, a risk actor and a market_data of its own, which are the usual ones that do a little more; what it is
shown comes from its desk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keel.core.actors.executor import Executor
from keel.core.actors.market_data import MarketData, StepMarketData, SymbolContext
from keel.core.actors.portfolio import Portfolio
from keel.core.actors.portfolio_risk import PortfolioRiskActor
from keel.core.actors.portfolio_strategy import PortfolioStrategyActor
from keel.core.actors.risk import RiskActor
from keel.core.actors.strategy import StrategyActor, StrategyHost
from keel.core.costs import CostModels, SetAside
from keel.core.engine.bus import Bus
from keel.core.engine.clock import Clock
from keel.core.engine.ports import Strategy, Venue
from keel.core.errors import InvariantError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import (
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
from keel.core.risk.gate.gate import Gate
from keel.core.strategy.portfolio_order import PortfolioOrders, TargetPosition
from keel.core.system.config import SystemConfig
from keel.runners.portfolio.desk import PortfolioDesk

LOGGED = (SubmitOrder, AmendOrder, CancelOrder, CancelAll, SetTradingStop, OrderUpdate, Fill, FundingPayment, Liquidation)
"""What the message hash of a run covers, beside its equity."""


@dataclass(slots=True)
class Actors:
    """The actors of one system."""

    portfolio: Portfolio
    executor: Executor
    strategy: StrategyHost
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
    *,
    desk: PortfolioDesk | None = None,
    gate: Gate | None = None,
    costs: CostModels | None = None,
) -> Actors:
    """The strategy actor, market data and risk, around an executor and a portfolio that are there already (the contexts read them).

    desk: for a portfolio strategy, and for no other. gate: of a session; risk puts its causes into it, else into one of its own.
    costs: the system's own cost models, of which sizes ask what to set aside.
    """
    host: StrategyHost
    market_data: MarketData
    if desk is None:
        signal_host = host = StrategyActor(strategy, system.strategy, params, tuple(instruments), bus.publish)
        market_data = MarketData(contexts, signal_host.on_snapshot)
    else:
        portfolio_host = host = PortfolioStrategyActor(
            strategy, system.strategy, params, tuple(instruments), bus.publish, oms=desk.oms, data=desk.data, schedule=desk.schedule,
            category=desk.category, left_out=desk.left_out,
        )  # fmt: skip
        market_data = StepMarketData(contexts, portfolio_host.on_instant)
    risk = (RiskActor if desk is None else PortfolioRiskActor)(
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
        execution=SetAside(system.execution, costs),
        gate=gate,
    )
    return Actors(portfolio, executor, host, market_data, risk)


def subscribe_targets(bus: Bus, actors: Actors, desk: PortfolioDesk) -> None:
    """What a portfolio strategy adds to ``subscribe``, after it; the strategy has begun, so that its position manager is there."""
    risk = actors.risk
    if not isinstance(risk, PortfolioRiskActor):
        raise InvariantError("a portfolio strategy needs a PortfolioRiskActor")
    manager = desk.position_manager or getattr(actors.strategy.strategy, "position_manager", None)
    risk.screen_with(manager, desk.oms.view, desk.data, desk.category, desk.left_out)
    bus.subscribe(PortfolioOrders, risk.on_portfolio_orders)
    bus.subscribe(TargetPosition, risk.on_target)
    bus.subscribe(Fill, desk.oms.on_fill)


def subscribe(
    bus: Bus,
    actors: Actors,
    venue: Venue,
    record: Mapping[type[Message], Callable[[Any], object]],
    *,
    submit: Callable[[SubmitOrder], None] | None = None,
) -> None:
    """Who hears what, in order. ``record``: who takes notes of a kind of message, before those who act on it.

    submit: takes the executor's orders in the venue's place; they were checked when they were made.
    """
    portfolio, executor, strategy = actors.portfolio, actors.executor, actors.strategy
    market_data, risk = actors.market_data, actors.risk
    subscriptions: list[tuple[type[Message], Any]] = [
        *record.items(),
        (Signal, risk.on_stamped),
        (OrderIntent, executor.on_intent),
        (SubmitOrder, submit or venue.submit_order),
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
    if strategy.receives_fills:
        subscriptions.append((Fill, strategy.on_fill))
    if strategy.receives_orders:
        subscriptions.append((OrderUpdate, strategy.on_order))
    for symbol, line in portfolio.lines.items():
        bus.subscribe(MarkPrice, line.on_mark, symbol)
        bus.subscribe(FundingRate, line.on_funding_rate, symbol)
        bus.subscribe(Bar, line.on_bar, symbol)
        bus.subscribe(Bar, market_data.contexts[symbol].on_bar, symbol)
    for kind, handler in subscriptions:
        bus.subscribe(kind, handler)
