"""The kernel's risk actor: limits at the end of each bar, and what a changed target becomes. As core/actors/risk.py and the rules and
sizers behind it, for a strategy that decides by an array."""

from __future__ import annotations

from keel.core.model.costs import taker_price
from keel.core.model.instrument import grid_count, notional_of, size_count
from keel.core.model.timeframe import DAY_MS, floor_time
from keel.core.risk.exits import is_beyond, outward, percent_of
from keel.core.risk.limits import floor_of
from keel.core.risk.rules import affordable_usd, carried_usd
from keel.core.risk.sizing import equity_share
from keel.sim.kernel import layout as at
from keel.sim.kernel.logs import Floats, Ints, Tables, Terms, log_order
from keel.sim.kernel.money import within_bounds

# --- at the end of a bar ---


def close_bar(state: Ints, levels: Floats, terms: Terms, tables: Tables, ts: int) -> None:
    """Roll the day, watch loss and drawdown, close what has run its bars. ``ts``: the bar's close; EQUITY is that of the bar."""
    rules, rates = terms[0], terms[1]
    equity = levels[at.EQUITY]
    has_broken = False
    if equity <= levels[at.FLOOR] or equity > levels[at.PEAK] or ts >= state[at.DAY_END]:
        has_broken = _observe(state, levels, rates, ts, equity)
    if state[at.FLATTENING]:
        _close(state, tables, ts, at.BY_LIMIT)
        state[at.FLATTENING] = 1 if state[at.CLOSE_STATE] == at.SENT else 0
    elif ts >= state[at.DUE]:
        _close(state, tables, ts, at.BY_MAX_BARS)
        state[at.DUE] = floor_time(ts, rules[at.DECISION_MS], rules[at.DECISION_ORIGIN]) + rules[at.DECISION_MS]
    if has_broken:
        state[at.HALTS] += 1
        if rules[at.FLATTENS]:
            _close(state, tables, ts, at.BY_LIMIT)
            state[at.FLATTENING] = 1 if state[at.CLOSE_STATE] == at.SENT else 0


def _observe(state: Ints, levels: Floats, rates: Floats, ts: int, equity: float) -> bool:
    """core/risk/limits.py: take in the equity of a bar; whether a limit has just been broken."""
    if ts >= state[at.DAY_END]:
        state[at.DAY_END] = ts - ts % DAY_MS + DAY_MS
        levels[at.DAY_START] = equity
        state[at.DAY_LOCKED] = 0
        _set_floor(state, levels, rates)
    if equity > levels[at.PEAK]:
        levels[at.PEAK] = levels[at.TOP] = equity
        _set_floor(state, levels, rates)
    if equity > levels[at.FLOOR]:
        return False
    has_broken = False
    if rates[at.MAX_DRAWDOWN] >= 0.0 and not state[at.DRAWDOWN_LOCKED] and equity <= floor_of(levels[at.TOP], rates[at.MAX_DRAWDOWN]):
        state[at.DRAWDOWN_LOCKED] = 1
        has_broken = True
    elif rates[at.DAILY_LOSS] >= 0.0 and not state[at.DAY_LOCKED]:
        state[at.DAY_LOCKED] = 1
        has_broken = True
    _set_floor(state, levels, rates)
    return has_broken


def _set_floor(state: Ints, levels: Floats, rates: Floats) -> None:
    floor = -at.INFINITY
    if rates[at.DAILY_LOSS] >= 0.0 and not state[at.DAY_LOCKED]:
        floor = floor_of(levels[at.DAY_START], rates[at.DAILY_LOSS])
    if rates[at.MAX_DRAWDOWN] >= 0.0 and not state[at.DRAWDOWN_LOCKED] and levels[at.TOP] > 0.0:
        floor = max(floor, floor_of(levels[at.TOP], rates[at.MAX_DRAWDOWN]))
    levels[at.FLOOR] = floor


def _close(state: Ints, tables: Tables, ts: int, reason: int) -> None:
    """Send a reduce-only order for all that is held, unless one is on its way."""
    steps = state[at.STEPS]
    if not steps or state[at.CLOSE_STATE] == at.SENT:
        return
    state[at.TS] = ts
    state[at.CLOSE_STATE], state[at.CLOSE_REASON] = at.SENT, reason
    state[at.CLOSE_SIDE], state[at.CLOSE_STEPS] = -1 if steps > 0 else 1, abs(steps)
    state[at.CLOSE_ORDER] = log_order(state, tables, state[at.CLOSE_SIDE], abs(steps), reason, 1, 0, 0, -1)


# --- a changed target ---


def decide(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, denials: Ints, direction: int, ts: int, price: float, mark: float,
    distances: tuple[float, float, float, float],
) -> None:  # fmt: skip
    """Turn a new target (+1, -1, 0) into orders, or count why not.

    price, mark: last close and mark of the bar.  distances: the ATR of stop-loss, take-profit and trailing stop, and what the sizer reads.
    """
    held = 0 if state[at.CLOSE_STATE] == at.SENT else state[at.STEPS]
    state[at.SIGNALS] += 1
    if direction == 0:
        if held:
            _close(state, tables, ts, at.SIGNAL)
            state[at.ORDERED] += 1
        else:
            state[at.FLAT_ALREADY] += 1
        return
    if held * direction > 0:
        state[at.HELD_ALREADY] += 1
        return
    denial = _enter(state, levels, terms, tables, direction, ts, price, mark, held, distances)
    if not denial:
        state[at.ORDERED] += 1
    else:
        denials[denial] += 1
        is_malformed = denial == at.DENY_NO_PRICE or at.DENY_STOP_LOSS <= denial <= at.DENY_TRAILING
        if held and not is_malformed:
            _close(state, tables, ts, at.SIGNAL)


def _enter(
    state: Ints, levels: Floats, terms: Terms, tables: Tables, direction: int, ts: int, price: float, mark: float, held: int,
    distances: tuple[float, float, float, float],
) -> int:  # fmt: skip
    """Send the order of an entry or a flip; or say why not."""
    rules, rates = terms[0], terms[1]
    denial = _check(state, rules, ts)
    if denial:
        return denial
    if not price > 0.0:
        return at.DENY_NO_PRICE
    denial = _set_exits(levels, rules, rates, direction, price, distances)
    if denial:
        return denial
    steps, denial = _size(state, levels, rules, rates, direction, price, mark, held, distances[3])
    if denial or state[at.STATUS] != at.DONE:
        return denial
    if held:
        if steps + abs(held) > rules[at.WANTED_STEPS]:
            _close(state, tables, ts, at.SIGNAL)
        else:
            steps += abs(held)
    num, den = rules[at.PRICE_NUM], rules[at.PRICE_DEN]
    has_exits = rules[at.STOP_KIND] or rules[at.TARGET_KIND] or rules[at.TRAIL_KIND]
    stop = grid_count(levels[at.NEW_STOP], num, den) if rules[at.STOP_KIND] else 0
    target = grid_count(levels[at.NEW_TARGET], num, den) if rules[at.TARGET_KIND] else 0
    state[at.TS] = ts
    state[at.ENTRY_STATE], state[at.ENTRY_EXITS] = at.SENT, 1 if has_exits else 0
    state[at.ENTRY_SIDE], state[at.ENTRY_STEPS] = direction, steps
    state[at.ENTRY_ORDER] = log_order(state, tables, direction, steps, at.SIGNAL, 0, stop, target, -1)
    return at.NO_DENIAL


def _check(state: Ints, rules: Ints, ts: int) -> int:
    """core/risk/rules.py: whether an entry is allowed at all."""
    if state[at.DRAWDOWN_LOCKED]:
        return at.DENY_DRAWDOWN
    if state[at.DAY_LOCKED]:
        return at.DENY_DAILY_LOSS
    if rules[at.COOLDOWN_BARS]:
        if state[at.STEPS]:
            return at.DENY_COOLDOWN
        if state[at.LEFT_AT] >= 0 and max(0, ts - state[at.LEFT_AT]) // rules[at.DECISION_MS] < rules[at.COOLDOWN_BARS]:
            return at.DENY_COOLDOWN
    if rules[at.ONE_POSITION] and state[at.CLOSE_STATE] == at.SENT:
        return at.DENY_POSITIONS
    return at.NO_DENIAL


def _set_exits(
    levels: Floats, rules: Ints, rates: Floats, direction: int, price: float, distances: tuple[float, float, float, float]
) -> int:
    """core/risk/exits.py: the prices of the exits that go with an entry."""
    num, den, up = rules[at.PRICE_NUM], rules[at.PRICE_DEN], direction > 0
    levels[at.NEW_STOP] = levels[at.NEW_TARGET] = levels[at.NEW_TRAIL] = 0.0
    levels[at.NEW_START] = -1.0
    if rules[at.STOP_KIND]:
        length = _length(rules[at.STOP_KIND], rates[at.STOP_LENGTH], price, distances[0])
        if not length > 0.0 and rules[at.STOP_KIND] == at.BY_ATR:
            return at.DENY_EXIT_UNKNOWN
        level = price - length if up else price + length
        if not is_beyond(level, price, not up):
            return at.DENY_STOP_LOSS
        levels[at.NEW_STOP] = outward(level, not up, num, den)
        if levels[at.NEW_STOP] <= 0.0:
            return at.DENY_STOP_LOSS
    if rules[at.TARGET_KIND]:
        length = _length(rules[at.TARGET_KIND], rates[at.TARGET_LENGTH], price, distances[1])
        if not length > 0.0 and rules[at.TARGET_KIND] == at.BY_ATR:
            return at.DENY_EXIT_UNKNOWN
        level = price + length if up else price - length
        if not is_beyond(level, price, up):
            return at.DENY_TAKE_PROFIT
        levels[at.NEW_TARGET] = outward(level, up, num, den)
        if levels[at.NEW_TARGET] <= 0.0:
            return at.DENY_TAKE_PROFIT
    if rules[at.TRAIL_KIND]:
        length = _length(rules[at.TRAIL_KIND], rates[at.TRAIL_LENGTH], price, distances[2])
        if not length > 0.0 and rules[at.TRAIL_KIND] == at.BY_ATR:
            return at.DENY_EXIT_UNKNOWN
        levels[at.NEW_TRAIL] = outward(length, True, num, den)
        if rules[at.ACTIVATES]:
            way = percent_of(price, rates[at.ACTIVATE])
            activation = price + way if up else price - way
            if activation <= 0.0:
                return at.DENY_TRAILING
            levels[at.NEW_START] = outward(activation, up, num, den)
    return at.NO_DENIAL


def _length(kind: int, length: float, price: float, atr: float) -> float:
    return percent_of(price, length) if kind == at.BY_PERCENT else length * atr


def _size(
    state: Ints, levels: Floats, rules: Ints, rates: Floats, direction: int, price: float, mark: float, held: int, feature: float
) -> tuple[int, int]:
    """core/risk/manager.py: (steps of the new position, why there are none)."""
    qty, denial = _wanted(levels, rules, rates, price, feature)
    if denial:
        return 0, denial
    limited_by = at.NO_DENIAL
    if rules[at.HAS_RULES]:
        usd, reason = _room(state, levels, rules, rates, direction, price, mark, held)
        if usd < qty * price:
            qty, limited_by = usd / price, reason
    if rates[at.MOST_WANTED] < qty:
        qty, limited_by = rates[at.MOST_WANTED], at.DENY_MAX_QTY
    if not qty > 0.0:
        return 0, limited_by if limited_by else at.DENY_NO_EQUITY
    num, den = rules[at.QTY_NUM], rules[at.QTY_DEN]
    if not qty * den / num < at.MOST_STEPS:
        state[at.STATUS] = at.OUT_OF_BOUNDS
        return 0, at.NO_DENIAL
    steps = size_count(qty, num, den)
    if steps <= 0 or steps < rules[at.LEAST_STEPS]:
        return 0, limited_by if limited_by else at.DENY_MIN_QTY
    ticks = grid_count(price, rules[at.PRICE_NUM], rules[at.PRICE_DEN])
    if not within_bounds(state, rules, ticks, steps):
        return 0, at.NO_DENIAL
    if notional_of(ticks, steps, rules[at.VALUE_NUM], rules[at.VALUE_DEN]) < rules[at.MIN_NOTIONAL]:
        return 0, limited_by if limited_by else at.DENY_MIN_NOTIONAL
    if limited_by:
        state[at.CAPPED + limited_by - at.DENY_LEVERAGE] += 1
    return steps, at.NO_DENIAL


def _wanted(levels: Floats, rules: Ints, rates: Floats, price: float, feature: float) -> tuple[float, int]:
    """core/risk/sizing.py: (the quantity that the sizing model wants, why it has none)."""
    model, size = rules[at.SIZING], rates[at.SIZE]
    if model == at.FIXED_QTY:
        return size, at.NO_DENIAL
    if model == at.FIXED_USD:
        return size / price, at.NO_DENIAL
    share = equity_share(levels[at.EQUITY], size)
    if model == at.PERCENT_EQUITY:
        return share / price, at.NO_DENIAL
    if model == at.INVERSE_VOL:
        if not feature > 0.0:
            return 0.0, at.DENY_VOLATILITY
        return share / (feature * (1.0 / feature)) / price, at.NO_DENIAL
    distance = at.NO_NUMBER
    if levels[at.NEW_STOP] > 0.0:
        distance = abs(price - levels[at.NEW_STOP])
    elif rates[at.SIZE_STOP] >= 0.0:
        distance = rates[at.SIZE_STOP] * feature
    if not distance > 0.0:
        return 0.0, at.DENY_STOP_UNKNOWN
    return share / distance, at.NO_DENIAL


def _room(
    state: Ints, levels: Floats, rules: Ints, rates: Floats, direction: int, price: float, mark: float, held: int
) -> tuple[float, int]:
    """core/risk/rules.py: (the largest notional that the position may have, the limit that says so)."""
    wallet = levels[at.CASH]
    qty, entry = 0.0, 0.0
    if held:
        qty = levels[at.QTY]
        entry = abs(levels[at.OFFSET]) / abs(qty)
    fill = taker_price(price, rules[at.COST_RATE], direction, rules[at.PRICE_NUM], rules[at.PRICE_DEN])
    unit = rates[at.CARRY_LONG] if direction > 0 else rates[at.CARRY_SHORT]
    carried = carried_usd(wallet, levels[at.EQUITY], qty, entry, mark, 0.0, price, fill, unit, rates[at.CARRY_FEE], rates[at.COST_SHARE])
    if held:
        wallet += qty * (mark - entry)
    usd, reason = affordable_usd(wallet, levels[at.EQUITY], rates[at.ACCOUNT_SHARE], rates[at.UNIT_MARGIN]), at.DENY_LEVERAGE
    if carried < usd:
        usd = carried
    if rates[at.MAX_POSITION] < usd:
        usd, reason = rates[at.MAX_POSITION], at.DENY_MAX_POSITION
    if rates[at.MAX_GROSS] < usd:
        usd, reason = rates[at.MAX_GROSS], at.DENY_MAX_GROSS
    return usd, reason
