"""The kernel's time: at each moment of a bar funding, then orders that arrive, then the price point; from moment to moment along the path.

As sim/matching/walk.py and sim/exchange/exchange.py have it, for one symbol whose orders all arrive at the open.
"""

from __future__ import annotations

from keel.core.model.money import LIMIT
from keel.core.model.position import unrealized_at
from keel.core.model.timeframe import NEVER
from keel.sim.kernel import layout as at
from keel.sim.kernel.logs import Floats, Ints, Tables, Terms
from keel.sim.kernel.venue import arrive, has_exits, meet_prices, settle_funding, trail
from keel.sim.matching.intrabar_path import NOT_AHEAD, fraction_due, fraction_met, low_comes_first, points, price_at, time_at

Funding = tuple[Ints, Ints, Ints, Ints]
"""Stamps (ms), rates and marks (1e-8), and the row of the bar in which each stamp falls due."""
Ohlc = tuple[float, float, float, float]


def stand_at(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: Funding, ts_open: int, last: float, mark: float, index: float
) -> None:
    """The open of a bar: funding that is due, orders that arrive, what the prices cause."""
    rules = terms[0]
    levels[at.LAST], levels[at.MARK], levels[at.INDEX] = last, mark, index
    state[at.TS] = ts_open
    _moment(state, levels, terms, tables, funding, ts_open)  # stamps before it found no position, or lie in a hole of the series
    arrive(state, levels, terms, tables)
    meet_prices(state, levels, terms, tables)
    wake(state, levels, rules)


def wake(state: Ints, levels: Floats, rules: Ints) -> None:
    """The prices between which nothing happens to the position, and what its value is made of."""
    low, high = -at.INFINITY, at.INFINITY
    steps = state[at.STEPS]
    if steps:
        price = levels[at.LIQUIDATION]
        if price > 0.0:
            if steps > 0:
                low = price
            else:
                high = price
        if has_exits(state):
            if state[at.STOP_STATE] != at.NOTHING:
                low, high = _nearer(levels[at.STOP_LEVEL], steps < 0, low, high)
            if state[at.TARGET_STATE] != at.NOTHING:
                low, high = _nearer(levels[at.TARGET_LEVEL], steps > 0, low, high)
            if state[at.TRAIL_STATE] != at.NOTHING:
                if state[at.TRAIL_WAITS]:
                    low, high = _nearer(levels[at.TRAIL_START], steps > 0, low, high)
                else:
                    low, high = _nearer(levels[at.TRAIL_LEVEL], steps < 0, low, high)
                    low, high = _nearer(levels[at.TRAIL_BEST], steps > 0, low, high)
    levels[at.WAKE_LOW], levels[at.WAKE_HIGH] = low, high
    levels[at.QTY] = steps * rules[at.QTY_NUM] / rules[at.QTY_DEN]
    levels[at.OFFSET] = state[at.COST] / 1e8 if steps > 0 else -state[at.COST] / 1e8
    levels[at.CASH] = (state[at.FREE] + state[at.MARGIN]) / 1e8


def _nearer(level: float, rising: bool, low: float, high: float) -> tuple[float, float]:
    if rising:
        return low, min(high, level)
    return max(low, level), high


def _moment(state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: Funding, until: int) -> None:
    while state[at.NEXT_STAMP] <= until and state[at.STATUS] == at.DONE:
        settle_funding(state, levels, terms, tables, funding)


def along(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: Funding, ts_open: int, last: Ohlc, mark: Ohlc, index: Ohlc
) -> None:
    """Follow the path from the open to the close, in the order of its extremes that the option ``path`` wants."""
    if brings_nothing(state, levels, terms[0], ts_open, last, mark, index):
        levels[at.LAST], levels[at.MARK], levels[at.INDEX] = last[3], mark[3], index[3]
        wake(state, levels, terms[0])
        return
    low_first = low_comes_first(last[0], last[3])
    if terms[0][at.PESSIMISTIC] and has_worse(state, levels, terms, tables, funding, ts_open, last, mark, index, low_first):
        low_first = not low_first
    if state[at.STATUS] == at.DONE:
        follow(state, levels, terms, tables, funding, ts_open, last, mark, index, low_first)
    wake(state, levels, terms[0])


def brings_nothing(state: Ints, levels: Floats, rules: Ints, ts_open: int, last: Ohlc, mark: Ohlc, index: Ohlc) -> bool:
    """Whether a bar that woke a trailing stop causes nothing, in either order of its extremes; the stop has then seen its best price.
    As sim/matching/ambiguity.py has it."""
    steps, source = state[at.STEPS], rules[at.SOURCE]
    if state[at.TRAIL_STATE] != at.LIVE or not steps or state[at.NEXT_STAMP] < ts_open + rules[at.BAR_MS]:
        return False
    out = 1 if steps > 0 else -1
    best, worst = _best_and_worst(last if source == at.LAST else mark if source == at.MARK else index, out)
    if levels[at.LIQUIDATION] > 0.0 and (_best_and_worst(mark, out)[1] - levels[at.LIQUIDATION]) * out <= 0.0:
        return False
    if state[at.STOP_STATE] == at.LIVE and (worst - levels[at.STOP_LEVEL]) * out <= 0.0:
        return False
    if state[at.TARGET_STATE] == at.LIVE and (best - levels[at.TARGET_LEVEL]) * out >= 0.0:
        return False
    waits, level, extreme, present = state[at.TRAIL_WAITS], levels[at.TRAIL_LEVEL], levels[at.TRAIL_BEST], levels[source]
    levels[source] = best
    trail(state, levels, rules)
    if state[at.TRAIL_WAITS] or (worst - levels[at.TRAIL_LEVEL]) * out > 0.0:
        return True
    state[at.TRAIL_WAITS], levels[at.TRAIL_LEVEL], levels[at.TRAIL_BEST], levels[source] = waits, level, extreme, present
    return False


def _best_and_worst(prices: Ohlc, out: int) -> tuple[float, float]:
    return (prices[1], prices[2]) if out > 0 else (prices[2], prices[1])


def has_worse(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: Funding, ts_open: int, last: Ohlc, mark: Ohlc, index: Ohlc,
    usual: bool,
) -> bool:  # fmt: skip
    """Whether the other order of the extremes leaves less equity at the close than the usual one; nothing has happened afterwards."""
    for number in range(at.STATE_SIZE):
        state[at.KEPT + number] = state[number]
    for number in range(at.LEVELS_SIZE):
        levels[at.KEPT_LEVELS + number] = levels[number]
    own = _try(state, levels, terms, tables, funding, ts_open, last, mark, index, usual)
    other = _try(state, levels, terms, tables, funding, ts_open, last, mark, index, not usual)
    if own == at.UNCOUNTED or other == at.UNCOUNTED:
        state[at.STATUS] = at.OUT_OF_BOUNDS
    return other < own


def _try(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: Funding, ts_open: int, last: Ohlc, mark: Ohlc, index: Ohlc,
    low_first: bool,
) -> int:  # fmt: skip
    """The equity at the close of one path; then everything is again what was kept. The logs are closed meanwhile: nothing is written."""
    state[at.ORDER_ROOM] = state[at.FILL_ROOM] = state[at.PAYMENT_ROOM] = state[at.LIQUIDATION_ROOM] = state[at.TRADE_ROOM] = 0
    follow(state, levels, terms, tables, funding, ts_open, last, mark, index, low_first)
    found = worth(state, levels, terms[0])
    for number in range(at.STATE_SIZE):
        state[number] = state[at.KEPT + number]
    for number in range(at.LEVELS_SIZE):
        levels[number] = levels[at.KEPT_LEVELS + number]
    return found


def worth(state: Ints, levels: Floats, rules: Ints) -> int:
    """Equity at the present mark, in 1e-8, as sim/exchange/rewind.py has it; UNCOUNTED where 64 bits do not count it."""
    steps, wallet = state[at.STEPS], state[at.FREE] + state[at.MARGIN]
    if state[at.STATUS] != at.DONE:
        return at.UNCOUNTED
    if not steps:
        return wallet
    mark = levels[at.MARK] * 1e8
    if not mark * abs(steps) * rules[at.QTY_NUM] / rules[at.QTY_DEN] < LIMIT:
        return at.UNCOUNTED
    return wallet + unrealized_at(round(mark), steps, state[at.COST], rules[at.QTY_NUM], rules[at.QTY_DEN])


def follow(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: Funding, ts_open: int, last: Ohlc, mark: Ohlc, index: Ohlc,
    low_first: bool,
) -> None:  # fmt: skip
    """Go along one path."""
    paths = (points(last, low_first), points(mark, low_first), points(index, low_first))
    for leg in range(3):
        here = 0.0
        while here != NOT_AHEAD and state[at.STATUS] == at.DONE:
            here = _next_moment(state, levels, terms, tables, funding, ts_open, paths, leg, here)
        for source in range(3):
            levels[source] = paths[source][leg + 1]
        trail(state, levels, terms[0])


def _next_moment(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: Funding, ts_open: int, paths: tuple[Ohlc, Ohlc, Ohlc], leg: int,
    here: float,
) -> float:  # fmt: skip
    """Go to the next moment of this leg and let it happen. Returns its place; NOT_AHEAD when the rest of the leg is empty."""
    rules, steps = terms[0], state[at.STEPS]
    source, duration = rules[at.SOURCE], rules[at.BAR_MS]
    mark_start, mark_end = paths[at.MARK][leg], paths[at.MARK][leg + 1]
    start, end, current = paths[source][leg], paths[source][leg + 1], levels[source]
    ends = takes = trails = taken_over = timed = NOT_AHEAD
    if steps:
        if levels[at.LIQUIDATION] > 0.0:
            taken_over = fraction_met(levels[at.LIQUIDATION], steps < 0, levels[at.MARK], mark_start, mark_end)
        if state[at.STOP_STATE] == at.LIVE:
            ends = fraction_met(levels[at.STOP_LEVEL], steps < 0, current, start, end)
        if state[at.TARGET_STATE] == at.LIVE:
            takes = fraction_met(levels[at.TARGET_LEVEL], steps > 0, current, start, end)
        if state[at.TRAIL_STATE] == at.LIVE:
            if state[at.TRAIL_WAITS]:
                trails = fraction_met(levels[at.TRAIL_START], steps > 0, current, start, end)
            else:
                trails = fraction_met(levels[at.TRAIL_LEVEL], steps < 0, current, start, end)
    due = state[at.NEXT_STAMP]
    if due < ts_open + duration:
        timed = fraction_due(due, ts_open, duration, leg)
    place = _first(_first(_first(_first(taken_over, ends), takes), trails), timed)
    if place == NOT_AHEAD:
        return NOT_AHEAD
    place = max(place, here)
    for each in range(3):
        levels[each] = price_at(paths[each][leg], paths[each][leg + 1], place)
    if 0.0 <= taken_over <= place:
        levels[at.MARK] = levels[at.LIQUIDATION]
    if 0.0 <= ends <= place:
        levels[source] = levels[at.STOP_LEVEL]
    if 0.0 <= takes <= place:
        levels[source] = levels[at.TARGET_LEVEL]
    if 0.0 <= trails <= place:
        levels[source] = levels[at.TRAIL_START] if state[at.TRAIL_WAITS] else levels[at.TRAIL_LEVEL]
    is_timed = 0.0 <= timed <= place
    state[at.TS] = due if is_timed else max(state[at.TS], time_at(ts_open, duration, leg, place))
    _moment(state, levels, terms, tables, funding, due if is_timed else -NEVER)
    meet_prices(state, levels, terms, tables)
    return place


def _first(one: float, other: float) -> float:
    """The nearer of two places, of which each may be NOT_AHEAD."""
    if one < 0.0:
        return other
    return one if other < 0.0 else min(one, other)
