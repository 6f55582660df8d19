"""What a session before left open: told to the venue, so that it is followed, looked for, or ended."""

from __future__ import annotations

from collections.abc import Callable

from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.execution.venue import BybitVenue
from keel.core.engine.clock import ReplayClock
from keel.core.model.instrument import Instrument
from keel.core.model.messages import FundingRate, Message, OrderUpdate
from keel.core.model.orders import OrderRecord
from keel.core.model.timeframe import DAY_MS
from keel.core.system.config import SystemConfig
from keel.runners.live.memory.history import JournalHistory, in_flight
from keel.runners.live.session.books import Books
from keel.runners.live.startup.connection import Connection


def hand_over(books: Books, venue: BybitVenue, instruments: dict[str, Instrument]) -> list[OrderRecord]:
    """Tell the venue what the journal holds open, and let commands out from now on; returns the orders that never left."""
    sent, never = in_flight(books)
    executor = books.executor
    holdings = {symbol: (line.book.steps, line.book.cost) for symbol, line in books.portfolio.lines.items() if line.book.steps}
    brackets = [(record.parent_id or "", record.client_order_id) for record in executor.bracket_orders()]
    venue.recover(sent, used_names=executor.bracket_names, open_brackets=brackets, holdings=holdings)
    _expect_brackets(executor.bracket_orders(), venue, instruments)
    books.gateway.open(venue)
    return never


def _expect_brackets(records: list[OrderRecord], venue: BybitVenue, instruments: dict[str, Instrument]) -> None:
    """Bracket orders that the actors hold open, followed from the start, so that one that has ended meanwhile is missed and looked at."""
    for record in records:
        role = record.client_order_id.rpartition("-")[2].rstrip("0123456789")
        order = TrackedOrder(
            record.client_order_id, instruments[record.symbol], record.side, 0, parent_id=record.parent_id, role=role
        )  # fmt: skip
        order.life.told = record.told
        venue.tracker.orders.add(order)


def tell_never_sent(never: list[OrderRecord], put: Callable[[Message], None], clock: ReplayClock) -> None:
    """An order that was made and not written down was not sent either: it has ended."""
    for record in never:
        command = record.command
        if command is not None:
            put(
                OrderUpdate(
                    record.client_order_id, record.symbol, clock.now_ms, "rejected", reason="denied: never sent, the program ended before",
                    order_type=command.order_type, price=command.price, trigger_price=command.trigger_price, side=record.side,
                )
            )  # fmt: skip


def cancelled_but_open(books: Books) -> list[OrderRecord]:
    """Orders whose cancel may not have left: they rest, and nobody wants them any more."""
    return [record for record in books.executor.open_orders() if record.is_being_cancelled]


async def missed_rates(connection: Connection, system: SystemConfig, history: JournalHistory, start_ms: int) -> list[FundingRate]:
    """Settled rates that nobody has heard: since the last one, or when the journal begins the one that is in force."""
    if system.category != "linear":
        return []
    rates: list[FundingRate] = []
    for symbol in system.symbols:
        last = history.last_rate_ms.get(symbol)
        since = start_ms - 3 * DAY_MS if last is None else last + 1
        found = await connection.reader.funding_rates(symbol, since, connection.market_ms + 1)
        rates += found[-1:] if last is None else found
    return sorted(rates, key=lambda rate: rate.ts)
