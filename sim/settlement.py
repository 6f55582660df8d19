"""What a fill does to a linear position, its margin and the accounts: isolated margin. A fill is booked whole or refused with nothing
changed. What a fill does under cross margin is in sim/cross_settlement.py."""

from __future__ import annotations

from core.instrument import Instrument
from core.messages import FillKind
from core.money import UNIT, mul_div_ceil, mul_div_floor
from sim.book import UNTRIGGERED, Order, Position, SymbolBook
from sim.constraints import EXCEEDS_TIER, NOT_ENOUGH_MARGIN, WOULD_LIQUIDATE
from sim.events import Outbox
from sim.ledger import FREE, post
from sim.margin import max_leverage
from sim.metrics import ExchangeMetrics


class LinearSettlement:
    """Contracts margined in the quote coin: close first, then open; one posting for all of it."""

    __slots__ = ("_metrics", "_outbox")

    def __init__(self, outbox: Outbox, metrics: ExchangeMetrics) -> None:
        self._outbox = outbox
        self._metrics = metrics

    def fill(self, book: SymbolBook, position: Position, order: Order, steps: int, ticks: int, reference: int, maker: bool) -> str:
        """Book an execution and emit it. Returns "" or the venue's reason why it cannot be."""
        side, held, saved_cost = order.side, position.steps, position.cost
        instrument: Instrument = book.instrument
        total = instrument.notional(ticks, steps)
        policy, accounts = book.margin, book.accounts
        fee = mul_div_ceil(total, book.maker_fee if maker else book.taker_fee, UNIT)
        share = reserve_share(order, steps) if order.reserve else 0
        released = pnl = closing_notional = hold = 0
        opening = steps
        if held * side < 0:
            size = -held * side
            closing = steps if steps < size else size
            opening = steps - closing
            closing_notional = instrument.notional(ticks, closing) if opening else total
            released = position.margin if closing == size else mul_div_floor(position.margin, closing, size)
            pnl = position.reduce(closing, closing_notional)
        cash = accounts[FREE] + share + released + pnl - fee
        margin = position.margin - released
        if opening:
            hold = policy.to_hold(total - closing_notional, side)
            position.increase(side * opening, total - closing_notional)
            margin += hold
            cost = position.cost
            extra = 0 if margin == hold else margin - policy.to_hold(cost, side)
            price = policy.liquidation_price(side, position.steps * side * book.qty_num / book.qty_den, cost, extra)
            refusal = _refusal(book, position, price, cash - hold)
            if refusal:
                position.steps, position.cost = held, saved_cost
                return refusal
            position.parent_id = order.client_order_id
            position.liquidation_price = price
        elif cash < 0:
            self._book_shortfall(book, position, order, steps, ticks, reference, maker, (share, released, pnl, fee, -cash))
            return ""
        else:
            position.liquidation_price = liquidation_price(book, position, margin) if position.steps else 0.0
        post(accounts, share + released + pnl - fee - hold, -share, hold - released, fee, 0, -pnl)
        position.margin = margin
        order.reserve -= share
        self._outbox.fill(book, order, steps, ticks, reference, fee, instrument.quote, pnl, maker)
        return ""

    def _book_shortfall(
        self,
        book: SymbolBook,
        position: Position,
        order: Order,
        steps: int,
        ticks: int,
        reference: int,
        maker: bool,
        money: tuple[int, int, int, int, int],
    ) -> None:
        """A close that loses more than its margin and the free cash: the position's remaining margin pays, then insurance.

        What insurance paid is not charged: the fill is then of kind bust, whose PnL is booked as stated.
        """
        share, released, pnl, fee, missing = money
        from_margin = min(missing, position.margin - released)
        insurance = missing - from_margin
        post(
            book.accounts,
            free=share + released + pnl - fee + missing,
            order=-share,
            position=-released - from_margin,
            fees=fee,
            pnl=-pnl,
            insurance=-insurance,
        )
        position.margin -= released + from_margin
        position.liquidation_price = liquidation_price(book, position, position.margin) if position.steps else 0.0
        order.reserve -= share
        self._metrics.insurance_paid += insurance
        kind: FillKind = "bust" if insurance else "trade"
        self._outbox.fill(book, order, steps, ticks, reference, fee, book.instrument.quote, pnl + insurance, maker, kind)

    def reserve(self, book: SymbolBook, position: Position, order: Order) -> str:
        """Hold margin for what a limit order would open, at its limit. Returns "" or the reason why it cannot be held."""
        if order.limit is None or order.reduce_only:
            return ""
        opening = order.leaves - closing_steps(book, position, order)
        if opening <= 0:
            return ""
        needed = book.margin.to_order(book.instrument.notional(order.limit, opening), order.side)
        if needed > book.accounts[FREE]:
            return NOT_ENOUGH_MARGIN
        post(book.accounts, free=-needed, order=needed)
        order.reserve = needed
        return ""

    def release(self, book: SymbolBook, order: Order) -> None:
        """Give back what an order still holds."""
        release_margin(book, order)


def release_margin(book: SymbolBook, order: Order) -> None:
    """Order margin goes back into free cash."""
    if order.reserve:
        post(book.accounts, free=order.reserve, order=-order.reserve)
        order.reserve = 0


def reserve_share(order: Order, steps: int) -> int:
    """The part of an order's reserve that belongs to ``steps`` of what is left of it."""
    if not order.reserve or steps == order.leaves:
        return order.reserve
    return mul_div_ceil(order.reserve, steps, order.leaves)


def closing_steps(book: SymbolBook, position: Position, order: Order) -> int:
    """How much of the position an order would close, after what earlier resting orders of its side would close."""
    if position.steps * order.side >= 0:
        return 0
    free = abs(position.steps)
    for other in book.orders.values():
        if (
            other is not order
            and other.side == order.side
            and other.limit is not None
            and other.state != UNTRIGGERED
            and not other.reduce_only
            and other.sequence < order.sequence
            and other.position_idx == order.position_idx
        ):
            free -= other.leaves
    return max(0, min(free, order.leaves))


def liquidation_price(book: SymbolBook, position: Position, margin: int) -> float:
    """Liquidation price of a position that holds this margin; 0: none."""
    policy = book.margin
    side = 1 if position.steps > 0 else -1
    cost = position.cost
    extra = margin - policy.to_hold(cost, side)
    return policy.liquidation_price(side, position.qty * side, cost, extra)


def _refusal(book: SymbolBook, position: Position, price: float, cash_left: int) -> str:
    """Why the position that an order would make may not be."""
    if cash_left < 0:
        return NOT_ENOUGH_MARGIN
    policy, cost = book.margin, position.cost
    if cost > policy.unlimited_to and policy.leverage > max_leverage(cost, policy.tiers):
        return EXCEEDS_TIER
    if price > 0.0 and (book.mark <= price if position.steps > 0 else book.mark >= price):
        return WOULD_LIQUIDATE
    return ""
