"""When a session's memory is kept beside its journal: every so many records, when a UTC day begins, and at a clean stop.

Only whole memories are kept, between two messages: none after one whose work broke halfway, which a restart must hear again. A snapshot
that could not be written is told, and trading goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.journal import Journal, JournalError
from keel.adapters.machine import monotonic_s
from keel.core.errors import StrategyError
from keel.core.model.timeframe import DAY_MS
from keel.runners.live.memory import state
from keel.runners.live.session.books import Books

EVERY_RECORDS: Final = 20_000


def is_due(records: int, *, is_new_day: bool, is_quiet: bool) -> bool:
    """Whether it is time for a snapshot after so many records; where it is never quiet it waits no longer than twice as many."""
    return (is_quiet and (is_new_day or records >= EVERY_RECORDS)) or records >= 2 * EVERY_RECORDS


class Snapshots:
    """Keeps the memory of one session. failure: what broke while something was heard, None where nothing has."""

    def __init__(self, books: Books, journal: Journal, notify: Notify, *, failure: Callable[[], BaseException | None]) -> None:
        self._books, self._journal, self._notify, self._failure = books, journal, notify, failure
        self._last_seq = journal.recovery.snapshot_seq
        self._day = books.clock.now_ms // DAY_MS
        self._given_up = ""
        self.written = 0
        """How many were kept by this session."""

    def consider(self, *, is_quiet: bool = True) -> None:
        """Keep one if it is time for it. Between two messages. is_quiet: no command is on its way that would have to wait for it."""
        day, records = self._books.clock.now_ms // DAY_MS, self._journal.seq - self._last_seq
        if is_due(records, is_new_day=day != self._day, is_quiet=is_quiet):
            self._day = day
            self.keep()

    def keep(self) -> None:
        """Keep one now, where the strategy's memory allows it and nothing has failed."""
        books, journal = self._books, self._journal
        if self._given_up or self._failure() is not None or books.bus.failed is not None or journal.failed is not None:
            return
        if state.is_halfway(books):  # a restart after a death in the middle of an instant: the next one ends it
            return
        if problem := books.memory.problem():
            self._give_up(f"no snapshots are kept: {problem}. A restart hears the whole journal again", "info")
            return
        self._last_seq = journal.seq
        began = monotonic_s()
        try:
            content = state.encode(state.take(books))
            seq = journal.write_snapshot(content)
        except JournalError as error:
            self._report(str(error), "warning")
        except (StrategyError, TypeError) as error:
            self._give_up(f"no snapshots are kept: {error}. A restart hears the whole journal again", "warning")
        else:
            self.written += 1
            took = (monotonic_s() - began) * 1000
            self._report(f"snapshot of record {seq}: {len(content):,} bytes in {took:.0f} ms", "info")

    def _give_up(self, text: str, severity: str) -> None:
        self._given_up = text
        self._report(text, severity)

    def _report(self, text: str, severity: str) -> None:
        self._notify(Notice(self._books.clock.now_ms, "snapshot", text, severity="warning" if severity == "warning" else "info"))
