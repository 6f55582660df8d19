"""A session's journal through the engine once more: every decision against the one that was written down, byte for byte.

The same messages in the same order, without an exchange, a store or a clock. What the exchange said, what the controls denied and what
people did are messages of the journal, and are heard as they were then; what the system decided on it is made anew, and compared.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from keel.adapters.bybit.transport.endpoints import Environment
from keel.adapters.journal import Record, SessionStarted
from keel.core.errors import DataError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Message, SignalDenied, SubmitOrder
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.decision import RENAMED
from keel.core.risk.gate.gate import Gate
from keel.runners.live.memory.history import COMMANDS, known, session_prefix
from keel.runners.live.memory.records import NOTES, CauseEnded, CauseRaised, Decided, HearingStopped, Opened, ProgramStarted
from keel.runners.live.session.books import Books, make_books
from keel.runners.live.session.decisions import decided_command, decision_kind, decision_text
from keel.runners.live.session_journal import SessionJournal
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.program import instruments_of
from keel.runners.live.startup.warmup import WarmUp
from keel.runners.systems import LoadedSystem

Progress = Callable[[int], None]
_EVERY: Final = 20_000


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """The first decision that is another one. seq, ts: of the journal's record (ms of the writer's clock).  after: the record after which
    it was made, as text.  recorded, replayed: the decision as JSON (replayed: or what was raised); None: that side made none."""

    seq: int
    ts: int
    session: int
    after: str
    recorded: str | None
    replayed: str | None


@dataclass(slots=True)
class Replayed:
    """What was compared. compared: decisions by type.  notes: what was not compared, and why."""

    records: int = 0
    sessions: int = 0
    compared: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    difference: ReplayDifference | None = None


def replay_session(journal: SessionJournal, loaded: LoadedSystem, progress: Progress | None = None) -> Replayed:
    """Replay a whole journal up to its end or the first difference. Raises DataError for a record that this version does not know."""
    return _Replay(journal, loaded, progress).run()


class SessionEngine:
    """Books that hear what a journal holds."""

    def __init__(
        self, journal: SessionJournal, loaded: LoadedSystem, instruments: dict[str, Instrument], take: Callable[[str], None]
    ) -> None:
        system, opened = loaded.config, journal.opened
        self.instruments = instruments
        strategy = loaded.strategy()
        warm_up = WarmUp(system, strategy, loaded.params, opened.start_ms)
        if not warm_up.take(journal.warm_up):
            raise DataError(f"the journal {journal.folder} lacks warm-up bars that the strategy needs now: its code has changed since")
        plan = Plan(loaded, system, opened.system_uid, Environment.SANDBOX, journal.folder, without=tuple(journal.program.without))
        gate = Gate(system.symbols)
        self.books: Books = make_books(
            plan,
            instruments,
            opened,
            warm_up,
            strategy,
            gate,
            limits=ControlLimits.of(system),
            say=lambda message: None,
            note=lambda decided: take(decided.made),
        )

    def receive(self, message: Message) -> None:
        """One message, as a session hears it."""
        books = self.books
        books.history.note(message)
        if isinstance(message, SessionStarted):
            books.executor.begin_session(session_prefix(books.opened, message.number))
        elif isinstance(message, CauseEnded) and message.cause == "cancel_ratio":
            books.controls.counts.count_anew()
        elif not isinstance(message, (*COMMANDS, Opened, *NOTES)):
            books.engine.receive(message)


class _Replay:
    def __init__(self, journal: SessionJournal, loaded: LoadedSystem, progress: Progress | None) -> None:
        self._journal, self._loaded, self._progress = journal, loaded, progress
        self._made: deque[str] = deque()
        """Decisions of the replay that no record has answered yet."""
        self._sent: dict[str, SubmitOrder] = {}
        self._engine = self._new_engine(journal.program)
        self._session = 0
        self._compares = False
        self._cause = ""
        self._found = Replayed()

    def run(self) -> Replayed:
        """Go through all records."""
        found = self._found
        for record in self._journal.records():
            message = known(record)
            found.records += 1
            if self._progress is not None and found.records % _EVERY == 0:
                self._progress(found.records)
            difference = self._take(record, message)
            if difference is not None:
                found.difference = difference
                return found
            if self._engine.books.bus.failed is not None and not self._compares:
                left = sum(1 for _ in self._journal.records()) - found.records
                if left:
                    found.notes.append(
                        f"the strategy failed in record {record.seq}, as it did then: the {left} records after it decide nothing"
                    )
                return found
        self._end_of_session()
        return found

    # --- one record ---

    def _take(self, record: Record, message: Message) -> ReplayDifference | None:
        if isinstance(message, SessionStarted):
            self._end_of_session()
            self._session, self._compares = message.number, False
            self._found.sessions += 1
            self._engine.receive(message)
        elif isinstance(message, ProgramStarted):
            self._program(record, message)
        elif isinstance(message, Decided):
            return self._decided(record, message)
        elif isinstance(message, HearingStopped):
            return self._stopped(record, message)
        elif isinstance(message, (*COMMANDS, *NOTES, Opened)):
            self._engine.receive(message)
            if (isinstance(message, COMMANDS) or _is_later(message)) and self._compares and self._made:
                return self._unanswered(record)
            if isinstance(message, SubmitOrder):
                return self._written(record, message)
        else:
            return self._heard(record, message)
        return None

    def _heard(self, record: Record, message: Message) -> ReplayDifference | None:
        if self._compares and self._made:
            return self._unanswered(record)
        self._made.clear()
        self._cause = f"record {record.seq}, {_short(message)}"
        try:
            self._engine.receive(message)
        except Exception as error:  # noqa: BLE001  # whatever it raises is compared with what the session raised
            if not self._failed_then(record, error):
                return self._difference(record, None, f"raised {type(error).__name__}: {error}")
        for text in self._made:
            order = decided_command(text)
            if isinstance(order, SubmitOrder):
                self._sent[order.client_order_id] = order
        return None

    def _program(self, record: Record, message: ProgramStarted) -> None:
        """A session that says what it runs; where the exchange states its instruments otherwise by now, books hear all of it with these."""
        self._compares = True
        if instruments_of(message) == self._engine.instruments:
            return
        self._engine = self._new_engine(message)
        for earlier in self._journal.records():
            if earlier.seq >= record.seq:
                break
            self._engine.receive(known(earlier))
        self._made.clear()

    def _decided(self, record: Record, message: Decided) -> ReplayDifference | None:
        if not self._compares:
            return None
        made = self._made.popleft() if self._made else None
        if made != (recorded := by_todays_names(message.made)):
            return self._difference(record, recorded, made)
        self._found.compared[decision_kind(made)] += 1
        return None

    def _stopped(self, record: Record, message: HearingStopped) -> ReplayDifference | None:
        if self._compares and self._made:
            return self._unanswered(record)
        if self._compares:
            self._found.notes.append(
                f"session {self._session} broke at record {record.seq} ({message.error}): what it wrote down after that, nobody heard then"
            )
        self._compares = False
        return None

    def _written(self, record: Record, command: SubmitOrder) -> ReplayDifference | None:
        """An order that left: it must have been decided, and so."""
        made = self._sent.get(command.client_order_id)
        if made == command or not command.client_order_id.startswith(session_prefix(self._journal.opened, 0)[:-1]):
            return None
        if made is None and not self._compares and self._found.notes:
            return None  # past a fault: it was closed without asking the actors
        return self._difference(record, decision_text(command), None if made is None else decision_text(made))

    def _end_of_session(self) -> None:
        """What a killed process had decided and not written down is no difference; anything else was found before."""
        if self._made and self._compares:
            self._found.notes.append(
                f"session {self._session} was cut off while it handled {self._cause}: {len(self._made)} decisions of that moment were not"
                " written down, and did not leave"
            )
        self._made.clear()

    # --- differences ---

    def _unanswered(self, record: Record) -> ReplayDifference:
        return self._difference(record, None, self._made[0])

    def _difference(self, record: Record, recorded: str | None, replayed: str | None) -> ReplayDifference:
        return ReplayDifference(record.seq, record.ts, self._session, self._cause, recorded, replayed)

    def _failed_then(self, record: Record, error: Exception) -> bool:
        """Whether the session broke at this very record, for the same reason."""
        told = f"{type(error).__name__}: {error}"
        following = (each.message for each in self._journal.records() if each.seq > record.seq)
        for message in following:
            if isinstance(message, HearingStopped):
                return message.error == told
            if not isinstance(message, NOTES):
                return False
        return False

    def _new_engine(self, program: ProgramStarted) -> SessionEngine:
        return SessionEngine(self._journal, self._loaded, instruments_of(program), self._made.append)


def by_todays_names(text: str) -> str:
    """A decision as it would be written today: reasons of version 0.1 have other names."""
    if decision_kind(text) != SignalDenied.__name__:
        return text
    no = msgspec.json.decode(text, type=SignalDenied)
    return decision_text(msgspec.structs.replace(no, reason=RENAMED[no.reason])) if no.reason in RENAMED else text


def _is_later(message: Message) -> bool:
    """Whether a note says that the message before it had been handled whole: others are written in the middle of one, too."""
    return isinstance(message, CauseRaised) and message.cause == "stopped"


def _short(message: Any) -> str:
    text = decision_text(message)
    return text if len(text) <= 200 else f"{text[:200]}..."
