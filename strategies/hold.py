"""Buy and hold: what every other strategy has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from core.frame import Frame
from strategies.base import VectorStrategy


class Hold(VectorStrategy):
    """Long from the first bar to the last."""

    def signals(self, frame: Frame, params: Mapping[str, Any]) -> npt.NDArray[np.int8]:
        return np.ones(len(frame), dtype=np.int8)
