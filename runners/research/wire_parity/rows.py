"""Both sides in rows of one form (orders by their number, times in ms, money in 1e-8), so that a difference stands beside its
counterpart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from keel.core.model.frame import BAR_COLUMNS
from keel.core.model.messages import Fill, FundingPayment, Liquidation, Message, SubmitOrder

Row = dict[str, Any]
Table = Mapping[str, npt.NDArray[Any]]
"""Columns of equal length; ``ts`` is the time at which each row was known."""

KINDS: Final = ("bars", "marks", "orders", "fills", "funding payments", "liquidations", "equity points", "final account")
"""What is compared, in the order in which equal times are told: what comes first may be the cause of what comes after."""
_ROLES: Final = {"sl": "stop loss", "tp": "take profit", "ts": "trailing stop"}
BAR_FIELDS: Final = ("ts_open", *BAR_COLUMNS)


@dataclass(slots=True)
class Side:
    """What one side had. tables: bars and marks by symbol, and the equity under ""; rows: the other kinds."""

    tables: dict[str, dict[str, Table]] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        found = {kind: sum(len(table["ts"]) for table in tables.values()) for kind, tables in self.tables.items()}
        found |= {kind: len(rows) for kind, rows in self.rows.items()}
        return {kind: found[kind] for kind in KINDS}


def message_rows(commands: Iterable[Message], venue: Iterable[Message]) -> dict[str, list[Row]]:
    """Orders and what became of them. commands: what the system ordered; venue: what the exchange said. Each in its order."""
    names = _Names()
    orders = [names.order(command) for command in commands]
    told = list(venue)
    return {
        "orders": orders,
        "fills": [names.fill(message) for message in told if isinstance(message, Fill)],
        "funding payments": [_plain(message) for message in told if isinstance(message, FundingPayment)],
        "liquidations": [_plain(message) for message in told if isinstance(message, Liquidation)],
    }


class _Names:
    """Client order ids as both sides can say them: order 3, or the stop loss of order 3."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def order(self, command: Message) -> Row:
        if isinstance(command, SubmitOrder):
            self._numbers[command.client_order_id] = len(self._numbers) + 1
        row = {"kind": type(command).__name__, **_plain(command)}
        if "client_order_id" in row:
            row["order"] = self.of(row.pop("client_order_id"))
        return row

    def fill(self, fill: Fill) -> Row:
        """``reference`` is left out, since only a simulation knows the path before costs; names of executions are each venue's own."""
        row = _plain(fill)
        row["order"] = self.of(row.pop("client_order_id"))
        del row["fill_id"], row["reference"]
        return row

    def of(self, name: str) -> str:
        if name in self._numbers:
            return f"order {self._numbers[name]}"
        parent, _, role = name.rpartition("-")
        role = role.rstrip("0123456789")
        if parent in self._numbers and role in _ROLES:
            return f"{_ROLES[role]} of order {self._numbers[parent]}"
        return _ROLES.get(role, f"no order of the system ({name})")


def _plain(message: Message) -> Row:
    row: Row = msgspec.to_builtins(message)
    row.pop("type", None)
    return row


def table(**columns: Sequence[Any] | npt.NDArray[Any]) -> Table:
    """Columns as arrays."""
    return {name: np.asarray(column) for name, column in columns.items()}


def first_row(ours: Table, theirs: Table) -> int | None:
    """The first row that is not the same, bit for bit; None where there is none."""
    rows = min(len(ours["ts"]), len(theirs["ts"]))
    same = np.ones(rows, dtype=bool)
    for name in ours:
        a, b = ours[name][:rows], theirs[name][:rows]
        same &= (a == b) | ((a != a) & (b != b))
    if not same.all():
        return int(np.argmin(same))
    return None if len(ours["ts"]) == len(theirs["ts"]) else rows


def row_of(found: Table, number: int) -> Row | None:
    """One row; None past the end."""
    return {name: column[number].item() for name, column in found.items()} if number < len(found["ts"]) else None
