"""A handful of the same sessions over the machine's own sockets, threads and time: what is proven in virtual time holds there, too.

Beside these, whole processes and commands (tests/faults/test_killed, tests/runners/live) never run in virtual time.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.conftest import Stage, fills_of, http, playing, ws

pytestmark = pytest.mark.real_sockets

CREATE = "/v5/order/create"
SESSIONS: dict[str, list[dict[str, Any]]] = {
    "no fault": [],
    "an answer lost after apply": [http("drop", CREATE, nth=2)],
    "a private socket that is cut": [ws("abort", "execution", nth=2)],
    "candles late": [ws({"kind": "delay", "ms": 800}, "kline", prob=0.5)],
    "lists that lag": [{"action": {"kind": "lag_query", "ms": 5_000}}],
}


QUICK = ("no fault", "a private socket that is cut")


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in SESSIONS])
def test_it_trades_there_as_it_does_in_virtual_time(name: str, stage: Stage) -> None:
    assert stage.speed > 1  # the premise: this stage is not a virtual one
    options: dict[str, Any] = {"must_act": name != "lists that lag"}
    really = stage.play(*SESSIONS[name], pace_s=0.2).check(**options)
    with playing() as stage_there:
        virtual = stage_there.play(*SESSIONS[name], pace_s=0.2).check(**options)
    if name != "a private socket that is cut":  # what is decided while it is away waits for it only so long
        assert fills_of(virtual) == fills_of(really)
