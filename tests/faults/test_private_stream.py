"""The private stream: cut, closed, frozen, doubled, out of order, with holes; and lists that lag behind it. The books stay right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.conftest import Stage, fills_of, http, ws

QUIET_FAULTS: dict[str, list[dict[str, Any]]] = {
    "doubled": [ws({"kind": "dup", "n": 4}, topic) for topic in ("order", "execution", "position", "wallet")],
    "doubled later": [ws({"kind": "dup", "n": 2, "gap_ms": 400}, topic, prob=0.5) for topic in ("order", "execution")],
}
"""After these the session decides as if nothing had been."""


@pytest.mark.parametrize("name", QUIET_FAULTS)
def test_messages_that_come_again_change_nothing(name: str, stage: Stage) -> None:
    played = stage.play(*QUIET_FAULTS[name]).check()
    assert fills_of(played) == fills_of(stage.without_faults())


FAULTS: dict[str, list[dict[str, Any]]] = {
    "closed with 1001": [ws({"kind": "close", "code": 1001}, "order", nth=3)],
    "cut (1006)": [ws("abort", "execution", nth=2)],
    "cut again and again": [ws("abort", "order", nth=3), ws("abort", "execution", nth=3), ws("abort", "position", nth=5)],
    "frozen, pings answered": [ws({"kind": "freeze", "keep_pong": True}, "order", nth=4)],
    "frozen, no pongs": [ws({"kind": "freeze", "keep_pong": False}, "order", nth=4)],
    "executions dropped": [ws("drop", "execution", prob=0.4)],
    "orders dropped": [ws("drop", "order", prob=0.4)],
    "positions and wallet dropped": [ws("drop", "position"), ws("drop", "wallet")],
    "everything dropped for a while": [ws("drop", topic) for topic in ("order", "execution", "position", "wallet")],
    "out of order": [ws({"kind": "reorder", "window": 20}, "order", nth=2), ws({"kind": "reorder", "window": 20}, "execution", nth=4)],
    "executions late": [ws({"kind": "delay", "ms": 600}, "execution", prob=0.5)],
    "orders late": [ws({"kind": "delay", "ms": 600}, "order", prob=0.5)],
}


SLOWER = ("cut again and again", "frozen, no pongs", "positions and wallet dropped", "everything dropped for a while", "orders late")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] if name in SLOWER else []) for name in FAULTS])
def test_the_books_are_right_whatever_the_stream_does(name: str, stage: Stage) -> None:
    stage.play(*FAULTS[name], pace_s=0.3).check()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", FAULTS)
def test_and_for_other_seeds(name: str, seed: int, stage: Stage) -> None:
    stage.play(*FAULTS[name], seed=100 + seed).check()


LAG = {"action": {"kind": "lag_query", "ms": 5_000}}
BESIDE: dict[str, list[dict[str, Any]]] = {
    "alone": [],
    "and answers lost after apply": [http("drop", "/v5/order/create", nth=nth) for nth in (1, 3)],
    "and answers lost before apply": [http("drop", "/v5/order/create", "before_apply", nth=nth) for nth in (1, 3)],
    "and the stream cut": [ws("abort", "execution", nth=2)],
    "and executions dropped": [ws("drop", "execution", prob=0.4)],
    "and cancels lost": [http("drop", "/v5/order/cancel", nth=1)],
}


LONGER = ("and executions dropped", "and cancels lost", "and answers lost after apply")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] if name in LONGER else []) for name in BESIDE])
def test_lists_that_lag_by_five_seconds(name: str, stage: Stage) -> None:
    """No order is ended by a list that has not heard of it yet, and none is sent again."""
    stage.play(LAG, *BESIDE[name]).check()
