"""Go with what has moved: long after a rise, short after a fall, flat in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from keel.core.model.frame import Frame
from keel.strategies.base import HOLD, Features, VectorStrategy


class MomentumStrategy(VectorStrategy):
    """Long when the close has risen by more than ``threshold`` over ``momentum_period`` bars, short when it has fallen by more; else flat.

    momentum_period: decision bars.  threshold: percent, 2.0 is 2 %.
    """

    features: ClassVar[Features] = {"momentum": {"fn": "ROC", "timeperiod": "$momentum_period"}}
    defaults: ClassVar[Mapping[str, Any]] = {"momentum_period": 20, "threshold": 2.0}

    @classmethod
    def params_problem(cls, params: Mapping[str, Any]) -> str:
        return "threshold must not be negative" if params["threshold"] < 0 else ""

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
        momentum = frame["momentum"]
        threshold = params["threshold"]
        conditions = [momentum > threshold, momentum < -threshold, np.isnan(momentum)]
        return np.select(conditions, [1, -1, HOLD], default=0).astype(np.int8)
