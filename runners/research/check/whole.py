"""A system as every backtest runs it: columns computed from the whole history, revealed bar by bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keel.adapters.store import HistoricalDataStore
from keel.core.engine.bus import Bus
from keel.core.errors import StrategyError
from keel.core.features import VectorEngine
from keel.core.model.messages import Signal
from keel.core.strategy.portfolio_order import INSTRUMENT_TYPES, Order, PortfolioOrders, market_symbol
from keel.runners.backtest.preparation import LoadPlan, Prepared, SymbolInputs, assemble
from keel.runners.backtest.replay import replay
from keel.runners.backtest.wiring import wire_backtest
from keel.runners.portfolio.desk import PortfolioSetup
from keel.runners.portfolio.system import system_setup
from keel.runners.systems import LoadedSystem
from keel.runners.user_code import load_function
from keel.strategies.base import BaseStrategy, PortfolioStrategy

Decision = Signal | PortfolioOrders


@dataclass(frozen=True, slots=True)
class WholeRun:
    """A run over whole columns. failure: what stopped it, where the strategy raised, at ``reached`` (ms)."""

    prepared: Prepared
    decisions: list[Decision]
    failure: StrategyError | None
    reached: int


def run_whole(store: HistoricalDataStore, plan: LoadPlan, loaded: LoadedSystem, inputs: Sequence[SymbolInputs]) -> WholeRun:
    """The run and its decisions, without the guard that ends a backtest at the first look-ahead: the checks say more about it."""
    engine, strategy = VectorEngine(load_function), loaded.strategy()
    config, params = loaded.config, loaded.params
    prepared = assemble(
        plan, config, strategy, params, inputs, lambda specs, frame, first: engine.compute(specs, frame), refuse_peeks=False
    )
    prepared.portfolio = portfolio_setup(store, plan, loaded, strategy)
    parts = wire_backtest(prepared, "0" * 8)
    decisions = note_decisions(parts.engine.bus)
    failure = None
    try:
        replay(parts.feed, parts.engine, parts.venue)
    except StrategyError as error:
        failure = error
    return WholeRun(prepared, decisions, failure, parts.engine.clock.now_ms)


def portfolio_setup(store: HistoricalDataStore, plan: LoadPlan, loaded: LoadedSystem, strategy: BaseStrategy) -> PortfolioSetup | None:
    """What a portfolio strategy is shown; None for a signal strategy."""
    if not isinstance(strategy, PortfolioStrategy):
        return None
    replay_plan = plan.replay
    return system_setup(store, loaded.config, replay_plan.window, strategy, replay_plan.warmup[replay_plan.timeframe], replay_plan.env)


def note_decisions(bus: Bus) -> list[Decision]:
    """All decisions of a run, in order, as they are published."""
    decisions: list[Decision] = []
    bus.subscribe(Signal, decisions.append)
    bus.subscribe(PortfolioOrders, decisions.append)
    return decisions


def by_symbol(decisions: Sequence[Decision], symbol: str) -> list[tuple[int, Signal | Order]]:
    """(decision time, decision) of one symbol; a portfolio strategy's orders by the exchange's name."""
    found: list[tuple[int, Signal | Order]] = []
    for decision in decisions:
        if isinstance(decision, Signal):
            if decision.symbol == symbol:
                found.append((decision.ts, decision))
        else:
            found += [(decision.ts, order) for order in decision.orders if _exchange_name(order) == symbol]
    return found


def _exchange_name(order: Order) -> str:
    category = next(name for name, kind in INSTRUMENT_TYPES.items() if kind == order.instrument_type)
    return market_symbol(order.symbol, category)
