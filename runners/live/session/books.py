"""The part of a session that a journal can make: the actors, and everything that follows from what they heard. No exchange is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from keel.core.actors.executor import Executor
from keel.core.actors.portfolio import Portfolio
from keel.core.actors.portfolio_risk import PortfolioRiskActor
from keel.core.engine.bus import Bus
from keel.core.engine.clock import ReplayClock
from keel.core.engine.engine import Engine
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Bar, Fill, Message, OrderDenied, OrderUpdate
from keel.core.risk.controls.controls import Controls
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.gate import Gate
from keel.runners.actors import Actors, make_actors, subscribe, subscribe_targets
from keel.runners.cost_models import load_cost_models
from keel.runners.live.market.inputs import Inputs
from keel.runners.live.memory.activity import Activity, ActivityRecorder
from keel.runners.live.memory.bar_recorder import BarRecorder
from keel.runners.live.memory.history import JournalHistory, session_prefix
from keel.runners.live.memory.records import Adjusted, ClosePosition, Decided, InputsKnown, Opened
from keel.runners.live.memory.strategy_memory import StrategyMemory
from keel.runners.live.session.adjusting import adjust
from keel.runners.live.session.decisions import Decisions
from keel.runners.live.session.order_gateway import OrderGateway
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.warmup import WarmUp
from keel.runners.portfolio.desk import PortfolioDesk, open_desk
from keel.strategies.base import BaseStrategy


@dataclass(frozen=True, slots=True)
class PriceAges:
    """age_ms: of a symbol's latest price, oldest_ms: of that which is the oldest; None where it is not known."""

    age_ms: Callable[[str], float | None]
    oldest_ms: Callable[[], float | None]


NO_AGES: Final = PriceAges(lambda symbol: 0.0, lambda: 0.0)
"""Where prices do not age: while a journal is heard again."""


@dataclass(slots=True)
class Books:
    """The actors of a session, and who listens to them."""

    opened: Opened
    clock: ReplayClock
    bus: Bus
    executor: Executor
    portfolio: Portfolio
    actors: Actors
    engine: Engine
    bars: BarRecorder
    inputs: Inputs
    controls: Controls
    gateway: OrderGateway
    tape: Activity
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
    note: Callable[[Decided], None],
    ages: PriceAges = NO_AGES,
) -> Books:
    """Wire the actors of a plan, as they stand when a journal opens. ``say`` takes what our own controls have to tell, ``note`` each
    decision; ages: of the latest prices."""
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
    controls = Controls(
        limits, instruments, portfolio, executor, gate,
        environment_is_armed=lambda: plan.arming is None or plan.arming.is_dry or plan.arming.token is not None,
        age_ms=ages.age_ms, oldest_ms=ages.oldest_ms,
    )  # fmt: skip
    decisions = Decisions(clock, note)
    gateway = OrderGateway(controls, say, decisions, plan.dry)
    writer, bars = ActivityRecorder(portfolio, system.risk.leverage, clock), BarRecorder()
    _subscribe_own(bus, bars, inputs, actors, clock)
    subscribe(bus, actors, gateway, {**writer.before_actors, OrderUpdate: gateway.on_update})
    bus.subscribe(Fill, writer.after_fill)
    bus.subscribe(OrderDenied, controls.counts.note_denied)
    decisions.listen(bus)
    actors.strategy.start()
    if shown is not None:
        subscribe_targets(bus, actors, shown)
    memory, history = StrategyMemory(strategy), JournalHistory.begun(opened)
    engine = Engine(bus, clock, portfolio, actors.risk, actors.market_data, present=instant)
    return Books(
        opened, clock, bus, executor, portfolio, actors, engine, bars, inputs, controls, gateway, writer.tape, memory, history, decisions,
        shown,
    )  # fmt: skip


def _subscribe_own(bus: Bus, bars: BarRecorder, inputs: Inputs, actors: Actors, clock: ReplayClock) -> None:
    """What only a session hears, and what is kept before the actors hear it."""

    def close(wanted: ClosePosition) -> None:
        actors.risk.close_position(wanted.symbol, max(wanted.ts, clock.now_ms), wanted.reason)

    bus.subscribe(Bar, bars.add)
    bus.subscribe(InputsKnown, inputs.take)
    bus.subscribe(Adjusted, lambda change: adjust(actors.portfolio, change))
    bus.subscribe(ClosePosition, close)
