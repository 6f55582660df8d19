"""Which bars the loop may skip: the wake levels by what is open, and that a skipped bar is cheap to be sure of."""

from __future__ import annotations

import pytest

from keel.core.model.messages import Bracket
from keel.core.model.timeframe import NEVER
from keel.core.system.config import ExecutionConfig

FLAT = (100.0, 100.0, 100.0, 100.0)
NONE = float("inf")
HOUR = 3_600_000


def wake(v) -> tuple[float, float, float]:
    """wake_ts, wake_low, wake_high."""
    return v.book.wake_ts, v.book.wake_low, v.book.wake_high


@pytest.mark.parametrize(
    ("orders", "more", "expected"),
    [
        pytest.param([], {}, (NEVER, -NONE, NONE), id="nothing open: never"),
        pytest.param([("a", "BUY", 1.0, {})], {}, (9 * HOUR, -NONE, NONE), id="a position: the next stamp"),
        pytest.param([("a", "BUY", 1.0, {})], {"leverage": 10.0}, (9 * HOUR, pytest.approx(90.452, abs=0.001), NONE),
                     id="and its liquidation"),
        pytest.param([("a", "SELL", 1.0, {})], {"leverage": 10.0}, (9 * HOUR, -NONE, pytest.approx(109.453, abs=0.001)),
                     id="above for a short"),
        pytest.param([("a", "BUY", 1.0, {"price": 95.0})], {}, (NEVER, 94.0, NONE), id="a limit: one tick through it"),
        pytest.param([("a", "SELL", 1.0, {"price": 105.0})], {}, (NEVER, -NONE, 106.0), id="above for a sell"),
        pytest.param([("a", "BUY", 1.0, {"trigger_price": 107.0}), ("b", "BUY", 1.0, {"trigger_price": 93.0})], {}, (NEVER, 93.0, 107.0),
                     id="stops: their triggers"),
        pytest.param([("a", "BUY", 1.0, {"bracket": Bracket(stop_loss=91.0, take_profit=113.0)})], {}, (9 * HOUR, 91.0, 113.0), id="exits"),
        pytest.param([("a", "BUY", 1.0, {"bracket": Bracket(trailing=5.0)})], {}, (-1, 95.0, NONE), id="a trailing stop: every bar"),
        pytest.param([("a", "BUY", 1.0, {"bracket": Bracket(trailing=5.0, activation=120.0)})], {}, (9 * HOUR, -NONE, 120.0),
                     id="not before its activation"),
        pytest.param([("a", "BUY", 1.0, {})], {"config": ExecutionConfig(slippage_bps=0.0, max_volume_share=0.0005)}, (-1, -NONE, NONE),
                     id="a taker that waits for volume: every bar"),
        pytest.param([("a", "BUY", 1.0, {})], {"config": ExecutionConfig(latency_ms=2 * HOUR)}, (-1, -NONE, NONE),
                     id="a command on its way"),
    ],
)  # fmt: skip
def test_wake_levels_after_a_bar(venue, orders, more, expected) -> None:
    v = venue(**more).funding((0, "0.0001", 100.0), (9, "0.0001", 100.0))
    for name, side, qty, order in orders:
        v.send(name, side, qty, **order)
    v.bar(FLAT)
    assert wake(v) == expected


def test_a_command_wakes_at_once_and_a_closed_position_lets_sleep(venue) -> None:
    v = venue().funding((9, "0.0001", 100.0)).send("a", "BUY", 1.0)
    assert v.book.wake_ts == -1
    v.bar(FLAT)
    v.send("b", "SELL", 1.0).bar(FLAT)
    assert wake(v) == (NEVER, -NONE, NONE)
