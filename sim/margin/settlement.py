"""What a fill does to a linear position, its margin and the accounts: isolated margin. A fill is booked whole or refused with nothing
changed. What a fill does under cross margin is in sim/margin/cross_settlement.py."""

from __future__ import annotations

from typing import Final

from keel.core.model.instrument import Instrument
from keel.core.model.messages import FillKind
from keel.core.model.money import check_bound, fee_on, mul_div_ceil
from keel.core.model.position import apply_fill, released_cost
from keel.sim.exchange.book import UNTRIGGERED, Position, SymbolBook, WorkingOrder
from keel.sim.exchange.book_costs import BookCosts
from keel.sim.exchange.events import Outbox
from keel.sim.exchange.metrics import ExchangeMetrics
from keel.sim.exchange.order_validation import EXCEEDS_TIER, NOT_ENOUGH_MARGIN, WOULD_LIQUIDATE
from keel.sim.margin.isolated import Caps, Tiers, liquidation_price_by_tier, margin_to_hold, tier_leverage
from keel.sim.margin.ledger import FREE, Accounts, post


class LinearSettlement:
    """Contracts margined in the quote coin: close first, then open; one posting for all of it."""

    __slots__ = ("_costs", "_metrics", "_outbox")

    def __init__(self, outbox: Outbox, metrics: ExchangeMetrics, costs: BookCosts | None = None) -> None:
        """costs: where a user's own model says the fee; None: the book's rates hold."""
        self._outbox = outbox
        self._metrics = metrics
        self._costs = costs

    def fill(self, book: SymbolBook, position: Position, order: WorkingOrder, steps: int, ticks: int, reference: int, maker: bool) -> str:
        """Book an execution and emit it. Returns "" or the venue's reason why it cannot be."""
        instrument: Instrument = book.instrument
        accounts = book.accounts
        total = instrument.notional(ticks, steps)
        costs = self._costs
        rate = (book.maker_fee if maker else book.taker_fee) if costs is None else costs.fee_rate(book, order, steps, ticks, total, maker)
        fee = fee_on(total, rate)
        share = reserve_share(order, steps) if order.reserve else 0
        policy, factor = book.margin, instrument.notional_factor
        verdict, released, pnl, hold, opening, now, cost, price = settle_linear(
            order.side, steps, ticks, total, fee, position.steps, position.cost, position.margin, accounts[FREE] + share, book.mark,
            policy.leverage, policy.taker_fee, policy.leverage_rate, policy.taker_rate, policy.unlimited_to, policy.rows, policy.caps,
            factor[0], factor[1], book.qty_num, book.qty_den,
        )  # fmt: skip
        if verdict > SHORT_OF_CASH:
            return REFUSALS[verdict]
        position.steps, position.cost = now, check_bound(cost, "position cost")
        if verdict == SHORT_OF_CASH:
            self._book_shortfall(book, position, order, steps, ticks, reference, maker, (share, released, pnl, fee))
            return ""
        if opening:
            position.parent_id = order.client_order_id
        position.liquidation_price = price
        post(accounts, share + released + pnl - fee - hold, -share, hold - released, fee, 0, -pnl)
        position.margin += hold - released
        order.reserve -= share
        self._outbox.fill(book, order, steps, ticks, reference, fee, instrument.quote, pnl, maker)
        return ""

    def _book_shortfall(
        self,
        book: SymbolBook,
        position: Position,
        order: WorkingOrder,
        steps: int,
        ticks: int,
        reference: int,
        maker: bool,
        money: tuple[int, int, int, int],
    ) -> None:
        """A close that loses more than its margin and the free cash: the position's remaining margin pays, then insurance.

        What insurance paid is not charged: the fill is then of kind bust, whose PnL is booked as stated.
        """
        share, released, pnl, fee = money
        missing, from_margin = shortfall(book.accounts[FREE] + share, released, pnl, fee, position.margin)
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

    def reserve(self, book: SymbolBook, position: Position, order: WorkingOrder) -> str:
        """Hold margin for what a limit order would open, at its limit. Returns "" or the reason why it cannot be held."""
        needed = order_margin_of(book, position, order)
        if needed is None:
            return ""
        if needed > book.accounts[FREE]:
            return NOT_ENOUGH_MARGIN
        hold_reserve(book.accounts, order, needed)
        return ""

    def release(self, book: SymbolBook, order: WorkingOrder) -> None:
        """Give back what an order still holds."""
        release_reserve(book.accounts, order)


def order_margin_of(book: SymbolBook, position: Position, order: WorkingOrder) -> int | None:
    """The margin for what a limit order would open, at its limit; None for an order that holds none: it opens nothing, or has no limit."""
    if order.limit is None or order.reduce_only:
        return None
    opening = order.leaves - closing_steps(book, position, order)
    return book.margin.to_order(book.instrument.notional(order.limit, opening), order.side) if opening > 0 else None


def hold_reserve(accounts: Accounts, order: WorkingOrder, needed: int) -> None:
    """Set free units of the coin that an order would spend aside for it."""
    post(accounts, free=-needed, order=needed)
    order.reserve = needed


def release_reserve(accounts: Accounts, order: WorkingOrder) -> None:
    """What an order still holds goes back into what is free."""
    if order.reserve:
        post(accounts, free=order.reserve, order=-order.reserve)
        order.reserve = 0


def reserve_share(order: WorkingOrder, steps: int) -> int:
    """The part of an order's reserve that belongs to ``steps`` of what is left of it."""
    if not order.reserve or steps == order.leaves:
        return order.reserve
    return mul_div_ceil(order.reserve, steps, order.leaves)


def closing_steps(book: SymbolBook, position: Position, order: WorkingOrder) -> int:
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


# --- as functions of numbers, for code that is compiled, too ---

SETTLED, SHORT_OF_CASH, BEYOND_CASH, BEYOND_TIER, BEYOND_LIQUIDATION = range(5)
"""What ``settle_linear`` says: booked; a close that free cash cannot pay for (``shortfall``); refused, with nothing changed."""

REFUSALS: Final = ("", "", NOT_ENOUGH_MARGIN, EXCEEDS_TIER, WOULD_LIQUIDATE)
"""The venue's reason for each."""


def settle_linear(
    side: int, steps: int, ticks: int, total: int, fee: int, held: int, cost: int, margin: int, cash: int, mark: float,
    leverage: int, taker_fee: int, leverage_rate: float, taker_rate: float, unlimited_to: int, tiers: Tiers, caps: Caps,
    value_num: int, value_den: int, qty_num: int, qty_den: int,
) -> tuple[int, int, int, int, int, int, int, float]:  # fmt: skip
    """What a fill of ``steps`` at ``ticks`` (worth ``total``, for ``fee``) makes of a position: it closes first, then opens.

    side: +1 buys. held, cost, margin: the position before. cash: what is free for it, the order's reserve included. Rates and tiers are
    those of ``IsolatedMargin``, value_num/value_den is the instrument's notional factor. Money in 1e-8.
    Returns (verdict, margin released, realised PnL, margin taken, opening steps, steps after, cost after, liquidation price after).
    """
    closing, opening, closed, pnl, now, left = apply_fill(held, cost, side, steps, ticks, total, value_num, value_den)
    released, hold = released_cost(margin, closing, -held * side) if closing else 0, 0
    verdict, price = SETTLED, 0.0
    money, kept = cash + released + pnl - fee, margin - released
    if opening:
        hold = margin_to_hold(total - closed, side, leverage, taker_fee)
        kept += hold
        extra = 0 if kept == hold else kept - margin_to_hold(left, side, leverage, taker_fee)
        qty = now * side * qty_num / qty_den
        beyond = extra / 1e8 if extra else 0.0
        price = liquidation_price_by_tier(side, qty, left / 1e8, leverage_rate, beyond, taker_rate, tiers)
        if money - hold < 0:
            verdict = BEYOND_CASH
        elif left > unlimited_to and leverage > tier_leverage(left, caps):
            verdict = BEYOND_TIER
        elif price > 0.0 and (mark <= price if now > 0 else mark >= price):
            verdict = BEYOND_LIQUIDATION
    elif money < 0:
        verdict = SHORT_OF_CASH
    elif now:
        way = -side
        extra = kept - margin_to_hold(left, way, leverage, taker_fee)
        price = liquidation_price_by_tier(
            way, now * way * qty_num / qty_den, left / 1e8, leverage_rate, extra / 1e8, taker_rate, tiers
        )  # fmt: skip
    return verdict, released, pnl, hold, opening, now, left, price


def shortfall(cash: int, released: int, pnl: int, fee: int, margin: int) -> tuple[int, int]:
    """(what a close lacks after its released margin and the free cash, the part of it that the position's remaining margin pays)."""
    missing = -(cash + released + pnl - fee)
    return missing, min(missing, margin - released)
