"""One path for the first start and for every restart: understand the account, then be READY. Nothing that adds exposure leaves before.

key and account -> lock -> instruments and settings -> journal -> warm-up -> hear the journal again -> private stream, lists, executions
since -> compare -> READY. What the market did meanwhile comes after that, bar by bar.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from adapters.bybit import translate
from adapters.bybit.clock import ServerClock
from adapters.bybit.endpoints import Environment
from adapters.bybit.market_stream import FRESHNESS_MS, MarketStream
from adapters.bybit.notices import Notice
from adapters.bybit.tracked import TrackedOrder
from adapters.bybit.venue import BybitVenue
from adapters.journal import Journal
from adapters.journal.journal import BALLAST_BYTES
from adapters.store import HistoricalDataStore
from core.actors.executor import Executor
from core.actors.portfolio import Portfolio
from core.bus import Bus
from core.clock import Clock, ReplayClock
from core.config import SystemConfig
from core.errors import SafetyError, VenueError
from core.instrument import Instrument
from core.messages import Bar, CancelOrder, Fill, FundingRate, Message, OrderUpdate
from core.orders import OrderRecord
from runners.actors import make_actors, subscribe
from runners.live.connection import Connection, connect
from runners.live.controls import ControlLimits, Controls
from runners.live.cycle import Cycle, account_stop
from runners.live.desk import Desk
from runners.live.gate import STARTING, Gate
from runners.live.history import History, session_prefix
from runners.live.instants import Instants, Line
from runners.live.lock import AccountLock
from runners.live.outbox import Outbox
from runners.live.prices import Prices
from runners.live.reconcile import Reconciler, held_positions
from runners.live.records import TYPES, Opened
from runners.live.tape import Tape
from runners.live.warmup import WarmUp
from runners.systems import LoadedSystem

READY_S = 60.0
SANDBOX_BALLAST = 1 << 20
STALE_MS = 15_000.0
"""How old the latest price of a symbol may be when an order leaves, where the market moves by itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and where. ``uid``: hash of code and configuration; ``journals``: the folder of this home's journals."""

    loaded: LoadedSystem
    system: SystemConfig
    """The system as the epoch runs it."""
    uid: str
    environment: Environment
    journals: Path
    store: HistoricalDataStore | None = None
    sandbox_url: str | None = None
    key_file: Path | None = None
    grace_ms: int = 2_000
    fresh: bool = False
    """Begin a new journal though there is one."""
    about: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Live:
    """A session that is READY (or has said why it is not): everything that ``session`` drives and the display shows."""

    plan: Plan
    account: str
    connection: Connection
    instruments: dict[str, Instrument]
    cycle: Cycle
    desk: Desk
    controls: Controls
    gate: Gate
    venue: BybitVenue
    market: MarketStream
    instants: Instants
    prices: Prices
    journal: Journal
    reconciler: Reconciler
    outbox: Outbox
    tape: Tape
    opened: Opened
    starting_instant: int
    """Instants up to here lie before this session: where the journal began with it, nobody decides on them."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@asynccontextmanager
async def start(plan: Plan, notify: Callable[[Notice], None], fail: Callable[[BaseException], None]) -> AsyncIterator[Live]:
    """Start or recover. Raises SafetyError (locked, hedge mode, settings refused, journal damaged by other hands), ConfigError, VenueError,
    DataError: before anything that adds exposure could leave. ``fail`` hears of an error in what runs in the background."""
    system = plan.system
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(
            connect(plan.environment, system.category, notify, sandbox_url=plan.sandbox_url, key_file=plan.key_file)
        )
        account = await connection.account_name(live=plan.environment is Environment.LIVE)
        stack.enter_context(AccountLock(account, f"keel {plan.environment.value} {system.system}"))
        instruments = await connection.reader.instruments(system.symbols)
        await _check_settings(connection, system)
        journal = _open_journal(plan, account, connection.clock)
        stack.callback(journal.close)
        if journal.recovery.cut_bytes or journal.recovery.last_words:
            notify(Notice(connection.clock.now_ms, "journal_recovered", journal.recovery.text(), severity="warning"))
        yield await _assemble(plan, account, connection, instruments, journal, stack, notify, fail)


async def _check_settings(connection: Connection, system: SystemConfig) -> None:
    """Margin mode, one-way positions and leverage: checked, set where that is safe, read back. Raises SafetyError with what to do."""
    if system.category != "linear":
        return
    for symbol in system.symbols:
        await connection.account.ensure_one_way(symbol)
    await connection.account.ensure_margin_mode(system.risk.margin_mode)
    for symbol in system.symbols:
        await connection.account.ensure_leverage(symbol, system.risk.leverage)


def _open_journal(plan: Plan, account: str, clock: ServerClock) -> Journal:
    """The journal of this account and system; another code or configuration is another journal."""
    folder = plan.journals / "-".join(account.split()).replace(":", "_").replace("/", "_") / f"{plan.system.system}-{plan.uid[:12]}"
    if plan.fresh and folder.exists():
        number = 1
        while (kept := folder.with_name(f"{folder.name}.old{number}")).exists():
            number += 1
        folder.rename(kept)
    stamps = cast("Clock", clock)  # it is only read
    ballast = SANDBOX_BALLAST if plan.environment is Environment.SANDBOX else BALLAST_BYTES
    about = {"account": account, "system": plan.system.system, **plan.about}
    return Journal.open(folder, clock=stamps, session=about, types=TYPES, ballast_bytes=ballast)


async def _assemble(
    plan: Plan,
    account: str,
    connection: Connection,
    instruments: dict[str, Instrument],
    journal: Journal,
    stack: AsyncExitStack,
    notify: Callable[[Notice], None],
    fail: Callable[[BaseException], None],
) -> Live:
    system, strategy = plan.system, plan.loaded.strategy()
    history = History.read(journal.recovered())
    is_first = history.opened is None
    warm_up = WarmUp(system, strategy, plan.loaded.params, connection.market_ms if history.opened is None else history.opened.start_ms)
    await warm_up.load(plan.store, connection.reader)
    quote = next(iter(instruments.values())).quote
    opened = history.opened or await _first_look(plan, account, connection, instruments, warm_up.start_ms, quote)
    bus, clock = Bus(), ReplayClock(opened.ts)
    executor = Executor(session_prefix(opened, 0), instruments, clock, bus.publish)
    portfolio = Portfolio(instruments.values(), opened.cash, order_number=executor.order_number, strategy=system.strategy)
    for symbol, steps, cost in opened.positions:
        portfolio.seed(symbol, steps, cost)
    contexts = warm_up.contexts(instruments, portfolio)
    actors = make_actors(system, strategy, plan.loaded.params, instruments, contexts, executor, portfolio, bus, clock)
    cycle = Cycle(actors, bus, clock)
    gate = Gate(lambda state, why: notify(Notice(clock.now_ms, "gate", f"{state.name} {why}".strip(), severity="info")))
    outbox = Outbox(cycle, journal, fail)
    prices = Prices()
    desk: Desk
    venue: BybitVenue
    limits = ControlLimits.of(system, stale_ms=float("inf") if connection.is_lockstep else STALE_MS)
    controls = Controls(
        limits, instruments, portfolio, executor, gate,
        environment_is_armed=lambda: True,  # demo and sandbox are play money; the live runner arms
        frozen=lambda symbol: _frozen(venue, symbol),
        age_ms=lambda symbol: market.age_ms(symbol),
        account_limit=lambda: account_stop(actors.risk),
    )  # fmt: skip
    desk = Desk(controls, outbox.hear)
    tape = Tape(portfolio, system.risk.leverage)
    subscribe(bus, actors, desk, {**tape.before_actors, OrderUpdate: desk.on_update})
    bus.subscribe(Fill, tape.after_fill)
    actors.strategy.start()
    if is_first:
        journal.append_durable(opened)
    history.hear_again(cycle, executor, desk, opened)
    executor.begin_session(session_prefix(opened, journal.session))
    cycle.journal = journal
    known, never = history.in_flight(executor)
    venue = BybitVenue(
        connection.where, connection.session, connection.credentials, connection.rest, system.category, instruments, outbox.hear,
        journal=outbox.write, seen=history.seen, since_ms=max(opened.ts, history.last_execution_ms), notify=notify,
        market=connection.market, current_price=lambda symbol: prices.last.get(symbol) or portfolio.last(symbol) or None,
        use_trade_stream=False,
    )  # fmt: skip
    holdings = {symbol: (line.book.steps, line.book.cost) for symbol, line in portfolio.lines.items() if line.book.steps}
    brackets = [(record.parent_id or "", record.client_order_id) for record in executor.bracket_orders()]
    venue.recover(known, used_names=history.bracket_names(), open_brackets=brackets, holdings=holdings)
    _expect_brackets(executor.bracket_orders(), venue, instruments)
    desk.venue = venue
    await _up(_background(venue.run(), stack, fail), venue.wait_ready(READY_S))
    _tell_never_sent(never, outbox.hear, clock)
    reconciler = Reconciler(cycle, venue, connection.rest, quote, notify, hear=outbox.hear, since_ms=opened.ts)
    if not outbox.failure:
        await venue.idle()
        await reconciler.check(at_once=True)
    instants = Instants(system.symbols, (system.execution_timeframe or system.timeframe, system.timeframe), grace_ms=plan.grace_ms)
    instants.last_ts = cycle.closes[-1] if cycle.closes else warm_up.start_ms
    heard = _next_opens(history.heard, instants, warm_up.start_ms)
    prices.rates = await _missed_rates(connection, system, history, warm_up.start_ms)
    market = MarketStream(
        connection.where, connection.session, connection.clock, system.category, instants.lines, connection.reader,
        outbox.market(instants, prices), notify=notify, next_open=heard,
        freshness_ms={} if connection.is_lockstep else FRESHNESS_MS,
    )  # fmt: skip
    live = Live(
        plan, account, connection, instruments, cycle, desk, controls, gate, venue, market, instants, prices, journal, reconciler, outbox,
        tape, opened, connection.market_ms if is_first else 0,
    )  # fmt: skip
    gate.open(STARTING)
    for record in _cancelled_but_open(desk, executor):
        venue.cancel_order(CancelOrder(record.client_order_id, record.symbol, clock.now_ms))
    await _up(_background(market.run(), stack, fail), market.stream.wait_ready(READY_S))
    await market.settle()
    return live


async def _first_look(
    plan: Plan, account: str, connection: Connection, instruments: dict[str, Instrument], start_ms: int, quote: str
) -> Opened:
    """What the account holds before our first order: the opening of the books. Raises SafetyError without money in the quote coin."""
    wallet = await connection.account.wallet()
    cash = next((translate.units(str(row.walletBalance)) for row in wallet.coin if row.coin == quote and row.walletBalance), 0)
    if cash <= 0:
        raise SafetyError(f"the account {account} has no {quote}: fund it first (a demo account: request funds on the exchange's page)")
    positions = held_positions(await connection.account.positions(), Portfolio(instruments.values(), cash))
    return Opened(connection.market_ms, start_ms, account, plan.uid, cash, tuple(positions), f"{connection.clock.now_ms // 1000:x}")


def _frozen(venue: BybitVenue, symbol: str) -> str:
    return "; ".join(text for name in (symbol, "*") for text in venue.frozen.get(name, {}).values())


def _expect_brackets(records: list[OrderRecord], venue: BybitVenue, instruments: dict[str, Instrument]) -> None:
    """Bracket orders that the actors hold open, followed from the start, so that one that has ended meanwhile is missed and looked at."""
    for record in records:
        role = record.client_order_id.rpartition("-")[2].rstrip("0123456789")
        order = TrackedOrder(
            record.client_order_id, instruments[record.symbol], record.side, 0, parent_id=record.parent_id, role=role
        )  # fmt: skip
        order.state = record.state
        venue.fold.orders.add(order)


def _tell_never_sent(never: list[OrderRecord], hear: Callable[[Message], None], clock: ReplayClock) -> None:
    """An order that was made and not written down was not sent either: it has ended."""
    for record in never:
        command = record.command
        if command is not None:
            hear(
                OrderUpdate(
                    record.client_order_id, record.symbol, clock.now_ms, "rejected", reason="denied: never sent, the program ended before",
                    order_type=command.order_type, price=command.price, trigger_price=command.trigger_price, side=record.side,
                )
            )  # fmt: skip


def _cancelled_but_open(desk: Desk, executor: Executor) -> list[OrderRecord]:
    """Orders whose cancel may not have left: they rest, and nobody wants them any more."""
    return [record for record in executor.open_orders() if record.client_order_id in desk.muted_cancels]


def _next_opens(heard: list[Message], instants: Instants, start_ms: int) -> dict[Line, int]:
    """The start of the first candle of each line that has not been heard."""
    found = dict.fromkeys(instants.lines, start_ms)
    for message in heard:
        if isinstance(message, Bar):
            found[message.symbol, message.tf] = message.ts_close
    return found


async def _missed_rates(connection: Connection, system: SystemConfig, history: History, start_ms: int) -> list[FundingRate]:
    """Settled rates that nobody has heard: since the last one, or when the journal begins the one that is in force."""
    if system.category != "linear":
        return []
    rates: list[FundingRate] = []
    for symbol in system.symbols:
        last = history.last_rate_ms.get(symbol)
        since = start_ms - 3 * 86_400_000 if last is None else last + 1
        found = await connection.reader.funding_rates(symbol, since, connection.market_ms + 1)
        rates += found[-1:] if last is None else found
    return sorted(rates, key=lambda rate: rate.ts)


async def _up(running: asyncio.Task[None], ready: Coroutine[Any, Any, None]) -> None:
    """Wait until what runs is ready; what it dies of meanwhile is raised at once."""
    waiting = asyncio.create_task(ready)
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if running.done() and not waiting.done():
        waiting.cancel()
        error = running.exception()
        raise _innermost(error) if error is not None else VenueError("the exchange's stream ended by itself")
    await waiting


def _innermost(error: BaseException) -> BaseException:
    """The first error of a group of them."""
    return _innermost(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _background(work: Coroutine[Any, Any, None], stack: AsyncExitStack, fail: Callable[[BaseException], None]) -> asyncio.Task[None]:
    """Run something until the session ends; what it raises fails the session."""
    task = asyncio.create_task(work)

    def ended(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            fail(_innermost(error))

    async def stop() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task

    task.add_done_callback(ended)
    stack.push_async_callback(stop)
    return task
