"""The account over time, bar by bar, made after the loop out of the exchange's position log: exposure, margin, worst equity inside a bar.

The loop itself keeps only equity. What else a report wants is a function of the positions' changes and of the prices, so it is computed in
whole columns here, and costs the loop nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from adapters.replay.history import SymbolHistory
from core.config import ExecutionConfig
from core.frame import Frame
from core.money import UNIT, to_units
from core.timeframe import tf_ms

Floats = npt.NDArray[np.float64]
PositionLog = Sequence[tuple[int, int, int, int, float]]
"""(ts, signed steps, cost, margin, liquidation price) at every change; money in 1e-8."""


def equity_curve(
    times: npt.NDArray[np.int64],
    equity: Floats,
    histories: Sequence[SymbolHistory],
    logs: Mapping[str, PositionLog],
    start_ms: int,
    initial_equity: float,
) -> Frame:
    """The columns of ``BacktestResult.equity_curve``: ``times`` and ``equity`` are the loop's; the first row is the window's start.

    equity_worst: equity if every position that stood unchanged through the bar had been valued at its worst mark in it; a bar in which a
    position changed keeps its closing equity. liquidation_distance_pct: the smallest distance of mark to liquidation price, in percent of
    the mark, over positions; nan without any.
    """
    rows = len(times)
    notional, margin, worst = np.zeros(rows), np.zeros(rows), equity.copy()
    distance = np.full(rows, np.inf)
    for history in histories:
        log = logs.get(history.symbol, ())
        if log:
            _add_symbol(times, history, log, notional, margin, worst, distance)
    distance[np.isinf(distance)] = np.nan
    columns = {
        "equity": np.concatenate([[initial_equity], equity]),
        "equity_worst": np.concatenate([[initial_equity], worst]),
        "gross_notional": np.concatenate([[0.0], notional]),
        "margin": np.concatenate([[0.0], margin]),
        "liquidation_distance_pct": np.concatenate([[np.nan], distance]),
    }
    return Frame(np.concatenate([[start_ms], times]), columns, kind="equity")


def _add_symbol(
    times: npt.NDArray[np.int64],
    history: SymbolHistory,
    log: PositionLog,
    notional: Floats,
    margin: Floats,
    worst: Floats,
    distance: Floats,
) -> None:
    execution = history.execution
    duration = tf_ms(execution.timeframe)
    closes = execution.ts + duration
    close, low, high = _marks(history)
    has_bar: npt.NDArray[np.bool_] | bool = True
    if len(closes) != len(times) or not np.array_equal(closes, times):
        bar = np.searchsorted(closes, times, side="right") - 1
        has_bar = (bar >= 0) & (closes[np.maximum(bar, 0)] == times)
        close, low, high = (np.where(bar >= 0, column[np.maximum(bar, 0)], 0.0) for column in (close, low, high))
    change_times = np.array([entry[0] for entry in log], dtype=np.int64)
    changed_in = np.searchsorted(times, change_times)  # the instant that closes the bar in which each change happened
    lengths = np.diff(np.concatenate([[0], changed_in, [len(times)]]))
    grid = history.instrument.book_grid
    held = np.repeat(np.array([0.0, *(grid.value(entry[1]) for entry in log)]), lengths)
    margin += np.repeat(np.array([0.0, *(entry[3] / UNIT for entry in log)]), lengths)
    liquidation = np.repeat(np.array([0.0, *(entry[4] or 0.0 for entry in log)]), lengths)
    notional += np.abs(held) * close
    unchanged = np.full(len(times), True) & has_bar
    unchanged[changed_in[changed_in < len(times)]] = False
    extreme = np.where(unchanged, np.where(held > 0, low, high), close)
    worst += held * (extreme - close)
    gap = np.where(held > 0, extreme - liquidation, liquidation - extreme)
    gap[(held == 0) | (liquidation <= 0)] = np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        np.minimum(distance, np.maximum(gap, 0.0) / extreme * 100.0, out=distance)


def _marks(history: SymbolHistory) -> tuple[Floats, Floats, Floats]:
    mark, execution = history.mark, history.execution
    if mark is None:
        return execution["close"], execution["low"], execution["high"]
    return mark.valuation, mark.low, mark.high


def buy_and_hold(
    history: SymbolHistory, times: npt.NDArray[np.int64], start_ms: int, initial_equity: float, config: ExecutionConfig
) -> Frame:
    """Equity of buying the symbol at the first bar's open with everything, unlevered, at the run's taker fee, spread and slippage, and
    holding it; a perpetual pays its funding. Valued at mark where there is one. Not sized below the quantity step."""
    execution, instrument = history.execution, history.instrument
    fee = instrument.taker_fee / UNIT if config.taker_fee is None else to_units(config.taker_fee) / UNIT
    price = float(execution["open"][0]) * (1 + (config.slippage_rate + config.half_spread_rate) / UNIT)
    qty = instrument.round_qty(initial_equity / (price * (1 + fee)))
    cash = initial_equity - qty * price * (1 + fee)
    closes = execution.ts + tf_ms(execution.timeframe)
    bar = np.maximum(np.searchsorted(closes, times, side="right") - 1, 0)
    value = cash + qty * _marks(history)[0][bar]
    if history.funding is not None:
        paid = np.concatenate([[0.0], np.cumsum(history.funding.rates * history.funding.marks * qty)])
        value = value - paid[np.searchsorted(history.funding.stamps, times, side="left")]
    return Frame(
        np.concatenate([[start_ms], times]), {"equity": np.concatenate([[initial_equity], value])}, symbol=history.symbol, kind="equity"
    )
