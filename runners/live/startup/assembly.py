"""Builds a session, part after part: the books are recovered, the venue is connected, both are compared, then the market is let in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Final

from keel.adapters.bybit.execution.access import Access, Ports, VenueOptions, leaves_at_once
from keel.adapters.bybit.execution.tracking.past import Past
from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.market.market_stream import MarketStream
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.journal import Journal
from keel.core.engine.instant import InstantClosed
from keel.core.model.instrument import Instrument
from keel.core.model.messages import CancelOrder, Message, SubmitOrder
from keel.core.risk.gate.causes import TradingState
from keel.core.risk.gate.conditions import Conditions
from keel.core.risk.gate.gate import KEEL, STARTING, Entry, Gate
from keel.runners.live.arming.arming import EXPIRED
from keel.runners.live.arming.missing import Missing
from keel.runners.live.arming.reconciliation import unclean
from keel.runners.live.checks.protection import Protection
from keel.runners.live.checks.reconcile import Reconciler
from keel.runners.live.checks.statement import Statement
from keel.runners.live.market.bar_synchronizer import Instants, Line
from keel.runners.live.market.input_reader import InputReader
from keel.runners.live.market.input_wait import InputWait
from keel.runners.live.market.intake import Intake
from keel.runners.live.market.prices import Prices
from keel.runners.live.memory.history import seen_executions, session_prefix
from keel.runners.live.memory.recorder import Recorder
from keel.runners.live.memory.records import CauseEnded, CauseRaised, GateChanged, Quoted
from keel.runners.live.memory.recovery import Recovered, recover_books
from keel.runners.live.memory.snapshots import Snapshots
from keel.runners.live.reporting.event_log import Watch
from keel.runners.live.session.background import background, hearing, up
from keel.runners.live.session.books import Books, PriceAges
from keel.runners.live.session.inbox import Inbox
from keel.runners.live.session.live import Live
from keel.runners.live.startup.connection import Connection
from keel.runners.live.startup.handover import cancelled_but_open, hand_over, missed_rates, tell_never_sent
from keel.runners.live.startup.plan import Plan

READY_S: Final = 60.0
INPUT_GRACE_MS: Final = 5_000
"""How much longer an instant waits where features read what the exchange publishes after the bar."""
OLD_MS: Final = 10_000
"""A bar that closed so long ago brings no decision: what it says is no longer so."""
_ENDS_QUIETLY = (STARTING, "being_compared", "price_stale")
"""Causes whose end the change of the gate's state tells well enough."""
_INSTANT: Final = "instant"
"""Under which name an instant that is whole has the right of way."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What a session is given from outside. notify: takes notices (``notices`` keeps the latest); fail: hears of an error in what runs in
    the background; watch: is given the bus once what the journal holds has been heard again; look_first: sees before each order whether the
    event loop still comes round; takes_instants: whether instants are wanted: not before the session goes on, nor after it was asked to
    stop."""

    notify: Notify
    notices: deque[Notice]
    fail: Callable[[BaseException], None]
    watch: Watch
    look_first: Callable[[Gate], None]
    takes_instants: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Ground:
    """What a session is built on. stack: closes at its end what was opened for it, the latest first."""

    plan: Plan
    account: str
    connection: Connection
    instruments: dict[str, Instrument]
    journal: Journal
    stack: AsyncExitStack
    outside: Outside


class Assembly:
    """One building. Every part is whole when it is made; what it asks of a part that is made later, it asks here."""

    def __init__(self, ground: Ground) -> None:
        self._ground, self._plan, self._connection = ground, ground.plan, ground.connection
        self._notify, self._fail, self._stack = ground.outside.notify, ground.outside.fail, ground.stack
        self._prices, self._inbox = Prices(), Inbox()
        self._recorder = Recorder(ground.journal, self._fail)
        self._gate = Gate(self._plan.system.symbols, now_ms=lambda: ground.connection.clock.now_ms, look=self._look)
        self._quote = next(iter(ground.instruments.values())).quote
        self._conditions: Conditions | None = None
        self._market: MarketStream | None = None
        self._books: Books
        self._venue: BybitVenue
        self._reconciler: Reconciler
        self._protection: Protection | None = None
        self._starting_instant = 0
        """Instants up to here lie before this session: where the journal began with it, nobody decides on them."""

    async def build(self) -> Live:
        """Everything, in order; nothing that adds exposure leaves meanwhile."""
        ground, plan, connection, gate = self._ground, self._plan, self._connection, self._gate
        gate.close(STARTING, "the account is being read")
        found = await self._recover()
        books, venue = self._books, self._venue
        statement = await self._compare()
        intake, waits = self._make_intake(found)
        self._prices.rates.extend(await missed_rates(connection, plan.system, books.history, books.opened.start_ms))
        market = self._market = self._make_market(intake.market(waits, plan.system.timeframe), intake.lines)
        conditions = Conditions(
            gate, books.controls, now_ms=lambda: books.clock.now_ms, banned_ms=lambda: connection.budget.banned_for_ms,
            journal_failed=lambda: str(ground.journal.failed or ""), latched=connection.latch.why,
            arming=None if plan.arming is None else plan.arming.look_now,
        )  # fmt: skip
        gate.open(STARTING)
        for record in cancelled_but_open(books) if plan.dry is None else ():
            venue.cancel_order(CancelOrder(record.client_order_id, record.symbol, books.clock.now_ms))
        await up(background(market.run(), self._stack, self._fail), market.stream.wait_ready(READY_S))
        await market.settle()
        books.bus.subscribe(SubmitOrder, self._note_quote)
        self._conditions = conditions
        snapshots = Snapshots(books, ground.journal, self._notify, failure=lambda: self._recorder.failure)
        self._starting_instant = connection.market_ms if found.is_first else 0  # what closed during the start is decided on by nobody
        return Live(
            plan, ground.account, connection, ground.instruments, books, gate, venue, market, intake, ground.journal, self._recorder,
            snapshots, self._reconciler, statement, self._inbox, waits, ground.outside.notices,
        )  # fmt: skip

    # --- the account ---

    async def _recover(self) -> Recovered:
        """Books as the journal left them, the venue that is told of them, and from here on everything new is written down and heard."""
        ground, connection, gate = self._ground, self._connection, self._gate
        found = await recover_books(
            self._plan, ground.account, connection, ground.instruments, ground.journal, gate, say=self._inbox.put,
            note=self._recorder.note, ages=PriceAges(self._age_ms, self._oldest_ms), notify=self._notify,
        )  # fmt: skip
        books = self._books = found.books
        self._recorder.begin(books.history, lambda: books.clock.now_ms)
        gate.listen(on_state=self._notify_gate, on_entry=self._notify_entry)
        for each in sorted(books.history.standing.values(), key=lambda cause: cause.ts):
            gate.close(each.cause, each.text, each.symbol or None, each.key, since_ms=each.since_ms or each.ts)
        venue = self._venue = self._make_venue()
        ground.outside.watch(books.bus, lambda work: venue.right_of_way.then(lambda: self._recorder.guarded(work)))
        self._stack.callback(venue.right_of_way.catch_up)
        books.bus.subscribe(InstantClosed, lambda closed: venue.right_of_way.give_back(_INSTANT))
        self._reconciler = Reconciler(
            books, venue, connection.rest, self._quote, self._notify, hear=self._inbox.put, settled=self._inbox.settled
        )  # fmt: skip
        never = hand_over(books, venue, ground.instruments)
        if self._plan.system.category == "linear" and self._plan.dry is None:  # a stop may have ended while nobody looked
            self._protection = Protection(
                venue, self._plan.system.on_unprotected, self._notify, hear=self._inbox.put, now_ms=lambda: books.clock.now_ms
            )  # fmt: skip
            self._protection.listen(books.bus)
        hearing(books.engine, self._inbox, self._recorder, self._stack, self._fail)
        await up(background(venue.run(), self._stack, self._fail), venue.wait_ready(READY_S))
        tell_never_sent(never, self._inbox.put, books.clock)
        return found

    def _make_venue(self) -> BybitVenue:
        ground, connection, books = self._ground, self._connection, self._books
        access = Access(
            connection.where, connection.session, connection.credentials, connection.rest, self._plan.system.category, connection.market
        )
        past = Past(
            seen=seen_executions(books), since_ms=max(books.opened.ts, books.history.last_execution_ms), opened_ms=books.opened.ts,
            evidence=dict(books.history.absent), own_prefix=session_prefix(books.opened, 0).removesuffix("0"),
        )  # fmt: skip
        ports = Ports(
            publish=self._inbox.put, journal=self._recorder.write, notify=self._notify, note=self._recorder.note,
            witness=lambda symbol: self._reconciler.against(symbol), on_ready=self._on_ready,
            current_price=lambda symbol: self._prices.last.get(symbol) or books.portfolio.last(symbol) or None,
            on_unprotected=self._on_unprotected if self._plan.system.category == "linear" else None,
            last_look=books.gateway.last_look if connection.pace.replaces_wait else leaves_at_once,
        )  # fmt: skip
        return BybitVenue(access, ground.instruments, past, ports, gate=self._gate, options=VenueOptions(use_trade_stream=False))

    def _on_ready(self, is_ready: bool) -> None:
        if not self._gate.has("stopped"):  # at the end the stream is closed on purpose
            self._gate.hold("private_stream", is_ready, self._venue.private.stream.problem or "the private stream is lost")

    def _on_unprotected(self, symbol: str, why: str) -> None:
        if self._protection is not None:
            self._protection.refused(symbol, why)

    async def _compare(self) -> Statement:
        """Compare with the exchange, and arm where that is asked for."""
        plan, gate, venue, books = self._plan, self._gate, self._venue, self._books

        async def compare() -> None:
            await self._inbox.settled()
            if not self._recorder.failure:
                await _quiet(venue, self._connection)
                await self._reconciler.check(at_once=True)

        async def compare_to_arm() -> list[Missing]:
            await compare()
            return unclean(gate, self._reconciler)

        if plan.arming is None:
            await compare()
        else:
            await plan.arming.arm(compare_to_arm, self._notify, self._recorder.note)
            gate.open(EXPIRED, by=plan.arming.token.by if plan.arming.token is not None else KEEL)
        if self._protection is not None:
            background(self._protection.run(), self._stack, self._fail)
        return Statement(
            books, venue, self._connection.rest, self._quote, self._notify, write=self._recorder.append, settled=self._inbox.settled
        )  # fmt: skip

    # --- the market ---

    def _make_intake(self, found: Recovered) -> tuple[Intake, InputWait | None]:
        """Where bars are gathered, and where decision bars wait before, if features read more than bars."""
        books, connection, takes = self._books, self._connection, self._ground.outside.takes_instants
        intake = Intake(
            self._make_instants(found.reads), self._prices, self._inbox.put, books.portfolio, self._notify, is_news=self._is_news,
            decides_after=lambda: self._starting_instant, first=self._before_instant,
            is_due=lambda: connection.pace.gives_at_once and takes() and self._recorder.failure is None,
        )  # fmt: skip
        if not found.reads.waited_for:
            return intake, None
        waits = InputWait(found.reads, intake.bar, fail=self._fail, notify=self._notify)
        self._stack.push_async_callback(waits.close)
        return intake, waits

    def _make_instants(self, reads: InputReader) -> Instants:
        system, books = self._plan.system, self._books
        grace_ms = self._plan.grace_ms + (INPUT_GRACE_MS if reads.waited_for else 0)
        timeframes = (system.execution_timeframe or system.timeframe, system.timeframe)
        last_ts = books.engine.closes[-1] if books.engine.closes else books.opened.start_ms
        return Instants(system.symbols, timeframes, grace_ms=grace_ms, last_ts=last_ts)

    def _before_instant(self) -> None:
        self._gate.look()
        self._venue.right_of_way.take(_INSTANT)

    def _is_news(self, ts: int) -> bool:
        """Whether an instant closed so lately that prices are its own and a decision on it is worth something."""
        connection = self._connection
        if connection.pace.is_lockstep:
            return True
        factor = 1.0 if connection.sandbox is None else connection.sandbox.factor
        return (connection.market_ms - ts) / factor <= OLD_MS + self._plan.grace_ms

    def _make_market(self, take: Callable[[Message], None], lines: list[Line]) -> MarketStream:
        connection, books, guarded = self._connection, self._books, self._recorder.guarded
        heard = books.bars.next_opens()
        return MarketStream(
            connection.where, connection.session, connection.clock, self._plan.system.category, lines, connection.reader,
            lambda message: guarded(lambda: take(message)),  # an instant that could not be put together ends the session, not a frame
            notify=self._notify, next_open={line: heard.get(line, books.opened.start_ms) for line in lines},
            freshness_ms=connection.pace.freshness_ms, banned_ms=lambda: connection.budget.banned_for_ms,
            on_forbidden=connection.rest.measure_clock, gives_way_to=self._venue.right_of_way,
        )  # fmt: skip

    def _age_ms(self, symbol: str) -> float | None:
        return 0.0 if self._market is None else self._market.age_ms(symbol)

    def _oldest_ms(self) -> float | None:
        return 0.0 if self._market is None else self._market.oldest_ms()

    def _note_quote(self, order: SubmitOrder) -> None:
        """The prices that an order meets, for whoever measures its fill later."""
        quote = None if self._market is None else self._market.quote(order.symbol)
        if quote is not None:
            self._recorder.note(Quoted(order.ts, order.client_order_id, order.symbol, *quote))

    # --- the gate ---

    def _look(self) -> None:
        if self._conditions is not None:
            self._ground.outside.look_first(self._gate)
            self._conditions.look()

    def _notify_gate(self, state: TradingState, why: str) -> None:
        ts = self._connection.market_ms
        self._recorder.note(GateChanged(ts, state.name, why))
        is_ordinary = state is TradingState.ACTIVE or why.startswith(("starting:", "stopped:"))
        self._notify(Notice(ts, "gate", f"{state.name} {why}".strip(), severity="info" if is_ordinary else "warning"))

    def _notify_entry(self, entry: Entry, by: str | None) -> None:
        """What stands in the way from here on, or does not any more: for the journal, and the end of it for people."""
        ts, symbol = self._connection.market_ms, entry.symbol or ""
        if by is None:
            self._recorder.note(CauseRaised(ts, entry.cause, symbol, entry.key, entry.text, entry.since_ms))
            return
        self._recorder.note(CauseEnded(ts, entry.cause, symbol, entry.key, by))
        if entry.cause not in _ENDS_QUIETLY:
            lifted = "is over" if by == KEEL else f"was lifted by {by}"
            text = f"{entry.symbol or 'the account'}: {entry.cause} {lifted} ({entry.text})"
            self._notify(Notice(ts, "cause_ended", text, entry.symbol, "info"))


async def _quiet(venue: BybitVenue, connection: Connection) -> None:
    """Wait until everything that is under way is answered; where commands are held back, until one of them is. A market that does not wait
    for us is not kept waiting for an order whose fate takes longer: its symbol stays frozen until that is known."""
    hold = connection.rest.hold
    if hold is None or not hold.stands:
        with suppress(TimeoutError):
            async with asyncio.timeout(connection.pace.quiet_s):
                await venue.idle()
        return
    waits = [asyncio.create_task(venue.idle()), asyncio.create_task(hold.held.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    for result in await asyncio.gather(*waits, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
