"""Carries commands to the exchange and deals with each answer. Intents are durable before the first byte; nothing is sent twice blindly.
While a create's intent is put on the medium its request is made, and waits then.

A create is sent again only after an answer that proves that it was not executed (rate limit, clock, busy), with the same client id, and at
most twice. Cancels and whole sets of exits may be repeated, since doing them twice does nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

from keel.adapters.bybit.execution.account_reader import AccountReader
from keel.adapters.bybit.execution.command_queue import Command, Kind, QueuedCommand
from keel.adapters.bybit.execution.order_tracker import OrderTracker
from keel.adapters.bybit.execution.resolver import Resolver
from keel.adapters.bybit.execution.tracked_order import TrackedOrder
from keel.adapters.bybit.notices import Notice, Notify
from keel.adapters.bybit.transport.rest import Answer
from keel.adapters.bybit.transport.right_of_way import RightOfWay
from keel.adapters.bybit.transport.send_stop import Durable, Written, durable_already, untold
from keel.adapters.bybit.wire import request_bodies as requests
from keel.adapters.bybit.wire import shapes as wire
from keel.adapters.bybit.wire.return_codes import MAY_BE_SENT_AGAIN, NOT_EXECUTED, SUCCESS, ExchangeRefusal, Outcome, PayloadError, of_code
from keel.core.errors import InvariantError, KeelError
from keel.core.model.instrument import Instrument
from keel.core.model.messages import AmendOrder, CancelAll, CancelOrder, Message, OrderStatus, SetTradingStop, SubmitOrder

Journal = Callable[[Message], Awaitable[None] | None]

_TRIES: Final = 3
_REFUSALS: Final = 3
_REFUSED_S: Final = 0.5
"""How often, and how far apart, exits that are refused are asked for: a position must be known to be unprotected within five seconds."""
_BUSY_S: Final = 0.5
_SWEEPS: Final = 10
_AMENDMENT_DELAYS_S: Final = (0.5, 1.0, 2.0, 3.0, 5.0)
_PATHS: Final = {"create": "/v5/order/create", "amend": "/v5/order/amend", "cancel": "/v5/order/cancel"}
_TRADING_STOP: Final = "/v5/position/trading-stop"


class Sender(Protocol):
    """REST or the trade stream."""

    async def command(
        self, path: str, body: Mapping[str, Any], *, amount: int = 1, written: Written = untold, durable: Durable = durable_already
    ) -> Answer: ...


class OrderSender:
    """Deals with one kind of command at a time. ``sender`` chooses the way of the moment, ``hold`` says why an order may not leave.

    awaited: called for an order whose answer was good, so that its news are waited for.  unprotected: (symbol, why), called for a position
    whose exits were not set.  right_of_way: given back for an order when its bytes are written.
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        tracker: OrderTracker,
        reader: AccountReader,
        resolver: Resolver,
        *,
        journal: Journal,
        sender: Callable[[str], Sender],
        hold: Callable[[SubmitOrder], Awaitable[str]],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        awaited: Callable[[TrackedOrder], None],
        measure_clock: Callable[[], Awaitable[object]],
        current_price: Callable[[str], float | None],
        unprotected: Callable[[str, str], None],
        right_of_way: RightOfWay,
        notify: Notify,
        sleep: Callable[[float], Awaitable[None]],
        now_ms: Callable[[], int],
        stamp_ms: Callable[[], int],
    ) -> None:
        self._instruments, self._tracker, self._reader, self._resolver = instruments, tracker, reader, resolver
        self._journal, self._sender, self._hold, self._spawn, self._awaited = journal, sender, hold, spawn, awaited
        self._measure_clock, self._current_price, self._notify = measure_clock, current_price, notify
        self._unprotected, self._right_of_way = unprotected, right_of_way
        self._sleep, self._now_ms, self._stamp_ms = sleep, now_ms, stamp_ms

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
        for attempt in range(_TRIES):
            waiting = [order for order in waiting if await self._may_leave(order)]
            if not waiting:
                return
            sent_ms = self._now_ms()
            bodies = [self._create_body(order) for order in waiting]
            names = [order.client_order_id for order in waiting]
            answers = await self._send(_PATHS["create"], bodies, names, lambda: asyncio.shield(on_medium))
            if not on_medium.done() and all(answer.outcome is Outcome.NOT_SENT for answer in answers):
                await asyncio.shield(on_medium)  # the disk took longer than a request may: nothing has left, and now it may
                continue
            again = [order for order, answer in zip(waiting, answers, strict=True) if not self._created(order, answer, sent_ms, attempt)]
            if again:
                await self._before_again(answers)
            waiting = [order for order in again if order.is_open]

    async def _may_leave(self, order: TrackedOrder) -> bool:
        """Asked before every try: what held for the first may not hold for the second."""
        if order.command is None or not order.is_open:
            return False
        reason = requests.off_grid(order.command, order.instrument) or await self._hold(order.command)
        if reason:
            self._tracker.end(order, "rejected", reason)
        return not reason

    def _create_body(self, order: TrackedOrder) -> requests.Body:
        command = order.command
        if command is None:
            raise InvariantError(f"{order.client_order_id} has no command")
        return requests.create_body(command, order.instrument, self._current_price(order.symbol))

    def _created(self, order: TrackedOrder, answer: Answer, sent_ms: int, attempt: int) -> bool:
        """Deal with the answer to a create; False: it was certainly not executed and may be sent again."""
        outcome = answer.outcome
        if outcome in SUCCESS:
            self._tracker.acknowledged(order, _order_id(answer))
            self._awaited(order)
        elif outcome in MAY_BE_SENT_AGAIN and attempt + 1 < _TRIES:
            return False
        elif outcome in NOT_EXECUTED:
            self._tracker.end(order, "rejected", answer.reason)
            self._tell_denial(answer)
        else:
            self._resolver.doubt(order, f"create: {answer.reason}", max(sent_ms, self._now_ms()))
        return True

    # --- amendments and cancels ---

    async def _change(self, kind: Kind, commands: Sequence[AmendOrder | CancelOrder]) -> None:
        refusal: OrderStatus = "amend_rejected" if kind == "amend" else "cancel_rejected"
        live: list[AmendOrder | CancelOrder] = []
        for command in commands:
            order = self._tracker.orders.get(command.client_order_id)
            reason = "" if order is not None and order.is_open else "110001 order not exists or too late"
            if not reason and isinstance(command, AmendOrder):
                reason = requests.off_grid(command, self._instruments[command.symbol])
            if reason:
                self._tracker.answer(command.client_order_id, command.symbol, refusal, reason)
            else:
                live.append(command)
        for attempt in range(_TRIES):
            if not live:
                return
            bodies = [self._change_body(command) for command in live]
            answers = await self._send(_PATHS[kind], bodies, [command.client_order_id for command in live])
            again: list[AmendOrder | CancelOrder] = []
            for command, answer in zip(live, answers, strict=True):
                if not await self._changed(command, answer, refusal, is_last=attempt + 1 == _TRIES):
                    again.append(command)
            if again:
                await self._before_again(answers)
            live = again

    async def _find_amendment(self, command: AmendOrder, order: TrackedOrder, reason: str) -> None:
        """Whether an amendment whose answer was lost came through: the order shows it, or after the request's own life shows it not."""
        for delay in (0.0, *_AMENDMENT_DELAYS_S):
            await self._sleep(delay)
            if not order.is_open or _is_amended(command, order):
                return
            await self._resolver.once(order)
        if order.is_open and not _is_amended(command, order):
            self._tracker.answer(command.client_order_id, command.symbol, "amend_rejected", f"not applied: {reason}")

    def _change_body(self, command: AmendOrder | CancelOrder) -> requests.Body:
        order = self._tracker.orders.get(command.client_order_id)
        own_id = order.order_id if order is not None and order.parent_id is not None else None
        instrument = self._instruments[command.symbol]
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
            view = await self._resolver.once(order)
            if order.life.has_ended:
                return True
            if isinstance(command, CancelOrder) and not is_last and outcome is not Outcome.GONE:
                return False  # it still rests, as far as anybody knows: a second cancel harms nothing
            if isinstance(command, AmendOrder) and outcome is not Outcome.GONE:
                self._spawn(self._find_amendment(command, order, answer.reason))
                return True
            if view is None or view.is_absent or outcome is not Outcome.GONE:
                self._resolver.doubt(order, f"{command.__class__.__name__}: {answer.reason}", self._now_ms())
        self._tracker.answer(command.client_order_id, command.symbol, refusal, answer.reason)
        self._tell_denial(answer)
        return True

    # --- everything at once ---

    async def _cancel_all(self, command: CancelAll) -> None:
        """Cancel and look, until nothing of ours rests: one request ends 500 orders at most, chosen at random."""
        reason = ""
        for attempt in range(_SWEEPS):
            answer = await self._reader.cancel_all(command.symbol)
            reason = answer.reason
            await self._sleep(min(2.0, 0.25 * 2**attempt))
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
        self._notify(Notice(self._stamp_ms(), "cancel_all_failed", text, command.symbol, "error", freezes=True))

    # --- exits of positions ---

    async def set_trailing(self, order: TrackedOrder) -> None:
        """The trailing stop of an order's bracket, once its fill has opened a position."""
        bracket = order.command.bracket if order.command is not None else None
        if bracket is not None and bracket.trailing is not None:
            body = requests.trailing_body(order.symbol, bracket, order.instrument, order.position_idx)
            await self._set(order.symbol, body)

    async def _set_exits(self, command: SetTradingStop) -> None:
        instrument = self._instruments[command.symbol]
        held = self._tracker.books.held(command.symbol, command.position_idx)
        if command.bracket.mode == "partial":
            stops = [order for order in self._tracker.orders if order.symbol == command.symbol and order.role in ("sl", "tp")]
            await self._change("cancel", [CancelOrder(order.client_order_id, order.symbol, command.ts) for order in stops])
        for body in requests.trading_stop_bodies(command, instrument, instrument.book_grid.value(held)):
            await self._set(command.symbol, body)

    async def _set(self, symbol: str, body: requests.Body) -> None:
        """Set exits; setting the same twice changes nothing, so that an unknown outcome is simply repeated. A partial pair is an order and
        not repeated: whether it came is seen when it is told."""
        answer, refusals = Answer(Outcome.NOT_SENT), 0
        for attempt in range(_TRIES + 2):
            answer = await self._sender(_TRADING_STOP).command(_TRADING_STOP, self._within_limits(symbol, body))
            if answer.outcome in SUCCESS:
                return
            if (
                answer.outcome is Outcome.REFUSED
                and refusals + 1 < _REFUSALS
                and self._tracker.books.held(symbol, int(body["positionIdx"]))
            ):
                refusals += 1
                await self._sleep(_REFUSED_S)
                continue
            is_repeatable = answer.outcome in MAY_BE_SENT_AGAIN or answer.outcome is Outcome.NOT_SENT
            if not is_repeatable and (answer.outcome is not Outcome.UNKNOWN or body.get("tpslMode") == "Partial"):
                break
            await self._before_again([answer])
            await self._sleep(0.2 * 2**attempt)
        is_refused = answer.outcome in NOT_EXECUTED
        if is_refused:
            self._tracker.exits_refused(symbol, answer.reason)
        if is_refused and not self._tracker.books.held(symbol, int(body["positionIdx"])):
            text = f"{symbol}: the exits were not set ({answer.reason}); there is no position that needs them"
            self._notify(Notice(self._stamp_ms(), "exits_not_set", text, symbol))
            return
        self._unprotected(symbol, answer.reason)

    def _within_limits(self, symbol: str, body: requests.Body) -> requests.Body:
        """Without what is refused for certain: an activation price that the market has passed (the stop trails at once then)."""
        price, held = self._current_price(symbol), self._tracker.books.held(symbol, int(body["positionIdx"]))
        if "activePrice" not in body or price is None or not held:
            return body
        activation = float(body["activePrice"])
        has_passed = price >= activation if held > 0 else price <= activation
        return {name: value for name, value in body.items() if name != "activePrice"} if has_passed else body

    # --- the way there ---

    async def _send(self, path: str, bodies: list[requests.Body], names: list[str], durable: Durable = durable_already) -> list[Answer]:
        """One answer per body. A batch has a fate per item; an answer that does not say them leaves each unknown. names: the orders'."""

        def written() -> None:
            self._right_of_way.give_back(*names)

        if len(bodies) == 1:
            return [await self._sender(path).command(path, bodies[0], written=written, durable=durable)]
        path += "-batch"
        items = [{name: value for name, value in body.items() if name != "category"} for body in bodies]
        body = {"category": bodies[0]["category"], "request": items}
        answer = await self._sender(path).command(path, body, amount=len(items), written=written, durable=durable)
        if answer.outcome is not Outcome.OK:
            return [answer] * len(bodies)
        try:
            fates = wire.decode(wire.ItemResults, answer.extra).rows
            raws = wire.decode(wire.Listing, answer.result).rows
        except PayloadError:
            fates, raws = [], []
        if len(fates) != len(bodies) or len(raws) != len(bodies):
            return [Answer(Outcome.UNKNOWN, message="a batch answer without the fates of its items")] * len(bodies)
        return [Answer(of_code(fate.code), fate.code, fate.msg, raw) for fate, raw in zip(fates, raws, strict=True)]

    async def _before_again(self, answers: Sequence[Answer]) -> None:
        outcomes = {answer.outcome for answer in answers}
        if Outcome.CLOCK in outcomes:
            await self._measure_clock()
        if Outcome.BUSY in outcomes:
            await self._sleep(_BUSY_S)

    def _tell_denial(self, answer: Answer) -> None:
        if answer.outcome is Outcome.DENIED:
            text = f"the exchange denies this key: {answer.reason}"
            self._notify(Notice(self._stamp_ms(), "denied", text, severity="error", freezes=True))


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


def _is_amended(command: AmendOrder, order: TrackedOrder) -> bool:
    """Whether the order is now as the amendment asked."""
    grid = order.instrument.qty_grid
    return (
        (command.qty is None or grid.count(command.qty) == order.qty)
        and (command.price is None or command.price == order.price)
        and (command.trigger_price is None or command.trigger_price == order.trigger)
    )
