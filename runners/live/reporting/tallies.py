"""What did not go the usual way, counted: for the screen, ``keel session status`` and the artifacts' warnings. It needs no person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keel.runners.live.memory.history import JournalHistory
    from keel.runners.live.session.live import Live

MOST_NAMED: Final = 3
"""So many series are counted one by one; more of them in one line."""
_TAKEN_OVER: Final[Mapping[str, str]] = {
    "adopted": "differences that a person adopted",
    "transfer": "transfers taken over",
    "realized_pnl": "profits of the exchange taken over",
    "rounding": "roundings taken over",
}
"""Reason of an ``Adjusted`` record -> words."""


def of_journal(history: JournalHistory) -> dict[str, int]:
    """Since the journal began, sessions before this one included: words -> how often. Many series are one count: the log names each."""
    taken = {_TAKEN_OVER.get(reason, reason): count for reason, count in history.taken_over.items()}
    without = history.without
    if len(without) > MOST_NAMED:
        return taken | {f"decisions without all of a series ({len(without)} series)": sum(without.values())}
    return taken | {f"decisions without all of {series}": count for series, count in without.items()}


def tallies(live: Live) -> dict[str, int]:
    """The journal's tallies, and what this session's streams had to leave out; only counts above 0."""
    streams = (live.venue.private.stream, live.market.stream)
    counts = {
        "messages that could not be read": sum(stream.quarantined for stream in streams),
        "messages whose handling broke": sum(stream.handler_errors for stream in streams),
        "messages of unknown topics": sum(sum(stream.unknown_topics.values()) for stream in streams),
        "news that the private stream kept to itself": live.venue.stream_misses,
    }
    return of_journal(live.books.history) | {words: count for words, count in counts.items() if count}
