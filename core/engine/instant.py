"""What closes together: the messages of one time, in the order in which everybody hears them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from keel.core.model.messages import Bar, MarkPrice, Message


class InstantClosed(Message, frozen=True):
    """All bars that close at ts are in. ``decides``: snapshots of this instant go to the strategy."""

    ts: int
    decides: bool


class BarsTooLate(Message, frozen=True):
    """The bars since the last instant came after their own was closed: they count in their series and bring no decision."""

    ts: int


class Instant(msgspec.Struct, frozen=True):
    """A complete instant: ``bars`` close at ts (ms UTC), finest timeframe first, symbols in the order of the system.

    known: what features read beside the bars.  funding: rates that were settled by ts (of a history: all that a hole has held up, too).
    marks: latest mark price by symbol; a symbol's is heard before the first of its bars.  bars: of a history also what comes after them
    (open interest).  decides: whether the strategy is asked.
    """

    ts: int
    funding: Sequence[Message] = ()
    marks: Mapping[str, float] = {}
    bars: Sequence[Message] = ()
    decides: bool = True
    known: Sequence[Message] = ()

    def messages(self) -> Iterator[Message]:
        """All that is heard, in order, up to the end of the instant."""
        yield from self.known
        yield from self.funding
        marked: set[str] = set()
        for bar in self.bars:
            if isinstance(bar, Bar) and bar.symbol not in marked:
                marked.add(bar.symbol)
                if bar.symbol in self.marks:
                    yield MarkPrice(bar.symbol, self.ts, self.marks[bar.symbol])
            yield bar
        yield InstantClosed(self.ts, self.decides)


class LateBar(msgspec.Struct, frozen=True):
    """A bar whose instant is over: it counts in its series, and nobody decides on it. known: what features read beside it."""

    bar: Bar
    known: Sequence[Message] = ()

    def messages(self) -> Iterator[Message]:
        """All that is heard, in order."""
        yield from self.known
        yield self.bar
        yield BarsTooLate(self.bar.ts_close)
