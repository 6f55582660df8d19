"""What is done about a difference between our books and the exchange's: decided from readings alone, without I/O.

A difference of a symbol (or of cash) that a reading finds lets nothing be added to that symbol. It then ends in one of three ways, after
at most three readings: it is gone (our books agree again), it is taken over (the transaction log shows rows that our books lack, or have
with another profit, of just this amount), or the symbol is frozen with words that name both numbers, until it is gone or taken over.

No more than rounding explains (an exchange keeps more digits than our books) is taken over at once.

Readings decide on each symbol by themselves. The same difference in two readings decides; one that is another each time, in three.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from keel.core.model.money import to_text
from keel.core.risk.gate.gate import Gate
from keel.runners.live.checks.transaction_log import LogRow

MOST_READINGS: Final = 3
"""So many readings decide on any difference."""


class AccountDifference(msgspec.Struct, frozen=True):
    """``symbol`` None: cash. Positions in steps of the book's grid, cash and coins (spot: ``coin`` says which) in 1e-8."""

    symbol: str | None
    ours: int
    theirs: int
    coin: str = ""
    rounding: int = 0
    """How much of it (1e-8) may be rounding: an exchange keeps more digits of its fees and balances than our books."""

    @property
    def is_rounding(self) -> bool:
        """Whether it is no more than rounding explains."""
        return abs(self.theirs - self.ours) <= self.rounding

    @property
    def text(self) -> str:
        """For people."""
        if self.symbol is None:
            return f"cash: our books say {to_text(self.ours)}, the exchange {to_text(self.theirs)}"
        if self.coin:
            return f"{self.symbol}: our books hold {to_text(self.ours)} {self.coin}, the wallet {to_text(self.theirs)}"
        return f"{self.symbol}: our books hold {self.ours} steps, the exchange {self.theirs}"

    @property
    def is_money(self) -> bool:
        """Whether the transaction log could explain it: cash, or a coin of the wallet."""
        return self.symbol is None or bool(self.coin)


class Unbooked(msgspec.Struct, frozen=True):
    """A row of the log, and how much of it (1e-8) our books do not contain: all of one from outside; of one of our own executions that our
    books have, what the exchange realised otherwise."""

    row: LogRow
    units: int
    is_own: bool = False


class Doubt(msgspec.Struct, frozen=True):
    """Nothing is added to this symbol until the next readings have decided."""

    difference: AccountDifference


class Freeze(msgspec.Struct, frozen=True):
    """Nothing is added until this is gone or explained. is_new: it was not frozen before (else only its numbers are others now)."""

    difference: AccountDifference
    is_new: bool


class TakeOver(msgspec.Struct, frozen=True):
    """The log explains it by these rows (none: it is rounding): the books take the exchange's number."""

    difference: AccountDifference
    rows: tuple[Unbooked, ...]


class ComparisonOver(msgspec.Struct, frozen=True):
    """Decided, or gone before it was: the doubt is over."""

    symbol: str | None


class Release(msgspec.Struct, frozen=True):
    """What was frozen agrees again."""

    symbol: str | None


Action = Doubt | Freeze | TakeOver | ComparisonOver | Release


def cause_of(symbol: str | None) -> str:
    """The gate's cause for a difference of this symbol (None: of cash)."""
    return "cash_differs" if symbol is None else "position_differs"


class Comparison:
    """Remembers what the reading before found. ``read`` is given what one reading found, and says what follows from it; what is
    frozen or in doubt is what the gate says: an action that could not be done is asked for again."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._seen: dict[str | None, tuple[AccountDifference, int]] = {}
        """Symbol -> its latest difference, and in how many readings in a row it had one."""

    def settle(self, symbol: str | None) -> None:
        """A person has taken the exchange's number over: nothing is left of the difference."""
        self._seen.pop(symbol, None)

    def is_frozen(self, symbol: str | None) -> bool:
        """Whether a difference of this symbol (None: of cash) stands."""
        return self._gate.has(cause_of(symbol), symbol)

    def to_explain(self, found: Iterable[AccountDifference], *, at_once: bool) -> list[AccountDifference]:
        """Of these differences: those for which the transaction log is worth reading now."""
        return [each for each in found if each.is_money and self._stands(each, at_once)]

    def read(
        self, found: Sequence[AccountDifference], unbooked: Mapping[str | None, Sequence[Unbooked]], *, at_once: bool = False
    ) -> list[Action]:
        """What follows from a reading. unbooked: symbol -> what the log has and our books have not, oldest first;
        at_once: no second reading is waited for."""
        actions: list[Action] = []
        left: dict[str | None, tuple[AccountDifference, int]] = {}
        undecided: set[str | None] = set()
        for each in found:
            stands = self._stands(each, at_once)
            rows = explanation(each, unbooked.get(each.symbol, ())) if stands and each.is_money else ()
            if rows or each.is_rounding:
                actions.append(TakeOver(each, rows))
                continue
            left[each.symbol] = (each, self._count(each.symbol) + 1)
            if stands:
                actions += self._freeze(each)
            else:
                undecided.add(each.symbol)
                actions.append(Doubt(each))
        self._seen = left
        doubted = [entry.symbol for entry in self._gate.entries("being_compared")]
        actions += [ComparisonOver(symbol) for symbol in doubted if symbol not in undecided]
        frozen = [entry.symbol for entry in self._gate.entries("cash_differs", "position_differs")]
        return actions + [Release(symbol) for symbol in frozen if symbol not in left]

    def _stands(self, each: AccountDifference, at_once: bool) -> bool:
        if at_once or each.is_rounding or self.is_frozen(each.symbol):
            return True
        before = self._seen.get(each.symbol)
        return before is not None and (before[0] == each or before[1] + 1 >= MOST_READINGS)

    def _count(self, symbol: str | None) -> int:
        return self._seen[symbol][1] if symbol in self._seen else 0

    def _freeze(self, each: AccountDifference) -> list[Action]:
        if not self.is_frozen(each.symbol):
            return [Freeze(each, is_new=True)]
        before = self._seen.get(each.symbol)
        return [] if before is not None and before[0] == each else [Freeze(each, is_new=False)]


def explanation(found: AccountDifference, rows: Sequence[Unbooked]) -> tuple[Unbooked, ...]:
    """The rows, from the oldest on, that add up to just this difference (but for rounding, which is left to the next reading); empty where
    none do. As many as can be: what is newer than the wallet that was read is left to the next reading."""
    total, best = 0, 0
    for count, row in enumerate(rows, 1):
        total += row.units
        if abs(found.theirs - found.ours - total) <= found.rounding:
            best = count
    return tuple(rows[:best])


def places(rows: Iterable[LogRow], own_types: Collection[str]) -> str:
    """Where these rows came from, for people."""
    listed = list(rows)
    traded = sorted({f"{row.symbol} {row.category}".strip() for row in listed if row.type in own_types})
    words = [f"trading in {', '.join(traded)}, which this system does not trade"] if traded else []
    kinds = sorted({row.type for row in listed if row.type not in own_types})
    if kinds:
        words.append(f"outside ({', '.join(kinds)})")
    return " and ".join(words)
