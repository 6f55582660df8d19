"""The kernel's round trips: the running sums of the trade that is open, as core/actors/trade_log.py books them."""

from __future__ import annotations

from typing import Any

from keel.core.model.instrument import notional_of
from keel.core.model.money import mul_div_floor
from keel.sim.kernel import layout as at
from keel.sim.kernel.logs import Ints


def book_trip(
    state: Ints, rules: Ints, trades: Any, side: int, steps: int, ticks: int, reference: int, total: int, held: int, opening: int, fee: int,
    pnl: int, reason: int,
) -> None:  # fmt: skip
    """A fill of ``steps`` worth ``total`` on a position of ``held``; ``opening`` of the steps opened. Fee and slippage of a flip are shared
    by notional; the rest of the division goes to what opened."""
    value_num, value_den = rules[at.VALUE_NUM], rules[at.VALUE_DEN]
    slippage = abs(total - notional_of(reference, steps, value_num, value_den)) if ticks != reference else 0
    state[at.FEES_PAID] += fee
    state[at.SLIPPAGE] += slippage
    closing = steps - opening
    closing_notional = 0
    if closing:
        closing_notional = notional_of(ticks, closing, value_num, value_den) if opening else total
        closing_fee, closing_slippage = fee, slippage
        if opening:
            closing_fee = mul_div_floor(fee, closing_notional, total)
            closing_slippage = mul_div_floor(slippage, closing_notional, total) if slippage else 0
        state[at.TRIP_CLOSED] += closing
        state[at.TRIP_CLOSED_NOTIONAL] += closing_notional
        state[at.TRIP_FEES] += closing_fee
        state[at.TRIP_SLIPPAGE] += closing_slippage
        state[at.TRIP_GROSS] += pnl
        state[at.TRIP_FILLS] += 1
        fee -= closing_fee
        slippage -= closing_slippage
        if opening or not state[at.STEPS]:
            _close_trip(state, trades, reason)
    if opening:
        if not state[at.TRIP_SIDE]:
            state[at.TRIP_SIDE], state[at.TRIP_TS] = side, state[at.TS]
        state[at.TRIP_STEPS] += opening
        state[at.TRIP_NOTIONAL] += total - closing_notional
        state[at.TRIP_FEES] += fee
        state[at.TRIP_SLIPPAGE] += slippage
        state[at.TRIP_FILLS] += 1
        state[at.TRIP_PEAK] = max(state[at.TRIP_PEAK], abs(state[at.STEPS]))


def fund_trip(state: Ints, amount: int) -> None:
    """A funding payment (positive: paid) on the open trade."""
    state[at.FUNDING_PAID] += amount
    if state[at.TRIP_SIDE]:
        state[at.TRIP_FUNDING] += amount


def _close_trip(state: Ints, trades: Any, reason: int) -> None:
    net = state[at.TRIP_GROSS] - state[at.TRIP_FEES] - state[at.TRIP_FUNDING]
    state[at.WINS] += net > 0
    state[at.LOSSES] += net < 0
    row = state[at.TRADES]
    state[at.TRADES] = row + 1
    if row < state[at.TRADE_ROOM]:
        base = row * at.TRADE_WIDTH
        trades[base + 0] = state[at.TRIP_TS]
        trades[base + 1] = state[at.TS]
        trades[base + 2] = state[at.TRIP_SIDE]
        trades[base + 3] = state[at.TRIP_PEAK]
        trades[base + 4] = state[at.TRIP_NOTIONAL]
        trades[base + 5] = state[at.TRIP_CLOSED_NOTIONAL]
        trades[base + 6] = state[at.TRIP_GROSS]
        trades[base + 7] = state[at.TRIP_FEES]
        trades[base + 8] = state[at.TRIP_FUNDING]
        trades[base + 9] = state[at.TRIP_SLIPPAGE]
        trades[base + 10] = reason
        trades[base + 11] = state[at.TRIP_FILLS]
    elif state[at.TRADE_ROOM]:
        state[at.STATUS] = at.LOGS_FULL
    for number in range(at.FIRST_OF_TRIP, at.FIRST_OF_TRIP + at.TRIP_SIZE):
        state[number] = 0
