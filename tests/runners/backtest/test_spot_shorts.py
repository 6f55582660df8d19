"""On spot a short is refused and sells nothing, whoever asks for it: a vector of -1, a signal, a strategy of the built-in ones."""

from __future__ import annotations

import numpy as np

from keel.core.system.config import ExecutionConfig, RiskConfig, SizingConfig
from keel.sim.kernel import unsupported
from keel.strategies.base import VectorStrategy
from tests.builders import HOUR, START, plain_system, run, spot_pair, store_of

PRICES = [(100.0,) * 4] * 12


class Scripted(VectorStrategy):
    """Decides by a fixed array."""

    def signals(self, frame, params):
        return np.array([1, 1, -1, -1, 1, 1, -1, 0, 0, 0, 1, 1][: len(frame["close"])], dtype=np.int8)


def test_a_vector_of_minus_one_sells_nothing_on_spot() -> None:
    system = plain_system(category="spot")
    pair = spot_pair(taker_fee=0, maker_fee=0)
    result = run(store_of(PRICES, instrument=pair), system, START, START + 12 * HOUR, Scripted())
    assert [(fill.ts // HOUR - START // HOUR, fill.side, fill.qty) for fill in result.fills] == [
        (1, "BUY", 1.0),
        (8, "SELL", 1.0),
        (11, "BUY", 1.0),
    ]
    assert [row["reason"] for row in result.order_log] == ["short_not_allowed"] * 2


def test_the_kernel_leaves_spot_to_the_actors() -> None:
    system = plain_system(category="spot", sizing=SizingConfig(), risk=RiskConfig(), execution=ExecutionConfig())
    assert unsupported(system, spot_pair()) == "spot (category: spot)"
