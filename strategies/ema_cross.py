"""Follow the trend: long while the fast average is above the slow one, short while it is below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from keel.core.model.frame import Frame
from keel.strategies.base import HOLD, Features, VectorStrategy


class EmaCross(VectorStrategy):
    """Long while EMA(fast) is above EMA(slow), short while it is below; equal averages hold what is. Always in the market.

    fast, slow: periods in decision bars.
    """

    features: ClassVar[Features] = {
        "ema_fast": {"fn": "EMA", "timeperiod": "$fast"},
        "ema_slow": {"fn": "EMA", "timeperiod": "$slow"},
    }
    defaults: ClassVar[Mapping[str, Any]] = {"fast": 20, "slow": 50}

    @classmethod
    def params_problem(cls, params: Mapping[str, Any]) -> str:
        fast, slow = params["fast"], params["slow"]
        return "" if fast < slow else f"fast ({fast}) must be below slow ({slow}): the fast average has the shorter period"

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
        fast, slow = frame["ema_fast"], frame["ema_slow"]
        wanted = np.full(len(fast), HOLD, dtype=np.int8)
        np.copyto(wanted, 1, where=fast > slow)
        np.copyto(wanted, -1, where=fast < slow)
        return wanted
