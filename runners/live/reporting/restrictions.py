"""What stands in the way of orders, for people: with what ends it, and the command that lifts it where a person must."""

from __future__ import annotations

from typing import Final

import msgspec

from keel.core.model.time_range import to_iso
from keel.core.risk.gate.gate import Entry, Gate

ADOPTED: Final = ("position_differs", "cash_differs")
"""Causes that end, too, when a person takes the exchange's number over: the same command does it."""


class Restriction(msgspec.Struct, frozen=True):
    """An entry of the gate and its row of the table. symbol "": the whole account; forbids: ``entries``, or ``all but cancels``."""

    cause: str
    symbol: str
    key: str
    since: str
    text: str
    forbids: str
    ends_when: str
    lifted_by: str
    release: str
    """The command that lifts it; "" where no command does."""

    @property
    def line(self) -> str:
        """One line for a screen, a log, an ending."""
        if self.cause in ADOPTED:
            way_out = f"ends when {self.ends_when}: {self.release}"
        else:
            way_out = f"lift it with: {self.release}" if self.release else f"ends when {self.ends_when}"
        return f"{self.symbol or 'all symbols'}  {self.cause} since {self.since}: {self.text}; {way_out}"


def restrictions(gate: Gate, system: str) -> list[Restriction]:
    """Everything that stands in the way now, oldest first."""
    return [_restriction(entry, system) for entry in gate.entries()]


def _restriction(entry: Entry, system: str) -> Restriction:
    row = entry.row
    symbol = f" --symbol {entry.symbol}" if entry.symbol else ""
    release = f"keel session release {system}{symbol} --cause {entry.cause}" if row.lifted_by == "person" or entry.cause in ADOPTED else ""
    if entry.cause in ("arming_expired", "panic"):
        release = ""  # the text says which command: of which account it is is not known here
    forbids = "all but cancels" if row.state.name == "HALTED" else "entries"
    return Restriction(
        entry.cause, entry.symbol or "", entry.key, to_iso(entry.since_ms), entry.text, forbids, row.ends_when, row.lifted_by, release
    )
