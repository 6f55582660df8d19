"""Bet on the way back: long when the market is sold out, short when it is bought out, flat at the middle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from keel.core.model.frame import Frame
from keel.strategies.base import HOLD, Features, VectorStrategy


class RsiReversion(VectorStrategy):
    """Long below ``oversold``, short above ``overbought``; out when the RSI reaches or passes ``exit_level`` on its way back.

    period: RSI period in decision bars.  oversold < exit_level < overbought: RSI points, 0 to 100.
    """

    features: ClassVar[Features] = {"rsi": {"fn": "RSI", "timeperiod": "$period"}}
    defaults: ClassVar[Mapping[str, Any]] = {"period": 14, "oversold": 30.0, "overbought": 70.0, "exit_level": 50.0}

    @classmethod
    def params_problem(cls, params: Mapping[str, Any]) -> str:
        if not 0 <= params["oversold"] < params["exit_level"] < params["overbought"] <= 100:
            return "oversold, exit_level and overbought must ascend, between 0 and 100"
        return ""

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
        rsi: npt.NDArray[np.float64] = frame["rsi"]
        middle = params["exit_level"]
        before = np.concatenate(([np.nan], rsi[:-1]))
        # A long was entered below the middle and a short above it, so each meets it from one side only: a crossing says
        # "flat" to whichever is open, and the array needs to know of no position.
        crossed = ((before < middle) & (rsi >= middle)) | ((before > middle) & (rsi <= middle))
        conditions = [rsi < params["oversold"], rsi > params["overbought"], crossed]
        return np.select(conditions, [1, -1, 0], default=HOLD).astype(np.int8)
