"""Carries commands to the exchange and deals with each answer. Intents are durable before the first byte; nothing is sent twice blindly.
While a create's intent is put on the medium its request is made, and waits then.

A create is sent again only after an answer that proves that it was not executed (rate limit, clock, busy), with the same client id, and at
most twice. Cancels and whole sets of exits may be repeated, since doing them twice does nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from keel.adapters.bybit.execution.access import Journal
from keel.adapters.bybit.execution.polling.account_reader import AccountReader
from keel.adapters.bybit.execution.polling.query_loop import QueryLoop
from keel.adapters.bybit.execution.sending.command_queue import Command, Kind, QueuedCommand
from keel.adapters.bybit.execution.sending.position_exits import PositionExits
from keel.adapters.bybit.execution.sending.road import TRIES, Road
from keel.adapters.bybit.execution.surroundings import Surroundings
from keel.adapters.bybit.execution.tracking.order_tracker import OrderTracker
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice
from keel.adapters.bybit.transport.rest import Answer
from keel.adapters.bybit.wire import request_bodies as requests
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import MAY_BE_SENT_AGAIN, NOT_EXECUTED, SUCCESS, ExchangeRefusal, Outcome, PayloadError
from keel.core.errors import InvariantError, KeelError
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, OrderStatus, SetTradingStop, SubmitOrder

_SWEEPS: Final = 10
_PATHS: Final = {"create": "/v5/order/create", "amend": "/v5/order/amend", "cancel": "/v5/order/cancel"}


class OrderSender:
    """Deals with one kind of command at a time. hold: says why an order may not leave; "" when it may.  awaited: called for an order whose
    answer was good, so that its news are waited for.  current_price: last price of a symbol."""

    def __init__(
        self,
        tracker: OrderTracker,
        queries: QueryLoop,
        reader: AccountReader,
        road: Road,
        exits: PositionExits,
        around: Surroundings,
        *,
        journal: Journal,
        hold: Callable[[SubmitOrder], Awaitable[str]],
        awaited: Callable[[TrackedOrder], None],
        current_price: Callable[[str], float | None],
    ) -> None:
        self._tracker, self._queries, self._reader, self._road, self._exits = tracker, queries, reader, road, exits
        self._around, self._journal, self._hold, self._awaited = around, journal, hold, awaited
        self._current_price = current_price

    async def send(self, kind: Kind, waiting_commands: list[QueuedCommand]) -> None:
        """Journal the commands, send them (as a batch when there are several), deal with the answers. Where the journal does not take one,
        none of them leaves: whoever writes has told its session, and what is to be cancelled then still goes its way."""
        commands = [queued.command for queued in waiting_commands]
        on_medium = self._written_down(commands)
        if kind == "create":
            await asyncio.sleep(0)  # what else leaves now is written down first: one sync for all
            created = [command for command in commands if isinstance(command, SubmitOrder)]
            await self._create(created, on_medium)
            await on_medium  # a mistake of ours in there is nobody's answer
            return
        if await on_medium:
            return
        if kind == "amend":
            await self._change("amend", [command for command in commands if isinstance(command, AmendOrder)])
        elif kind == "cancel":
            await self._change("cancel", [command for command in commands if isinstance(command, CancelOrder)])
        for command in commands:
            if isinstance(command, CancelAll):
                await self._cancel_all(command)
            elif isinstance(command, SetTradingStop):
                await self._set_exits(command)

    def _written_down(self, commands: Sequence[Command]) -> asyncio.Task[str]:
        """Hand all of them to the journal now; the task ends with "" when they are on the medium, or with why they will not be."""
        why = ""
        waiting: list[Awaitable[None]] = []
        for command in commands:
            try:
                if (written := self._journal(command)) is not None:
                    waiting.append(written)
            except KeelError as error:
                why = why or _not_journalled(error)
        return asyncio.get_running_loop().create_task(_on_medium(waiting, why))

    # --- creates ---

    async def _create(self, commands: list[SubmitOrder], on_medium: asyncio.Task[str]) -> None:
        waiting: list[TrackedOrder] = []
        for command in commands:
            order = self._tracker.orders.get(command.client_order_id)
            if order is None:
                raise InvariantError(f"{command.client_order_id} is sent without being followed")
            waiting.append(order)
        for attempt in range(TRIES):
            waiting = [order for order in waiting if await self._may_leave(order)]
            if not waiting:
                return
            bodies = [self._create_body(order) for order in waiting]
            names = [order.client_order_id for order in waiting]
            answers = await self._road.send(_PATHS["create"], bodies, names, lambda: asyncio.shield(on_medium))
            if not on_medium.done() and all(answer.outcome is Outcome.NOT_SENT for answer in answers):
                await asyncio.shield(on_medium)  # the disk took longer than a request may: nothing has left, and now it may
                continue
            again = [order for order, answer in zip(waiting, answers, strict=True) if not self._created(order, answer, attempt)]
            if again:
                await self._road.before_again(answers)
            waiting = [order for order in again if order.is_open]

    async def _may_leave(self, order: TrackedOrder) -> bool:
        """Asked before every try: what held for the first may not hold for the second."""
        if order.command is None or not order.is_open:
            return False
        reason = requests.off_grid(order.command, order.instrument) or await self._hold(order.command)
        if reason:
            self._tracker.end(order, "rejected", reason, self._around.moment())
        return not reason

    def _create_body(self, order: TrackedOrder) -> requests.Body:
        command = order.command
        if command is None:
            raise InvariantError(f"{order.client_order_id} has no command")
        return requests.create_body(command, order.instrument, self._current_price(order.symbol))

    def _created(self, order: TrackedOrder, answer: Answer, attempt: int) -> bool:
        """Deal with the answer to a create; False: it was certainly not executed and may be sent again."""
        outcome = answer.outcome
        if outcome in SUCCESS:
            self._tracker.acknowledged(order, _order_id(answer), self._around.moment())
            self._awaited(order)
        elif outcome in MAY_BE_SENT_AGAIN and attempt + 1 < TRIES:
            return False
        elif outcome in NOT_EXECUTED:
            self._tracker.end(order, "rejected", answer.reason, self._around.moment())
            self._notify_denial(answer)
        else:
            now = self._around.moment()
            self._tracker.answer_lost(order, f"create: {answer.reason}", now.monotonic_ms, now)
        return True

    # --- amendments and cancels ---

    async def _change(self, kind: Kind, commands: Sequence[AmendOrder | CancelOrder]) -> None:
        refusal: OrderStatus = "amend_rejected" if kind == "amend" else "cancel_rejected"
        live: list[AmendOrder | CancelOrder] = []
        for command in commands:
            order = self._tracker.orders.get(command.client_order_id)
            reason = "" if order is not None and order.is_open else "110001 order not exists or too late"
            if not reason and isinstance(command, AmendOrder):
                reason = requests.off_grid(command, self._tracker.instruments[command.symbol])
            if reason:
                self._tracker.answer(command.client_order_id, command.symbol, refusal, reason, self._around.moment())
            else:
                live.append(command)
        for attempt in range(TRIES):
            if not live:
                return
            bodies = [self._change_body(command) for command in live]
            answers = await self._road.send(_PATHS[kind], bodies, [command.client_order_id for command in live])
            again: list[AmendOrder | CancelOrder] = []
            for command, answer in zip(live, answers, strict=True):
                if not await self._changed(command, answer, refusal, is_last=attempt + 1 == TRIES):
                    again.append(command)
            if again:
                await self._road.before_again(answers)
            live = again

    def _change_body(self, command: AmendOrder | CancelOrder) -> requests.Body:
        order = self._tracker.orders.get(command.client_order_id)
        own_id = order.order_id if order is not None and order.parent_id is not None else None
        instrument = self._tracker.instruments[command.symbol]
        if isinstance(command, AmendOrder):
            return requests.amend_body(command, instrument, own_id)
        return requests.cancel_body(command, instrument, own_id)

    async def _changed(self, command: AmendOrder | CancelOrder, answer: Answer, refusal: OrderStatus, *, is_last: bool) -> bool:
        """Deal with the answer to an amendment or cancel; False: send it again. An order that is gone is looked at, never an error."""
        order = self._tracker.orders.get(command.client_order_id)
        if order is None or not order.is_open:
            return True
        outcome = answer.outcome
        if outcome in SUCCESS:
            order.life.answered()
            self._awaited(order)
            return True
        if outcome in MAY_BE_SENT_AGAIN and not is_last:
            return False
        if outcome not in NOT_EXECUTED:
            view = await self._queries.once(order)
            if order.life.has_ended:
                return True
            if isinstance(command, CancelOrder) and not is_last and outcome is not Outcome.GONE:
                return False  # it still rests, as far as anybody knows: a second cancel harms nothing
            if isinstance(command, AmendOrder) and outcome is not Outcome.GONE:
                self._tracker.amendment_lost(command, order, answer.reason)
                return True
            if view is None or view.is_absent or outcome is not Outcome.GONE:
                now = self._around.moment()
                self._tracker.answer_lost(order, f"{command.__class__.__name__}: {answer.reason}", now.monotonic_ms, now)
        self._tracker.answer(command.client_order_id, command.symbol, refusal, answer.reason, self._around.moment())
        self._notify_denial(answer)
        return True

    # --- everything at once ---

    async def _cancel_all(self, command: CancelAll) -> None:
        """Cancel and look, until nothing of ours rests: one request ends 500 orders at most, chosen at random."""
        reason = ""
        for attempt in range(_SWEEPS):
            answer = await self._reader.cancel_all(command.symbol)
            reason = answer.reason
            await self._around.sleep(min(2.0, 0.25 * 2**attempt))
            try:
                resting = await self._reader.open_orders()
            except (ExchangeRefusal, PayloadError) as error:
                reason = str(error)
                continue
            if not any(command.symbol in (None, row.symbol) for row in resting):
                for order in self._tracker.orders:
                    if command.symbol in (None, order.symbol):
                        self._awaited(order)
                return
        text = f"{command.symbol or 'the account'}: orders still rest after {_SWEEPS} cancellations of all ({reason})"
        self._around.notify(Notice(self._around.exchange_ms, "cancel_all_failed", text, command.symbol, "error", freezes=True))

    # --- exits of positions ---

    async def _set_exits(self, command: SetTradingStop) -> None:
        instrument = self._tracker.instruments[command.symbol]
        held = self._tracker.books.held(command.symbol, command.position_idx)
        if command.bracket.mode == "partial":
            stops = [order for order in self._tracker.orders if order.symbol == command.symbol and order.role in ("sl", "tp")]
            await self._change("cancel", [CancelOrder(order.client_order_id, order.symbol, command.ts) for order in stops])
        for body in requests.trading_stop_bodies(command, instrument, instrument.book_grid.value(held)):
            await self._exits.set(command.symbol, body)

    def _notify_denial(self, answer: Answer) -> None:
        if answer.outcome is Outcome.DENIED:
            text = f"the exchange denies this key: {answer.reason}"
            self._around.notify(Notice(self._around.exchange_ms, "denied", text, severity="error", freezes=True))


async def _on_medium(waiting: Sequence[Awaitable[None]], why: str) -> str:
    for each in waiting:
        try:
            await each
        except KeelError as error:
            why = why or _not_journalled(error)
    return why


def _not_journalled(error: KeelError) -> str:
    return f"denied: not journalled, so not sent ({type(error).__name__})"


def _order_id(answer: Answer) -> str | None:
    try:
        return wire.decode(wire.OrderIds, answer.result).orderId
    except PayloadError:
        return None
