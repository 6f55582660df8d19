"""Orders as requests: create, amend, cancel, cancel-all, batches, and exits of a position. REST and the trade stream both come here.

When the market moves by itself the engine is asked at once (a moment without movement), so that a refusal is the request's own error. In
lock-step nothing moves before the next step: what the request alone shows is refused at once, the rest is accepted and told later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from keel.core.model.messages import AmendOrder, Bracket, CancelOrder, PriceSource, SetTradingStop, SubmitOrder
from keel.sim.exchange.book import STOP_LOSS, TAKE_PROFIT, TRAILING, SymbolBook
from keel.sim.exchange.order_entry import count_or_zero
from keel.sim.exchange.order_validation import check_amend, check_submit
from keel.sim.sandbox.account.order_entry import TRIGGER_INVALID, Draft, exit_source, read_bracket
from keel.sim.sandbox.account.records import TRIGGER_NAMES, SandboxOrder
from keel.sim.sandbox.account.simulated_account import SimulatedAccount
from keel.sim.sandbox.http.choices import check_words
from keel.sim.sandbox.http.errors import AMEND_UNKNOWN, DUPLICATE_ID, ORDER_UNKNOWN, ApiError, bad_params, params_error
from keel.sim.sandbox.http.parameters import Markets, Params, category, market, number, text, whole
from keel.sim.sandbox.market.symbol_market import SymbolMarket

MAX_CANCELLED: Final = 500
_CONDITIONAL: Final = ("Untriggered",)
_BY_REQUEST_ALONE: Final = (
    "10001 Qty invalid", "10001 Price invalid", "10001 TriggerPrice invalid", "10001 The number of contracts", "10001 position idx",
    "110064", "170134", "170135", "170136", "170137", "10001 take profit and stop loss cannot",
)  # fmt: skip
"""Refusals of the engine that no movement of the market or the account can change."""


class ClockTick(Protocol):
    """What order requests need of the engine."""

    @property
    def now_ms(self) -> int: ...
    @property
    def is_lockstep(self) -> bool: ...
    def answer_at(self, account: SimulatedAccount, name: str, now: int) -> None: ...


class OrderRequests:
    """One for all accounts."""

    def __init__(self, markets: Markets, tick: ClockTick, seed: int) -> None:
        self._markets, self._tick = markets, tick
        self._rng = np.random.Generator(np.random.PCG64([seed, 500]))

    # --- create ---

    def create(self, account: SimulatedAccount, params: Params) -> dict[str, Any]:
        """Place an order; returns its ids. Raises ApiError."""
        try:
            placed = self._place(account, params)
        except ApiError as error:
            account.note_create(text(params, "orderLinkId"), "", error.code)
            raise
        account.note_create(placed["orderLinkId"], placed["orderId"], 0)
        return placed

    def _place(self, account: SimulatedAccount, params: Params) -> dict[str, Any]:
        at = market(params, self._markets)
        check_words(params)
        draft = Draft(account, at, params)
        if draft.link_id and (at.category, draft.link_id) in account.by_link_id:
            raise ApiError(*DUPLICATE_ID[at.category])
        order_id = account.ids.next("order")
        is_free = bool(draft.link_id) and draft.link_id not in account.orders and draft.link_id not in account.consumed
        sim_id = draft.link_id if is_free else order_id
        now = self._tick.now_ms
        command = draft.command(sim_id, now)
        if self._tick.is_lockstep:
            self._refuse_by_request(account, at, command)
        record = draft.record(account, sim_id, order_id, now)
        account.register(record)
        account.touch(at)
        account.exchange.queue_order(command)
        self._answer(account, at.name, record, now)
        if record.status == "Rejected":
            account.forget(record)
            raise ApiError.from_reason(record.refusal)
        return {"orderId": order_id, "orderLinkId": draft.link_id}

    def _refuse_by_request(self, account: SimulatedAccount, at: SymbolMarket, command: SubmitOrder) -> None:
        """In lock-step: only what will be refused whatever the next bar brings."""
        book = account.exchange.books[at.name]
        reason = check_submit(book, command, _as_order(book, command))
        is_fixed_value = reason.startswith(("110094", "170140")) and command.price is not None
        if reason.startswith(_BY_REQUEST_ALONE) or is_fixed_value:
            raise ApiError.from_reason(reason)

    @staticmethod
    def _refuse_amendment(account: SimulatedAccount, at: SymbolMarket, command: AmendOrder) -> None:
        book = account.exchange.books[at.name]
        live = book.orders.get(command.client_order_id)
        reason = check_amend(book, live, command) if live is not None else ""
        if reason.startswith(_BY_REQUEST_ALONE):
            raise ApiError.from_reason(reason)

    def _answer(self, account: SimulatedAccount, name: str, record: SandboxOrder, now: int) -> None:
        """Let the engine answer at this market time, unless it may not move."""
        record.refusal = ""
        if self._tick.is_lockstep:
            return
        account.is_answering = True
        try:
            self._tick.answer_at(account, name, now)
        finally:
            account.is_answering = False

    # --- amend, cancel ---

    def amend(self, account: SimulatedAccount, params: Params) -> dict[str, Any]:
        """Change an open order; returns its ids. Raises ApiError."""
        at = market(params, self._markets)
        check_words(params)
        record = self._find(account, at, params, AMEND_UNKNOWN)
        qty, price = number(params, "qty", (10001, "Qty invalid")), number(params, "price", (10001, "Price invalid"))
        trigger = number(params, "triggerPrice", TRIGGER_INVALID) or None
        bracket = self._amended_bracket(record, params)
        if qty is None and price is None and trigger is None and bracket is None:
            raise ApiError(10001, "The order remains unchanged as the parameters entered match the existing ones.")  # ASSUMED words
        account.touch(at)
        if bracket is not None:
            self._put_bracket(account, at, record, bracket)
        if qty is not None or price is not None or trigger is not None:
            now = self._tick.now_ms
            command = AmendOrder(record.sim_id, at.name, now, qty, price, trigger)
            if self._tick.is_lockstep:
                self._refuse_amendment(account, at, command)
            account.exchange.amend_order(command)
            self._answer(account, at.name, record, now)
            if record.refusal and not self._tick.is_lockstep:
                raise ApiError.from_reason(record.refusal)
        return {"orderId": record.order_id, "orderLinkId": record.link_id}

    def cancel(self, account: SimulatedAccount, params: Params) -> dict[str, Any]:
        """Cancel an open order; returns its ids. Raises ApiError."""
        at = market(params, self._markets)
        check_words(params)
        record = self._find(account, at, params, ORDER_UNKNOWN)
        now = self._tick.now_ms
        self._cancel(account, record, now)
        self._answer(account, at.name, record, now)
        if record.refusal and not self._tick.is_lockstep:
            raise ApiError.from_reason(record.refusal)
        return {"orderId": record.order_id, "orderLinkId": record.link_id}

    @staticmethod
    def _cancel(account: SimulatedAccount, record: SandboxOrder, now: int) -> None:
        account.touch(record.market)
        account.push_history(record, "CancelAsked")
        account.exchange.cancel_order(CancelOrder(record.sim_id, record.market.name, now))

    def _find(self, account: SimulatedAccount, at: SymbolMarket, params: Params, unknown: dict[str, tuple[int, str]]) -> SandboxOrder:
        order_id, link = text(params, "orderId"), text(params, "orderLinkId")
        if not order_id and not link:
            raise params_error("OrderId or orderLinkId is required")
        record = account.by_order_id.get(order_id) if order_id else account.by_link_id.get((at.category, link))
        if record is None or record.market is not at or not record.is_open:
            raise ApiError(*unknown[at.category])
        return record

    def cancel_all(self, account: SimulatedAccount, params: Params) -> dict[str, Any]:
        """Cancel what matches: at most 500, chosen by chance above that."""
        chosen = self._matching(account, params)
        if len(chosen) > MAX_CANCELLED:
            keep = self._rng.choice(len(chosen), MAX_CANCELLED, replace=False)
            chosen = [chosen[place] for place in sorted(keep.tolist())]
        now = self._tick.now_ms
        for record in chosen:
            self._cancel(account, record, now)
        for name in dict.fromkeys(record.market.name for record in chosen):
            if not self._tick.is_lockstep:
                self._tick.answer_at(account, name, now)
        return {"list": [{"orderId": record.order_id, "orderLinkId": record.link_id} for record in chosen], "success": "1"}

    def _matching(self, account: SimulatedAccount, params: Params) -> list[SandboxOrder]:
        wanted = category(params)
        check_words(params)
        symbol, base, settle = text(params, "symbol"), text(params, "baseCoin"), text(params, "settleCoin")
        if wanted == "linear" and not (symbol or base or settle):
            raise params_error("symbol, baseCoin or settleCoin is required")  # ASSUMED words
        if symbol:
            market(params, self._markets)
        accepts = _filter_of(text(params, "orderFilter"), text(params, "stopOrderType"), wanted)
        chosen = []
        for record in account.open_orders.values():
            instrument = record.market.instrument
            if record.category != wanted or not accepts(record):
                continue
            if symbol:
                fits = record.market.symbol == symbol
            else:
                fits = instrument.base == base if base else not settle or instrument.quote == settle
            if fits:
                chosen.append(record)
        return chosen

    # --- batches ---

    def batch(self, account: SimulatedAccount, action: str, params: Params, allowed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """(result, retExtInfo) of a batch: each item with its own fate; what exceeds ``allowed`` (the request budget) fails alone."""
        wanted = category(params)
        items = params.get("request")
        highest = 20 if wanted == "linear" else 10
        if not isinstance(items, list) or not items:
            raise params_error("request is required")
        if len(items) > highest:
            raise params_error(f"the number of orders exceeds {highest}")  # ASSUMED words
        rows, fates = [], []
        for place, item in enumerate(items):
            given = {**item, "category": wanted} if isinstance(item, dict) else {"category": wanted}
            row = {"category": wanted, "symbol": text(given, "symbol"), "orderId": "", "orderLinkId": text(given, "orderLinkId")}
            try:
                if place >= allowed:
                    raise ApiError(10006, "Too many visits. Exceeded the API Rate Limit.")
                row.update(getattr(self, action)(account, given))
                fates.append({"code": 0, "msg": "OK"})
            except ApiError as error:
                fates.append({"code": error.code, "msg": error.text})
            if action == "create":
                row["createAt"] = str(self._tick.now_ms) if row["orderId"] else ""
            rows.append(row)
        return {"list": rows}, {"list": fates}

    # --- exits ---

    def trading_stop(self, account: SimulatedAccount, params: Params) -> dict[str, Any]:
        """Set, change or remove the exits of an open position; what is not given stays. Raises ApiError."""
        at = market(params, self._markets)
        if not at.is_linear:
            raise params_error("Category is invalid")
        check_words(params)
        idx = whole(params, "positionIdx", 0, low=0, high=2)
        book = account.exchange.books[at.name]
        position = book.position(idx)
        if position is None:
            raise ApiError(10001, "position idx not match position mode")
        if not position.steps:
            raise ApiError(10001, "can not set tp/sl/ts for zero position")
        before, after = _merged(book, idx, params, account, at)
        if after == before:
            raise ApiError(34040, "not modified")
        account.touch(at)
        refusals = len(account.outbox)
        now = self._tick.now_ms
        account.exchange.set_trading_stop(SetTradingStop(at.name, now, after, idx))
        if not self._tick.is_lockstep:
            reason = _check_exits(book, idx, after)
            if reason:
                book.pending.pop()
                del account.outbox[refusals:]
                raise ApiError.from_reason(reason)
            self._tick.answer_at(account, at.name, now)
        return {}

    def _amended_bracket(self, record: SandboxOrder, params: Params) -> Bracket | None:
        """The exits of an order after an amendment; None when nothing of them was asked for. "0" removes one."""
        if not any(text(params, name) for name in ("takeProfit", "stopLoss", "tpTriggerBy", "slTriggerBy", "tpLimitPrice")):
            return None
        names = {"takeProfit": record.take_profit, "stopLoss": record.stop_loss, "tpLimitPrice": record.tp_limit_price}
        merged: dict[str, Any] = {name: text(params, name) or old for name, old in names.items()}
        merged["tpslMode"] = text(params, "tpslMode") or record.tpsl_mode
        for name in ("tpTriggerBy", "slTriggerBy"):
            merged[name] = text(params, name) or record.exit_trigger_by
        return read_bracket(merged, record.market) or Bracket()

    def _put_bracket(self, account: SimulatedAccount, at: SymbolMarket, record: SandboxOrder, bracket: Bracket) -> None:
        """Exits of an order that has not filled: in the book, or in the command that is on its way there."""
        book = account.exchange.books[at.name]
        chosen = None if bracket == Bracket() else bracket
        live = book.orders.get(record.sim_id)
        if live is not None:
            if live.role:
                raise ApiError(10001, "take profit and stop loss cannot be set on an exit")
            live.bracket = chosen
        for place, (due, command) in enumerate(book.pending):
            if isinstance(command, SubmitOrder) and command.client_order_id == record.sim_id:
                book.pending[place] = (due, msgspec.structs.replace(command, bracket=chosen))
        record.take_profit = "" if bracket.take_profit is None else at.price(bracket.take_profit)
        record.stop_loss = "" if bracket.stop_loss is None else at.price(bracket.stop_loss)
        record.tp_limit_price = "" if bracket.take_profit_limit is None else at.price(bracket.take_profit_limit)
        record.tpsl_mode = "" if chosen is None else bracket.mode.capitalize()
        record.exit_trigger_by = "" if chosen is None else TRIGGER_NAMES[bracket.trigger]
        record.updated = self._tick.now_ms
        account.push_order(record)


def _as_order(book: SymbolBook, command: SubmitOrder) -> Any:
    """The order that the engine would make of a command, to be looked at only."""
    from keel.sim.exchange.book import SOURCES, WorkingOrder

    side = 1 if command.side == "BUY" else -1
    order = WorkingOrder(
        command.client_order_id, command.side, side, command.order_type, count_or_zero(book.instrument.qty_grid, command.qty), 0, None,
        command.time_in_force, command.reduce_only, command.close_on_trigger, command.position_idx, command.bracket,
    )  # fmt: skip
    if command.price is not None:
        order.limit = count_or_zero(book.instrument.price_grid, command.price)
    if command.trigger_price is not None:
        order.trigger, order.source = command.trigger_price, SOURCES[command.trigger_by]
    return order


def _check_exits(book: SymbolBook, idx: int, bracket: Bracket) -> str:
    from keel.sim.exchange.book import SOURCES
    from keel.sim.exchange.order_validation import check_bracket

    position = book.position(idx)
    if position is None:
        return "10001 position idx not match position mode"
    return check_bracket(book.instrument, position, bracket, 1 if position.steps > 0 else -1, book.price(SOURCES[bracket.trigger]))


def _merged(book: SymbolBook, idx: int, params: Params, account: SimulatedAccount, at: SymbolMarket) -> tuple[Bracket, Bracket]:
    """The position's exits as they are, and as they are asked for."""
    position = book.position(idx)
    live = {child.role: child for child in position.children if child.is_full} if position is not None else {}
    loss, profit, trail = live.get(STOP_LOSS), live.get(TAKE_PROFIT), live.get(TRAILING)
    sources: dict[int, Any] = {0: "last", 1: "mark", 2: "index"}
    known: PriceSource = next((sources[child.source] for child in live.values()), "last")
    before = Bracket(
        loss.trigger if loss else None, profit.trigger if profit else None, trail.distance if trail else None,
        trail.activation if trail else None, known,
    )  # fmt: skip
    bad = bad_params("takeProfit, stopLoss or trailingStop invalid")

    def chosen(name: str, old: float | None) -> float | None:
        given = number(params, name, bad)
        return old if given is None else (given or None)

    mode = text(params, "tpslMode") or "Full"
    if mode not in ("Full", "Partial"):
        raise params_error("tpslMode invalid")
    stop_loss, take_profit = chosen("stopLoss", before.stop_loss), chosen("takeProfit", before.take_profit)
    trailing = chosen("trailingStop", before.trailing)
    activation = number(params, "activePrice", bad) or (before.activation if trailing == before.trailing else None)
    is_named = any(text(params, name) for name in ("tpTriggerBy", "slTriggerBy"))
    source = exit_source(params, take_profit, stop_loss) if is_named else known
    limit = number(params, "tpLimitPrice", bad) or None
    if mode == "Partial":
        _check_partial(params, position, at)
    elif limit is not None or text(params, "slLimitPrice"):
        raise ApiError(10001, "tpLimitPrice and slLimitPrice need tpslMode Partial")  # ASSUMED words
    after = Bracket(stop_loss, take_profit, trailing, activation, source, mode.lower(), limit)  # type: ignore[arg-type]  # checked above
    return before, after


def _check_partial(params: Params, position: Any, at: SymbolMarket) -> None:
    """Partial exits through trading-stop: only for the whole position, in place of those before (ASSUMED limit of the sandbox)."""
    size = number(params, "tpSize", bad_params("tpSize invalid")) or number(params, "slSize", bad_params("slSize invalid"))
    whole_size = abs(position.steps)
    if size is not None and at.instrument.qty_grid.count(size) != whole_size:
        raise ApiError(10001, "sandbox: partial exits by trading-stop are simulated for the whole position only")
    if text(params, "slLimitPrice"):
        raise ApiError(10001, "sandbox: a stop loss with a limit price is not simulated")


def _filter_of(order_filter: str, stop_type: str, wanted: str) -> Callable[[SandboxOrder], bool]:
    """Which open orders a cancel-all means."""
    if stop_type == "Stop":
        return lambda record: record.stop_order_type == "Stop"
    if order_filter == "Order" or (wanted == "spot" and not order_filter):
        return lambda record: not record.stop_order_type or record.status not in _CONDITIONAL
    if order_filter in ("StopOrder", "tpslOrder", "OcoOrder", "BidirectionalTpslOrder"):
        return lambda record: bool(record.stop_order_type) and record.status in _CONDITIONAL
    if order_filter in ("", "OpenOrder"):
        return lambda record: True
    raise params_error("orderFilter invalid")
