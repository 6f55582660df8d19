"""The account over time, bar by bar, made after the loop out of the exchange's position log: exposure, margin, worst equity inside a bar.

The loop itself keeps only equity. What else a report wants is a function of the positions' changes and of the prices, so it is computed in
whole columns here, and costs the loop nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from adapters.replay.history import Floats, Ints, SymbolHistory
from core.config import ExecutionConfig
from core.frame import Frame
from core.money import UNIT, to_units
from core.timeframe import tf_ms
from sim.execution import reference_ticks, taker_ticks

PositionLog = Sequence[tuple[int, int, int, int, float]]
"""(ts, signed steps, cost, margin, liquidation price) at every change; money in 1e-8. A bar's changes have ts_open <= ts < ts_close."""


def equity_curve(
    times: Ints,
    equity: Floats,
    histories: Sequence[SymbolHistory],
    logs: Mapping[str, PositionLog],
    start_ms: int,
    initial_equity: float,
) -> Frame:
    """The columns of ``BacktestResult.equity_curve``: ``times`` and ``equity`` are the loop's; the first row is the window's start.

    equity_worst: equity if every position had been valued at the worst mark of the bar; one that changed after the bar's open counts with
    its close. liquidation_distance_pct: the smallest distance of mark to liquidation price in the bar, in percent of the mark, over
    positions; nan without any. Positions are those at the bar's close.
    """
    columns = _Columns(times, equity)
    for history in histories:
        log = logs.get(history.symbol, ())
        if log:
            columns.add(history, log)
    columns.distance[np.isinf(columns.distance)] = np.nan
    return Frame(
        np.concatenate([[start_ms], times]),
        {
            "equity": np.concatenate([[initial_equity], equity]),
            "equity_worst": np.concatenate([[initial_equity], columns.worst]),
            "gross_notional": np.concatenate([[0.0], columns.notional]),
            "margin": np.concatenate([[0.0], columns.margin]),
            "liquidation_distance_pct": np.concatenate([[np.nan], columns.distance]),
        },
        kind="equity",
    )


class _Columns:
    """The sums over symbols, row by row."""

    def __init__(self, times: Ints, equity: Floats) -> None:
        self.times = times
        self.worst = equity.copy()
        self.notional, self.margin = np.zeros(len(times)), np.zeros(len(times))
        self.distance = np.full(len(times), np.inf)

    def add(self, history: SymbolHistory, log: PositionLog) -> None:
        """Add what one symbol's positions were."""
        duration = tf_ms(history.execution.timeframe)
        changes = np.array([entry[0] for entry in log], dtype=np.int64)
        rows = np.searchsorted(self.times, changes, side="right")  # the instant that closes the bar of each change
        lengths = np.diff(np.concatenate([[0], rows, [len(self.times)]]))
        value = history.instrument.book_grid.value
        held = np.repeat(np.array([0.0, *(value(steps) for _, steps, _, _, _ in log)]), lengths)
        self.margin += np.repeat(np.array([0.0, *(margin / UNIT for _, _, _, margin, _ in log)]), lengths)
        liquidation = np.repeat(np.array([0.0, *(price for _, _, _, _, price in log)]), lengths)
        close, low, high = self._marks(history)
        rows_in = rows[rows < len(self.times)]
        later = rows_in[changes[: len(rows_in)] > self.times[rows_in] - duration]
        low[later] = high[later] = close[later]
        self._add_prices(held, liquidation, close, low, high)

    def _add_prices(self, held: Floats, liquidation: Floats, close: Floats, low: Floats, high: Floats) -> None:
        self.notional += np.abs(held) * close
        extreme = np.where(held > 0, low, high)
        self.worst += held * (extreme - close)
        away = np.sign(held) * (extreme - liquidation) / extreme * 100.0
        away[(held == 0) | (liquidation <= 0)] = np.inf
        np.minimum(self.distance, np.maximum(away, 0.0), out=self.distance)

    def _marks(self, history: SymbolHistory) -> tuple[Floats, Floats, Floats]:
        """Mark (or last price) at each instant: close, low, high; where the symbol has no bar, its latest close for all three."""
        close, low, high = marks_of(history)
        closes = history.execution.ts + tf_ms(history.execution.timeframe)
        if len(closes) >= len(self.times) and np.array_equal(closes[: len(self.times)], self.times):
            close, low, high = (column[: len(self.times)] for column in (close, low, high))
            return close, np.minimum(low, close), np.maximum(high, close)
        bar = np.searchsorted(closes, self.times, side="right") - 1
        at = np.maximum(bar, 0)
        has_bar = (bar >= 0) & (closes[at] == self.times)
        close = close[at]  # before its first bar nothing is held of it
        return close, np.where(has_bar, np.minimum(low[at], close), close), np.where(has_bar, np.maximum(high[at], close), close)


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
