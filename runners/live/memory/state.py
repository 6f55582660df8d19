"""A session's memory as bytes, and back: what a snapshot in the journal holds, so that a restart need not hear everything again.

The same records give the same bytes, whether they were heard live, in one go, or after a snapshot: a test holds that. Bytes that another
version of keel wrote are not read: the journal is heard again instead.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np

from keel.core.actors.executor import ExecutorMemory
from keel.core.actors.live_series import LiveSeries, SeriesState
from keel.core.actors.memory import take_over
from keel.core.actors.portfolio import PortfolioState
from keel.core.actors.risk import RiskState
from keel.core.errors import InvariantError
from keel.core.risk.controls.order_counts import CountsState
from keel.runners.lifecycle.run_folder import code_versions
from keel.runners.live.market.portfolio_history import HeldRows
from keel.runners.live.memory.activity import Activity
from keel.runners.live.memory.bar_recorder import RecordedSeries
from keel.runners.live.memory.history import JournalHistory
from keel.runners.live.memory.records import InputsKnown
from keel.runners.live.session.books import Books

_MARK_BYTES: Final = 16


class ShownState(msgspec.Struct, frozen=True):
    """What a portfolio strategy is shown beside the account: the history, the trades; and when its next step is due (ms)."""

    history: list[HeldRows]
    trades: list[dict[str, Any]]
    due: int


class SessionState(msgspec.Struct, frozen=True):
    """Everything that follows from a journal's records up to one of them."""

    now_ms: int
    executor: ExecutorMemory
    portfolio: PortfolioState
    risk: RiskState
    strategy: bytes
    series: list[SeriesState]
    closes: bytes
    bars: list[RecordedSeries]
    inputs: list[InputsKnown]
    tape: Activity
    controls: CountsState
    history: JournalHistory
    shown: ShownState | None = None


def is_halfway(books: Books) -> bool:
    """Whether a message, or an instant whose bars a journal holds without its end, is still to be worked off."""
    return bool(books.bus.queue or books.actors.market_data.fresh)


def take(books: Books) -> SessionState:
    """The memory as it is, between two messages; to be written at once. Raises StrategyError for a state() that raises."""
    actors = books.actors
    if is_halfway(books):
        raise InvariantError("a session's memory was asked for in the middle of a message")
    return SessionState(
        books.clock.now_ms,
        books.executor.state(),
        books.portfolio.state(),
        actors.risk.state(),
        books.memory.state(),
        [_live(context.series).state() for context in actors.market_data.contexts.values()],
        books.engine.closes.tobytes(),
        books.bars.state(),
        list(books.inputs.latest.values()),
        books.tape,
        books.controls.counts.state(books.clock.now_ms),
        books.history,
        _shown(books),
    )


def restore(books: Books, state: SessionState) -> None:
    """Go on from a memory. The series are those that ``WarmUp`` made out of it; ``books`` have heard nothing yet."""
    books.clock.now_ms = state.now_ms
    books.executor.restore(state.executor)
    books.portfolio.restore(state.portfolio)
    books.actors.risk.restore(state.risk)
    books.memory.restore(state.strategy)
    books.engine.restore(state.closes)
    books.bars.restore(state.bars)
    books.inputs.restore(state.inputs)
    take_over(books.tape, state.tape)
    books.controls.counts.restore(state.controls)
    take_over(books.history, state.history)
    shown = books.portfolio_desk
    if shown is not None and state.shown is not None:
        if books.inputs.history is not None:
            books.inputs.history.restore(state.shown.history)
        shown.oms.restore(state.shown.trades)
        shown.schedule.due = state.shown.due


def _shown(books: Books) -> ShownState | None:
    shown, history = books.portfolio_desk, books.inputs.history
    if shown is None or history is None:
        return None
    return ShownState(history.state(), shown.oms.state(), shown.schedule.due)


def encode(state: SessionState) -> bytes:
    """Bytes of a memory: equal for equal memories. Raises TypeError for what is no plain data."""
    return _mark() + msgspec.msgpack.encode(state, enc_hook=_plain_number, order="deterministic")


def decode(content: bytes) -> SessionState | str:
    """A memory, or why it cannot be used."""
    if content[:_MARK_BYTES] != _mark():
        return "it was written by another version of keel"
    try:
        return msgspec.msgpack.decode(content[_MARK_BYTES:], type=SessionState)
    except msgspec.MsgspecError as error:
        return f"it cannot be read: {error}"


@cache
def _mark() -> bytes:
    """What tells versions apart: the program's, and the form of everything that is kept."""
    form = msgspec.json.encode([code_versions(), msgspec.json.schema(SessionState)])
    return blake2b(form, digest_size=_MARK_BYTES).digest()


def _live(series: Any) -> LiveSeries:
    if not isinstance(series, LiveSeries):
        raise InvariantError(f"{type(series).__name__} is no series of a session")
    return series


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain data")
