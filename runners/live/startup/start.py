"""One path for the first start and for every restart: understand the account, then be READY. Nothing that adds exposure leaves before.

key and account -> lock -> instruments and settings -> journal -> warm-up -> hear the journal again -> private stream, lists, executions
since -> compare -> READY. What the market did meanwhile comes after that, bar by bar.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from keel.adapters.bybit.execution.tracked_order import TrackedOrder
from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.market.market_stream import FRESHNESS_MS, MarketStream
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.bybit.transport.exchange_clock import ServerClock
from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.adapters.bybit.wire.return_codes import PayloadError
from keel.adapters.journal import Journal
from keel.adapters.journal.journal import DISK_RESERVE_BYTES
from keel.core.engine.clock import Clock, ReplayClock
from keel.core.errors import KeelError, VenueError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import CancelOrder, FundingRate, Message, OrderUpdate, SubmitOrder
from keel.core.model.orders import OrderRecord
from keel.core.model.timeframe import DAY_MS
from keel.core.risk.controls.controls import Controls
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.causes import TradingState
from keel.core.risk.gate.conditions import Conditions
from keel.core.risk.gate.gate import KEEL, STARTING, Entry, Gate
from keel.core.system.config import SystemConfig
from keel.runners.live.arming.arming import EXPIRED
from keel.runners.live.arming.missing import Missing, NotArmedError
from keel.runners.live.arming.reconciliation import unclean
from keel.runners.live.checks.journal_watch import watch_journal
from keel.runners.live.checks.protection import Protection
from keel.runners.live.checks.reconcile import Reconciler
from keel.runners.live.checks.statement import Statement
from keel.runners.live.market.bar_synchronizer import Instants
from keel.runners.live.market.input_reader import InputReader
from keel.runners.live.market.input_wait import InputWait
from keel.runners.live.market.prices import Prices
from keel.runners.live.memory.history import JournalHistory, in_flight, seen_executions, session_prefix
from keel.runners.live.memory.recovery import recover_books
from keel.runners.live.memory.snapshots import Snapshots
from keel.runners.live.memory.tape import Tape
from keel.runners.live.panic.latch import latch_of, refuse_latched
from keel.runners.live.session.background import background, up
from keel.runners.live.session.books import Books
from keel.runners.live.session.cycle import Cycle
from keel.runners.live.session.door import open_door
from keel.runners.live.session.event_log import Watch, nobody_watches
from keel.runners.live.session.inbox import Inbox
from keel.runners.live.session.records import TYPES, CauseEnded, CauseRaised, GateChanged, Opened, Quoted
from keel.runners.live.startup.connection import Connection, connect
from keel.runners.live.startup.left_out import read_instruments, tell_left_out
from keel.runners.live.startup.lock import AccountLock
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.program import program_of

READY_S = 60.0
QUIET_S = 5.0
"""How long a start waits for the fate of orders that the session before left in flight: proof of absence takes eleven seconds and more."""
LOCK_LOOK_S = 10.0
SANDBOX_DISK_RESERVE = 1 << 20
INPUT_GRACE_MS = 5_000
"""How much longer an instant waits where features read what the exchange publishes after the bar."""
_ENDS_QUIETLY = (STARTING, "being_compared", "price_stale")
"""Causes whose end the change of the gate's state tells well enough."""
STALE_MS = 15_000.0
"""How old the latest price of a symbol may be when an order leaves, where the market moves by itself."""


@dataclass(slots=True)
class Live:
    """A session that is READY (or has said why it is not): everything that ``session`` drives and the display shows."""

    plan: Plan
    account: str
    connection: Connection
    instruments: dict[str, Instrument]
    books: Books
    gate: Gate
    venue: BybitVenue
    market: MarketStream
    instants: Instants
    prices: Prices
    journal: Journal
    snapshots: Snapshots
    reconciler: Reconciler
    statement: Statement
    inbox: Inbox
    inputs: InputWait | None
    """Where decision bars wait for what features read beside them; None where features read bars only."""
    starting_instant: int
    """Instants up to here lie before this session: where the journal began with it, nobody decides on them."""
    notices: deque[Notice] = field(default_factory=deque)
    """The latest that was told."""

    @property
    def cycle(self) -> Cycle:
        """What the actors hear."""
        return self.books.cycle

    @property
    def opened(self) -> Opened:
        """How the journal began."""
        return self.books.opened

    @property
    def tape(self) -> Tape:
        """What happened."""
        return self.books.tape

    @property
    def controls(self) -> Controls:
        """What every order passes."""
        return self.books.controls

    @property
    def quote(self) -> str:
        """The coin of the account."""
        return next(iter(self.instruments.values())).quote


@asynccontextmanager
async def start(
    plan: Plan, notify: Callable[[Notice], None], fail: Callable[[BaseException], None], watch: Watch = nobody_watches
) -> AsyncIterator[Live]:
    """Start or recover. Raises SafetyError (locked, hedge mode, settings refused, journal damaged by other hands), ConfigError, VenueError,
    DataError: before anything that adds exposure could leave. ``fail`` hears of an error in what runs in the background; ``watch`` is given
    the bus once what the journal holds has been heard again."""
    async with AsyncExitStack() as stack:
        try:
            live = await _begin(plan, stack, notify, fail, watch)
        except KeelError as error:
            if plan.arming is None or plan.arming.token is not None or isinstance(error, NotArmedError):
                raise
            raise plan.arming.refused(error) from error
        except PayloadError as error:
            raise VenueError(
                f"an answer of the exchange that a start needs cannot be read: {error}. Nothing was ordered; start again, and report it if"
                " it stays so"
            ) from error
        yield live


async def _begin(plan: Plan, stack: AsyncExitStack, notify: Notify, fail: Callable[[BaseException], None], watch: Watch) -> Live:
    system, arming = plan.system, plan.arming
    if arming is None:
        refuse_latched(latch_of(plan.environment, plan.sandbox_url))
    else:
        arming.look_here()
    connection = await stack.enter_async_context(
        connect(
            plan.environment, system.category, notify, sandbox_url=plan.sandbox_url, key_file=plan.key_file, checks_clock=arming is None
        )
    )  # fmt: skip
    if arming is not None:
        connection.rest.hold = arming.hold
        await arming.look(connection)
    account = await connection.account_name(checks_key=arming is None)
    lock = None if plan.dry is not None else stack.enter_context(AccountLock(account, f"keel {plan.environment.value} {system.system}"))
    instruments = await read_instruments(plan, connection)
    await tell_left_out(plan, connection, notify)
    if arming is None:
        await _check_settings(connection, system)
    journal = _open_journal(plan, account, connection.clock)
    stack.callback(journal.close)
    if journal.recovery.cut_bytes or journal.recovery.last_words:
        notify(Notice(connection.clock.now_ms, "journal_recovered", journal.recovery.text(), severity="warning"))
    journal.append(program_of(plan, instruments, connection.clock.now_ms))
    live = await _assemble(plan, account, connection, instruments, journal, stack, notify, fail, watch)
    background(watch_journal(journal), stack, fail)
    if lock is not None:
        background(_watch_lock(lock, live.gate), stack, fail)
        await stack.enter_async_context(open_door(live, notify))
    return live


async def _watch_lock(lock: AccountLock, gate: Gate) -> None:
    """See every ten seconds that the account is still ours alone."""
    while True:
        await asyncio.sleep(LOCK_LOOK_S)
        lost = lock.look()
        gate.hold("lock_lost", not lost, lost)


async def _check_settings(connection: Connection, system: SystemConfig) -> None:
    """Margin mode, one-way positions and leverage: checked, set where that is safe, read back. Raises SafetyError with what to do."""
    if system.category != "linear":
        return
    for symbol in system.symbols:
        await connection.account.ensure_one_way(symbol)
        await connection.account.ensure_no_added_margin(symbol)
    await connection.account.ensure_margin_mode(system.risk.margin_mode)
    for symbol in system.symbols:
        await connection.account.ensure_leverage(symbol, system.risk.leverage)


def journal_folder(plan: Plan, account: str) -> Path:
    """Where the journal of this account and system is."""
    return plan.journals / "-".join(account.split()).replace(":", "_").replace("/", "_") / f"{plan.system.system}-{plan.uid[:12]}"


def _open_journal(plan: Plan, account: str, clock: ServerClock) -> Journal:
    """The journal of this account and system; another code or configuration is another journal."""
    folder = journal_folder(plan, account)
    if plan.dry is not None:
        folder = plan.dry.copy_of(folder, fresh=plan.fresh)
    elif plan.fresh and folder.exists():
        number = 1
        while (kept := folder.with_name(f"{folder.name}.old{number}")).exists():
            number += 1
        folder.rename(kept)
    stamps = cast("Clock", clock)  # it is only read
    is_small = plan.environment is Environment.SANDBOX or plan.dry is not None
    reserve = SANDBOX_DISK_RESERVE if is_small else DISK_RESERVE_BYTES
    about = {"account": account, "system": plan.system.system, **plan.about}
    return Journal.open(folder, clock=stamps, session=about, types=TYPES, disk_reserve_bytes=reserve)


async def _assemble(
    plan: Plan,
    account: str,
    connection: Connection,
    instruments: dict[str, Instrument],
    journal: Journal,
    stack: AsyncExitStack,
    notify: Notify,
    fail: Callable[[BaseException], None],
    watch: Watch,
) -> Live:
    """Recover the books, connect the venue, compare, then let the market in."""
    inbox = Inbox(journal, fail)
    gate = Gate(plan.system.symbols, now_ms=lambda: connection.clock.now_ms)
    gate.close(STARTING, "the account is being read")
    limits = ControlLimits.of(plan.system, live=plan.arming is not None, stale_ms=float("inf") if connection.is_lockstep else STALE_MS)
    found = await recover_books(
        plan, account, connection, instruments, journal, gate, limits=limits, say=inbox.hear, notify=notify
    )  # fmt: skip
    books, prices = found.books, Prices()
    inbox.open(books)
    gate.listen(
        on_state=lambda state, why: _tell_gate(state, why, connection.market_ms, inbox, notify),
        on_entry=lambda entry, by: _tell_entry(entry, by, connection.market_ms, inbox, notify),
    )
    for each in sorted(books.history.standing.values(), key=lambda cause: cause.ts):
        gate.close(each.cause, each.text, each.symbol or None, each.key, since_ms=each.since_ms or each.ts)
    venue = _venue(plan, connection, instruments, books, prices, gate, inbox, notify, lambda symbol: reconciler.against(symbol))
    watch(books.bus, lambda work: venue.right_of_way.then(lambda: inbox.guarded(work)))
    stack.callback(venue.right_of_way.catch_up)
    quote = next(iter(instruments.values())).quote
    reconciler = Reconciler(books, venue, connection.rest, quote, notify, hear=inbox.hear)
    never = _hand_over(books, venue, instruments)
    protection = None
    if plan.system.category == "linear" and plan.dry is None:  # it hears the first reading: a stop may have ended while nobody looked
        protection = Protection(venue, plan.system.on_unprotected, notify, hear=inbox.hear, now_ms=lambda: books.clock.now_ms)
        venue.on_unprotected = protection.refused
        protection.listen(books.bus)
    await up(background(venue.run(), stack, fail), venue.wait_ready(READY_S))
    _tell_never_sent(never, inbox.hear, books.clock)
    statement = Statement(books, venue, connection.rest, quote, notify, write=inbox.append)

    async def compare() -> None:
        if not inbox.failure:
            await _quiet(venue, connection)
            await reconciler.check(at_once=True)

    async def compare_to_arm() -> list[Missing]:
        await compare()
        return unclean(gate, reconciler)

    if plan.arming is None:
        await compare()
    else:
        await plan.arming.arm(compare_to_arm, notify, inbox.note)
        gate.open(EXPIRED, by=plan.arming.token.by if plan.arming.token is not None else KEEL)
    if protection is not None:
        background(protection.run(), stack, fail)
    instants, waits = _instants(plan, books, found.reads, inbox, prices, stack, fail, notify)
    prices.rates = await _missed_rates(connection, plan.system, books.history, books.opened.start_ms)
    market = _market(
        plan, connection, instants, books, inbox.market(instants, prices, waits, plan.system.timeframe), notify, venue.right_of_way
    )
    books.controls.age_ms, books.controls.oldest_ms = market.age_ms, market.oldest_ms
    conditions = Conditions(
        gate, books.controls, now_ms=lambda: books.clock.now_ms,
        banned_ms=lambda: connection.budget.banned_for_ms, journal_failed=lambda: str(journal.failed or ""), latched=connection.latch.why,
        arming=None if plan.arming is None else plan.arming.look_now,
    )  # fmt: skip
    gate.open(STARTING)
    for record in _cancelled_but_open(books) if plan.dry is None else ():
        venue.cancel_order(CancelOrder(record.client_order_id, record.symbol, books.clock.now_ms))
    await up(background(market.run(), stack, fail), market.stream.wait_ready(READY_S))
    await market.settle()
    books.bus.subscribe(SubmitOrder, lambda order: _note_quote(order, market, inbox))
    gate.look = conditions.look
    snapshots = Snapshots(books, journal, notify, failure=lambda: inbox.failure)
    return Live(
        plan, account, connection, instruments, books, gate, venue, market, instants, prices, journal, snapshots, reconciler, statement,
        inbox, waits, connection.market_ms if found.is_first else 0,
    )  # fmt: skip


async def _quiet(venue: BybitVenue, connection: Connection) -> None:
    """Wait until everything that is under way is answered; where commands are held back, until one of them is. A market that does not wait
    for us is not kept waiting for an order whose fate takes longer: its symbol stays frozen until that is known."""
    hold = connection.rest.hold
    if hold is None or not hold.stands:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if connection.is_lockstep else QUIET_S):
                await venue.idle()
        return
    waits = [asyncio.create_task(venue.idle()), asyncio.create_task(hold.held.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    for result in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _venue(
    plan: Plan,
    connection: Connection,
    instruments: dict[str, Instrument],
    books: Books,
    prices: Prices,
    gate: Gate,
    inbox: Inbox,
    notify: Notify,
    witness: Callable[[str], Awaitable[str]],
) -> BybitVenue:
    def on_ready(is_ready: bool) -> None:
        if not gate.has("stopped"):  # at the end the stream is closed on purpose
            gate.hold("private_stream", is_ready, venue.private.stream.problem or "the private stream is lost")

    venue = BybitVenue(
        connection.where, connection.session, connection.credentials, connection.rest, plan.system.category, instruments, inbox.hear,
        journal=inbox.write, seen=seen_executions(books), since_ms=max(books.opened.ts, books.history.last_execution_ms),
        opened_ms=books.opened.ts, evidence=dict(books.history.absent), notify=notify,
        market=connection.market, current_price=lambda symbol: prices.last.get(symbol) or books.portfolio.last(symbol) or None,
        note=inbox.note, use_trade_stream=False, gate=gate, own_prefix=session_prefix(books.opened, 0).removesuffix("0"),
        witness=witness, on_ready=on_ready,
    )  # fmt: skip
    if not connection.is_lockstep:  # there a cancel comes about with the market's next step, which waits for us
        venue.last_look = books.gateway.last_look
    return venue


def _note_quote(order: SubmitOrder, market: MarketStream, inbox: Inbox) -> None:
    """The prices that an order meets, for whoever measures its fill later."""
    quote = market.quote(order.symbol)
    if quote is not None:
        inbox.note(Quoted(order.ts, order.client_order_id, order.symbol, *quote))


def _tell_gate(state: TradingState, why: str, ts: int, inbox: Inbox, notify: Notify) -> None:
    inbox.note(GateChanged(ts, state.name, why))
    is_ordinary = state is TradingState.ACTIVE or why.startswith(("starting:", "stopped:"))
    notify(Notice(ts, "gate", f"{state.name} {why}".strip(), severity="info" if is_ordinary else "warning"))


def _tell_entry(entry: Entry, by: str | None, ts: int, inbox: Inbox, notify: Notify) -> None:
    """What stands in the way from here on, or does not any more: for the journal, and the end of it for people."""
    if by is None:
        inbox.note(CauseRaised(ts, entry.cause, entry.symbol or "", entry.key, entry.text, entry.since_ms))
        return
    inbox.note(CauseEnded(ts, entry.cause, entry.symbol or "", entry.key, by))
    if entry.cause not in _ENDS_QUIETLY:
        where = entry.symbol or "the account"
        lifted = "is over" if by == KEEL else f"was lifted by {by}"
        notify(Notice(ts, "cause_ended", f"{where}: {entry.cause} {lifted} ({entry.text})", entry.symbol, "info"))


def _hand_over(books: Books, venue: BybitVenue, instruments: dict[str, Instrument]) -> list[OrderRecord]:
    """Tell the venue what the journal holds open, and let commands out from now on; returns the orders that never left."""
    sent, never = in_flight(books)
    executor = books.executor
    holdings = {symbol: (line.book.steps, line.book.cost) for symbol, line in books.portfolio.lines.items() if line.book.steps}
    brackets = [(record.parent_id or "", record.client_order_id) for record in executor.bracket_orders()]
    venue.recover(sent, used_names=executor.bracket_names, open_brackets=brackets, holdings=holdings)
    _expect_brackets(executor.bracket_orders(), venue, instruments)
    books.gateway.venue = venue
    return never


def _instants(
    plan: Plan,
    books: Books,
    reads: InputReader,
    inbox: Inbox,
    prices: Prices,
    stack: AsyncExitStack,
    fail: Callable[[BaseException], None],
    notify: Notify,
) -> tuple[Instants, InputWait | None]:
    """Where bars are gathered, and where decision bars wait before, if features read more than bars."""
    system = plan.system
    grace_ms = plan.grace_ms + (INPUT_GRACE_MS if reads.waited_for else 0)
    instants = Instants(system.symbols, (system.execution_timeframe or system.timeframe, system.timeframe), grace_ms=grace_ms)
    instants.last_ts = books.cycle.closes[-1] if books.cycle.closes else books.opened.start_ms
    if not reads.waited_for:
        return instants, None
    waits = InputWait(reads, inbox.gather(instants, prices), fail=fail, notify=notify)
    stack.push_async_callback(waits.close)
    return instants, waits


def _market(
    plan: Plan,
    connection: Connection,
    instants: Instants,
    books: Books,
    publish: Callable[[Message], None],
    notify: Notify,
    right_of_way: RightOfWay,
) -> MarketStream:
    heard = books.cycle.bars.next_opens()
    return MarketStream(
        connection.where, connection.session, connection.clock, plan.system.category, instants.lines, connection.reader, publish,
        notify=notify, next_open={line: heard.get(line, books.opened.start_ms) for line in instants.lines},
        freshness_ms={} if connection.is_lockstep else FRESHNESS_MS,
        banned_ms=lambda: connection.budget.banned_for_ms, on_forbidden=connection.rest.measure_clock, gives_way_to=right_of_way,
    )  # fmt: skip


def _expect_brackets(records: list[OrderRecord], venue: BybitVenue, instruments: dict[str, Instrument]) -> None:
    """Bracket orders that the actors hold open, followed from the start, so that one that has ended meanwhile is missed and looked at."""
    for record in records:
        role = record.client_order_id.rpartition("-")[2].rstrip("0123456789")
        order = TrackedOrder(
            record.client_order_id, instruments[record.symbol], record.side, 0, parent_id=record.parent_id, role=role
        )  # fmt: skip
        order.state = record.state
        venue.tracker.orders.add(order)


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


def _cancelled_but_open(books: Books) -> list[OrderRecord]:
    """Orders whose cancel may not have left: they rest, and nobody wants them any more."""
    return [record for record in books.executor.open_orders() if record.client_order_id in books.controls.counts.being_cancelled]


async def _missed_rates(connection: Connection, system: SystemConfig, history: JournalHistory, start_ms: int) -> list[FundingRate]:
    """Settled rates that nobody has heard: since the last one, or when the journal begins the one that is in force."""
    if system.category != "linear":
        return []
    rates: list[FundingRate] = []
    for symbol in system.symbols:
        last = history.last_rate_ms.get(symbol)
        since = start_ms - 3 * DAY_MS if last is None else last + 1
        found = await connection.reader.funding_rates(symbol, since, connection.market_ms + 1)
        rates += found[-1:] if last is None else found
    return sorted(rates, key=lambda rate: rate.ts)
