"""The part of a session that a journal can make: the actors, and everything that follows from what they heard. No exchange is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from keel.core.actors.executor import Executor
from keel.core.actors.portfolio import Portfolio
from keel.core.actors.portfolio_risk import PortfolioRiskActor
from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Fill, Message, OrderDenied, OrderUpdate
from keel.core.risk.controls.controls import Controls
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.gate import Gate
from keel.runners.actors import Actors, make_actors, subscribe, subscribe_targets
from keel.runners.cost_models import load_cost_models
from keel.runners.live.memory.history import JournalHistory, session_prefix
from keel.runners.live.memory.strategy_memory import StrategyMemory
from keel.runners.live.memory.tape import Tape, TapeWriter
from keel.runners.live.session.cycle import Cycle
from keel.runners.live.session.decisions import Decisions
from keel.runners.live.session.order_gateway import OrderGateway
from keel.runners.live.session.records import Opened
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.warmup import WarmUp
from keel.runners.portfolio.desk import PortfolioDesk, open_desk
from keel.strategies.base import BaseStrategy


@dataclass(slots=True)
class Books:
    """The actors of a session, and who listens to them."""

    opened: Opened
    clock: ReplayClock
    bus: Bus
    executor: Executor
    portfolio: Portfolio
    actors: Actors
    cycle: Cycle
    controls: Controls
    gateway: OrderGateway
    tape: Tape
    memory: StrategyMemory
    history: JournalHistory
    """What is remembered of the journal itself."""
    decisions: Decisions
    portfolio_desk: PortfolioDesk | None = None
    """What a portfolio strategy sees; None for a signal strategy."""
    _told: int = 0

    @property
    def notes(self) -> list[str]:
        """What the position manager of a portfolio strategy has noted: a symbol that could not be screened, and why."""
        risk = self.actors.risk
        return [str(note) for note in getattr(risk.position_manager, "notes", ())] if isinstance(risk, PortfolioRiskActor) else []

    def new_notes(self) -> list[str]:
        """Those that were not told yet."""
        notes = self.notes
        new, self._told = notes[self._told :], len(notes)
        return new


def make_books(
    plan: Plan,
    instruments: Mapping[str, Instrument],
    opened: Opened,
    warm_up: WarmUp,
    strategy: BaseStrategy,
    gate: Gate,
    *,
    limits: ControlLimits,
    say: Callable[[Message], None],
) -> Books:
    """Wire the actors of a plan, as they stand when a journal opens. ``say`` takes what our own controls have to tell."""
    system = plan.system
    bus, clock, inputs = Bus(), ReplayClock(opened.ts), warm_up.inputs
    executor = Executor(session_prefix(opened, 0), instruments, clock, bus.publish)
    portfolio = Portfolio(instruments.values(), opened.cash, order_number=executor.order_number, strategy=system.strategy)
    for symbol, steps, cost in opened.positions:
        portfolio.seed(symbol, steps, cost)
    contexts = warm_up.contexts(instruments, portfolio)
    setup, instant = warm_up.portfolio_setup(plan.without), ReplayClock(opened.start_ms)
    shown = None if setup is None else open_desk(setup, strategy, portfolio, instant, bus.publish)
    actors = make_actors(
        system, strategy, plan.loaded.params, instruments, contexts, executor, portfolio, bus, clock, desk=shown, gate=gate,
        costs=load_cost_models(system.execution, plan.loaded.cost_places),
    )  # fmt: skip
    cycle = Cycle(actors, bus, clock, inputs, instant)
    controls = Controls(
        limits, instruments, portfolio, executor, gate,
        environment_is_armed=lambda: plan.arming is None or plan.arming.is_dry or plan.arming.token is not None,
    )  # fmt: skip
    decisions = Decisions(clock)
    gateway = OrderGateway(controls, say, decisions, plan.dry)
    writer = TapeWriter(portfolio, system.risk.leverage, clock)
    subscribe(bus, actors, gateway, {**writer.before_actors, OrderUpdate: gateway.on_update})
    bus.subscribe(Fill, writer.after_fill)
    bus.subscribe(OrderDenied, controls.counts.note_denied)
    decisions.listen(bus)
    actors.strategy.start()
    if shown is not None:
        subscribe_targets(bus, actors, shown)
    memory, history = StrategyMemory(strategy), JournalHistory.begun(opened)
    return Books(opened, clock, bus, executor, portfolio, actors, cycle, controls, gateway, writer.tape, memory, history, decisions, shown)
