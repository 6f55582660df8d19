"""From a journal to books: the newest memory that can be used, and then the records after it; else the whole journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.journal import Journal, Record, SessionStarted
from keel.core.model.instrument import Instrument
from keel.core.model.messages import Message
from keel.core.risk.controls.limits import ControlLimits
from keel.core.risk.gate.gate import Gate
from keel.runners.live.market.input_reader import InputReader
from keel.runners.live.market.series_reader import SeriesReader
from keel.runners.live.memory import state
from keel.runners.live.memory.history import known, replay_journal, session_prefix
from keel.runners.live.memory.records import Decided, Opened, WarmUpBars
from keel.runners.live.session.books import Books, PriceAges, make_books
from keel.runners.live.startup.connection import Connection
from keel.runners.live.startup.opening import check_grids, first_look
from keel.runners.live.startup.plan import Plan
from keel.runners.live.startup.program import warm_up_frames, warm_up_records
from keel.runners.live.startup.warmup import WarmUp


class Recovered(NamedTuple):
    """Books as a journal left them. ``is_first``: it begins with this session."""

    books: Books
    is_first: bool
    reads: InputReader


async def recover_books(
    plan: Plan,
    account: str,
    connection: Connection,
    instruments: Mapping[str, Instrument],
    journal: Journal,
    gate: Gate,
    *,
    say: Callable[[Message], None],
    note: Callable[[Decided], None],
    ages: PriceAges,
    notify: Notify,
) -> Recovered:
    """Books that have heard the whole journal. Raises SafetyError, DataError, and what a strategy raises."""
    kept = _memory(journal, notify)
    records = journal.recovered(whole=kept is None)
    begun = _opening(records) if kept is None else (kept.history.opened, records, [])
    kept_warm_up = {} if kept is not None or begun is None else warm_up_frames(begun[2])
    strategy = plan.loaded.strategy()
    warm_up = WarmUp(plan.system, strategy, plan.loaded.params, connection.market_ms if begun is None else begun[0].start_ms)
    reads = _reads(plan, connection, instruments, warm_up, notify)
    if kept is not None:
        warm_up.restore(kept.series)
    elif not warm_up.take(kept_warm_up):
        await warm_up.load(plan.store, connection.reader, reads)
        await reads.load_series()
    opened = begun[0] if begun is not None else await first_look(plan, account, connection, instruments, warm_up.start_ms)
    check_grids(opened, instruments)
    limits = ControlLimits.of(plan.system, live=plan.arming is not None, stale_ms=connection.pace.stale_ms)
    books = make_books(plan, instruments, opened, warm_up, strategy, gate, limits=limits, say=say, note=note, ages=ages)
    if kept is not None:
        state.restore(books, kept)
    if begun is None:
        for frame in warm_up_records(warm_up.recorded()):
            journal.append(frame)
        journal.append_durable(opened)
    else:
        replay_journal(books, begun[1])
    books.executor.begin_session(session_prefix(opened, journal.session))
    return Recovered(books, begun is None, reads)


def _reads(plan: Plan, connection: Connection, instruments: Mapping[str, Instrument], warm_up: WarmUp, notify: Notify) -> InputReader:
    """What is read beside bars: by features, and by a portfolio strategy."""
    reader, store, category, waits = connection.reader, plan.store, plan.system.category, connection.pace.inputs_wait
    series = None
    if warm_up.history is not None:
        series = SeriesReader(warm_up.history, reader, store, category, instruments, waits=waits, notify=notify)
    return InputReader(reader, store, category, instruments, warm_up.further, waits=waits, series=series)


def _memory(journal: Journal, notify: Notify) -> state.SessionState | None:
    if journal.state is None:
        return None
    found = state.decode(journal.state)
    if isinstance(found, str):
        text = f"the snapshot of record {journal.recovery.snapshot_seq} is not used: {found}; the whole journal is heard again"
        notify(Notice(0, "snapshot", text, severity="info"))
        return None
    return found


def _opening(records: Iterator[Record]) -> tuple[Opened, Iterator[Record], list[WarmUpBars]] | None:
    """(the opening of the books, all records with those before it, the warm-up that was written with it); None where sessions ended
    before it."""
    before: list[Record] = []
    warm_up: list[WarmUpBars] = []
    for record in records:
        before.append(record)
        message = known(record)
        if isinstance(message, SessionStarted):
            warm_up.clear()
        elif isinstance(message, WarmUpBars):
            warm_up.append(message)
        elif isinstance(message, Opened):
            return message, chain(before, records), warm_up
    return None
