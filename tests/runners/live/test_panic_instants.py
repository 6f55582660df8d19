"""Panic at random instants of a session that trades: 20 here, 200 in ``make panic-proof``."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.panic_instants import adds, press_at_random
from keel.runners.live.session.session import Session


@pytest.mark.long
def test_no_order_that_adds_comes_in_after_the_latch() -> None:
    found = press_at_random(20, seed=7)
    assert (found.pressed, found.violations, found.not_well) == (20, [], [])
    assert found.orders >= 20  # it was in the middle of trading


@pytest.mark.long
def test_the_judge_sees_what_a_trader_sends_that_does_not_look() -> None:
    found = press_at_random(4, seed=3, looks=False)
    assert found.pressed == 4 and found.violations


@pytest.mark.parametrize(
    ("path", "sent", "could_add"),
    [
        ("/v5/order/create", '{"qty": "1"}', True),
        ("/v5/order/create", '{"qty": "1", "reduceOnly": true}', False),
        ("/v5/order/create", '{"qty": "1", "reduceOnly": false, "note": "\\"reduceOnly\\":true"}', True),
        ("/v5/order/create", '{"qty": "1", "reduceOnly": "true"}', True),
        ("/v5/order/create", "no JSON", True),
        ("/v5/order/create-batch", '{"request": [{"reduceOnly": true}, {"reduceOnly": true}]}', False),
        ("/v5/order/create-batch", '{"request": [{"reduceOnly": true}, {"qty": "1"}]}', True),
        ("/v5/order/create-batch", '{"reduceOnly": true}', True),
        ("/v5/order/create-batch", "[1]", True),
        ("/v5/order/amend", '{"price": "1"}', True),
        ("/v5/order/cancel", '{"orderId": "1"}', False),
    ],
)
def test_what_could_add_is_told_by_what_was_sent(path: str, sent: str, could_add: bool) -> None:
    assert adds({"path": path, "sent": sent}) is could_add


def test_a_session_that_never_begins_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(loop: asyncio.AbstractEventLoop, session: Session) -> None:
        loop.close()

    monkeypatch.setattr("benchmarks.panic_instants._run", refused)
    found = press_at_random(1)
    assert (found.asked, found.pressed) == (1, 0) and "never began" in found.not_well[0]
