"""From signals to round trips: what became of every signal and of every order, as counts with one worked example each.

    signals = ordered + withdrawn + ignored + denied
    orders  = filled + rejected + expired + cancelled + resting

A signal is counted once, where risk decides on it. ``ordered``: it became an order, or several. ``withdrawn``: it only cancelled an order
that waited to lead away from its target. ``ignored``: the position is already what it asks for. ``denied``: by our own rules; where the
signal was a flip, its closing half may have been done all the same (``Counted.closed``). An order of a portfolio strategy is a signal here.
Orders are those that risk sent and those that the venue made by itself out of brackets (their origin is ``bracket``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, Literal

import msgspec

from keel.core.model.money import to_text, to_units
from keel.core.model.time_range import to_iso


class Counted(msgspec.Struct):
    """How often something happened for one reason, and the first time as an example.

    ts: ms UTC, 0 where it was only counted.  value, limit: in the unit of the rule that ``reason`` names.  closed: of denied flips, how
    many were closed nevertheless.  detail: the venue's own words the first time, where they hold numbers that ``reason`` leaves out.
    """

    reason: str
    count: int = 0
    ts: int = 0
    symbol: str = ""
    value: float = 0.0
    limit: float = 0.0
    closed: int = 0
    detail: str = ""

    def to_plain(self) -> dict[str, Any]:
        """As plain data; without an example where there is none, and without numbers that are 0 or no numbers."""
        row: dict[str, Any] = {"reason": self.reason, "count": self.count}
        if self.closed:
            row["closed"] = self.closed
        if self.ts:
            row |= {"symbol": self.symbol, "ts": self.ts, "time": to_iso(self.ts)}
        for name in ("value", "limit"):
            number = getattr(self, name)
            if number and isfinite(number):
                row[name] = number
        return row | ({"detail": self.detail} if self.detail else {})


Tally = dict[str, Counted]
"""By reason, in the order in which the reasons first came."""


def count(tally: Tally, reason: str, ts: int, symbol: str, value: float = 0.0, limit: float = 0.0, *, closed: bool = False) -> None:
    """One more."""
    counted = tally.get(reason)
    if counted is None:
        counted = tally[reason] = Counted(reason, 0, ts, symbol, float(value), float(limit))
    counted.count += 1
    counted.closed += closed


def count_words(tally: Tally, words: str, ts: int, symbol: str) -> None:
    """One more, by a venue's words: their numbers, which differ from order to order, are left out, but for the code at their head."""
    if words in tally:
        tally[words].count += 1
        return
    code, space, rest = words.partition(" ")
    reason = f"{code}{space}{_NUMBER.sub('…', rest)}"
    if len(tally) >= MOST_WORDS and reason not in tally:
        reason = OTHER_WORDS
    count(tally, reason, ts, symbol)
    if reason != words and not tally[reason].detail:
        tally[reason].detail = words


MOST_WORDS: Final = 200
OTHER_WORDS: Final = "other words"
"""The reason under which everything counts that comes after MOST_WORDS different ones: a tally does not grow with a session's length."""

_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def copied(tally: Tally) -> Tally:
    """An independent copy of the counts."""
    return {reason: msgspec.structs.replace(counted) for reason, counted in tally.items()}


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one signal. closed: a flip that was denied, and whose closing half was done."""

    what: Literal["ordered", "withdrawn", "ignored", "denied"]
    reason: str = ""
    value: float = 0.0
    limit: float = 0.0
    closed: bool = False


ORDERED: Final = Outcome("ordered")
WITHDRAWN: Final = Outcome("withdrawn")
HELD_ALREADY: Final = Outcome("ignored", "held_already")
FLAT_ALREADY: Final = Outcome("ignored", "flat_already")


BY_SIZER: Final = "sizer"
"""What a signal's size_usd is capped by where the sizer's answer is less: nobody's limit, but the size that the system file gives."""


class SignalCounts(msgspec.Struct):
    """What became of the signals so far; risk keeps it."""

    signals: int = 0
    ordered: int = 0
    withdrawn: int = 0
    ignored: Tally = {}
    denied: Tally = {}
    capped: Tally = {}
    """Of the ordered ones: those whose size a limit made smaller, by the limit."""

    def note_capped(self, ts: int, symbol: str, reason: str, asked_usd: float, left_usd: float) -> None:
        """An entry is smaller than it was asked for; notionals in quote coins."""
        count(self.capped, reason, ts, symbol, asked_usd, left_usd)
        self.capped[reason].detail = self.capped[reason].detail or f"{asked_usd:,.2f} was asked for, {left_usd:,.2f} is left of it"

    def note(self, ts: int, symbol: str, outcome: Outcome) -> None:
        """One more signal, and what became of it."""
        self.signals += 1
        if outcome.what == "ordered":
            self.ordered += 1
        elif outcome.what == "withdrawn":
            self.withdrawn += 1
        else:
            tally = self.ignored if outcome.what == "ignored" else self.denied
            count(tally, outcome.reason, ts, symbol, outcome.value, outcome.limit, closed=outcome.closed)

    def copy(self) -> SignalCounts:
        """An independent copy of the counts."""
        return SignalCounts(self.signals, self.ordered, self.withdrawn, copied(self.ignored), copied(self.denied), copied(self.capped))


class OpenTrade(msgspec.Struct, frozen=True):
    """A round trip that is still open, valued at the last mark. qty: base units held now, unsigned.

    unrealized_pnl: 1e-8 of the quote coin, before the fees of an exit; what it has realised and paid so far stands in its Trade.
    """

    number: int
    symbol: str
    side: Literal["LONG", "SHORT"]
    qty: float
    entry_ts: int
    entry_price: float
    mark_price: float
    unrealized_pnl: int
    dust: bool = False
    """Whether the exchange would take no order for what is held (spot, core/model/dust.py)."""

    def to_plain(self) -> dict[str, Any]:
        """As plain data; money as exact decimal text."""
        row = msgspec.structs.asdict(self)
        row["unrealized_pnl"] = to_text(self.unrealized_pnl)
        return {"open": True, **row, "entry_time": to_iso(self.entry_ts)}


class Dust(msgspec.Struct, frozen=True):
    """What closed round trips left of a coin (spot): no trade any more, and too little for the exchange to take (core/model/dust.py).

    qty: base units.  value, unrealized_pnl: 1e-8 of the quote coin at the last price; both stand in equity.
    """

    symbol: str
    qty: float
    mark_price: float
    value: int
    unrealized_pnl: int

    def to_plain(self) -> dict[str, Any]:
        """As plain data; money as exact decimal text."""
        return msgspec.structs.asdict(self) | {name: to_text(getattr(self, name)) for name in _DUST_MONEY}


_DUST_MONEY: Final = ("value", "unrealized_pnl")


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run's signals and orders.

    capped: of the ordered signals, those that a limit made smaller.  origins: orders by why they were made.
    rejected, expired, cancelled: by the venue's code and words.  exits_refused: stops and targets
    that the venue did not take for a position that is held; they belong to no order.  fills: executions, of which ``takeovers`` belong
    to no order (liquidations).  trades: closed round trips.
    """

    signals: int = 0
    ordered: int = 0
    withdrawn: int = 0
    ignored: tuple[Counted, ...] = ()
    denied: tuple[Counted, ...] = ()
    capped: tuple[Counted, ...] = ()
    orders: int = 0
    origins: dict[str, int] = {}
    filled: int = 0
    rejected: tuple[Counted, ...] = ()
    expired: tuple[Counted, ...] = ()
    cancelled: tuple[Counted, ...] = ()
    resting: int = 0
    exits_refused: tuple[Counted, ...] = ()
    fills: int = 0
    takeovers: int = 0
    trades: int = 0
    open: tuple[OpenTrade, ...] = ()
    dust: tuple[Dust, ...] = ()
    """What closed round trips left of their coins."""

    @property
    def signals_missing(self) -> int:
        """Signals of which nobody knows what became: 0, or the funnel is not to be believed."""
        return self.signals - self.ordered - self.withdrawn - total(self.ignored) - total(self.denied)

    @property
    def orders_missing(self) -> int:
        """Orders of which nobody knows what became: 0, or the funnel is not to be believed."""
        return self.orders - self.filled - total(self.rejected) - total(self.expired) - total(self.cancelled) - self.resting

    @property
    def wishes(self) -> int:
        """Signals that asked for something that was not so already."""
        return self.signals - total(self.ignored)

    @property
    def orders_sent(self) -> int:
        """Orders that we sent; the others the venue made by itself out of brackets."""
        return self.orders - self.origins.get(BRACKET, 0)

    def to_plain(self) -> dict[str, Any]:
        """As plain data, for files and answers."""
        row: dict[str, Any] = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            row[name] = [each.to_plain() for each in value] if isinstance(value, tuple) else value
        return row

    @classmethod
    def from_plain(cls, row: Mapping[str, Any]) -> Funnel:
        """The funnel that ``to_plain`` gave. Raises msgspec.ValidationError, a ValueError, for what is none."""
        held = [{**each, "unrealized_pnl": to_units(each["unrealized_pnl"])} for each in row.get("open", ())]
        left = [{**each, **{name: to_units(each[name]) for name in _DUST_MONEY}} for each in row.get("dust", ())]
        return msgspec.convert({**row, "open": held, "dust": left}, cls)

    def counts(self) -> dict[str, Any]:
        """The numbers alone: a stage's number, or its numbers by reason."""
        row: dict[str, Any] = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            row[name] = len(value) if name in ("open", "dust") else dict(_numbers(value)) if isinstance(value, tuple) else value
        return row


BRACKET: Final = "bracket"
"""The origin of the orders that a venue makes by itself: stop-losses, take-profits and trailing stops."""


def total(counted: Iterable[Counted]) -> int:
    """How many in all."""
    return sum(each.count for each in counted)


def counted_only(numbers: Mapping[str, int]) -> tuple[Counted, ...]:
    """Counts by reason without an example; what never happened is left out."""
    return tuple(Counted(reason, number) for reason, number in numbers.items() if number)


def why_no_trades(funnel: Funnel) -> str:
    """Why there is no fill, in a few words; empty where there is one."""
    if funnel.fills:
        return ""
    if not funnel.signals:
        return "no signal"
    if not funnel.orders:
        ends = [*_ends("denied", funnel.denied), *_ends("ignored", funnel.ignored), ("on the way still", "", funnel.ordered)]
        return _all_of("signal", funnel.signals, ends)
    ends = [*_ends("rejected", funnel.rejected), *_ends("expired", funnel.expired), *_ends("cancelled", funnel.cancelled)]
    return _all_of("order", funnel.orders, [*ends, ("not filled by the end", "", funnel.resting)])


def _numbers(counted: Iterable[Counted]) -> Iterable[tuple[str, int]]:
    return ((each.reason, each.count) for each in counted)


def _ends(what: str, counted: Iterable[Counted]) -> list[tuple[str, str, int]]:
    return [(what, f" ({each.reason})", each.count) for each in counted]


def _all_of(noun: str, number: int, ends: Sequence[tuple[str, str, int]]) -> str:
    """all 720 signals were denied (invalid_stop_loss); 3 orders: 2 rejected (110007), 1 not filled by the end"""
    happened = [each for each in ends if each[2]]
    if len(happened) > 1:
        return f"{number:,} {noun}s: " + ", ".join(f"{count:,} {what}{why}" for what, why, count in happened)
    whole = f"the only {noun} was" if number == 1 else f"all {number:,} {noun}s were"
    return f"{whole} {happened[0][0]}{happened[0][1]}" if happened else f"{number:,} {noun}s"
