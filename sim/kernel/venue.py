"""The kernel's exchange: what happens at one place of the path, in the order of sim/matching/matching.py, by the formulas that it calls.

Everything here is plain Python that compiles: functions of numbers and arrays, which say by a status what they cannot go on with. There are
at most two orders on their way at once (a close, then an entry) and three exits on a position.
"""

from __future__ import annotations

from keel.core.model.costs import reference_count, taker_ticks
from keel.core.model.instrument import grid_count, grid_floor, grid_value, notional_of
from keel.core.model.money import LIMIT, fee_on
from keel.core.model.timeframe import NEVER, floor_time
from keel.sim.exchange.exhaustion import smallest_notional
from keel.sim.kernel import layout as at
from keel.sim.kernel.logs import Floats, Ints, Tables, Terms, end_order, log_fill, log_liquidation, log_order, log_payment
from keel.sim.kernel.money import post, within_bounds
from keel.sim.kernel.trips import book_trip, fund_trip
from keel.sim.margin.funding import charge_parts, funding_payment
from keel.sim.margin.isolated import bankruptcy_price, liquidation_price_by_tier, margin_to_hold, order_margin
from keel.sim.margin.liquidation import is_touched, isolated_loss
from keel.sim.margin.settlement import BEYOND_CASH, BEYOND_TIER, SHORT_OF_CASH, settle_linear, shortfall
from keel.sim.matching.triggers import is_reached, trailing_trigger

# --- orders arrive ---


def arrive(state: Ints, levels: Floats, terms: Terms, tables: Tables) -> None:
    """Look at what was sent, one after the other: it takes at this moment, before the next one is looked at, or is rejected."""
    if state[at.CLOSE_STATE] == at.SENT:
        state[at.CLOSE_STATE] = at.ARRIVED
        if state[at.STEPS] * state[at.CLOSE_SIDE] >= 0:
            state[at.CLOSE_STATE] = at.NOTHING
            _reject(state, tables, state[at.CLOSE_ORDER], at.WORD_FLAT)
        elif state[at.ENTRY_STATE] == at.SENT:
            meet_prices(state, levels, terms, tables)
    if state[at.ENTRY_STATE] == at.SENT:
        state[at.ENTRY_STATE] = at.ARRIVED
        word = _check_entry(state, levels, terms)
        if word != at.NO_WORD:
            state[at.ENTRY_STATE] = at.NOTHING
            _reject(state, tables, state[at.ENTRY_ORDER], word)


def _check_entry(state: Ints, levels: Floats, terms: Terms) -> int:
    """sim/exchange/order_validation.py, for a market order that opens: quantity, value, exits on their sides of the price."""
    rules = terms[0]
    steps, side, base = state[at.ENTRY_STEPS], state[at.ENTRY_SIDE], levels[at.LAST]
    if steps < rules[at.MIN_STEPS]:
        return at.WORD_QTY_SMALL
    if steps > rules[at.TAKEN_STEPS]:
        return at.WORD_QTY_LARGE
    ticks = grid_count(base, rules[at.PRICE_NUM], rules[at.PRICE_DEN])
    if not within_bounds(state, rules, ticks, steps):
        return at.NO_WORD
    if notional_of(ticks, steps, rules[at.VALUE_NUM], rules[at.VALUE_DEN]) < rules[at.MIN_NOTIONAL]:
        return at.WORD_NOTIONAL
    if state[at.ENTRY_EXITS]:
        if levels[at.NEW_STOP] > 0.0 and (levels[at.NEW_STOP] - base) * -side <= 0.0:
            return at.WORD_STOP_LOSS
        if levels[at.NEW_TARGET] > 0.0 and (levels[at.NEW_TARGET] - base) * side <= 0.0:
            return at.WORD_TAKE_PROFIT
    return at.NO_WORD


def _reject(state: Ints, tables: Tables, order: int, word: int) -> None:
    state[at.REJECTED] += 1
    end_order(state, tables, order, at.REJECTED_STATUS, word)


# --- one place of the path ---


def meet_prices(state: Ints, levels: Floats, terms: Terms, tables: Tables) -> None:
    """The trailing stop sees the present prices; then everything that they cause."""
    if has_exits(state):
        trail(state, levels, terms[0])
    price_point(state, levels, terms, tables)


def price_point(state: Ints, levels: Floats, terms: Terms, tables: Tables) -> None:
    """Everything that the present prices cause, until they cause nothing more: liquidation, exits, takers by their sequence."""
    while state[at.STATUS] == at.DONE:
        if levels[at.LIQUIDATION] > 0.0 and is_touched(state[at.STEPS], levels[at.MARK], levels[at.LIQUIDATION]):
            liquidate(state, levels, terms, tables)
        if has_exits(state):
            _fire(state, levels, terms, tables)
        has_fired = state[at.STOP_STATE] == at.FIRED or state[at.TARGET_STATE] == at.FIRED or state[at.TRAIL_STATE] == at.FIRED
        if not has_fired and state[at.CLOSE_STATE] != at.ARRIVED and state[at.ENTRY_STATE] != at.ARRIVED:
            return
        if state[at.STOP_STATE] == at.FIRED:
            state[at.STOP_STATE] = at.NOTHING
            _take_exit(state, levels, terms, tables, state[at.STOP_ORDER], at.STOP_LOSS)
        if state[at.TARGET_STATE] == at.FIRED:
            state[at.TARGET_STATE] = at.NOTHING
            _take_exit(state, levels, terms, tables, state[at.TARGET_ORDER], at.TAKE_PROFIT)
        if state[at.TRAIL_STATE] == at.FIRED:
            state[at.TRAIL_STATE] = at.NOTHING
            _take_exit(state, levels, terms, tables, state[at.TRAIL_ORDER], at.TRAILING)
        if state[at.CLOSE_STATE] == at.ARRIVED:
            state[at.CLOSE_STATE] = at.NOTHING
            _take_close(state, levels, terms, tables)
        if state[at.ENTRY_STATE] == at.ARRIVED:
            state[at.ENTRY_STATE] = at.NOTHING
            _take_entry(state, levels, terms, tables)


def has_exits(state: Ints) -> bool:
    """Whether the position has exits."""
    return state[at.STOP_STATE] != at.NOTHING or state[at.TARGET_STATE] != at.NOTHING or state[at.TRAIL_STATE] != at.NOTHING


def _fire(state: Ints, levels: Floats, terms: Terms, tables: Tables) -> None:
    """Let the exits fire that are due; a stop-loss ends the take-profit, and the other way round."""
    price, is_long = levels[terms[0][at.SOURCE]], state[at.STEPS] > 0
    stops = state[at.STOP_STATE] == at.LIVE and is_reached(price, levels[at.STOP_LEVEL], not is_long)
    targets = state[at.TARGET_STATE] == at.LIVE and is_reached(price, levels[at.TARGET_LEVEL], is_long)
    trails = state[at.TRAIL_STATE] == at.LIVE and not state[at.TRAIL_WAITS] and is_reached(price, levels[at.TRAIL_LEVEL], not is_long)
    if stops:
        state[at.STOP_STATE] = at.FIRED
        if state[at.TARGET_STATE] != at.NOTHING:
            state[at.TARGET_STATE] = at.NOTHING
            end_order(state, tables, state[at.TARGET_ORDER], at.CANCELLED, at.WORD_TP_BY_SL)
    if targets and state[at.TARGET_STATE] == at.LIVE:
        state[at.TARGET_STATE] = at.FIRED
        if state[at.STOP_STATE] != at.NOTHING:
            state[at.STOP_STATE] = at.NOTHING
            end_order(state, tables, state[at.STOP_ORDER], at.CANCELLED, at.WORD_SL_BY_TP)
    if trails:
        state[at.TRAIL_STATE] = at.FIRED


def _take_exit(state: Ints, levels: Floats, terms: Terms, tables: Tables, order: int, reason: int) -> None:
    side = -1 if state[at.STEPS] > 0 else 1
    execute(state, levels, terms, tables, side, abs(state[at.STEPS]), order, reason)


def _take_close(state: Ints, levels: Floats, terms: Terms, tables: Tables) -> None:
    side, order = state[at.CLOSE_SIDE], state[at.CLOSE_ORDER]
    closable = abs(state[at.STEPS]) if state[at.STEPS] * side < 0 else 0
    steps = min(state[at.CLOSE_STEPS], closable)
    if steps:
        execute(state, levels, terms, tables, side, steps, order, state[at.CLOSE_REASON])
    else:
        _reject(state, tables, order, at.WORD_FLAT)


def _take_entry(state: Ints, levels: Floats, terms: Terms, tables: Tables) -> None:
    side, order = state[at.ENTRY_SIDE], state[at.ENTRY_ORDER]
    verdict = execute(state, levels, terms, tables, side, state[at.ENTRY_STEPS], order, at.SIGNAL)
    if verdict > SHORT_OF_CASH:
        word = at.WORD_MARGIN if verdict == BEYOND_CASH else at.WORD_TIER if verdict == BEYOND_TIER else at.WORD_LIQUIDATED
        _reject(state, tables, order, word)
        if word == at.WORD_MARGIN:
            look(state, levels, terms)
    elif state[at.ENTRY_EXITS] and state[at.STEPS] * side > 0 and state[at.STATUS] == at.DONE:
        _attach(state, levels, terms, tables, order)


# --- fills ---


def execute(state: Ints, levels: Floats, terms: Terms, tables: Tables, side: int, steps: int, order: int, reason: int) -> int:
    """A market order of ``steps`` at the present price, and what follows from it; sim/margin/settlement.py's verdict."""
    rules, rates = terms[0], terms[1]
    reference = reference_count(levels[at.LAST], rules[at.PRICE_NUM], rules[at.PRICE_DEN], side)
    ticks = taker_ticks(reference, rules[at.COST_RATE], side)
    if not within_bounds(state, rules, ticks, steps):
        return 0
    value_num, value_den = rules[at.VALUE_NUM], rules[at.VALUE_DEN]
    total = notional_of(ticks, steps, value_num, value_den)
    if not total:
        state[at.STATUS] = at.OUT_OF_BOUNDS  # an order that is worth nothing has no shares to divide by
        return 0
    fee = fee_on(total, rules[at.TAKER_FEE])
    held, margin = state[at.STEPS], state[at.MARGIN]
    verdict, released, pnl, hold, opening, now, cost, price = settle_linear(
        side, steps, ticks, total, fee, held, state[at.COST], margin, state[at.FREE], levels[at.MARK],
        rules[at.LEVERAGE], rules[at.TAKER_FEE], rates[at.LEVERAGE_RATE], rates[at.TAKER_RATE], rules[at.UNLIMITED_TO], terms[2], terms[3],
        value_num, value_den, rules[at.QTY_NUM], rules[at.QTY_DEN],
    )  # fmt: skip
    if verdict > SHORT_OF_CASH:
        return verdict
    if not 0 <= cost < LIMIT:
        state[at.STATUS] = at.OUT_OF_BOUNDS
        return 0
    state[at.STEPS], state[at.COST] = now, cost
    insured = 0
    if verdict == SHORT_OF_CASH:
        missing, from_margin = shortfall(state[at.FREE], released, pnl, fee, margin)
        insured = missing - from_margin
        post(state, released + pnl - fee + missing, -released - from_margin, fee, 0, -pnl, -insured)
        state[at.INSURANCE_PAID] += insured
        levels[at.LIQUIDATION] = liquidation_level(state, terms) if now else 0.0
    else:
        post(state, released + pnl - fee - hold, hold - released, fee, 0, -pnl, 0)
        levels[at.LIQUIDATION] = price
    end_order(state, tables, order, at.FILLED, at.NO_WORD)
    log_fill(state, tables, order, side, steps, ticks, reference, fee, pnl + insured, reason, 1 if insured else 0)
    book_trip(state, rules, tables[5], side, steps, ticks, reference, total, held, opening, fee, pnl + insured, reason)
    _note_side(state, rules)
    if held and (not now or (held > 0) != (now > 0)):
        clear_exits(state, tables, at.WORD_CLEAR)
        if not now:
            look(state, levels, terms)
    return verdict


def liquidate(state: Ints, levels: Floats, terms: Terms, tables: Tables) -> None:
    """Cancel what lives, then the whole position is taken over at its bankruptcy price."""
    rules, rates = terms[0], terms[1]
    clear_exits(state, tables, at.WORD_BEFORE_LIQUIDATION)
    if state[at.CLOSE_STATE] == at.ARRIVED:
        state[at.CLOSE_STATE] = at.NOTHING
        end_order(state, tables, state[at.CLOSE_ORDER], at.CANCELLED, at.WORD_BEFORE_LIQUIDATION)
    if state[at.ENTRY_STATE] == at.ARRIVED:
        state[at.ENTRY_STATE] = at.NOTHING
        end_order(state, tables, state[at.ENTRY_ORDER], at.CANCELLED, at.WORD_BEFORE_LIQUIDATION)
    held, cost, margin = state[at.STEPS], state[at.COST], state[at.MARGIN]
    steps, side = abs(held), 1 if held > 0 else -1
    mark_ticks = grid_count(levels[at.MARK], rules[at.PRICE_NUM], rules[at.PRICE_DEN])
    if not within_bounds(state, rules, mark_ticks, steps):
        return
    value = notional_of(mark_ticks, steps, rules[at.VALUE_NUM], rules[at.VALUE_DEN])
    fee, at_mark, insurance, extra = isolated_loss(side, cost, margin, value, rules[at.LEVERAGE], rules[at.TAKER_FEE])
    qty = grid_value(held, rules[at.QTY_NUM], rules[at.QTY_DEN]) * side
    bankruptcy = bankruptcy_price(side, qty, cost / 1e8, rates[at.LEVERAGE_RATE], extra / 1e8, rates[at.TAKER_RATE])
    ticks = grid_count(bankruptcy, rules[at.PRICE_NUM], rules[at.PRICE_DEN])
    if not within_bounds(state, rules, ticks, steps):
        return
    post(state, 0, -margin, fee, 0, at_mark, -insurance)
    state[at.INSURANCE_PAID] += max(0, insurance)
    log_liquidation(state, tables, -side, steps, margin, max(0, insurance), levels[at.MARK], levels[at.LIQUIDATION], bankruptcy)
    state[at.STEPS] = state[at.COST] = 0
    levels[at.LIQUIDATION] = 0.0
    total = notional_of(ticks, steps, rules[at.VALUE_NUM], rules[at.VALUE_DEN])
    log_fill(state, tables, -1, -side, steps, ticks, ticks, fee, fee - margin, at.BY_LIQUIDATION, 1)
    book_trip(state, rules, tables[5], -side, steps, ticks, ticks, total, held, 0, fee, fee - margin, at.BY_LIQUIDATION)
    _note_side(state, rules)
    look(state, levels, terms)


def liquidation_level(state: Ints, terms: Terms) -> float:
    """The liquidation price of the position as it is."""
    rules, rates = terms[0], terms[1]
    side, cost = 1 if state[at.STEPS] > 0 else -1, state[at.COST]
    extra = state[at.MARGIN] - margin_to_hold(cost, side, rules[at.LEVERAGE], rules[at.TAKER_FEE])
    qty = grid_value(state[at.STEPS], rules[at.QTY_NUM], rules[at.QTY_DEN]) * side
    return liquidation_price_by_tier(side, qty, cost / 1e8, rates[at.LEVERAGE_RATE], extra / 1e8, rates[at.TAKER_RATE], terms[2])


def _note_side(state: Ints, rules: Ints) -> None:
    """What the risk actor remembers of a fill: when the position was left, and when its time is up."""
    side = (state[at.STEPS] > 0) - (state[at.STEPS] < 0)
    before, duration, origin = state[at.RISK_SIDE], rules[at.DECISION_MS], rules[at.DECISION_ORIGIN]
    if side == before:
        return
    state[at.RISK_SIDE] = side
    if before:
        if rules[at.COOLDOWN_BARS]:
            state[at.LEFT_AT] = floor_time(state[at.TS] + duration - 1, duration, origin)
        state[at.DUE] = NEVER
    if side and rules[at.MAX_BARS]:
        state[at.DUE] = floor_time(state[at.TS], duration, origin) + rules[at.MAX_BARS] * duration


def look(state: Ints, levels: Floats, terms: Terms) -> None:
    """sim/exchange/exhaustion.py: whether anything can still be done with what is left."""
    rules = terms[0]
    if state[at.STOP_CODE]:
        return
    ticks = max(1, grid_floor(levels[at.LAST], rules[at.PRICE_NUM], rules[at.PRICE_DEN]))
    notional = smallest_notional(ticks, rules[at.MIN_STEPS], rules[at.MIN_NOTIONAL], rules[at.VALUE_NUM], rules[at.VALUE_DEN])
    need = order_margin(notional, rules[at.LEVERAGE], 1, rules[at.TAKER_FEE])
    if has_exits(state) or state[at.STEPS] or state[at.FREE] >= need:
        return
    equity = state[at.FREE] + state[at.MARGIN]
    state[at.STOP_CODE] = 1 if equity < need else 2
    state[at.STOP_TS], state[at.STOP_NEED], state[at.STOP_EQUITY] = state[at.TS], need, equity


# --- exits ---


def _attach(state: Ints, levels: Floats, terms: Terms, tables: Tables, parent: int) -> None:
    """The exits of the entry that was just filled, for the whole position."""
    rules = terms[0]
    num, den, steps = rules[at.PRICE_NUM], rules[at.PRICE_DEN], abs(state[at.STEPS])
    out = 1 if state[at.STEPS] > 0 else -1
    clear_exits(state, tables, at.WORD_CLEAR)
    if levels[at.NEW_STOP] > 0.0:
        ticks = grid_count(levels[at.NEW_STOP], num, den)
        levels[at.STOP_LEVEL], state[at.STOP_STATE] = grid_value(ticks, num, den), at.LIVE
        state[at.STOP_ORDER] = log_order(state, tables, -out, steps, at.STOP_LOSS, 1, ticks, 0, parent)
    if levels[at.NEW_TARGET] > 0.0:
        ticks = grid_count(levels[at.NEW_TARGET], num, den)
        levels[at.TARGET_LEVEL], state[at.TARGET_STATE] = grid_value(ticks, num, den), at.LIVE
        state[at.TARGET_ORDER] = log_order(state, tables, -out, steps, at.TAKE_PROFIT, 1, ticks, 0, parent)
    if levels[at.NEW_TRAIL] > 0.0:
        price = levels[rules[at.SOURCE]]
        levels[at.TRAIL_DISTANCE], state[at.TRAIL_STATE], state[at.TRAIL_WAITS] = levels[at.NEW_TRAIL], at.LIVE, 1
        levels[at.TRAIL_START] = price if levels[at.NEW_START] < 0.0 else levels[at.NEW_START]
        trail(state, levels, rules)
        ticks = 0 if state[at.TRAIL_WAITS] else grid_count(levels[at.TRAIL_LEVEL], num, den)
        state[at.TRAIL_ORDER] = log_order(state, tables, -out, steps, at.TRAILING, 1, ticks, 0, parent)


def trail(state: Ints, levels: Floats, rules: Ints) -> None:
    """Let the trailing stop see the present price: it activates, then keeps its distance to the best one."""
    if state[at.TRAIL_STATE] == at.NOTHING:
        return
    price, out = levels[rules[at.SOURCE]], 1 if state[at.STEPS] > 0 else -1
    if state[at.TRAIL_WAITS]:
        if (price - levels[at.TRAIL_START]) * out < 0.0:
            return
        state[at.TRAIL_WAITS] = 0
    elif (price - levels[at.TRAIL_BEST]) * out <= 0.0:
        return
    levels[at.TRAIL_BEST] = price
    levels[at.TRAIL_LEVEL] = trailing_trigger(price, out, levels[at.TRAIL_DISTANCE], rules[at.PRICE_NUM], rules[at.PRICE_DEN])


def clear_exits(state: Ints, tables: Tables, word: int) -> None:
    """End all exits of the position."""
    if state[at.STOP_STATE] != at.NOTHING:
        state[at.STOP_STATE] = at.NOTHING
        end_order(state, tables, state[at.STOP_ORDER], at.CANCELLED, word)
    if state[at.TARGET_STATE] != at.NOTHING:
        state[at.TARGET_STATE] = at.NOTHING
        end_order(state, tables, state[at.TARGET_ORDER], at.CANCELLED, word)
    if state[at.TRAIL_STATE] != at.NOTHING:
        state[at.TRAIL_STATE] = at.NOTHING
        end_order(state, tables, state[at.TRAIL_ORDER], at.CANCELLED, word)


# --- funding ---


def settle_funding(state: Ints, levels: Floats, terms: Terms, tables: Tables, funding: tuple[Ints, Ints, Ints, Ints]) -> None:
    """Charge the stamp at the cursor to the position, and go past it."""
    stamps, cursor = funding[0], state[at.CURSOR]
    stamp, rate, mark = stamps[cursor], funding[1][cursor], funding[2][cursor]
    state[at.CURSOR] = cursor + 1
    state[at.NEXT_STAMP] = stamps[cursor + 1]
    if not state[at.STEPS]:
        return
    rules = terms[0]
    if not float(mark) * abs(state[at.STEPS]) * rules[at.QTY_NUM] / rules[at.QTY_DEN] < LIMIT:
        state[at.STATUS] = at.OUT_OF_BOUNDS
        return
    owed = funding_payment(mark, state[at.STEPS], rules[at.QTY_NUM], rules[at.QTY_DEN], rate)
    from_free, from_margin, missing = charge_parts(owed, state[at.FREE], state[at.MARGIN])
    post(state, -from_free, -from_margin, 0, owed, 0, -missing)
    state[at.INSURANCE_PAID] += missing
    log_payment(state, tables, stamp, owed - missing, rate, mark)
    fund_trip(state, owed - missing)
    if from_margin:
        levels[at.LIQUIDATION] = liquidation_level(state, terms)
        if not state[at.MARGIN]:
            liquidate(state, levels, terms, tables)
