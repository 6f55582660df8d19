"""In a session a word that is none stops trading: no order leaves, and the error says strategy, symbol, bar and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from keel.core.errors import StrategyError
from keel.core.model.messages import Fill, Signal, SubmitOrder
from keel.core.strategy.snapshot import RuntimeSnapshot
from keel.strategies.base import BaseStrategy
from tests.builders import HOUR, START, plain_system, store_of
from tests.runners.live.conftest import plan_of, run_session, stored_sandbox

RISING = [(100.0 + k, 101.0 + k, 99.0 + k, 100.5 + k) for k in range(12)]


class Misspells(BaseStrategy):
    """At its third bar a signal whose direction is the parameter's; ``altered``: after it was made."""

    defaults: ClassVar[Mapping[str, Any]] = {"direction": "LONG", "altered": False}

    def __init__(self) -> None:
        self._bars = 0

    def generate_signal(self, snapshot: RuntimeSnapshot, params: Mapping[str, Any]) -> Signal | None:
        self._bars += 1
        if self._bars != 3:
            return None
        if not params["altered"]:
            return Signal(snapshot.symbol, params["direction"])
        signal = Signal(snapshot.symbol, "LONG")
        msgspec.structs.force_setattr(signal, "direction", params["direction"])
        return signal


@pytest.mark.parametrize("direction", ["flat", "BUY"])
@pytest.mark.parametrize("altered", [False, True])
def test_a_word_that_is_none_stops_a_session_before_any_order(direction: str, altered: bool, journals: Path) -> None:
    system = plain_system(params={"direction": direction, "altered": altered})
    with store_of(RISING) as store, stored_sandbox(store, system, START, START + 12 * HOUR) as sandbox:
        ran = run_session(plan_of(system, Misspells, store, sandbox.url, journals))
        truth = sandbox.truth()
    assert ran.ending.reason == "fault" and isinstance(ran.ending.failure, StrategyError)
    told = str(ran.ending.failure)
    assert told.startswith("strategy test ") and " for BTCUSDT at 2024-01-01T0" in told
    assert f"Signal: direction must be one of FLAT, LONG, SHORT, not the text {direction!r}: did you mean" in told
    assert "bar of BTCUSDT 1h that closed at" in told
    assert altered or "Misspells.generate_signal: return Signal(snapshot.symbol, params" in told
    assert ran.of(SubmitOrder, Fill) == []
    assert truth["orders"] == [] and not any(float(row["size"]) for row in truth["positions"])


def test_the_exact_word_sends_an_order(journals: Path) -> None:
    system = plain_system(params={"direction": "SHORT", "altered": True})
    with store_of(RISING) as store, stored_sandbox(store, system, START, START + 12 * HOUR) as sandbox:
        ran = run_session(plan_of(system, Misspells, store, sandbox.url, journals))
    assert [order.side for order in ran.of(SubmitOrder)] == ["SELL"]
