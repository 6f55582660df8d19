"""The kernel's loop: quiet bars in a tight run, the others one by one. As runners/backtest/replay.py goes through a history of one symbol.

A bar is quiet when nothing is on its way, no wake level is reached, no funding falls due, no limit is met and the target does not change:
then only its equity is written.
"""

from __future__ import annotations

from typing import Any

from keel.core.model.timeframe import NEVER
from keel.sim.kernel import layout as at
from keel.sim.kernel.logs import Floats, Ints, Tables, Terms
from keel.sim.kernel.risk import close_bar, decide
from keel.sim.kernel.walk import Funding, along, stand_at, wake

HOLD = 2
"""As strategies.base has it: keep what is."""

Prices = tuple[Floats, Floats, Floats, Floats]
"""Columns: open, high, low, close."""
Reach = tuple[Floats, Floats, Floats]
"""How low and how high each bar goes; and BLOCK_WIDTH numbers for each block of bars: its lowest and highest price, and the least and the
most that values a position at its closes."""


def simulate(
    ts: Ints, last: Prices, mark: Prices, index: Prices, value: Floats, reach: Reach, funding: Funding, decisions: Ints, signals: Ints,
    features: Prices, terms: Terms, day_rows: Ints, equity: Any, daily: Any, tables: Tables, denials: Ints, state: Ints, levels: Floats,
) -> None:  # fmt: skip
    """One run over all rows.

    ts: opens of the bars.  value: what values a position at each close.  reach: how low and how high last, mark and index go in each bar,
    and the extremes of each block of bars.  funding: its stamps end with one that never comes.  decisions: the
    row at whose close each signal is known; empty: its own.  signals: +1, -1, 0 or HOLD.  features: what exits and sizer read at each
    decision; empty: nothing.  day_rows: the row that stands for each 00:00 UTC (-1: the start).  equity, daily: written where they have
    rows.  tables, denials, state, levels: see layout.
    """
    begin(bare(state), bare(levels), bare(terms[0]), bare(terms[1]))
    state[at.ORDER_ROOM], state[at.FILL_ROOM] = len(tables[0]) // at.ORDER_WIDTH, len(tables[1]) // at.FILL_WIDTH
    state[at.PAYMENT_ROOM], state[at.LIQUIDATION_ROOM] = len(tables[2]) // at.PAYMENT_WIDTH, len(tables[3]) // at.LIQUIDATION_WIDTH
    state[at.TRADE_ROOM] = len(tables[5]) // at.TRADE_WIDTH
    state[at.NEXT_STAMP] = funding[0][0]
    _go(
        (len(ts), len(signals), len(day_rows), len(decisions) == 0, len(equity) > 0),
        bare(ts), _bare_prices(last), _bare_prices(mark), _bare_prices(index), bare(value),
        (bare(reach[0]), bare(reach[1]), bare(reach[2])),
        (bare(funding[0]), bare(funding[1]), bare(funding[2]), bare(funding[3])), bare(decisions), bare(signals), _bare_prices(features),
        (bare(terms[0]), bare(terms[1]), bare(terms[2]), bare(terms[3])), bare(day_rows), bare(equity), bare(daily),
        (bare(tables[0]), bare(tables[1]), bare(tables[2]), bare(tables[3]), bare(tables[4]), bare(tables[5])),
        bare(denials), bare(state), bare(levels),
    )  # fmt: skip


def bare(column: Any) -> Any:
    """The column. Compiled code gets the address of its numbers: it hands columns on without counting who holds them, which would cost more
    than all else (``compiled`` brings that form)."""
    return column


def _bare_prices(prices: Prices) -> Prices:
    return bare(prices[0]), bare(prices[1]), bare(prices[2]), bare(prices[3])


def _go(
    sizes: tuple[int, int, int, bool, bool], ts: Ints, last: Prices, mark: Prices, index: Prices, value: Floats, reach: Reach,
    funding: Funding, decisions: Ints, signals: Ints, features: Prices, terms: Terms, day_rows: Ints, equity: Any, daily: Any,
    tables: Tables, denials: Ints, state: Ints, levels: Floats,
) -> None:  # fmt: skip
    """``simulate``. sizes: rows, signals, days; whether each row decides; whether equity is kept."""
    rows, count, days, is_own, keeps = sizes
    rules, rates = terms[0], terms[1]
    bar_ms = rules[at.BAR_MS]
    point = next_change(signals, count, 0, 0)
    following = change_after(signals, count, point)
    decision_row = row_of(decisions, point, count, rows, is_own)
    day = 0
    while day < days and day_rows[day] < 0:
        daily[day] = levels[at.EQUITY]
        day += 1
    due, due_row = NEVER, rows
    row = 0
    while row < rows:
        bound = min(decision_row, state[at.DAY_ROW], due_row)
        if day < days:
            bound = min(bound, day_rows[day])
        if state[at.CLOSE_STATE] == at.SENT or state[at.ENTRY_STATE] == at.SENT or state[at.FLATTENING]:
            bound = row
        elif state[at.STEPS]:
            bound = min(bound, funding[3][state[at.CURSOR]])
            if keeps:
                row = rest_keeping(row, bound, rows, reach, value, equity, levels)
            else:
                row = rest(row, bound, reach, value, levels)
        elif bound > row and levels[at.FLOOR] < levels[at.CASH] <= levels[at.PEAK]:
            stand(row, bound, equity, keeps, levels)
            row = bound
        if row >= rows:
            break
        ts_close = ts[row] + bar_ms
        is_due = state[at.STEPS] != 0 and state[at.NEXT_STAMP] < ts_close
        if is_due or state[at.CLOSE_STATE] == at.SENT or state[at.ENTRY_STATE] == at.SENT or reaches(reach, levels, row):
            stand_at(state, levels, terms, tables, funding, ts[row], last[0][row], mark[0][row], index[0][row])
            is_due = state[at.STEPS] != 0 and state[at.NEXT_STAMP] < ts_close
            if state[at.STATUS] == at.DONE and (is_due or reaches(reach, levels, row)):
                along(state, levels, terms, tables, funding, ts[row], ohlc(last, row), ohlc(mark, row), ohlc(index, row))
        levels[at.EQUITY] = levels[at.CASH] + (levels[at.QTY] * value[row] - levels[at.OFFSET])
        if keeps:
            equity[row] = levels[at.EQUITY]
        else:
            note_equity(levels, levels[at.EQUITY])
        if (
            levels[at.EQUITY] <= levels[at.FLOOR]
            or levels[at.EQUITY] > levels[at.PEAK]
            or ts_close >= state[at.DAY_END]
            or ts_close >= state[at.DUE]
            or state[at.FLATTENING]
        ):
            day_end = state[at.DAY_END]
            close_bar(state, levels, terms, tables, ts_close)
            if state[at.DAY_END] != day_end:
                state[at.DAY_ROW] = first_close(ts, bar_ms, state[at.DAY_END], row, rows)
        if row == decision_row:
            target = int(signals[point])
            decide(state, levels, terms, tables, denials, target, ts_close, last[3][row], value[row], read(features, rules, rates, point))
            point = following
            decision_row = row_of(decisions, point, count, rows, is_own)
            following = change_after(signals, count, point)
            soon(ts, last, row_of(decisions, following, count, rows, is_own), rows)
        if state[at.DUE] != due:
            due = state[at.DUE]
            due_row = rows if due == NEVER else first_close(ts, bar_ms, due, row, rows)
        row += 1
        while day < days and day_rows[day] < row:
            daily[day] = levels[at.EQUITY]
            day += 1
        if state[at.STATUS] != at.DONE or state[at.STOP_CODE]:
            break
    state[at.BARS], state[at.DAY_POINT] = row, day
    note_equity(levels, at.INFINITY)


def begin(state: Ints, levels: Floats, rules: Ints, rates: Floats) -> None:
    """An account with its initial equity, before the first bar."""
    for number in range(at.STATE_SIZE):
        state[number] = 0
    for number in range(at.LEVELS_SIZE):
        levels[number] = 0.0
    state[at.FREE], state[at.EXTERNAL] = rules[at.INITIAL], -rules[at.INITIAL]
    state[at.DUE], state[at.LEFT_AT] = NEVER, -1
    state[at.DAY_END] = 0 if rates[at.DAILY_LOSS] >= 0.0 else NEVER
    state[at.DAY_ROW] = 0 if rates[at.DAILY_LOSS] >= 0.0 else NEVER
    levels[at.FLOOR] = -at.INFINITY
    levels[at.PEAK] = 0.0 if rates[at.MAX_DRAWDOWN] >= 0.0 else at.INFINITY
    levels[at.EQUITY] = levels[at.HIGHEST] = levels[at.LOWEST] = rules[at.INITIAL] / 1e8
    wake(state, levels, rules)


def rest_keeping(first: int, stop: int, rows: int, reach: Reach, value: Floats, equity: Any, levels: Floats) -> int:
    """Go on with a position to the first row before ``stop`` at which something happens, and return it; equity is kept.

    Blocks of rows that meet no wake level and no limit are valued in one go, the others are gone through row by row. So many rows are
    written at once as a block has, also where fewer are left of it or before ``stop``: what comes later writes the rest again.
    """
    low, high, blocks = reach
    cash, qty, offset = levels[at.CASH], levels[at.QTY], levels[at.OFFSET]
    wake_low, wake_high, floor, peak = levels[at.WAKE_LOW], levels[at.WAKE_HIGH], levels[at.FLOOR], levels[at.PEAK]
    row = first
    while row < stop:
        block = row // at.BLOCK
        end = (block + 1) * at.BLOCK
        if row + at.BLOCK <= rows and is_quiet(blocks, block * at.BLOCK_WIDTH, (cash, qty, offset), (wake_low, wake_high, floor, peak)):
            for each in range(at.BLOCK):
                equity[row + each] = cash + (qty * value[row + each] - offset)
            row = end
            continue
        end = min(end, stop)
        while row < end:
            worth = cash + (qty * value[row] - offset)
            if (low[row] <= wake_low) | (high[row] >= wake_high) | (worth <= floor) | (worth > peak):
                break
            equity[row] = worth
            row += 1
        if row < end:
            break
    row = min(row, stop)
    if row > first:
        levels[at.EQUITY] = equity[row - 1]
    return row


def rest(first: int, stop: int, reach: Reach, value: Floats, levels: Floats) -> int:
    """The same; equity is not kept, but its heights and falls are."""
    low, high, blocks = reach
    cash, qty, offset = levels[at.CASH], levels[at.QTY], levels[at.OFFSET]
    wake_low, wake_high, floor, peak = levels[at.WAKE_LOW], levels[at.WAKE_HIGH], levels[at.FLOOR], levels[at.PEAK]
    row = first
    while row < stop:
        base = row // at.BLOCK * at.BLOCK_WIDTH
        end = min((row // at.BLOCK + 1) * at.BLOCK, stop)
        if is_quiet(blocks, base, (cash, qty, offset), (wake_low, wake_high, floor, min(peak, levels[at.HIGHEST]))):
            least = min(cash + (qty * blocks[base + 2] - offset), cash + (qty * blocks[base + 3] - offset))
            if least < levels[at.LOWEST]:
                if end - row < at.BLOCK:
                    least = min(levels[at.LOWEST], least_of(value, row, end, cash, qty, offset))
                levels[at.LOWEST] = least
            row = end
            continue
        while row < end:
            each = cash + (qty * value[row] - offset)
            if (low[row] <= wake_low) | (high[row] >= wake_high) | (each <= floor) | (each > peak):
                break
            note_equity(levels, each)
            row += 1
        if row < end:
            break
    if row > first:
        levels[at.EQUITY] = cash + (qty * value[row - 1] - offset)
    return row


def least_of(value: Floats, first: int, stop: int, cash: float, qty: float, offset: float) -> float:
    """The least that the position is worth at the closes of these rows: at the lowest of what values it, or the highest of a short."""
    one = other = value[first]
    row = first
    while row < stop - 1:  # two at a time: neither waits for the other
        near, far = value[row], value[row + 1]
        one = min(one, near) if qty > 0.0 else max(one, near)
        other = min(other, far) if qty > 0.0 else max(other, far)
        row += 2
    near = value[stop - 1]
    one = min(one, other, near) if qty > 0.0 else max(one, other, near)
    return cash + (qty * one - offset)


def is_quiet(blocks: Floats, base: int, held: tuple[float, float, float], bounds: tuple[float, float, float, float]) -> bool:
    """Whether no bar of a block comes to a wake level, or leaves an equity at or below a floor or above a peak. What the position is worth
    rises or falls with the price, rounded or not: so the block's two extremes speak for all of it.

    held: cash, quantity and offset.  bounds: the lower and the upper wake level, floor and peak.
    """
    cash, qty, offset = held
    wake_low, wake_high, floor, peak = bounds
    one = cash + (qty * blocks[base + 2] - offset)
    other = cash + (qty * blocks[base + 3] - offset)
    return (
        (blocks[base] > wake_low) & (blocks[base + 1] < wake_high) & (one > floor) & (other > floor) & (one <= peak) & (other <= peak)
    )  # fmt: skip


def stand(first: int, stop: int, equity: Any, keeps: bool, levels: Floats) -> None:
    """Go on without a position: the equity is the cash."""
    levels[at.EQUITY] = levels[at.CASH]
    note_equity(levels, levels[at.CASH])
    if keeps:
        cash = levels[at.CASH]
        for row in range(first, stop):
            equity[row] = cash


def note_equity(levels: Floats, equity: float) -> None:
    """Keep the deepest fall from the highest equity so far; a new height ends a fall, and infinity the last one."""
    highest, lowest = levels[at.HIGHEST], levels[at.LOWEST]
    if equity <= highest:
        if equity < lowest:
            levels[at.LOWEST] = equity
        return
    levels[at.WORST_ABS] = max(levels[at.WORST_ABS], highest - lowest)
    levels[at.WORST_SHARE] = min(levels[at.WORST_SHARE], lowest / highest - 1.0)
    levels[at.HIGHEST] = levels[at.LOWEST] = equity


def reaches(reach: Reach, levels: Floats, row: int) -> bool:
    """Whether a bar comes to a wake level; its block is looked at first, which is in the processor's cache."""
    base = row // at.BLOCK * at.BLOCK_WIDTH
    if reach[2][base] > levels[at.WAKE_LOW] and reach[2][base + 1] < levels[at.WAKE_HIGH]:
        return False
    return reach[0][row] <= levels[at.WAKE_LOW] or reach[1][row] >= levels[at.WAKE_HIGH]


def next_change(signals: Ints, count: int, point: int, acted: int) -> int:
    """The next of ``count`` decisions whose target is another one than that last acted on (``compiled`` has a form that looks at many at
    a time)."""
    while point < count and (signals[point] == acted or signals[point] == HOLD):
        point += 1
    return point


def row_of(decisions: Ints, point: int, count: int, rows: int, is_own: bool) -> int:
    """The row at whose close a decision is known; ``rows`` beyond the last one."""
    if point >= count:
        return rows
    return point if is_own else decisions[point]


def first_close(ts: Ints, bar_ms: int, moment: int, row: int, rows: int) -> int:
    """The first row from ``row`` on whose bar closes at or after a moment."""
    low, high = row, min(rows, max(row, row + (moment - ts[row] - 1) // bar_ms))
    if high < rows and high > row and ts[high - 1] + bar_ms < moment <= ts[high] + bar_ms:
        return high  # no bar is missing until then
    high = rows
    while low < high:
        middle = (low + high) // 2
        if ts[middle] + bar_ms >= moment:
            high = middle
        else:
            low = middle + 1
    return low


def change_after(signals: Ints, count: int, point: int) -> int:
    """The decision after ``point`` whose target is another one than its own."""
    return next_change(signals, count, point + 1, signals[point]) if point < count else point


def soon(ts: Ints, last: Prices, row: int, rows: int) -> None:
    """A decision falls at this row, later on: have the columns ready that quiet bars do not read. Waiting for memory is much of what a
    trade costs."""
    if row + 1 < rows:
        fetch(ts, row)
        fetch(ts, row + 1)
        fetch(last[0], row + 1)
        fetch(last[3], row)


def fetch(column: Any, row: int) -> None:
    """Nothing; compiled: tell the processor that a row will be read (``compiled`` brings that form)."""


def read(features: Prices, rules: Ints, rates: Floats, point: int) -> tuple[float, float, float, float]:
    """What exits and sizer read at a decision."""
    stop = features[0][point] if rules[at.STOP_KIND] == at.BY_ATR else at.NO_NUMBER
    target = features[1][point] if rules[at.TARGET_KIND] == at.BY_ATR else at.NO_NUMBER
    trail = features[2][point] if rules[at.TRAIL_KIND] == at.BY_ATR else at.NO_NUMBER
    model = rules[at.SIZING]
    is_sized = model == at.INVERSE_VOL or (model == at.RISK_PER_TRADE and rates[at.SIZE_STOP] >= 0.0)
    return stop, target, trail, features[3][point] if is_sized else at.NO_NUMBER


def ohlc(prices: Prices, row: int) -> tuple[float, float, float, float]:
    """One bar."""
    return prices[0][row], prices[1][row], prices[2][row], prices[3][row]
