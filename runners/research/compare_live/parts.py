"""Splits the difference of two lists of round trips into parts that add up to it exactly. docs/compare-live.md defines each part.

Nothing here is rounded: a part is a difference of integers, and each chain of differences ends where the next one begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from keel.core.model.timeframe import NEVER
from keel.runners.research.compare_live.trips import Leg, Trip

PARTS: Final = ("data", "timing", "latency", "spread", "slippage", "fee", "funding", "size", "missed", "extra", "outside")
"""In the order in which they are told. latency, spread and slippage together are the fill price's."""
FILL_PRICE: Final = ("latency", "spread", "slippage")
Parts = dict[str, int]


class Row(msgspec.Struct, frozen=True):
    """One trip of the session beside the backtest's; None: that side has none. parts: by PARTS, what is not 0, in 1e-8; they add up to
    ``difference``. same_bars: the backtest's trip over the session's own bars, where another was measured over the store's."""

    live: Trip | None
    backtest: Trip | None
    parts: Parts
    same_bars: Trip | None = None

    @property
    def difference(self) -> int:
        """The session's profit less the backtest's."""
        return (self.live.net if self.live else 0) - (self.backtest.net if self.backtest else 0)


def pair(ours: Sequence[Trip], theirs: Sequence[Trip]) -> list[tuple[Trip | None, Trip | None]]:
    """Trips that are the same one: of one symbol and direction, decided at the same time; else those that overlap, in order of time."""
    left = list(theirs)
    found: dict[int, Trip] = {}
    for is_close in (_same_decision, _overlap):
        for place, trip in enumerate(ours):
            if place in found:
                continue
            match = next((other for other in left if _is_alike(trip, other) and is_close(trip, other)), None)
            if match is not None:
                found[place] = match
                left.remove(match)
    pairs: list[tuple[Trip | None, Trip | None]] = [(trip, found.get(place)) for place, trip in enumerate(ours)]
    pairs += [(None, trip) for trip in left]
    return sorted(pairs, key=lambda both: min(trip.entry_ts for trip in both if trip is not None))


def _is_alike(a: Trip, b: Trip) -> bool:
    return (a.symbol, a.direction) == (b.symbol, b.direction)


def _same_decision(a: Trip, b: Trip) -> bool:
    return a.decided_ts == b.decided_ts


def _overlap(a: Trip, b: Trip) -> bool:
    ends = [trip.exit_ts if trip.exit_ts is not None else NEVER for trip in (a, b)]
    return a.entry_ts < ends[1] and b.entry_ts < ends[0]


def split(live: Trip | None, backtest: Trip | None) -> Parts:
    """The parts of one pair (data: of the marks of what both still hold): they add up to live.net - backtest.net (of None: 0)."""
    if backtest is None:
        return _kept({"extra": live.net}) if live is not None else {}
    if live is None:
        return _kept({"missed": -backtest.net})
    size = 0
    if live.steps > backtest.steps:
        whole = live
        live = _share(whole, backtest.steps, whole.steps)
        size = whole.net - live.net
    elif backtest.steps > live.steps:
        whole = backtest
        backtest = _share(whole, live.steps, whole.steps)
        size = backtest.net - whole.net
    parts = dict.fromkeys(PARTS, 0)
    # What both still hold: its marks are data. What one holds and the other has closed counts as closed at its mark.
    kept = min(live.held, backtest.held)
    ours, theirs = (trip.worth * kept // trip.held if kept else 0 for trip in (live, backtest))
    parts["data"] = live.direction * (ours - theirs)
    exits = live.exit.valued(live.worth - ours), backtest.exit.valued(backtest.worth - theirs)
    for side, leg, other in ((live.direction, live.entry, backtest.entry), (-live.direction, *exits)):
        for name, amount in _of_leg(side, leg, other).items():
            parts[name] += amount
    parts["fee"] = backtest.fees - live.fees
    parts["funding"] = backtest.funding - live.funding
    parts["size"] = size
    return _kept(parts)


def _of_leg(side: int, live: Leg, backtest: Leg) -> Parts:
    """side: +1 where it buys. What was paid more is a loss; an order that the system did not give is extra as a whole."""
    if not live.is_own:
        return {"extra": -side * (live.paid - backtest.paid)}
    return {
        "timing": -side * (live.anchor - backtest.anchor),
        "latency": -side * ((live.reference - live.anchor) - (backtest.reference - backtest.anchor)),
        "spread": -side * ((live.spread - live.reference) - (backtest.spread - backtest.reference)),
        "slippage": -side * ((live.paid - live.spread) - (backtest.paid - backtest.spread)),
    }


def _share(trip: Trip, part: int, whole: int) -> Trip:
    return msgspec.structs.replace(
        trip, steps=part, entry=trip.entry.share(part, whole), exit=trip.exit.share(part, whole), fees=trip.fees * part // whole,
        funding=trip.funding * part // whole, worth=trip.worth * part // whole, held=trip.held * part // whole,
    )  # fmt: skip


def _kept(parts: Parts) -> Parts:
    return {name: amount for name, amount in parts.items() if amount}


def rows_of(live: Sequence[Trip], same_bars: Sequence[Trip], stored: Sequence[Trip] | None) -> list[Row]:
    """Every trip of any side in one row. same_bars: the backtest over the bars that the session heard; stored: over the store's, None where
    they are the same or are not there. The rows' differences add up to the session's profit less the backtest's."""
    rows: list[Row] = []
    if stored is None:
        return [Row(ours, theirs, split(ours, theirs)) for ours, theirs in pair(live, same_bars)]
    kept = {id(ours): theirs for ours, theirs in pair(same_bars, stored) if ours is not None}
    taken = {id(theirs) for theirs in kept.values() if theirs is not None}
    for ours, theirs in pair(live, same_bars):
        base = None if theirs is None else kept[id(theirs)]
        data = (theirs.net if theirs else 0) - (base.net if base else 0)
        parts = split(ours, theirs)
        rows.append(Row(ours, base, _kept(parts | {"data": data + parts.get("data", 0)}), theirs))
    rows += [Row(None, trip, _kept({"data": -trip.net})) for trip in stored if id(trip) not in taken]
    return sorted(rows, key=lambda row: min(trip.entry_ts for trip in (row.live, row.backtest, row.same_bars) if trip is not None))


def totals(rows: Sequence[Row], outside: int) -> Parts:
    """The sums of all rows, and what moved the account beside its trips, by PARTS."""
    found = {name: sum(row.parts.get(name, 0) for row in rows) for name in PARTS}
    found["outside"] = outside
    return found
