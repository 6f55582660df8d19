"""What a session writes into its journal besides what it heard and ordered."""

from __future__ import annotations

from core.messages import Message


class Opened(Message, frozen=True):
    """The beginning of a journal: what the account held when we first saw it.

    start_ms: market time with which the session's window begins; warm-up ends there.  cash: 1e-8 of the quote coin.
    positions: (symbol, signed steps of the book's grid, cost in 1e-8).  nonce: the second in which the journal began, in hex: part of
    every client order id, so that another journal on the same account (a new one, another home's) gives other names.
    """

    ts: int
    start_ms: int
    account: str
    system_uid: str
    cash: int
    positions: tuple[tuple[str, int, int], ...] = ()
    nonce: str = "0"


class Adjusted(Message, frozen=True):
    """A difference to the exchange that was taken over, and why. ``symbol`` "": only cash moved. cash_change in 1e-8."""

    ts: int
    reason: str
    symbol: str = ""
    steps: int = 0
    cost: int = 0
    cash_change: int = 0


class InstantClosed(Message, frozen=True):
    """All bars that close at ts are in. ``decides``: snapshots of this instant went to the strategy."""

    ts: int
    decides: bool


class BarsTooLate(Message, frozen=True):
    """The bars since the last instant came after their own was closed: they count in the series and bring no decision."""

    ts: int


TYPES = (Opened, Adjusted, InstantClosed, BarsTooLate)
