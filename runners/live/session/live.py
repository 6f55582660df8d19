"""A session that is READY, as one object."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from keel.adapters.bybit.execution.venue import BybitVenue
from keel.adapters.bybit.market.market_stream import MarketStream
from keel.adapters.bybit.notices import Notice
from keel.adapters.journal import Journal
from keel.core.model.instrument import Instrument
from keel.core.risk.controls.controls import Controls
from keel.core.risk.gate.gate import Gate
from keel.runners.live.checks.reconcile import Reconciler
from keel.runners.live.checks.statement import Statement
from keel.runners.live.market.input_wait import InputWait
from keel.runners.live.market.intake import Intake
from keel.runners.live.memory.activity import Activity
from keel.runners.live.memory.recorder import Recorder
from keel.runners.live.memory.records import Opened
from keel.runners.live.memory.snapshots import Snapshots
from keel.runners.live.session.books import Books
from keel.runners.live.session.inbox import Inbox
from keel.runners.live.startup.connection import Connection
from keel.runners.live.startup.plan import Plan


@dataclass(frozen=True, slots=True)
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
    intake: Intake
    journal: Journal
    recorder: Recorder
    snapshots: Snapshots
    reconciler: Reconciler
    statement: Statement
    inbox: Inbox
    inputs: InputWait | None
    """Where decision bars wait for what features read beside them; None where features read bars only."""
    notices: deque[Notice]
    """The latest that was told."""

    @property
    def opened(self) -> Opened:
        """How the journal began."""
        return self.books.opened

    @property
    def tape(self) -> Activity:
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
