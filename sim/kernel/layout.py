"""The order of the numbers that the kernel works on. Compiled code knows no objects: a place in an array stands for each name.

``rules`` (int64) and ``rates`` (float64) are one parameter set and do not change; ``state`` (int64) and ``levels`` (float64) are the
account, the venue and risk as they are at the moment. What happened is written to logs, one row each; their columns have names, too.
"""

from __future__ import annotations

from typing import Final

import numpy as np

# --- a parameter set: integers (money and rates in 1e-8, times in ms) ---
(
    INITIAL, LEVERAGE, TAKER_FEE, COST_RATE, PRICE_NUM, PRICE_DEN, QTY_NUM, QTY_DEN, VALUE_NUM, VALUE_DEN, MIN_STEPS, MIN_NOTIONAL,
    UNLIMITED_TO, PESSIMISTIC, SOURCE, HAS_RULES, FLATTENS, COOLDOWN_BARS, MAX_BARS, ONE_POSITION, DECISION_MS, DECISION_ORIGIN, BAR_MS,
    SIZING, STOP_KIND, TARGET_KIND, TRAIL_KIND, ACTIVATES, LEAST_STEPS, WANTED_STEPS, TAKEN_STEPS,
) = range(31)  # fmt: skip
RULES_SIZE: Final = 31
"""LEAST_STEPS: the fewest that the instrument's least quantity allows; WANTED_STEPS, TAKEN_STEPS: the most that risk and the venue allow an
order."""

# --- a parameter set: floats (quote coins, percent, base units) ---
(
    LEVERAGE_RATE, TAKER_RATE, UNIT_MARGIN, ACCOUNT_SHARE, MAX_POSITION, MAX_GROSS, DAILY_LOSS, MAX_DRAWDOWN, SIZE, SIZE_STOP, STOP_LENGTH,
    TARGET_LENGTH, TRAIL_LENGTH, ACTIVATE, MOST_WANTED, CARRY_LONG, CARRY_SHORT, CARRY_FEE, COST_SHARE,
) = range(19)  # fmt: skip
RATES_SIZE: Final = 19

FIXED_QTY, FIXED_USD, PERCENT_EQUITY, RISK_PER_TRADE, INVERSE_VOL = range(5)
"""Values of SIZING."""
NO_EXIT, BY_PERCENT, BY_ATR = range(3)
"""Values of STOP_KIND, TARGET_KIND, TRAIL_KIND: of what STOP_LENGTH and the others are a multiple."""
UNLIMITED: Final = -1.0
"""DAILY_LOSS, MAX_DRAWDOWN and SIZE_STOP: there is none."""

# --- the state: integers ---
(
    STATUS, FREE, MARGIN, FEES, FUNDING, PNL, INSURANCE, EXTERNAL, STEPS, COST, TS, CURSOR, NEXT_STAMP,
    STOP_STATE, STOP_ORDER, TARGET_STATE, TARGET_ORDER, TRAIL_STATE, TRAIL_ORDER, TRAIL_WAITS,
    CLOSE_STATE, CLOSE_SIDE, CLOSE_STEPS, CLOSE_ORDER, CLOSE_REASON, ENTRY_STATE, ENTRY_SIDE, ENTRY_STEPS, ENTRY_ORDER, ENTRY_EXITS,
    DAY_END, DAY_ROW, DAY_LOCKED, DRAWDOWN_LOCKED, FLATTENING, RISK_SIDE, DUE, LEFT_AT,
    STOP_CODE, STOP_TS, STOP_NEED, STOP_EQUITY, INSURANCE_PAID, REJECTED, HALTS,
    ORDERS, FILLS, PAYMENTS, LIQUIDATIONS, TRADES, WINS, LOSSES, FUNDING_PAID, FEES_PAID, SLIPPAGE, DAY_POINT, BARS,
    ORDER_ROOM, FILL_ROOM, PAYMENT_ROOM, LIQUIDATION_ROOM, TRADE_ROOM,
    TRIP_TS, TRIP_SIDE, TRIP_STEPS, TRIP_PEAK, TRIP_NOTIONAL, TRIP_CLOSED, TRIP_CLOSED_NOTIONAL, TRIP_FEES, TRIP_SLIPPAGE, TRIP_GROSS,
    TRIP_FUNDING, TRIP_FILLS,
) = range(74)  # fmt: skip
FIRST_OF_TRIP: Final = TRIP_TS
TRIP_SIZE: Final = TRIP_FILLS + 1 - TRIP_TS
"""The open trade's numbers stand together."""
SIGNALS, ORDERED, HELD_ALREADY, FLAT_ALREADY = range(TRIP_FILLS + 1, TRIP_FILLS + 5)
ORIGINS: Final = TRIP_FILLS + 5
ENDS: Final = ORIGINS + 7
CAPPED: Final = ENDS + 14
STATE_SIZE: Final = CAPPED + 4
"""The funnel's counts (core/results/funnel.py) come last: of signals; of orders by why they were made (a place for each of ORDER_REASONS
from ORIGINS on); of orders that have ended by the venue's word (a place for each from ENDS on; NO_WORD: filled);
of sizes that a limit made smaller (a place for each from DENY_LEVERAGE to DENY_MAX_QTY, from CAPPED on)."""

# --- the state: floats ---
(
    LAST, MARK, INDEX, LIQUIDATION, STOP_LEVEL, TARGET_LEVEL, TRAIL_LEVEL, TRAIL_DISTANCE, TRAIL_BEST, TRAIL_START,
    NEW_STOP, NEW_TARGET, NEW_TRAIL, NEW_START, QTY, OFFSET, CASH, EQUITY, FLOOR, PEAK, TOP, DAY_START, WAKE_LOW, WAKE_HIGH,
    HIGHEST, LOWEST, WORST_ABS, WORST_SHARE,
) = range(28)  # fmt: skip
LEVELS_SIZE: Final = 28

KEPT: Final = STATE_SIZE
KEPT_LEVELS: Final = LEVELS_SIZE
"""From these places on the state stands a second time, while a path is only tried."""
STATE_ROOM: Final = 2 * STATE_SIZE
LEVELS_ROOM: Final = 2 * LEVELS_SIZE
UNCOUNTED: Final = -(2**62)
"""An equity that 64 bits do not count."""

# LAST, MARK and INDEX are the numbers of the price sources, too (sim.exchange.book): ``levels[source]`` is the price of a source.

NOTHING, SENT, ARRIVED, LIVE, FIRED = range(5)
"""Where an order stands: none; on its way; at the venue, taking at this moment; an exit that waits; one that fired."""

# --- STATUS ---
DONE, LOGS_FULL, OUT_OF_BOUNDS = range(3)

BLOCK: Final = 32
BLOCK_WIDTH: Final = 4
"""So many bars are looked at together, by so many numbers: ``loop.Reach`` says which."""
INFINITY: Final = float("inf")
NO_NUMBER: Final = float("nan")
FAR: Final = 2**53
"""Counts (ticks, steps, and their products with a grid) stay below this, so that they are exact as floats."""
MOST_STEPS: Final = 2**45
"""Steps divide in money arithmetic, whose divisors are below this."""

# --- what an order is, why it ended ---
SIGNAL, BY_MAX_BARS, BY_LIMIT, STOP_LOSS, TAKE_PROFIT, TRAILING, BY_LIQUIDATION = range(7)
ORDER_REASONS: Final = ("signal", "max_bars", "limit", "stop_loss", "take_profit", "trailing", "liquidation")
"""By the order's reason, as ``Fill.reason`` has it."""

PENDING, FILLED, CANCELLED, REJECTED_STATUS = range(4)
ORDER_STATUSES: Final = ("pending", "filled", "cancelled", "rejected")

(
    NO_WORD, WORD_MARGIN, WORD_TIER, WORD_LIQUIDATED, WORD_NOTIONAL, WORD_STOP_LOSS, WORD_TAKE_PROFIT, WORD_FLAT, WORD_QTY_SMALL,
    WORD_QTY_LARGE, WORD_BEFORE_LIQUIDATION, WORD_CLEAR, WORD_TP_BY_SL, WORD_SL_BY_TP,
) = range(14)  # fmt: skip
"""The venue's word for a refusal or cancellation (``keel.sim.exchange.order_validation`` has the texts)."""

(
    NO_DENIAL, DENY_DAILY_LOSS, DENY_DRAWDOWN, DENY_COOLDOWN, DENY_POSITIONS, DENY_NO_PRICE, DENY_NO_EQUITY, DENY_STOP_UNKNOWN,
    DENY_EXIT_UNKNOWN, DENY_VOLATILITY, DENY_STOP_LOSS, DENY_TAKE_PROFIT, DENY_TRAILING, DENY_LEVERAGE, DENY_MAX_POSITION, DENY_MAX_GROSS,
    DENY_MAX_QTY, DENY_MIN_QTY, DENY_MIN_NOTIONAL,
) = range(19)  # fmt: skip
DENIALS: Final = (
    "", "daily_loss_percent", "max_drawdown_percent", "cooldown_bars", "max_open_positions", "no_price", "no_equity",
    "stop_distance_unknown", "exit_distance_unknown", "volatility_unknown", "invalid_stop_loss", "invalid_take_profit", "invalid_trailing",
    "leverage", "max_position_usd", "max_gross_usd", "max_qty", "below_min_qty", "below_min_notional",
)  # fmt: skip
"""Risk's own no, in the words of ``keel.core.risk.decision``."""

# --- logs: columns of int64 ---
ORDER_COLUMNS: Final = (
    "ts", "side", "steps", "reason", "reduce_only", "stop_ticks", "target_ticks", "parent", "status", "ts_end", "word",
)  # fmt: skip
"""Times in ms, steps unsigned, side +1 buys. reason: ORDER_REASONS. stop_ticks, target_ticks: of an entry's bracket, 0 none; of an exit its
own level in stop_ticks (0: a trailing stop that does not follow yet). parent: row of an exit's entry, -1. status: ORDER_STATUSES."""
FILL_COLUMNS: Final = ("ts", "order", "side", "steps", "ticks", "reference", "fee", "pnl", "reason", "is_bust")
"""order: its row, -1 for a takeover. reference: the path price before costs, in ticks. fee and pnl in 1e-8."""
PAYMENT_COLUMNS: Final = ("ts", "amount", "rate", "mark", "steps")
"""amount, rate and mark in 1e-8; steps signed; positive is paid."""
LIQUIDATION_COLUMNS: Final = ("ts", "side", "steps", "loss", "insurance")
LIQUIDATION_PRICES: Final = ("mark", "liquidation_price", "bankruptcy_price")
"""Beside each row of liquidations, as floats."""
TRADE_COLUMNS: Final = (
    "entry_ts", "exit_ts", "side", "steps", "entry_notional", "exit_notional", "gross_pnl", "fees", "funding", "slippage", "reason",
    "fills",
)  # fmt: skip
"""Closed round trips, as ``keel.core.model.trade.Trade`` has them; steps: the most that were open."""

ORDER_WIDTH: Final = len(ORDER_COLUMNS)
FILL_WIDTH: Final = len(FILL_COLUMNS)
PAYMENT_WIDTH: Final = len(PAYMENT_COLUMNS)
LIQUIDATION_WIDTH: Final = len(LIQUIDATION_COLUMNS)
TRADE_WIDTH: Final = len(TRADE_COLUMNS)
"""A log is one array of numbers, row after row; ORDER_ROOM and the others say for how many rows there is room (0: it is not kept)."""


def table(columns: tuple[str, ...]) -> np.dtype[np.void]:
    """The structured type of a log's rows."""
    return np.dtype([(name, np.int64) for name in columns])
