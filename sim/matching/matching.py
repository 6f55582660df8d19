"""What happens at one place of the path: liquidation, then triggers, then resting limits, then takers; within one kind by sequence.

Owns the life of live orders from their arrival to their end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from keel.core.model.costs import MAX_COST_RATE, taker_ticks
from keel.core.model.messages import OrderStatus
from keel.core.model.time_range import to_iso
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange import order_validation
from keel.sim.exchange.book import FRESH, RESTING, UNTRIGGERED, WAITING, Position, SymbolBook, WorkingOrder
from keel.sim.exchange.book_costs import BookCosts
from keel.sim.exchange.events import Outbox, UsedIds
from keel.sim.exchange.exhaustion import ExhaustionCheck
from keel.sim.exchange.metrics import ExchangeMetrics
from keel.sim.exchange.order_validation import check_band, check_spot_value, closable_steps
from keel.sim.margin.liquidation import Takeover, is_touched
from keel.sim.matching.brackets import Brackets
from keel.sim.matching.execution import crosses, impact_rate, reference_ticks
from keel.sim.matching.triggers import fires, through_level


class Settlement(Protocol):
    """How fills and reserves are booked: linear and spot differ."""

    def fill(
        self, book: SymbolBook, position: Position, order: WorkingOrder, steps: int, ticks: int, reference: int, maker: bool
    ) -> str: ...
    def reserve(self, book: SymbolBook, position: Position, order: WorkingOrder) -> str: ...
    def release(self, book: SymbolBook, order: WorkingOrder) -> None: ...


class Matching:
    """Executes orders."""

    __slots__ = (
        "_base_bps",
        "_coefficient",
        "_costs",
        "_exhaustion",
        "_half_spread",
        "_has_impact",
        "_is_flat",
        "_linear",
        "_metrics",
        "_outbox",
        "_spot",
        "_takeover",
        "brackets",
        "taker_rate",
        "touch",
    )

    def __init__(
        self,
        config: ExecutionConfig,
        outbox: Outbox,
        metrics: ExchangeMetrics,
        settlements: tuple[Settlement, Settlement],
        used_ids: UsedIds,
        next_sequence: Callable[[], int],
        exhaustion: ExhaustionCheck,
        costs: BookCosts | None = None,
    ) -> None:
        """costs: where a user's own models say what moves a taker's price; None: the configuration says it."""
        self._outbox, self._metrics = outbox, metrics
        self.settle_by(settlements)
        self._exhaustion = exhaustion
        self._half_spread = config.half_spread_rate
        self.taker_rate = min(config.half_spread_rate + config.slippage_rate, MAX_COST_RATE)
        self._has_impact = config.impact != "none"
        impact = config.impact
        self._costs, self._is_flat = costs, costs is None and not self._has_impact
        self._base_bps, self._coefficient = (0.0, 0.0) if impact == "none" else (impact.base_bps, impact.coefficient)
        self.touch = config.limit_fill == "touch"
        self._takeover = Takeover(outbox, metrics)
        self.brackets = Brackets(outbox, used_ids, next_sequence, self.cancel)

    def settle_by(self, settlements: tuple[Settlement, Settlement]) -> None:
        """Book fills and reserves in these ways from now on: linear, spot."""
        self._linear, self._spot = settlements

    # --- one place of the path ---

    def price_point(self, book: SymbolBook) -> None:
        """Everything that the present prices cause, until they cause nothing more."""
        while True:
            if book.account is not None:
                self.check_account(book)
            for position in book.positions:
                if position.liquidation_price and is_touched(position.steps, book.mark, position.liquidation_price):
                    self.liquidate(book, position)
            has_filled = False
            if book.orders:
                self._fire_triggers(book)
                if book.volume_left >= 0:  # under a cap on volume, what closes goes first
                    has_filled = self._take_all(book, [order for order in book.fresh if _closes(book, order)])
                has_filled |= self._fill_resting(book)
            if not self._take_all(book, book.fresh) and not has_filled:  # what they brought to life may be due at once
                return

    def _take_all(self, book: SymbolBook, takers: list[WorkingOrder]) -> bool:
        """Some of the fresh orders meet the market, the oldest first. Returns whether there were any."""
        if not takers:
            return False
        book.fresh = [] if takers is book.fresh else [order for order in book.fresh if order not in takers]
        if len(takers) > 1:
            takers.sort(key=_sequence)
        for order in takers:
            if order.state == FRESH:
                self.take(book, order)
        return True

    def check_account(self, book: SymbolBook) -> None:
        """Cross margin: liquidate the account when its maintenance margin rate says so; ``book`` is the symbol that is stepped."""
        account = book.account
        if account is not None and account.is_due():
            account.liquidate(book, self._end_before_liquidation, self.liquidate)

    def _end_before_liquidation(self, book: SymbolBook, order: WorkingOrder) -> None:
        self.end(book, order, "cancelled", order_validation.BEFORE_LIQUIDATION)

    def liquidate(self, book: SymbolBook, position: Position) -> None:
        """Cancel the symbol's orders, then take the position over."""
        book.ambiguous = book.ambiguous or any(
            order.state == UNTRIGGERED and fires(order, book.price(order.source)) for order in book.orders.values()
        )
        others = [each for each in book.positions if each is not position and each.steps and each.children]
        for order in [*book.orders.values(), *(order for order in book.fresh if order.client_order_id not in book.orders)]:
            self._end_before_liquidation(book, order)
        for other in others:
            self._outbox.warnings.append(_naked(book, position, other))
        book.fresh = []
        book.waiting = []
        position.children = []
        self._takeover.take_over(book, position)
        log_position(book, position)
        self._exhaustion.on_flat(book)

    def _fire_triggers(self, book: SymbolBook) -> None:
        due = [order for order in book.orders.values() if order.state == UNTRIGGERED and fires(order, book.price(order.source))]
        if len(due) > 1:
            due.sort(key=_sequence)
        for order in due:
            if order.client_order_id in book.orders:
                self._fire(book, order)

    def _fire(self, book: SymbolBook, order: WorkingOrder) -> None:
        position = book.position(order.position_idx)
        if position is None:
            return
        closable = closable_steps(book, position, order.side)
        if order.is_full or (order.leaves == 0 and order.close_on_trigger):
            order.leaves = closable
        if order.reduce_only or order.close_on_trigger:
            order.leaves = min(order.leaves, closable)
            if not order.leaves:
                self.end(book, order, "cancelled", order_validation.BY_REDUCE_ONLY)
                return
        order.state = FRESH
        self._outbox.order(book, order, "triggered")
        if order.role:
            self.brackets.on_fired(book, position, order)
        if order.reduce_only or order.close_on_trigger:
            self._end_entries(book, order)
        refusal = check_band(book, order)
        if refusal:
            self.refuse(book, order, refusal)
            return
        book.fresh.append(order)

    def _end_entries(self, book: SymbolBook, fired: WorkingOrder) -> None:
        """An exit of a position fired: what is left of the orders that opened it would open it again, and ends."""
        for order in list(book.orders.values()):
            if order.filled and order.side != fired.side and order.position_idx == fired.position_idx and not order.reduce_only:
                self.cancel(book, order, order_validation.BY_EXIT)

    def _fill_resting(self, book: SymbolBook) -> bool:
        last, touch, num, den = book.last, self.touch, book.price_num, book.price_den
        due = []
        for order in book.orders.values():
            if order.state == RESTING:
                level = through_level(order, touch, num, den)
                if last <= level if order.side > 0 else last >= level:
                    due.append(order)
        if len(due) > 1:
            due.sort(key=_sequence)
            if book.volume_left >= 0:
                due.sort(key=lambda order: not _closes(book, order))
        has_filled = False
        for order in due:
            if order.state != RESTING or order.limit is None:
                continue
            steps = self._within_cap(book, order.leaves)
            if steps:
                has_filled |= self._execute(book, order, steps, order.limit, order.limit, maker=True)
        return has_filled

    # --- takers ---

    def take(self, book: SymbolBook, order: WorkingOrder) -> None:
        """An order that has just arrived or fired meets the market at the present price."""
        side = order.side
        if order.reduce_only:
            position = book.position(order.position_idx)
            order.leaves = min(order.leaves, closable_steps(book, position, side)) if position is not None else 0
            if not order.leaves:
                self.refuse(book, order, order_validation.REDUCE_ONLY_FLAT)
                return
        if book.is_spot and not order.filled and (order.reduce_only or order.trigger is not None):
            refusal = check_spot_value(book, None if order.limit is None else book.instrument.price_grid.value(order.limit), order.leaves)
            if refusal:
                self.refuse(book, order, refusal)
                return
        reference = reference_ticks(book.last, book.instrument.price_grid, side)
        if order.limit is not None:
            self._take_limit(book, order, reference)
            return
        steps = order.leaves
        if book.volume_left >= 0:
            steps = self._within_cap(book, steps)
            if steps < order.leaves:
                if order.time_in_force == "FOK":
                    self._expire(book, order, order_validation.NOT_WHOLE)
                    return
                if steps == 0:
                    self._wait(book, order)
                    return
                self.announce(book, order)
        ticks = taker_ticks(reference, self.taker_rate if self._is_flat else self._cost_rate(book, order, steps, reference), side)
        if self._execute(book, order, steps, ticks, reference, maker=False) and order.leaves:
            self._wait(book, order)

    def _take_limit(self, book: SymbolBook, order: WorkingOrder, reference: int) -> None:
        position, limit = book.position(order.position_idx), order.limit
        if position is None or limit is None:
            return
        refusal = self.settlement(book).reserve(book, position, order) if not order.reserve else ""
        if refusal:
            self.refuse(book, order, refusal)
            return
        side = order.side
        if not crosses(limit, taker_ticks(reference, self._half_spread, side), side):
            self._rest(book, order, order_validation.NOT_WHOLE if order.time_in_force == "FOK" else order_validation.NO_LIQUIDITY)
            return
        if order.time_in_force == "POST_ONLY":
            self._expire(book, order, order_validation.POST_ONLY)
            return
        steps = self._within_cap(book, order.leaves)
        if steps < order.leaves:
            if order.time_in_force == "FOK":
                self._expire(book, order, order_validation.NOT_WHOLE)
                return
            self.announce(book, order)
        if steps:
            ticks = taker_ticks(reference, self._cost_rate(book, order, steps, reference), side)
            ticks = min(ticks, limit) if side > 0 else max(ticks, limit)
            if not self._execute(book, order, steps, ticks, reference, maker=False) or not order.leaves:
                return
        self._rest(book, order, order_validation.NO_LIQUIDITY)

    def _cost_rate(self, book: SymbolBook, order: WorkingOrder, steps: int, reference: int) -> int:
        if self._costs is not None:
            return self._costs.taker_rate(book, order, steps, reference)
        if not self._has_impact:
            return self.taker_rate
        qty = book.instrument.qty_grid.value(steps)
        rate = self.taker_rate + impact_rate(self._base_bps, self._coefficient, book.volatility_bps, qty, book.volume)
        return min(rate, MAX_COST_RATE)

    def _within_cap(self, book: SymbolBook, steps: int) -> int:
        """How many of these steps the bar's volume still has for us."""
        if book.volume_left < 0 or steps <= book.volume_left:
            return steps
        if not book.is_capped:  # an order that waits is looked at at every price of the bar
            book.is_capped = True
            self._metrics.capped += 1
        return book.volume_left

    def _execute(self, book: SymbolBook, order: WorkingOrder, steps: int, ticks: int, reference: int, *, maker: bool) -> bool:
        """Book one execution and what follows from it. Returns False when it was refused (the order has ended)."""
        position = book.position(order.position_idx)
        return position is not None and self.execute(book, position, order, steps, ticks, reference, maker)

    def execute(
        self, book: SymbolBook, position: Position, order: WorkingOrder, steps: int, ticks: int, reference: int, maker: bool
    ) -> bool:
        """``_execute`` for an order whose position is at hand."""
        held = position.steps
        settlement = self._spot if book.is_spot else self._linear
        refusal = settlement.fill(book, position, order, steps, ticks, reference, maker)
        if refusal:
            self.refuse(book, order, refusal)
            return False
        order.leaves -= steps
        order.filled += steps
        self._count(book, steps, maker)
        if order.leaves:
            self._outbox.order(book, order, "partially_filled")
        else:
            self.end(book, order, "filled", "")
        log_position(book, position)
        if book.orders or order.bracket is not None or -book.lot < position.steps < book.lot:
            self._after_change(book, position, order, held)
        return True

    def _after_change(self, book: SymbolBook, position: Position, order: WorkingOrder, held: int) -> None:
        """Exits and reduce-only orders follow the position; a bracket comes to life with what its order opened."""
        now = position.steps
        is_closed = held != 0 and (abs(now) < book.lot or (held > 0) != (now > 0))
        if is_closed and position.children:
            self.brackets.clear(book, position)
        if book.orders:
            self._shrink_reduce_only(book, position)
        bracket = order.bracket
        if bracket is not None and not order.role and now * order.side > 0:
            opened = abs(now) - abs(held) if held * order.side > 0 else abs(now)
            if now // book.lot and opened > 0:
                self.brackets.attach(book, position, bracket, order.client_order_id, max(1, opened // book.lot))
        if is_closed and not now // book.lot:
            self._exhaustion.on_flat(book)

    def _shrink_reduce_only(self, book: SymbolBook, position: Position) -> None:
        for order in list(book.orders.values()):
            if not order.reduce_only or order.state not in (RESTING, WAITING) or order.position_idx != position.idx:
                continue
            closable = closable_steps(book, position, order.side)
            if not closable:
                self.end(book, order, "cancelled", order_validation.BY_REDUCE_ONLY)
            elif order.leaves > closable:
                order.leaves = closable
                self._outbox.order(book, order, "amended", order_validation.BY_REDUCE_ONLY)

    def _count(self, book: SymbolBook, steps: int, maker: bool) -> None:
        metrics, volume = self._metrics, book.volume
        if maker:
            metrics.maker_fills += 1
        else:
            metrics.taker_fills += 1
        if book.volume_left >= 0:
            book.volume_left -= steps
        qty = steps * book.qty_num / book.qty_den
        if qty > metrics.volume_share_max * volume and volume > 0.0:
            metrics.volume_share_max = qty / volume

    # --- states of an order ---

    def announce(self, book: SymbolBook, order: WorkingOrder) -> None:
        """Say "accepted" once, and keep the order among the live ones."""
        book.orders[order.client_order_id] = order
        if not order.announced:
            order.announced = True
            self._outbox.order(book, order, "accepted")

    def cancel(self, book: SymbolBook, order: WorkingOrder, reason: str) -> None:
        """End an order that was not filled whole."""
        self.end(book, order, "cancelled", reason)

    def end(self, book: SymbolBook, order: WorkingOrder, status: OrderStatus, reason: str) -> None:
        """Take an order off the book, give back what it holds, say so."""
        if book.orders:
            book.orders.pop(order.client_order_id, None)
        if order.state == WAITING:
            book.waiting.remove(order)
        order.state = -1
        if order.reserve:
            self.settlement(book).release(book, order)
        if order.role:
            position = book.position(order.position_idx)
            if position is not None and order in position.children:
                position.children.remove(order)
            if order.partner is not None:
                order.partner.partner = None
        self._outbox.order(book, order, status, reason)

    def settlement(self, book: SymbolBook) -> Settlement:
        """The way in which this symbol's fills are booked."""
        return self._spot if book.is_spot else self._linear

    def _rest(self, book: SymbolBook, order: WorkingOrder, reason: str) -> None:
        """What is left of a limit order rests, or ends by its time in force."""
        if order.time_in_force in ("IOC", "FOK"):
            self._expire(book, order, reason)
            return
        self.announce(book, order)
        order.state = RESTING

    def _wait(self, book: SymbolBook, order: WorkingOrder) -> None:
        """What is left of a market order waits for the next bar's volume, or ends by its time in force."""
        if order.time_in_force == "IOC":
            self._expire(book, order, order_validation.NO_LIQUIDITY)
            return
        self.announce(book, order)
        order.state = WAITING
        book.waiting.append(order)

    def _expire(self, book: SymbolBook, order: WorkingOrder, reason: str) -> None:
        self.announce(book, order)
        self.end(book, order, "expired", reason)

    def refuse(self, book: SymbolBook, order: WorkingOrder, reason: str) -> None:
        """The order cannot be: rejected while nothing was said of it, else cancelled."""
        if not order.announced:
            self._metrics.rejected += 1
        self.end(book, order, "cancelled" if order.announced else "rejected", reason)
        self._exhaustion.on_refused(book, reason)


def log_position(book: SymbolBook, position: Position) -> None:
    """Keep the position as it is now in the symbol's log."""
    if book.account is None:
        book.position_log.append((book.ts, position.steps, position.cost, position.margin, position.liquidation_price))
    else:
        book.position_log.append((book.ts, position.steps, position.cost, *book.account.shown(book, position)))


def _naked(book: SymbolBook, position: Position, other: Position) -> str:
    names = {1: "long", 2: "short"}
    return (
        f"{book.symbol} at {to_iso(book.ts)}: the liquidation of the {names.get(position.idx, 'position')} cancelled all orders of the"
        f" contract, the exits of the {names.get(other.idx, 'position')} of {abs(other.qty):g} among them: it stands without; set them anew"
        " with set_trading_stop"
    )


def _sequence(order: WorkingOrder) -> int:
    return order.sequence


def _closes(book: SymbolBook, order: WorkingOrder) -> bool:
    """Whether an order can do nothing but make its position smaller."""
    position = book.position(order.position_idx)
    closable = closable_steps(book, position, order.side) if position is not None else 0
    return closable > 0 and (order.reduce_only or order.leaves <= closable)
