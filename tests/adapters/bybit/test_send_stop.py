"""Nothing that adds leaves once sending is stopped: asked in the step in which the bytes are written."""

from __future__ import annotations

from typing import Any

import pytest

from keel.adapters.bybit.transport.send_stop import SendStop, may_add
from keel.adapters.bybit.wire.return_codes import Outcome
from tests.adapters.bybit.test_rest import envelope, server

CREATE, AMEND, CANCEL, EXITS = "/v5/order/create", "/v5/order/amend", "/v5/order/cancel", "/v5/position/trading-stop"


@pytest.mark.parametrize(
    ("path", "body", "adds"),
    [
        (CREATE, {"qty": "1"}, True),
        (CREATE, {"qty": "1", "reduceOnly": False}, True),
        (CREATE, {"qty": "1", "reduceOnly": "true"}, True),
        (CREATE, {"qty": "1", "reduceOnly": True}, False),
        (f"{CREATE}-batch", {"request": [{"reduceOnly": True}, {"reduceOnly": True}]}, False),
        (f"{CREATE}-batch", {"request": [{"reduceOnly": True}, {}]}, True),
        (AMEND, {"qty": "1"}, True),
        (f"{AMEND}-batch", {"request": [{}]}, True),
        (CANCEL, {}, False),
        (f"{CANCEL}-batch", {"request": [{}]}, False),
        ("/v5/order/cancel-all", {}, False),
        (EXITS, {"stopLoss": "1"}, False),
    ],
)
def test_what_might_add(path: str, body: dict[str, Any], adds: bool) -> None:
    assert may_add(path, body) is adds


async def test_it_is_refused_before_a_connection_is_made() -> None:
    async with server([envelope()]) as (rest, heard):
        rest.stop = lambda: "latched"
        answer = await rest.command(CREATE, {"qty": "1"})
        assert (answer.outcome, answer.reason, heard) == (Outcome.REFUSED, "latched", [])
        assert (await rest.command(CANCEL, {})).outcome is Outcome.OK
        assert (await rest.command(CREATE, {"reduceOnly": True})).outcome is Outcome.OK
        assert [request.path for request in heard] == [CANCEL, CREATE]


async def test_it_is_refused_after_the_connection_was_made_and_before_the_first_byte() -> None:
    """The latch falls while the connection is being made: the second look is the one that counts."""
    looks = 0

    def after(seen: int) -> SendStop:
        def stop() -> str:
            nonlocal looks
            looks += 1
            return "latched" if looks > seen else ""

        return stop

    async with server([envelope()]) as (rest, heard):
        rest.stop = after(1)
        answer = await rest.command(CREATE, {"qty": "1"})
        assert (answer.outcome, answer.reason, heard, looks) == (Outcome.REFUSED, "latched", [], 2)
        looks, rest.stop = 0, after(2)
        assert (await rest.command(CREATE, {"qty": "1"})).outcome is Outcome.OK
        assert len(heard) == 1 and looks == 2
