"""I-13: candles are heard once, closed, and in order; decisions come of candles that are in, one for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from keel.core.engine.instant import InstantClosed
from keel.core.model.messages import Bar, Message, SubmitOrder
from tests.faults.checker.seen import Seen


def candles(messages: Iterable[Message], seen: Seen) -> Iterator[str]:
    """The journal's bars and instants, in their order."""
    heard: set[tuple[str, str, int]] = set()
    closes: set[int] = set()
    last, decided = 0, 0
    entries: Counter[tuple[str, int]] = Counter()
    for message in messages:
        if isinstance(message, Bar):
            yield from _bar(message, heard, seen)
            closes.add(message.ts_close)
        elif isinstance(message, InstantClosed):
            if message.ts <= last:
                yield f"I-13: the instant {message.ts} is closed after {last}"
            if message.decides and message.ts not in closes:
                yield f"I-13: at {message.ts} a decision was made, and no candle that closes then was in"
            last = message.ts
            decided = message.ts if message.decides else decided
        elif isinstance(message, SubmitOrder) and message.reason == "signal" and not message.reduce_only:
            entries[message.symbol, message.ts] += 1
            if message.ts < decided:
                yield f"I-13: {message.client_order_id} is of {message.ts}, and the last decision was made at {decided}"
    for (symbol, ts), count in entries.items():
        if count > 1:
            yield f"I-13: {count} entries of {symbol} came of one candle, at {ts}"


def _bar(bar: Bar, heard: set[tuple[str, str, int]], seen: Seen) -> Iterator[str]:
    key = (bar.symbol, bar.tf, bar.ts_open)
    if key in heard:
        yield f"I-13: the candle {bar.symbol} {bar.tf} {bar.ts_open} was heard twice"
    heard.add(key)
    if seen.candles is None:
        return
    theirs, ours = seen.candles.get(key), (bar.open, bar.high, bar.low, bar.close)
    if theirs is None:
        yield f"I-13: the candle {bar.symbol} {bar.tf} {bar.ts_open} was heard, and has never closed at the exchange"
    elif theirs != ours:
        yield f"I-13: the candle {bar.symbol} {bar.tf} {bar.ts_open} was heard as {ours}, and closed as {theirs}"
