"""The account over time, bar by bar, made after the loop out of the exchange's position log: exposure, margin, worst equity inside a bar.

The loop itself keeps only equity. What else a report wants is a function of the positions' changes and of the prices, so it is computed in
whole columns here, and costs the loop nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from keel.adapters.replay.history import Floats, Ints, SymbolHistory
from keel.core.model.costs import taker_ticks
from keel.core.model.frame import Frame
from keel.core.model.money import UNIT, to_units
from keel.core.model.timeframe import tf_ms
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.metrics import PositionLog
from keel.sim.matching.execution import reference_ticks

_CHUNK = 65_536


def equity_curve(
    times: Ints,
    equity: Floats,
    histories: Sequence[SymbolHistory],
    logs: Mapping[str, PositionLog],
    start_ms: int,
    initial_equity: float,
    *,
    detailed: bool = True,
) -> Frame:
    """The columns of ``BacktestResult.equity_curve``: ``times`` and ``equity`` are the loop's; the first row is the window's start.

    equity_worst: equity if every position had been valued at the worst mark of the bar; one that changed after the bar's open counts with
    its close. liquidation_distance_pct: the smallest distance of mark to liquidation price in the bar, in percent of the mark, over
    positions; nan without any. Positions are those at the bar's close. Without ``detailed`` only the first two columns: what the
    standard metrics read.
    """
    rows = len(times)
    names = ("equity", "equity_worst", "gross_notional", "margin") if detailed else ("equity", "equity_worst")
    curve = {name: np.zeros(rows + 1) for name in names}
    curve["equity"][0] = curve["equity_worst"][0] = initial_equity
    curve["equity"][1:] = curve["equity_worst"][1:] = equity
    if detailed:
        curve["liquidation_distance_pct"] = np.full(rows + 1, np.inf)
    for history in histories:
        log = logs.get(history.symbol, ())
        if log:
            _add(times, {name: column[1:] for name, column in curve.items()}, history, log)
    if detailed:
        distance = curve["liquidation_distance_pct"]
        distance[np.isinf(distance)] = np.nan
    stamps = np.empty(rows + 1, dtype=np.int64)
    stamps[0], stamps[1:] = start_ms, times
    return Frame(stamps, curve, kind="equity")


def _add(times: Ints, curve: Mapping[str, Floats], history: SymbolHistory, log: PositionLog) -> None:
    """Add what one symbol's positions were, chunk by chunk: whole columns would go through fresh memory a dozen times."""
    changes = np.array([entry[0] for entry in log], dtype=np.int64)
    rows = np.searchsorted(times, changes, side="right")  # the instant that closes the bar of each change
    value = history.instrument.book_grid.value
    states = (
        np.array([0.0, *(value(steps) for _, steps, _, _, _ in log)]),
        np.array([0.0, *(margin / UNIT for _, _, _, margin, _ in log)]),
        np.array([0.0, *(price for _, _, _, _, price in log)]),
    )
    marks = _marks(times, history)
    inside = rows < len(times)
    opens = times[rows[inside]] - tf_ms(history.execution.timeframe)
    later = rows[inside][changes[inside] > opens]  # positions that did not stand through the whole bar count with its close
    for start in range(0, len(times), _CHUNK):
        end = min(start + _CHUNK, len(times))
        first, last = np.searchsorted(rows, start, side="right"), np.searchsorted(rows, end, side="left")
        lengths = np.diff(np.concatenate([[start], rows[first:last], [end]]))
        held = np.repeat(states[0][first : last + 1], lengths)
        close, low, high = (column[start:end] for column in marks)
        extreme = np.where(held > 0, np.minimum(low, close), np.maximum(high, close))
        changed = later[slice(*np.searchsorted(later, (start, end)))] - start
        extreme[changed] = close[changed]
        part = {name: column[start:end] for name, column in curve.items()}
        part["equity_worst"] += held * (extreme - close)
        if "margin" in part:
            margin, liquidation = (np.repeat(state[first : last + 1], lengths) for state in states[1:])
            part["margin"] += margin
            part["gross_notional"] += np.abs(held) * close
            away = np.sign(held) * (extreme - liquidation) / extreme * 100.0
            away[(held == 0) | (liquidation <= 0)] = np.inf
            np.minimum(part["liquidation_distance_pct"], np.maximum(away, 0.0), out=part["liquidation_distance_pct"])


def _marks(times: Ints, history: SymbolHistory) -> tuple[Floats, Floats, Floats]:
    """Mark (or last price) at each instant: close, low, high; where the symbol has no bar, its latest close for all three."""
    close, low, high = marks_of(history)
    closes = history.execution.ts + tf_ms(history.execution.timeframe)
    if len(closes) >= len(times) and np.array_equal(closes[: len(times)], times):
        return close, low, high
    bar = np.searchsorted(closes, times, side="right") - 1
    at = np.maximum(bar, 0)
    has_bar = (bar >= 0) & (closes[at] == times)
    close = close[at]  # before its first bar nothing is held of it
    return close, np.where(has_bar, low[at], close), np.where(has_bar, high[at], close)


def marks_of(history: SymbolHistory) -> tuple[Floats, Floats, Floats]:
    """What values positions at each execution bar: close, low, high of the mark, of the last price where there is no mark."""
    mark, execution = history.mark, history.execution
    if mark is None:
        return execution["close"], execution["low"], execution["high"]
    return mark.valuation, mark.low, mark.high


def buy_and_hold(history: SymbolHistory, times: Ints, start_ms: int, initial_equity: float, config: ExecutionConfig) -> Frame:
    """Equity of buying the symbol at the first bar's open with everything, unlevered, at the run's taker fee, spread and slippage, and
    holding it. Valued at mark where there is one.

    A perpetual pays its funding, and none at the moment of the purchase; spot pays its fee in base. What is less than a quantity step
    stays in cash.
    """
    execution, instrument = history.execution, history.instrument
    fee = (instrument.taker_fee if config.taker_fee is None else to_units(config.taker_fee)) / UNIT
    grid = instrument.price_grid
    price = grid.value(
        taker_ticks(reference_ticks(float(execution["open"][0]), grid, 1), config.slippage_rate + config.half_spread_rate, 1)
    )
    if instrument.category == "spot":
        bought = instrument.round_qty(initial_equity / price)
        cash, qty = initial_equity - bought * price, bought * (1 - fee)
    else:
        qty = instrument.round_qty(initial_equity / (price * (1 + fee)))
        cash = initial_equity - qty * price * (1 + fee)
    closes = execution.ts + tf_ms(execution.timeframe)
    bar = np.searchsorted(closes, times, side="right") - 1
    value = np.where(bar >= 0, cash + qty * marks_of(history)[0][np.maximum(bar, 0)], initial_equity)
    if history.funding is not None:
        due = history.funding.stamps > execution.ts[0]
        amounts = history.funding.rates[due] * history.funding.marks[due] * qty
        paid = np.concatenate([[0.0], np.cumsum(amounts)])
        value = value - paid[np.searchsorted(history.funding.stamps[due], times, side="left")]
    ts, equity = np.concatenate([[start_ms], times]), np.concatenate([[initial_equity], value])
    return Frame(ts, {"equity": equity}, symbol=history.symbol, kind="equity")
