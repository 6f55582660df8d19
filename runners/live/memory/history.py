"""What is remembered of a journal beside what the actors remember: its beginning, which commands were written down, how far lists go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from keel.adapters.bybit.execution.tracking.order_query_records import OrderNotFound
from keel.adapters.bybit.execution.tracking.past import seen_of
from keel.adapters.bybit.execution.venue import RecoveredOrder
from keel.adapters.journal import Record, SessionStarted, UnknownMessage
from keel.core.errors import DataError
from keel.core.model.messages import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    Fill,
    FundingPayment,
    FundingRate,
    Message,
    OrderUpdate,
    SetTradingStop,
    SubmitOrder,
)
from keel.core.model.orders import CLOSED, OrderRecord
from keel.core.model.timeframe import DAY_MS
from keel.core.risk.gate.causes import CAUSES
from keel.runners.live.checks.transaction_log import LogRow
from keel.runners.live.memory.records import NOTES, Adjusted, CauseEnded, CauseRaised, InputsKnown, Opened, Stated

if TYPE_CHECKING:
    from keel.runners.live.session.books import Books

_KEPT_MS: Final = 3 * DAY_MS
"""For so long (of the log's own time) the keys of rows are kept that were taken over: longer than a statement waits."""
COMMANDS = (SubmitOrder, AmendOrder, CancelOrder, CancelAll, SetTradingStop)


class JournalHistory(msgspec.Struct):
    """Notes every message of a journal, once: while it is heard again, and while it is written. It is plain data: a snapshot keeps it."""

    opened: Opened
    log_ms: int
    """Time of the newest row of the exchange's transaction log that was taken over."""
    stated_ms: int
    """Up to here it was held against our books, row by row."""
    log_floor_ms: int
    """Rows up to here are in what the books began with, or were taken over without their keys."""
    log_rows: dict[str, int]
    """Keys of the rows that were taken over lately -> when."""
    written: dict[str, None] = {}
    """Orders that are not known to have ended, and whose command was written down before it was sent."""
    last_execution_ms: int = 0
    last_rate_ms: dict[str, int] = {}
    standing: dict[str, CauseRaised] = {}
    """What needs a person and has not been lifted, by cause, symbol and key: a restart does not lift it either."""
    absent: dict[str, tuple[int, int]] = {}
    """Orders that were looked for in vain: (when first, when the latest request for it may have left), in the exchange's time."""
    taken_over: dict[str, int] = {}
    """How often our books took the exchange's number over, by the reason (of ``Adjusted``)."""
    without: dict[str, int] = {}
    """By symbol and series: how many decisions were taken without all of it that was due."""

    @classmethod
    def begun(cls, opened: Opened) -> JournalHistory:
        """Of a journal that holds its opening and nothing else."""
        floor_ms = opened.ts if opened.log_rows is None else opened.ts - 1
        return cls(opened, opened.ts, opened.ts, floor_ms, dict.fromkeys(opened.log_rows or (), opened.ts))

    def note(self, message: Message) -> None:
        """One more record."""
        kind = message.__class__
        if kind not in _NOTED:
            return
        if kind is SubmitOrder:
            self.written[message.client_order_id] = None  # type: ignore[attr-defined]  # its class was looked at
            self.absent.pop(message.client_order_id, None)  # type: ignore[attr-defined]
        elif isinstance(message, OrderNotFound):
            self.absent.setdefault(message.client_order_id, (message.ts, message.ts - message.waited_ms))
        elif isinstance(message, OrderUpdate):
            self.absent.pop(message.client_order_id, None)
            if message.status in CLOSED:
                self.written.pop(message.client_order_id, None)
        elif isinstance(message, (Fill, FundingPayment)):
            self.last_execution_ms = max(self.last_execution_ms, message.ts)
        elif isinstance(message, FundingRate):
            self.last_rate_ms[message.symbol] = message.ts
        elif isinstance(message, Adjusted):
            _add(self.taken_over, message.reason)
            self._note_taken(message)
        elif isinstance(message, InputsKnown):
            for each in message.series:
                if each.missing:
                    _add(self.without, f"{message.symbol} {each.name}")
        elif isinstance(message, Stated):
            self.stated_ms = message.until_ms
        elif isinstance(message, CauseRaised):
            by_hand = message.cause in CAUSES and CAUSES[message.cause].lifted_by == "person"
            if by_hand and message.cause != "panic":  # its latch says whether it stands
                self.standing[_place(message)] = message
        elif isinstance(message, CauseEnded):
            self.standing.pop(_place(message), None)

    def _note_taken(self, message: Adjusted) -> None:
        self.log_ms = max(self.log_ms, message.log_ms)
        if message.log_ms and not message.log_rows:
            self.log_floor_ms = max(self.log_floor_ms, message.log_ms)
        kept = {key: ts for key, ts in self.log_rows.items() if ts > self.log_ms - _KEPT_MS}
        self.log_rows = kept | dict.fromkeys(message.log_rows, message.log_ms)

    def log_from_ms(self, late_ms: int) -> int:
        """Where the log is read from to find what was not taken over: rows may come by so much later than others of their time."""
        return max(self.log_floor_ms + 1, self.log_ms - late_ms)

    def has_taken(self, row: LogRow) -> bool:
        """Whether our cash contains this row already, by a record of the journal or by its beginning."""
        return row.ts <= self.log_floor_ms or row.key in self.log_rows


_NOTED: Final = frozenset(
    {SubmitOrder, OrderNotFound, OrderUpdate, Fill, FundingPayment, FundingRate, Adjusted, InputsKnown, Stated, CauseRaised, CauseEnded}
)
"""What ``note`` remembers anything of; most records are of other kinds."""


def _add(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1


def _place(message: CauseRaised | CauseEnded) -> str:
    return f"{message.cause} {message.symbol} {message.key}"


def known(record: Record) -> Message:
    """A record's message. Raises DataError for one that this program does not know: what it does not know it cannot go on from."""
    message: Message | UnknownMessage = record.message
    if isinstance(message, UnknownMessage):
        raise DataError(f"record {record.seq} of the journal is a {message.kind}, unknown to this version: use the newer one")
    return message


def replay_journal(books: Books, records: Iterable[Record]) -> int:
    """Let the actors hear records, muted; returns how many. Raises DataError where they do not order what they ordered then."""
    made = {record.client_order_id: record.command for record in books.executor.open_orders()}
    written: list[SubmitOrder] = []
    count = 0
    for record in records:
        count += 1
        message = known(record)
        books.history.note(message)
        if isinstance(message, CauseEnded) and message.cause == "cancel_ratio":
            books.controls.counts.count_anew()
        if isinstance(message, SessionStarted):
            books.executor.begin_session(session_prefix(books.opened, message.number))
        elif isinstance(message, SubmitOrder):
            written.append(message)
        elif not isinstance(message, (*COMMANDS, Opened, *NOTES)):
            _hear(books, record, message)
    for command in written:
        name = command.client_order_id
        if books.gateway.muted.get(name, made.get(name)) != command:
            raise DataError(
                f"the journal holds the order {name}, and this program, hearing the same, would not have made it, or not so: the code"
                " has changed since; go on with the version that began, or close the positions and begin anew (--fresh)"
            )
    books.gateway.muted.clear()
    return count


def _hear(books: Books, record: Record, message: Message) -> None:
    try:
        books.engine.receive(message)
    except Exception as error:
        error.add_note(
            f"this came of hearing record {record.seq} of the journal again: what stopped a session stops its restart. Mend the strategy"
            " (new code begins a new journal; what is held is taken over), or begin anew with --fresh"
        )
        raise


def in_flight(books: Books) -> tuple[list[RecoveredOrder], list[OrderRecord]]:
    """(orders that may be at the exchange, orders that never left: their command was not written down)."""
    found: list[RecoveredOrder] = []
    never: list[OrderRecord] = []
    for record in books.executor.open_orders():
        if record.command is None or record.client_order_id not in books.history.written:
            never.append(record)
        else:
            found.append(RecoveredOrder(record.command, record.told, record.filled_qty, is_being_cancelled=record.is_being_cancelled))
    return found, never


def seen_executions(books: Books) -> set[str]:
    """The keys of all executions that were ever booked, and of those that the opening contains."""
    return seen_of([*books.tape.fills, *books.tape.payments]) | set(books.opened.executions)


def session_prefix(opened: Opened, number: int) -> str:
    """The beginning of a session's client order ids: 8 hex of the system, the journal's nonce, the session's number in the journal."""
    return f"{opened.system_uid[:8]}-{opened.nonce}-{number}"
