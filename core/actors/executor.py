"""The executor owns every order's life: it turns approved intents into commands, and follows each through the table of core.model.orders.

It takes OrderIntent and nothing else, and only risk makes those: there is no other way to an order. Client order ids are
``<prefix>-<number>``, counted. Orders that the venue makes out of a bracket are adopted when it first speaks of them (an OrderUpdate with
parent_id, before any fill of theirs) and take the next number. Closed orders are let go; their numbers and reasons stay, and ``ended``
counts by reason what was not filled (core/results/funnel.py).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from copy import deepcopy

import msgspec

from keel.core.actors.order_log import Kind, OrderLog
from keel.core.engine.clock import Clock
from keel.core.errors import ConfigError, InvariantError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import CancelOrder, Fill, Halt, Message, OrderDenied, OrderIntent, OrderUpdate, SignalDenied, SubmitOrder
from keel.core.model.orders import CLOSED, OrderRecord, OrderState, trading_stop_id
from keel.core.results.funnel import BRACKET, Tally, count_words

_MAX_PREFIX_LENGTH = 24  # of the 36 that the exchange takes: leaves eleven digits for the number
_REFUSALS = ("cancel_rejected", "amend_rejected")
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


class ExecutorMemory(msgspec.Struct):
    """Everything that an executor remembers, as plain data: a snapshot keeps it, a restart goes on from it."""

    prefix: str
    """Of the orders from now on, with its dash."""
    former: tuple[str, ...] = ()
    """Of orders of earlier sessions."""
    live: dict[str, OrderRecord] = {}
    """By client order id, oldest first."""
    children: dict[str, int] = {}
    """Number by client order id of every order that the venue ever made out of a bracket."""
    reasons: list[str] = []
    """Why each order was made; an order's number is its place, from 1."""
    received: int = 0
    """Intents."""
    own_open: int = 0
    """Open orders that came from intents."""
    closed_counts: dict[OrderState, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(("filled", "cancelled", "rejected", "expired"), 0)
    )
    ended: dict[OrderState, Tally] = msgspec.field(default_factory=lambda: {"rejected": {}, "expired": {}, "cancelled": {}})
    exits_refused: Tally = {}
    order_log: OrderLog = msgspec.field(default_factory=OrderLog)


class Executor:
    """One account's orders. ``emit`` takes the commands. Raises ConfigError for a prefix that the exchange would not take."""

    __slots__ = ("_clock", "_emit", "_grids", "memory")

    def __init__(
        self,
        prefix: str,
        instruments: Mapping[str, Instrument],
        clock: Clock,
        emit: Callable[[Message], None],
        *,
        log_capacity: int = 10_000,
    ) -> None:
        self.memory = ExecutorMemory(_checked(prefix) + "-", order_log=OrderLog(log_capacity))
        self._grids = {symbol: (each.qty_grid.num, each.qty_grid.den) for symbol, each in instruments.items()}
        self._clock = clock
        self._emit = emit

    # --- from risk ---

    def on_intent(self, intent: OrderIntent) -> None:
        """Submit an approved order, after cancelling what rests of the symbol when it says so. qty 0: only cancel."""
        memory = self.memory
        memory.received += 1
        symbol, qty = intent.symbol, intent.qty
        if qty == 0.0:
            self._cancel_before(intent)
            return
        num, den = self._grids[symbol]
        if not 0.0 < qty < math.inf or round(qty * den / num) * num / den != qty:  # Grid.is_on, in place
            raise InvariantError(f"{symbol}: an intent of {qty!r}, which is not a positive quantity on the grid")
        reason, side = intent.reason, intent.side
        number = len(memory.reasons) + 1
        client_order_id = f"{memory.prefix}{number}"
        now = self._clock.now_ms
        command = SubmitOrder(
            client_order_id,
            symbol,
            side,
            intent.order_type,
            qty,
            now,
            intent.price,
            intent.trigger_price,
            intent.trigger_by,
            None,
            intent.time_in_force,
            intent.reduce_only,
            False,
            0,
            intent.bracket,
            reason,
        )  # it refuses what the intent must not hold, before anything is sent
        if memory.own_open:
            self._cancel_before(intent)
        memory.reasons.append(reason)
        memory.live[client_order_id] = OrderRecord(number, client_order_id, symbol, side, now, command)
        memory.own_open += 1
        self._emit(command)

    def on_halt(self, halt: Halt) -> None:
        """Cancel every entry. Exits stay: a held position keeps its stops, and one that is flattened takes them with it."""
        for record in self.open_orders():
            if record.command is not None and not record.command.reduce_only:
                self._cancel(record)

    def on_denied(self, denial: SignalDenied | OrderDenied) -> None:
        """Keep a denial for the order log."""
        kind: Kind = "signal_denied" if denial.__class__ is SignalDenied else "order_denied"
        self.memory.order_log.add(kind, denial.ts, denial.symbol, denial.reason, value=denial.value, limit=denial.limit)

    # --- from the venue ---

    def on_order_update(self, update: OrderUpdate) -> None:
        """Follow an order. Raises InvariantError for a change that the table does not allow, or an order that nobody knows."""
        memory = self.memory
        record = memory.live.get(update.client_order_id)
        if record is None:
            if update.status in _REFUSALS and self.order_number(update.client_order_id):
                return  # it had ended before the cancellation or amendment arrived
            if update.status == "rejected" and update.client_order_id == trading_stop_id(update.symbol):
                memory.order_log.add("rejected", update.ts, update.symbol, update.reason)
                count_words(memory.exits_refused, update.reason, update.ts, update.symbol)
                return
            record = self._adopt(update)
        record.follow(update.status)
        state = record.told
        record.ts_updated = update.ts
        if state not in CLOSED:
            if update.status == "amended" and record.command is not None:
                record.command = self._amended(record.command, update)
            return
        record.reason = update.reason
        del memory.live[update.client_order_id]
        memory.closed_counts[state] += 1
        if record.parent_id is None:
            memory.own_open -= 1
        if state != "filled":
            count_words(memory.ended[state], update.reason, update.ts, record.symbol)
        if state == "rejected" or state == "expired":
            memory.order_log.add(state, update.ts, record.symbol, update.reason, order=record.number)

    def on_fill(self, fill: Fill) -> None:
        """Count what was filled. A takeover (kind bust) belongs to no order. Raises InvariantError for more than was ordered."""
        record = self.memory.live.get(fill.client_order_id)
        if record is None:
            return  # its last update was here first, or it is a takeover
        filled = fill.qty
        if record.filled_qty:
            num, den = self._grids[record.symbol]
            filled = round((record.filled_qty + filled) * den / num) * num / den
        command = record.command
        if command is not None and 0.0 < command.qty < filled:
            raise InvariantError(f"{fill.symbol} {fill.client_order_id}: {filled} filled of {command.qty}")
        record.filled_qty = filled

    def begin_session(self, prefix: str) -> None:
        """Name the orders from now on otherwise; their numbers go on, and earlier orders keep their names. For accounts that outlive a
        program: no name is given twice. Raises ConfigError for a prefix that the exchange would not take."""
        memory, named = self.memory, _checked(prefix) + "-"
        memory.former, memory.prefix = (*memory.former, memory.prefix), named

    def state(self) -> ExecutorMemory:
        """What it remembers, to be written at once: it is not copied."""
        return self.memory

    def restore(self, state: ExecutorMemory) -> None:
        """Go on from a ``state()``; nothing is shared with it."""
        self.memory = deepcopy(state)

    # --- what others read ---

    @property
    def received(self) -> int:
        """How many intents it has taken so far."""
        return self.memory.received

    @property
    def own_open(self) -> int:
        """How many orders are open that came from intents (the venue's bracket orders are not counted)."""
        return self.memory.own_open

    def open_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        """Open orders that came from intents, oldest first; those of brackets are the venue's and not among them."""
        return [r for r in self.memory.live.values() if r.parent_id is None and (symbol is None or r.symbol == symbol)]

    def bracket_orders(self, symbol: str | None = None) -> list[OrderRecord]:
        """Open orders that the venue made out of brackets, oldest first."""
        return [r for r in self.memory.live.values() if r.parent_id is not None and (symbol is None or r.symbol == symbol)]

    def order_number(self, client_order_id: str) -> int:
        """The number under which an order was counted; 0 for one that is not known (a takeover's)."""
        record = self.memory.live.get(client_order_id)
        if record is not None:
            return record.number
        number = self.memory.children.get(client_order_id)
        if number is not None:
            return number
        prefix = self.memory.prefix
        if not client_order_id.startswith(prefix):
            prefix = next((each for each in self.memory.former if client_order_id.startswith(each)), "")
            if not prefix:
                return 0
        digits = client_order_id[len(prefix) :]
        return int(digits) if digits.isdecimal() and int(digits) <= len(self.memory.reasons) else 0

    @property
    def bracket_names(self) -> list[str]:
        """The id of every order that the venue ever made out of a bracket."""
        return list(self.memory.children)

    @property
    def orders_by_reason(self) -> dict[str, int]:
        """How many orders there have been by why they were made; those that the venue made stand together, as ``bracket``."""
        counts = Counter(self.memory.reasons)
        counts.subtract(self.memory.reasons[number - 1] for number in self.memory.children.values())
        counts[BRACKET] += len(self.memory.children)
        return {reason: number for reason, number in counts.items() if number}

    @property
    def orders_made(self) -> int:
        """How many orders there have been, brackets' included; the number of the latest."""
        return len(self.memory.reasons)

    # --- inside ---

    def _cancel_before(self, intent: OrderIntent) -> None:
        if intent.cancel_first and self.memory.own_open:
            for record in self.open_orders(intent.symbol):
                self._cancel(record)

    def _cancel(self, record: OrderRecord) -> None:
        record.cancelling()
        self._emit(CancelOrder(record.client_order_id, record.symbol, self._clock.now_ms))

    def _amended(self, command: SubmitOrder, update: OrderUpdate) -> SubmitOrder:
        """The order as it rests now: what is open, and how much may be filled of it, is asked of its record."""
        num, den = self._grids[command.symbol]
        qty = round((update.filled_qty + update.leaves_qty) * den / num) * num / den
        return msgspec.structs.replace(command, qty=qty, price=update.price, trigger_price=update.trigger_price)

    def _adopt(self, update: OrderUpdate) -> OrderRecord:
        """Take in an order that the venue made: it exists there already, so it begins as accepted."""
        if update.parent_id is None or self.order_number(update.client_order_id):
            raise InvariantError(f"{update.symbol}: {update.status} for order {update.client_order_id!r}, which is not open")
        self.memory.reasons.append(update.reason or BRACKET)
        number = len(self.memory.reasons)
        record = OrderRecord(number, update.client_order_id, update.symbol, update.side, update.ts, None, update.parent_id)
        record.told = "accepted"
        self.memory.children[update.client_order_id] = number
        self.memory.live[update.client_order_id] = record
        return record


def _checked(prefix: str) -> str:
    if not prefix or len(prefix) > _MAX_PREFIX_LENGTH or not _ALPHABET.issuperset(prefix):
        raise ConfigError(f"order id prefix {prefix!r}: 1 to {_MAX_PREFIX_LENGTH} of A-Z a-z 0-9 _ - are needed")
    return prefix
