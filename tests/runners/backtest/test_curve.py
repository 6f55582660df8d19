"""The account bar by bar, from position logs small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from keel.adapters.replay.history import FundingColumns, PriceColumns, SymbolHistory
from keel.core.model.frame import Frame
from keel.core.model.instrument import Instrument
from keel.core.model.money import UNIT
from keel.core.system.config import ExecutionConfig
from keel.runners.backtest.curve import buy_and_hold, equity_curve
from keel.sim.matching.intrabar_path import Path
from tests.builders import HOUR, START, perpetual, spot_pair

Bars = Sequence[tuple[float, float, float, float]]
NAN = float("nan")


def history(
    bars: Bars, *, rows: Sequence[int] | None = None, marks: Bars | None = None, instrument: Instrument | None = None
) -> SymbolHistory:
    """One symbol's hours: (open, high, low, close), at the hours ``rows``; marks: (low, high, path's close, valuation)."""
    numbers = range(len(bars)) if rows is None else rows
    values = np.array(bars, dtype=np.float64)
    columns = dict(zip(("open", "high", "low", "close"), values.T, strict=True)) | {"volume": np.ones(len(bars))}
    made = instrument or perpetual(step="1")
    frame = Frame(START + HOUR * np.array(numbers), columns, symbol=made.symbol, timeframe="1h")
    mark = None
    if marks is not None:
        low, high, close, valuation = np.array(marks, dtype=np.float64).T
        mark = PriceColumns(close, high, low, close, valuation, 0, len(bars), "mark")
    return SymbolHistory(made, frame, frame, mark=mark)


def change(hour: float, steps: int, margin: float = 0.0, liquidation: float = 0.0) -> tuple[int, int, int, int, float]:
    return START + round(hour * HOUR), steps, 0, round(margin * UNIT), liquidation


def curve(logs: dict[str, Any], *histories: SymbolHistory, hours: int = 4, equity: Sequence[float] | None = None) -> Frame:
    times = START + HOUR * np.arange(1, hours + 1)
    return equity_curve(times, np.array(equity or [1000.0] * hours), histories, logs, START, 1000.0)


FOUR = [(100.0, 110.0, 90.0, 105.0), (105.0, 106.0, 100.0, 101.0), (101.0, 120.0, 99.0, 118.0), (118.0, 119.0, 80.0, 85.0)]


def test_the_first_row_is_the_window_s_start() -> None:
    found = curve({}, history(FOUR), equity=[1.0, 2.0, 3.0, 4.0])
    assert (found.ts - START).tolist() == [0, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]
    assert found["equity"].tolist() == found["equity_worst"].tolist() == [1000.0, 1.0, 2.0, 3.0, 4.0]
    for name in ("gross_notional", "margin"):
        assert found[name].tolist() == [0.0] * 5
    assert np.isnan(found["liquidation_distance_pct"]).all()


TABLE = {
    # name: (log, gross notional, margin, worst - equity, distance)
    "a long from the second open to the fourth": (
        [change(1, 2, 20.0, 55.0), change(3, 0)],
        [0, 202, 236, 0], [0, 20, 20, 0], [0, 2 * -1, 2 * -19, 0], [NAN, 45.0, 100 * 44 / 99, NAN],
    ),
    "a short over all hours": (
        [change(0, -3, 30.0, 121.0)],
        [315, 303, 354, 255], [30] * 4, [-15, -15, -6, -3 * 34], [10.0, 100 * 15 / 106, 100 / 120, 100 * 2 / 119],
    ),
    "a flip at the third open": (
        [change(0, 1, 10.0, 50.0), change(2, 0), change(2, -1, 11.0, 150.0)],
        [105, 101, 118, 85], [10, 10, 11, 11], [-15, -1, -2, -34], [100 * 40 / 90, 50.0, 25.0, 100 * 31 / 119],
    ),
    "opened inside the second hour, closed inside the third": (
        [change(1.5, 2, 20.0, 50.0), change(2.25, 0)],
        [0, 202, 0, 0], [0, 20, 0, 0], [0, 0, 0, 0], [NAN, 100 * 51 / 101, NAN, NAN],
    ),
    "made larger at an open, and inside an hour": (
        [change(0, 1, 10.0, 50.0), change(1, 2, 20.0, 60.0), change(2.999, 3, 25.0, 70.0)],
        [105, 202, 354, 255], [10, 20, 25, 25], [-15, -2, 0, -15], [100 * 40 / 90, 40.0, 100 * 48 / 118, 12.5],
    ),
    "liquidated at the last bar's last moment": (
        [change(2, 1, 10.0, 90.0), (START + 4 * HOUR - 1, 0, 0, 0, 0.0)],
        [0, 0, 118, 0], [0, 0, 10, 0], [0, 0, -19, 0], [NAN, NAN, 100 * 9 / 99, NAN],
    ),
    "never to be liquidated": ([change(0, 1, 100.0, 0.0)], [105, 101, 118, 85], [100] * 4, [-15, -1, -19, -5], [NAN] * 4),
    "beyond its price inside the bar": ([change(3, 1, 10.0, 81.0)], [0, 0, 0, 85], [0, 0, 0, 10], [0, 0, 0, -5], [NAN, NAN, NAN, 0.0]),
}  # fmt: skip


@pytest.mark.parametrize(("log", "gross", "margin", "worse", "distance"), TABLE.values(), ids=TABLE.keys())
def test_one_symbol(log: Any, gross: Any, margin: Any, worse: Any, distance: Any) -> None:
    found = curve({"BTCUSDT": log}, history(FOUR))
    assert found["gross_notional"][1:].tolist() == gross
    assert found["margin"][1:].tolist() == margin
    assert (found["equity_worst"] - found["equity"])[1:].tolist() == worse
    assert found["liquidation_distance_pct"][1:] == pytest.approx(distance, nan_ok=True)


def test_positions_are_valued_at_the_mark_and_its_valuation_counts_as_one_of_its_prices() -> None:
    """Derived paths may lie wholly above what is known at the close: the worst is then the close."""
    marks = [(95.0, 108.0, 104.0, 104.0), (103.0, 104.0, 103.5, 99.0), (97.0, 115.0, 114.0, 114.0), (88.0, 118.0, 90.0, 90.0)]
    found = curve({"BTCUSDT": [change(0, 1, 10.0, 50.0)]}, history(FOUR, marks=marks))
    assert found["gross_notional"][1:].tolist() == [104, 99, 114, 90]
    assert (found["equity_worst"] - found["equity"])[1:].tolist() == [-9, 0, -17, -2]
    assert found["liquidation_distance_pct"][1:] == pytest.approx([100 * (low - 50) / low for low in (95, 99, 97, 88)])


def test_several_symbols_with_holes() -> None:
    """ETH has no second and third hour: there its last close stands. Its change at the fourth open is seen at its close."""
    other = history([(10.0, 12.0, 9.0, 11.0), (11.0, 13.0, 8.0, 12.0)], rows=[0, 3], instrument=perpetual("ETHUSDT", step="1"))
    logs = {"BTCUSDT": [change(0, 1, 10.0, 50.0)], "ETHUSDT": [change(0, -10, 5.0, 14.0), change(3, 10, 6.0, 5.0)]}
    found = curve(logs, history(FOUR), other)
    assert found["gross_notional"][1:].tolist() == [105 + 110, 101 + 110, 118 + 110, 85 + 120]
    assert found["margin"][1:].tolist() == [15, 15, 15, 16]
    assert (found["equity_worst"] - found["equity"])[1:].tolist() == [-15 - 10, -1, -19, -5 - 40]
    distances = [100 * 2 / 12, 100 * 3 / 11, 100 * 3 / 11, 100 * 30 / 80]
    assert found["liquidation_distance_pct"][1:] == pytest.approx(distances)


def test_a_symbol_that_begins_later_adds_nothing_before() -> None:
    other = history([(10.0, 12.0, 9.0, 11.0)] * 2, rows=[2, 3], instrument=perpetual("ETHUSDT", step="1"))
    found = curve({"ETHUSDT": [change(2, 1, 1.0, 5.0)]}, history(FOUR), other)
    assert found["gross_notional"].tolist() == [0, 0, 0, 11, 11]
    assert (found["equity_worst"] - found["equity"]).tolist() == [0, 0, 0, -2, -2]


def test_a_run_that_stopped_early_has_the_rows_until_then() -> None:
    found = curve({"BTCUSDT": [change(0, 1, 10.0, 50.0)]}, history(FOUR), hours=2)
    assert found["gross_notional"].tolist() == [0, 105, 101]
    assert (found["equity_worst"] - found["equity"]).tolist() == [0, -15, -1]


def test_a_spot_holding_is_counted_in_the_ledger_s_units() -> None:
    found = curve({"BTCUSDT": [change(0, round(0.999 * UNIT))]}, history(FOUR, instrument=spot_pair()))
    assert found["gross_notional"][1:] == pytest.approx([0.999 * close for close in (105, 101, 118, 85)])
    assert np.isnan(found["liquidation_distance_pct"]).all()


def test_what_happens_at_a_bar_s_last_point_has_a_time_inside_it() -> None:
    """Its close is the next bar's open, at which another change may happen."""
    flat = (1.0, 1.0, 1.0, 1.0)
    assert Path(START, HOUR, flat, flat, flat).time_at(2, 1.0) == START + HOUR - 1


# --- buy and hold ----------------------------------------------------------------------------------------------------

TIMES = START + HOUR * np.arange(1, 5)
COSTS = ExecutionConfig(slippage_bps=10.0, half_spread_bps=10.0, taker_fee=0.001)


def funding(*hours: float) -> FundingColumns:
    """One percent at each of these hours, at a mark of 100."""
    stamps = START + np.array([round(hour * HOUR) for hour in hours], dtype=np.int64)
    return FundingColumns(stamps, np.full(len(stamps), 0.01), np.full(len(stamps), 100.0), "history")


def test_buy_and_hold_pays_slippage_spread_and_fee_and_keeps_what_is_left() -> None:
    """100 + 20 bps is 100.2; 1000 buy 9 of them with a fee of 0.1 %: 901.8 and 0.9018 go."""
    found = buy_and_hold(history(FOUR), TIMES, START, 1000.0, COSTS)
    cash = 1000 - 901.8 - 0.9018
    assert found["equity"] == pytest.approx([1000.0, *(cash + 9 * close for close in (105, 101, 118, 85))], abs=1e-9)
    assert found.ts.tolist() == [START, *TIMES.tolist()]


def test_its_price_is_on_the_grid_against_the_buyer() -> None:
    """100 + 0.5 bps is 100.005: the next tick above is 100.1."""
    config = ExecutionConfig(slippage_bps=0.5, taker_fee=0.0)
    found = buy_and_hold(history(FOUR), TIMES, START, 1000.0, config)
    assert found["equity"][1] == pytest.approx(1000 + 9 * (105 - 100.1), abs=1e-9)


def test_the_instrument_s_fee_is_taken_where_the_run_has_none() -> None:
    found = buy_and_hold(history(FOUR), TIMES, START, 1000.0, ExecutionConfig(slippage_bps=0.0))
    assert found["equity"][1] == pytest.approx(1000 + 9 * 5 - 900 * 0.00055, abs=1e-9)


def test_it_pays_funding_after_its_purchase_until_before_its_end() -> None:
    """10 x 100 x 1 % at each stamp. That of the purchase and that of the end are not paid; one at a close shows with the next bar."""
    made = history(FOUR)
    made.funding = funding(-8, 0, 1, 2.5, 4)
    config = ExecutionConfig(slippage_bps=0.0, taker_fee=0.0)
    found = buy_and_hold(made, TIMES, START, 1000.0, config)
    assert found["equity"][1:] == pytest.approx([1000 + 50, 1000 + 10 - 10, 1000 + 180 - 20, 1000 - 150 - 20], abs=1e-9)


def test_on_spot_the_fee_is_taken_in_base() -> None:
    made = history(FOUR, instrument=spot_pair(step="1"))
    found = buy_and_hold(made, TIMES, START, 1000.0, ExecutionConfig(slippage_bps=0.0, taker_fee=0.01))
    assert found["equity"][1:] == pytest.approx([9.9 * close for close in (105, 101, 118, 85)], abs=1e-9)


def test_it_is_valued_at_the_mark_from_its_first_bar_on() -> None:
    marks = [(95.0, 108.0, 104.0, 104.0), (88.0, 118.0, 90.0, 90.0)]
    made = history([FOUR[0], FOUR[3]], rows=[1, 3], marks=marks)
    found = buy_and_hold(made, TIMES, START, 1000.0, ExecutionConfig(slippage_bps=0.0, taker_fee=0.0))
    assert found["equity"].tolist() == [1000.0, 1000.0, 1040.0, 1040.0, 900.0]
