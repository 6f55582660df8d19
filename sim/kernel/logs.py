"""The kernel's logs: what happened, a row each; and the types that its functions share."""

from __future__ import annotations

from typing import Any

from keel.sim.kernel import layout as at

Ints = list[int]
Floats = list[float]
Terms = tuple[Ints, Floats, Any, Any]
"""rules, rates, tiers (limit, maintenance rate, deduction as floats), caps (limit, highest leverage as integers)."""
Tables = tuple[Any, Any, Any, Any, Any, Any]
"""The logs: orders, fills, payments, liquidations, their prices, trades. A log without rows is not kept."""


def log_order(
    state: Ints, tables: Tables, side: int, steps: int, reason: int, reduce_only: int, stop_ticks: int, target_ticks: int, parent: int
) -> int:
    """A new order; returns its row."""
    orders, row = tables[0], state[at.ORDERS]
    state[at.ORDERS] = row + 1
    state[at.ORIGINS + reason] += 1
    if row < state[at.ORDER_ROOM]:
        base = row * at.ORDER_WIDTH
        orders[base + 0] = state[at.TS]
        orders[base + 1] = side
        orders[base + 2] = steps
        orders[base + 3] = reason
        orders[base + 4] = reduce_only
        orders[base + 5] = stop_ticks
        orders[base + 6] = target_ticks
        orders[base + 7] = parent
        orders[base + 8] = at.PENDING
        orders[base + 9] = orders[base + 10] = 0
    elif state[at.ORDER_ROOM]:
        state[at.STATUS] = at.LOGS_FULL
    return row


def end_order(state: Ints, tables: Tables, row: int, status: int, word: int) -> None:
    """An order has ended."""
    state[at.ENDS + word] += 1
    orders = tables[0]
    if 0 <= row < state[at.ORDER_ROOM]:
        base = row * at.ORDER_WIDTH
        orders[base + 8] = status
        orders[base + 9] = state[at.TS]
        orders[base + 10] = word


def log_fill(
    state: Ints,
    tables: Tables,
    order: int,
    side: int,
    steps: int,
    ticks: int,
    reference: int,
    fee: int,
    pnl: int,
    reason: int,
    is_bust: int,
) -> None:
    """An execution."""
    fills, row = tables[1], state[at.FILLS]
    state[at.FILLS] = row + 1
    if row < state[at.FILL_ROOM]:
        base = row * at.FILL_WIDTH
        fills[base + 0] = state[at.TS]
        fills[base + 1] = order
        fills[base + 2] = side
        fills[base + 3] = steps
        fills[base + 4] = ticks
        fills[base + 5] = reference
        fills[base + 6] = fee
        fills[base + 7] = pnl
        fills[base + 8] = reason
        fills[base + 9] = is_bust
    elif state[at.FILL_ROOM]:
        state[at.STATUS] = at.LOGS_FULL


def log_payment(state: Ints, tables: Tables, stamp: int, amount: int, rate: int, mark: int) -> None:
    """Write one funding payment: time in ms, amount and mark price in 1e-8, rate in 1e-8. A room of 0: it is only counted."""
    payments, row = tables[2], state[at.PAYMENTS]
    state[at.PAYMENTS] = row + 1
    if row < state[at.PAYMENT_ROOM]:
        base = row * at.PAYMENT_WIDTH
        payments[base + 0] = stamp
        payments[base + 1] = amount
        payments[base + 2] = rate
        payments[base + 3] = mark
        payments[base + 4] = state[at.STEPS]
    elif state[at.PAYMENT_ROOM]:
        state[at.STATUS] = at.LOGS_FULL


def log_liquidation(
    state: Ints, tables: Tables, side: int, steps: int, loss: int, insurance: int, mark: float, level: float, bankruptcy: float
) -> None:
    """Write one liquidation: side, steps; loss and insurance in 1e-8; mark, level and bankruptcy as prices. A room of 0: only counted."""
    liquidations, prices, row = tables[3], tables[4], state[at.LIQUIDATIONS]
    state[at.LIQUIDATIONS] = row + 1
    if row < state[at.LIQUIDATION_ROOM]:
        base = row * at.LIQUIDATION_WIDTH
        liquidations[base + 0] = state[at.TS]
        liquidations[base + 1] = side
        liquidations[base + 2] = steps
        liquidations[base + 3] = loss
        liquidations[base + 4] = insurance
        prices[3 * row + 0] = mark
        prices[3 * row + 1] = level
        prices[3 * row + 2] = bankruptcy
    elif state[at.LIQUIDATION_ROOM]:
        state[at.STATUS] = at.LOGS_FULL
