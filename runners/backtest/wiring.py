"""Puts a backtest together: the actors over replayed history, with the simulated exchange as their venue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keel.adapters.replay.feed import ReplayFeed
from keel.adapters.replay.history import FundingColumns
from keel.core.actors.executor import Executor
from keel.core.actors.market_data import ReplaySeries, SymbolContext
from keel.core.actors.portfolio import Portfolio
from keel.core.actors.risk import RiskActor
from keel.core.actors.strategy import StrategyHost
from keel.core.costs import CostModels
from keel.core.engine.bus import Bus
from keel.core.engine.clock import Clock, ReplayClock
from keel.core.engine.engine import Engine
from keel.core.errors import InvariantError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Halt, Message, Resume
from keel.core.model.money import to_units
from keel.core.system.config import SystemConfig
from keel.runners.actors import LOGGED, make_actors, subscribe, subscribe_targets
from keel.runners.backtest.preparation import Prepared
from keel.runners.cost_models import load_cost_models
from keel.runners.portfolio.desk import PortfolioDesk, open_desk
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange


@dataclass(slots=True)
class BacktestParts:
    """A wired backtest."""

    feed: ReplayFeed
    engine: Engine
    venue: SimulatedExchange
    portfolio: Portfolio
    risk: RiskActor
    executor: Executor
    strategy: StrategyHost
    messages: list[Message]
    """Commands and venue events in order, for the run's hash."""
    halts: list[Halt | Resume]
    """When the gate was closed and opened, in order."""
    desk: PortfolioDesk | None = None
    """What a portfolio strategy sees."""


MakeContexts = Callable[[Prepared, Portfolio], list[SymbolContext]]


def wire_backtest(prepared: Prepared, prefix: str, *, make_contexts: MakeContexts | None = None) -> BacktestParts:
    """The five actors, the bus and the simulated exchange over a prepared history. ``prefix`` begins every client order id.

    make_contexts: the series behind the snapshots; None: the prepared columns, revealed bar by bar.
    """
    system = prepared.system
    instruments = {history.symbol: history.instrument for history in prepared.histories}
    feed = ReplayFeed(prepared.histories, system.timeframe, start_ms=prepared.window.start_ms)
    bus, clock = Bus(), ReplayClock(prepared.window.start_ms)
    executor = Executor(prefix, instruments, clock, bus.publish)
    portfolio = Portfolio(
        instruments.values(),
        to_units(system.initial_equity),
        order_number=executor.order_number,
        strategy=system.strategy,
    )
    costs = load_cost_models(system.execution, prepared.cost_places)
    venue = make_venue(system, instruments, clock, bus.publish, costs)
    contexts = (make_contexts or _contexts)(prepared, portfolio)
    desk = open_desk(prepared.portfolio, prepared.strategy, portfolio, clock, bus.publish) if prepared.portfolio is not None else None
    actors = make_actors(
        system, prepared.strategy, prepared.params, instruments, contexts, executor, portfolio, bus, clock, desk=desk, costs=costs
    )
    _load_funding(prepared, venue)
    messages: list[Message] = []
    halts: list[Halt | Resume] = []
    record: dict[type[Message], Callable[[Any], object]] = dict.fromkeys(LOGGED, messages.append)
    record |= {Halt: halts.append, Resume: halts.append}
    subscribe(bus, actors, venue, record, submit=venue.queue_order)
    actors.strategy.start()
    if desk is not None:
        subscribe_targets(bus, actors, desk)
    engine = Engine(bus, clock, portfolio, actors.risk, actors.market_data)
    return BacktestParts(feed, engine, venue, portfolio, actors.risk, executor, actors.strategy, messages, halts, desk)


def make_venue(
    system: SystemConfig, instruments: Mapping[str, Instrument], clock: Clock, emit: Callable[[Message], None], costs: CostModels | None
) -> SimulatedExchange:
    """The simulated exchange of a system. costs: the models that it names. Raises ConfigError for what it does not take: before a run
    begins, this is how to find out."""
    profile = RiskProfileConfig.from_risk(system.risk, system.initial_equity)
    return SimulatedExchange(
        list(system.symbols), system.initial_equity, system.execution, profile, instruments=instruments, clock=clock, emit=emit, costs=costs
    )


def check_venue(system: SystemConfig, instruments: Mapping[str, Instrument], cost_places: Mapping[str, str] | None = None) -> None:
    """Whether the exchange takes an account and execution such as the system's. Raises ConfigError where it does not, StrategyError where a
    cost model answers what is no rate. cost_places: where the system file names its cost models."""
    make_venue(system, instruments, ReplayClock(), lambda _: None, load_cost_models(system.execution, cost_places))


def _contexts(prepared: Prepared, portfolio: Portfolio) -> list[SymbolContext]:
    contexts = []
    for history, columns in zip(prepared.histories, prepared.columns, strict=True):
        series = ReplaySeries(columns.decision, columns.feature_names, columns.targets)
        if columns.first:
            series.reveal_to(columns.first - 1)
        higher = {}
        for timeframe, (frame, names) in columns.higher.items():
            above = ReplaySeries(frame, names)
            closed = above.rows_closed_at(prepared.window.start_ms)
            if closed:
                above.reveal_to(closed - 1)
            higher[timeframe] = above
        if prepared.portfolio is not None:
            changes: list[int] | None = prepared.portfolio.steps(columns.decision[columns.first :])
        else:
            changes = None if prepared.strategy.reads_every_bar else series.changes()
        contexts.append(SymbolContext(history.symbol, prepared.system.timeframe, series, higher, portfolio, changes=changes))
    return contexts


def _load_funding(prepared: Prepared, venue: SimulatedExchange) -> None:
    for history in prepared.histories:
        if history.funding is not None:
            venue.set_funding(history.symbol, *funding_numbers(history.symbol, history.funding))


def funding_numbers(symbol: str, funding: FundingColumns) -> tuple[list[int], list[int], list[int]]:
    """Stamps (ms), rates and marks (1e-8) as the exchange and the kernel take them."""
    stamps: list[int] = funding.stamps.tolist()
    rates = [to_units(rate) for rate in funding.rates.tolist()]
    marks = [round(mark * 1e8) for mark in funding.marks.tolist()]
    if not len(stamps) == len(rates) == len(marks):
        raise InvariantError(f"{symbol}: funding columns differ in length")
    return stamps, rates, marks
