"""A coarser timeframe's columns as they are known at the bars of a finer one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from keel.core.model.frame import Frame
from keel.core.model.timeframe import tf_ms


def project(higher: Frame, column: npt.NDArray[np.float64], decision: Frame) -> npt.NDArray[np.float64]:
    """A higher timeframe's column at each decision bar: the value of the last higher bar that had closed by then; nan before the first."""
    closes = decision.ts + tf_ms(decision.timeframe)
    rows = np.searchsorted(higher.ts + tf_ms(higher.timeframe), closes, side="right") - 1
    values: npt.NDArray[np.float64] = np.where(rows >= 0, column[np.maximum(rows, 0)] if len(column) else np.nan, np.nan)
    return values
