"""What a journal holds: the beginning, everything that was heard, and which commands were written down before they were sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from adapters.bybit.fold import seen_of
from adapters.bybit.venue import RecoveredOrder
from adapters.journal import Record, SessionStarted, UnknownMessage
from core.actors.executor import Executor
from core.errors import DataError
from core.messages import (
    AmendOrder,
    CancelAll,
    CancelOrder,
    Fill,
    FundingPayment,
    FundingRate,
    Message,
    OrderUpdate,
    SetTradingStop,
    SubmitOrder,
)
from core.orders import OrderRecord
from runners.live.cycle import Cycle
from runners.live.desk import Desk
from runners.live.records import Opened

_COMMANDS = (SubmitOrder, AmendOrder, CancelOrder, CancelAll, SetTradingStop)


@dataclass(slots=True)
class History:
    """A journal, read."""

    opened: Opened | None = None
    heard: list[Message] = field(default_factory=list)
    """What the actors heard, sessions' beginnings among it."""
    commands: dict[str, SubmitOrder] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    last_execution_ms: int = 0
    last_rate_ms: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, records: Iterable[Record]) -> History:
        """Raises DataError for a record that this program does not know: what it does not know it cannot go on from."""
        found = cls()
        for record in records:
            message = record.message
            if isinstance(message, UnknownMessage):
                raise DataError(f"record {record.seq} of the journal is a {message.kind}, unknown to this version: use the newer one")
            found._note(message)
        found.seen = seen_of(found.heard)
        return found

    def _note(self, message: Message) -> None:
        if isinstance(message, Opened):
            self.opened = message
        elif isinstance(message, SubmitOrder):
            self.commands[message.client_order_id] = message
        elif not isinstance(message, _COMMANDS):
            self.heard.append(message)
        if isinstance(message, (Fill, FundingPayment)):
            self.last_execution_ms = max(self.last_execution_ms, message.ts)
        elif isinstance(message, FundingRate):
            self.last_rate_ms[message.symbol] = message.ts

    def hear_again(self, cycle: Cycle, executor: Executor, desk: Desk, opened: Opened) -> None:
        """Let the actors hear everything again, muted. Raises DataError where they do not order what they ordered then."""
        for message in self.heard:
            if isinstance(message, SessionStarted):
                executor.begin_session(session_prefix(opened, message.number))
            else:
                cycle.apply(message)
        made = {command.client_order_id: command for command in desk.muted}
        for name, written in self.commands.items():
            if made.get(name) != written:
                raise DataError(
                    f"the journal holds the order {name}, and this program, hearing the same, would not have made it, or not so: the code"
                    " has changed since; go on with the version that began, or close the positions and begin anew (--fresh)"
                )

    def in_flight(self, executor: Executor) -> tuple[list[RecoveredOrder], list[OrderRecord]]:
        """(orders that may be at the exchange, orders that never left: their command was not written down)."""
        known: list[RecoveredOrder] = []
        never: list[OrderRecord] = []
        for record in executor.open_orders():
            command = self.commands.get(record.client_order_id)
            if command is None:
                never.append(record)
            else:
                known.append(RecoveredOrder(command, record.state, record.filled_qty))
        return known, never

    def bracket_names(self) -> set[str]:
        """Every name that was ever given to an order that the exchange made."""
        return {each.client_order_id for each in self.heard if isinstance(each, OrderUpdate) and each.parent_id is not None}


def session_prefix(opened: Opened, number: int) -> str:
    """The beginning of a session's client order ids: 8 hex of the system, the journal's nonce, the session's number in the journal."""
    return f"{opened.system_uid[:8]}-{opened.nonce}-{number}"
