"""What a session writes into its journal besides what it heard and ordered."""

from __future__ import annotations

from typing import Any

import msgspec

from keel.adapters.bybit.execution.tracking.order_query_records import EVIDENCE
from keel.core.engine.instant import BarsTooLate, InstantClosed
from keel.core.model.messages import Message


class Opened(Message, frozen=True):
    """The beginning of a journal: what the account held when we first saw it.

    start_ms: market time with which the session's window begins; warm-up ends there.  cash: 1e-8 of the quote coin.
    positions: (symbol, signed steps of the book's grid, cost in 1e-8).  nonce: the second in which the journal began, in hex: part of
    every client order id, so that another journal on the same account (a new one, another home's) gives other names.  grids: tick and
    step of each symbol.  executions: keys (``past.seen_key``) of the last hour's executions, funding included: cash and
    positions contain them, and whoever tells of them again tells nothing new. Nor is what was executed before ``ts``.  log_rows: keys of
    the last hour's rows of the transaction log, which cash contains, too (None: written by a version that did not read them).
    """

    ts: int
    start_ms: int
    account: str
    system_uid: str
    cash: int
    positions: tuple[tuple[str, int, int], ...] = ()
    nonce: str = "0"
    grids: dict[str, str] = msgspec.field(default_factory=dict)
    executions: tuple[str, ...] = ()
    log_rows: tuple[str, ...] | None = None


class Adjusted(Message, frozen=True):
    """A difference to the exchange that was taken over, and why. ``symbol`` "": only cash moved. cash_change in 1e-8.

    reason: ``transfer``, money from outside; ``realized_pnl``, what the exchange realised otherwise of executions that our books have;
    ``adopted``, a person took the exchange's number over; ``rounding``, the last digits of the exchange's number.

    log_rows: keys of the rows of the exchange's transaction log that are the reason; log_ms: time of the newest of them (without keys: the
    log was accounted for up to here); 0: it was not the reason.
    """

    ts: int
    reason: str
    symbol: str = ""
    steps: int = 0
    cost: int = 0
    cash_change: int = 0
    log_ms: int = 0
    log_rows: tuple[str, ...] = ()


class SeriesRows(msgspec.Struct, frozen=True):
    """New rows of a series that a portfolio strategy may ask for: (time, numbers of its columns). timeframe: "" for points in time.

    missing: how many rows more were due and had not come: the decision is taken without them.
    """

    data_type: str
    timeframe: str
    rows: tuple[tuple[int, tuple[float, ...]], ...]
    missing: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.data_type} {self.timeframe}".strip()


class InputsKnown(Message, frozen=True):
    """What features and portfolio strategies read beside bars, as known at ts, when a decision bar of the symbol closes; it comes right
    before that bar. series: what has come to be known since the decision bar before."""

    ts: int
    symbol: str
    values: dict[str, float]
    series: tuple[SeriesRows, ...] = ()


class ClosePosition(Message, frozen=True):
    """A position is to be closed at market, whatever the strategy wants: it has lost its stop."""

    ts: int
    symbol: str
    reason: str


class GateChanged(Message, frozen=True):
    """Whether orders may leave from here on (ACTIVE, REDUCING, HALTED), and why not."""

    ts: int
    state: str
    why: str


class CauseRaised(Message, frozen=True):
    """Something stands in the way of orders from here on: a cause of core/risk/gate/causes.py. symbol "": of all; key: which one; since_ms:
    when it began, earlier than ts where a session before this one left it standing (0: not written down)."""

    ts: int
    cause: str
    symbol: str
    key: str
    text: str
    since_ms: int = 0


class CauseEnded(Message, frozen=True):
    """It does not any more. by: keel, or who lifted it with ``keel session release``."""

    ts: int
    cause: str
    symbol: str
    key: str
    by: str


class Armed(Message, frozen=True):
    """A live session was armed. uid: of the account; by: whose hand; until: ISO time; how: terminal, token, renewal; nonce: which token."""

    ts: int
    uid: int
    by: str
    until: str
    how: str
    nonce: str


class Stated(Message, frozen=True):
    """The exchange's transaction log was held against our books: rows in (since, until], what they add up to, and how much of it our books
    have otherwise (1e-8 of the quote coin). ``items`` names what differs."""

    ts: int
    since_ms: int
    until_ms: int
    rows: int
    change: int
    difference: int
    items: tuple[str, ...] = ()


class ProgramStarted(Message, frozen=True):
    """What a session runs, so that its journal can be replayed without anything else: the first record after SessionStarted.

    config: every key of the system as its epoch runs it.  filename: of the system file.  strategy: SHA-256 of the strategy's sources;
    functions: of the file of each function that the system's own features name.  instruments: as the exchange stated them at this start
    (plain data of core.model.instrument.Instrument).  versions: of Python and of the packages that a result depends on.  without: symbols
    that were left out.
    """

    ts: int
    config: dict[str, Any]
    filename: str
    strategy: str
    functions: dict[str, str]
    instruments: list[dict[str, Any]]
    versions: dict[str, str]
    without: tuple[str, ...] = ()


class WarmUpBars(Message, frozen=True):
    """The bars of one symbol and timeframe before the window, with what features read beside them: written before the Opened of a journal.

    data_type: of a series that a portfolio strategy may ask for; "": the bars that the system decides on.
    columns: name -> little-endian 8-byte numbers; ``ts`` (opens, ms UTC) are integers, all others floats.
    """

    symbol: str
    timeframe: str
    columns: dict[str, bytes]
    data_type: str = ""


class Decided(Message, frozen=True):
    """A decision of the system, in the moment in which it is made: a signal, a denial, an order, an amendment, a cancel, exits.

    made: the message as JSON text, tagged with its type. What comes of it (an order that leaves, a control's no) are records of their own.
    """

    ts: int
    made: str


class Quoted(Message, frozen=True):
    """Best bid and ask of the ticker when an order left the system: what its fill is measured against. ts: of the order."""

    ts: int
    client_order_id: str
    symbol: str
    bid: float
    ask: float


class HearingStopped(Message, frozen=True):
    """Something of ours broke: from here to the end of the session messages are written down, and nobody hears them."""

    ts: int
    error: str


NOTES = (GateChanged, CauseRaised, CauseEnded, Armed, Stated, ProgramStarted, WarmUpBars, Decided, Quoted, HearingStopped, *EVIDENCE)
"""What is written for whoever reads a journal; the actors hear nothing of it."""
TYPES = (Opened, Adjusted, InstantClosed, BarsTooLate, InputsKnown, ClosePosition, *NOTES)
