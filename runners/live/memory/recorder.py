"""What a session writes down: everything that its actors hear, before they hear it; its commands, before they leave; what it notes.

Once something of ours has broken, messages are only kept, so that a restart knows them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from keel.adapters.bybit.execution.tracking.order_query_records import EVIDENCE
from keel.adapters.journal import Journal, JournalError
from keel.core.model.messages import CancelAll, CancelOrder, Message
from keel.runners.live.memory.history import JournalHistory
from keel.runners.live.memory.records import HearingStopped


class Recorder:
    """Implements ``keel.core.engine.engine.Journal``. fail: hears what stops the session; now_ms: of the session's clock, ms UTC."""

    def __init__(self, journal: Journal, fail: Callable[[BaseException], None]) -> None:
        self._journal, self._fail = journal, fail
        self._history: JournalHistory | None = None
        self._now_ms: Callable[[], int] = lambda: 0
        self.failure: BaseException | None = None
        """What has broken."""

    def begin(self, history: JournalHistory, now_ms: Callable[[], int]) -> None:
        """Write down from now on; what the journal held has been heard again. Before this, notes are dropped, and nothing is heard."""
        self._history, self._now_ms = history, now_ms

    def append(self, message: Message) -> int:
        """A record, and what is remembered of it."""
        seq = self._journal.append(message)
        if self._history is not None:
            self._history.note(message)
        return seq

    def keep(self, message: Message) -> None:
        """A message that nobody hears any more."""
        if self._journal.failed is not None:
            return
        try:
            self.append(message)
        except JournalError:
            return  # the journal says so itself, and whoever asks it next is told

    def fail(self, error: BaseException) -> None:
        """Something of ours broke: the session stops."""
        if self.failure is None:
            self.failure = error
            if self._history is not None and self._journal.failed is None:
                self._stopped(error)
            self._fail(error)

    def _stopped(self, error: BaseException) -> None:
        try:
            self.append(HearingStopped(self._now_ms(), f"{type(error).__name__}: {error}"))
        except JournalError:
            return  # the journal says so itself, and whoever asks it next is told

    def note(self, message: Message) -> None:
        """Something for whoever reads the journal; the actors hear nothing of it. Evidence outlives the process: a restart builds on it."""
        if self._history is None or self._journal.failed is not None:
            return
        self.append(message)
        if isinstance(message, EVIDENCE):
            try:
                self._journal.flush()
            except JournalError as error:
                self.fail(error)

    def write(self, command: Message) -> Awaitable[None]:
        """Write a command down at once, and begin to put it on the medium; what is returned ends when it is there. A cancel goes out even
        where the journal no longer takes anything; nothing else does."""
        seq: int | JournalError
        try:
            seq = self.append(command)
            self._journal.begin_sync()
        except JournalError as error:
            seq = error
        return self._on_medium(command, seq)

    async def _on_medium(self, command: Message, seq: int | JournalError) -> None:
        try:
            if isinstance(seq, JournalError):
                raise seq
            await self._journal.wait_durable(seq)
        except JournalError as error:
            self.fail(error)
            if not isinstance(command, (CancelOrder, CancelAll)):
                raise

    def guarded(self, work: Callable[[], None]) -> None:
        """Do something of the session's own; what it raises stops the session."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # kept and told: the session stops for it, with the policy of its system
            self.fail(error)
