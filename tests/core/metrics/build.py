"""Small curves and trades for the tests of the metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from keel.core.model.frame import Frame
from keel.core.model.timeframe import DAY_MS
from keel.core.model.trade import Trade

START = 1_704_067_200_000  # 2024-01-01T00:00Z, a midnight
UNIT = 10**8


def curve(equity: list[float] | np.ndarray, step_ms: int = DAY_MS, start: int = START, **columns: list[float]) -> Frame:
    """Rows ``step_ms`` apart, the first at the start of the window."""
    values = np.asarray(equity, dtype=np.float64)
    others = {name: np.asarray(column, dtype=np.float64) for name, column in columns.items()}
    return Frame(start + step_ms * np.arange(len(values)), {"equity": values, **others})


def trade(number: int, pnl: float, *, fees: float = 0.0, begin: int = START, seconds: int | None = 60, **others: Any) -> Trade:
    """A trade over 1000 of notional with this gross PnL, both in quote coins."""
    return Trade(
        number=number,
        symbol="BTCUSDT",
        side=others.pop("side", "LONG"),
        entry_ts=begin,
        entry_price=100.0,
        qty=10.0,
        entry_notional=1000 * UNIT,
        exit_ts=None if seconds is None else begin + 1000 * seconds,
        gross_pnl=round(pnl * UNIT),
        fees=round(fees * UNIT),
        **others,
    )
