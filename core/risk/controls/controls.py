"""Asks every control about an order on its way out: the last look, not the plan, since risk has sized the order already.

A denial is an OrderDenied with a code, a value and a limit (core/risk/controls/table.py). Every order that is sent counts. Cancels are
never asked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec

from keel.core.model.messages import AmendOrder, SubmitOrder
from keel.core.risk.controls.inputs import ControlInputs
from keel.core.risk.controls.table import TABLE, Denial, order_value

REPLACED_RESTS: Final = "replaced_rests"
"""Code of ``last_look``'s no while an order that is to be replaced has not ended."""


class Controls(ControlInputs):
    """Asks every control of the table, in its order."""

    # --- what stands in the way of every entry now ---

    def pauses(self, now_ms: int) -> dict[tuple[str, str | None], str]:
        """(cause, symbol or None: all) -> words, of what would deny any entry at this time of the session's clock."""
        self.counts.forget(now_ms)
        limits, counts, found = self.limits, self.counts, dict[tuple[str, str | None], str]()
        if len(counts.sent) >= limits.max_orders_per_minute:
            found["max_orders_per_minute", None] = f"{len(counts.sent)} orders within a minute, at most {limits.max_orders_per_minute}"
        if counts.cancels_per_order > limits.max_cancels_per_order:
            found["cancel_ratio", None] = f"{counts.cancels} cancels for {counts.orders} orders"
        if not self.account.equity > 0.0:
            found["no_equity", None] = f"the equity is {self.account.equity:g}"
        records = list(self.working.open_orders())
        if len(records) >= limits.max_open_orders:
            found["max_open_orders", None] = f"{len(records)} orders rest, at most {limits.max_open_orders}"
        ages_count, rejects = not math.isinf(limits.stale_ms), counts.rejects
        has_few = len(records) < limits.max_open_orders_per_symbol and len(counts.sent) < limits.max_orders_per_symbol_per_minute
        if has_few and not rejects and not (ages_count and self._is_any_stale()):
            return found  # no symbol can have as many as all have together
        resting, sent = Counter(record.symbol for record in records), Counter(order.symbol for _, order in counts.sent)
        for symbol in self.instruments:
            if resting.get(symbol, 0) >= limits.max_open_orders_per_symbol:
                text = f"{resting[symbol]} orders rest, at most {limits.max_open_orders_per_symbol}"
                found["max_open_orders_per_symbol", symbol] = text
            own = sent.get(symbol, 0)
            if own >= limits.max_orders_per_symbol_per_minute:
                found["max_orders_per_symbol_per_minute", symbol] = (
                    f"{own} orders within a minute, at most {limits.max_orders_per_symbol_per_minute}"
                )
            if symbol in rejects and (rejections := self.rejections(symbol, now_ms)):
                found["reject_breaker", symbol] = f"{rejections} rejections in a row"
            if ages_count and ((age := self.age_ms(symbol)) is None or age > limits.stale_ms):
                found["price_stale", symbol] = "no price has come yet" if age is None else f"the latest price is {age / 1000:.0f} s old"
        return found

    def _is_any_stale(self) -> bool:
        oldest = self.oldest_ms()
        return oldest is None or oldest > self.limits.stale_ms

    # --- the question ---

    def check(self, order: SubmitOrder) -> Denial | None:
        """The first no, or None."""
        self.gate.look()
        self.counts.forget(order.ts)
        self._worst = None
        for row in TABLE:
            if order.reduce_only and not row.of_reductions:
                continue
            denial = row.control(self, order)
            if denial is not None:
                return denial
        if self.limits.is_hard and not order.reduce_only and (replaced := self._replaced(order.symbol)):
            self.counts.replaces[order.client_order_id] = replaced
        return None

    def last_look(self, order: SubmitOrder, fate: Callable[[str], float | None]) -> Denial | None:
        """Asked again in the moment in which an allowed order could leave: it was allowed as if the orders that it replaces were gone.
        Until they have ended it waits (``REPLACED_RESTS``); and one of them may have been filled in place of being cancelled. fate: what
        an order was filled by, None while it may still be: the venue knows that before the actors hear it."""
        replaced = self.counts.replaces.get(order.client_order_id)
        if replaced is None:
            return None
        fates = {name: fate(name) for name in replaced}
        if waits := sum(filled is None for filled in fates.values()):
            return Denial(REPLACED_RESTS, float(waits))
        del self.counts.replaces[order.client_order_id]
        unheard = 0.0
        for record in self.working.open_orders(order.symbol):
            if record.client_order_id in fates and record.side == order.side:
                unheard += max(0.0, (fates[record.client_order_id] or 0.0) - record.filled_qty)
        return order_value(self, order) or self._sums(msgspec.structs.replace(order, qty=order.qty + unheard) if unheard else order)

    def check_amend(self, command: AmendOrder) -> Denial | None:
        """The no to a change of a resting order: what it would become is asked as a new one is, unless it only becomes smaller."""
        record = next((one for one in self.working.open_orders(command.symbol) if one.client_order_id == command.client_order_id), None)
        if record is None or record.command is None or record.command.reduce_only:
            return None
        before = record.command
        given = {"qty": command.qty, "price": command.price, "trigger_price": command.trigger_price}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        after = msgspec.structs.replace(before, ts=command.ts, **changes)
        if after.qty <= before.qty and (after.price, after.trigger_price) == (before.price, before.trigger_price):
            return None
        self.gate.look()
        self._worst = None
        denials = (row.control(self, after) for row in TABLE if row.of_amendments)
        return next((denial for denial in denials if denial is not None), None)

    def _replaced(self, symbol: str) -> frozenset[str]:
        """Orders of a symbol that rest, and whose cancel has been sent."""
        return frozenset(record.client_order_id for record in self.working.open_orders(symbol) if record.is_being_cancelled)

    def _sums(self, order: SubmitOrder) -> Denial | None:
        """What an order may lead to, as things stand now."""
        self._worst = None
        denials = (row.control(self, order) for row in TABLE if row.of_fates)
        return next((denial for denial in denials if denial is not None), None)
