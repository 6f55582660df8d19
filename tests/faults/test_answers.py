"""Answers that are lost, doubtful, late or a no, for every kind of command, in a whole session: nothing lost, nothing doubled."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.model.messages import AmendOrder, OrderIntent, OrderUpdate, SubmitOrder
from keel.runners.live.session.live import Live
from tests.faults.conftest import Played, Stage, Still, fills_of, http

CREATE, CANCEL, AMEND = "/v5/order/create", "/v5/order/cancel", "/v5/order/amend"
LOST: dict[str, Any] = {
    "drop": "drop",
    "10000": {"kind": "error", "ret_code": 10000},
    "10016": {"kind": "error", "ret_code": 10016},
    "503": {"kind": "error", "http": 503},
    "cut": {"kind": "truncate", "bytes": 30},
}
QUICK = (("drop", "before_apply"), ("drop", "after_apply"), ("503", "after_apply"))
WAYS = [
    pytest.param(name, when, marks=[] if (name, when) in QUICK else [pytest.mark.long])
    for name in LOST
    for when in ("before_apply", "after_apply")
    if (name, when) != ("cut", "before_apply")
]


def received(played: Played) -> list[str]:
    """The client ids of creates that were applied, in order."""
    return [row["orderLinkId"] for row in played.truth["creates"] if row["code"] == 0]


@pytest.mark.parametrize(("name", "when"), WAYS)
def test_creates(name: str, when: str, stage: Stage) -> None:
    """Every third answer to a create."""
    played = stage.play(*(http(LOST[name], CREATE, when, nth=nth) for nth in (1, 3, 5))).check()
    if when == "after_apply":
        assert fills_of(played) == fills_of(stage.without_faults())
    else:
        assert {update.reason[:10] for update in played.of(OrderUpdate) if update.status == "rejected"} <= {"not placed", "frozen: BT"}
    assert "order_unknown" in played.codes()


@pytest.mark.parametrize(("name", "when"), WAYS)
def test_cancels(name: str, when: str, stage: Stage) -> None:
    """A cancel is repeated until it is known what became of it."""
    played = stage.play(*(http(LOST[name], CANCEL, when, nth=nth) for nth in (1, 2, 4))).check()
    assert fills_of(played) == fills_of(stage.without_faults())


async def two_resting(live: Live, price: float = 20_000.0) -> None:
    """Two entries far from the market, as a batch; they come of no candle's decision."""
    now = live.books.clock.now_ms
    for number in range(2):
        live.books.actors.executor.on_intent(OrderIntent("BTCUSDT", "BUY", 0.01, now, "limit", price + 100 * number, reason="script"))
    live.books.bus.drain()


def resting(live: Live) -> list[str]:
    return [record.client_order_id for record in live.books.actors.executor.open_orders()]


async def script(number: int, live: Live) -> None:
    """Batches of creates, amendments and cancels, twice, one after the other."""
    turn = number % 8
    if turn == 1:
        await two_resting(live)
    elif turn in (3, 4) and resting(live):
        for name in resting(live) if turn == 3 else resting(live)[:1]:
            now, price = live.books.clock.now_ms, 21_000.0 + 100 * turn
            live.books.gateway.amend_order(AmendOrder(name, "BTCUSDT", now, qty=0.03 + turn / 100, price=price))
    elif turn == 6:
        live.books.actors.executor.on_intent(OrderIntent("BTCUSDT", "BUY", 0.0, live.books.clock.now_ms, cancel_first=True))
        live.books.bus.drain()


BATCHES = [(f"{CREATE}-batch", 2), (f"{AMEND}-batch", 1), (AMEND, 1), (f"{CANCEL}-batch", 1)]
"""(path, how many of its answers are lost)"""


@pytest.mark.parametrize("when", ["before_apply", "after_apply"])
@pytest.mark.parametrize(("path", "times"), BATCHES)
@pytest.mark.covering(1)
def test_batches_and_amendments(path: str, times: int, when: str, stage: Stage) -> None:
    """An answer to a batch that is lost leaves every item of it unknown; each is found out by itself."""
    played = stage.play(http("drop", path, when, nth=1, times=times), at=0, until=16, bars=18, beat=script, plan=stage.plan(Still)).check()
    if when == "before_apply" and path.startswith(CREATE):
        assert len(received(played)) < len(played.of(SubmitOrder))
    else:
        assert received(played) == [command.client_order_id for command in played.of(SubmitOrder)]


def test_an_order_that_is_amended_upward_fills_beyond_what_it_was(stage: Stage) -> None:
    """The answer to the amendment is lost, and the order fills whole, at its new quantity, before anybody has looked."""

    async def grow(number: int, live: Live) -> None:
        if number == 1:
            live.books.actors.executor.on_intent(OrderIntent("BTCUSDT", "BUY", 0.01, live.books.clock.now_ms, "limit", 20_000.0))
            live.books.bus.drain()
        elif number == 3:
            (name,) = resting(live)
            above = round(live.books.portfolio.lines["BTCUSDT"].mark * 1.02)  # within the collar
            live.books.gateway.amend_order(AmendOrder(name, "BTCUSDT", live.books.clock.now_ms, qty=0.04, price=above))

    played = stage.play(http("drop", AMEND, nth=1), at=0, until=10, bars=12, beat=grow, plan=stage.plan(Still)).check()
    (order,) = [row for row in played.orders() if row["orderStatus"] == "Filled"]
    assert order["qty"] == order["cumExecQty"] == "0.040"
    statuses = [update.status for update in played.of(OrderUpdate) if update.client_order_id == order["orderLinkId"]]
    assert statuses.index("amended") < statuses.index("filled")


def test_110072_on_a_retry_says_that_the_first_arrived(stage: Stage) -> None:
    """The first try is refused for its time, and applied all the same; the second is told that the name is taken."""
    rules = [http({"kind": "error", "ret_code": 10002}, CREATE, nth=nth) for nth in (1, 3)]
    played = stage.play(*rules).check()
    assert [row["code"] for row in played.truth["creates"]].count(110072) >= 1
    assert fills_of(played) == fills_of(stage.without_faults())


@pytest.mark.parametrize("reset", ["future", "past", "absent"])
def test_10006(reset: str, stage: Stage) -> None:
    """Creates wait and go out later under their own names; nothing is looked for, since nothing was executed."""
    limited = {"kind": "error", "ret_code": 10006, "reset": reset}
    played = stage.play(http(limited, CREATE, "before_apply", nth=1, times=2), http(limited, CANCEL, "before_apply", nth=1)).check()
    assert "order_unknown" not in played.codes()
    assert fills_of(played) == fills_of(stage.without_faults())


def test_10002(stage: Stage) -> None:
    """The clock is measured anew, and the same create goes out once more."""
    played = stage.play(http({"kind": "error", "ret_code": 10002}, CREATE, "before_apply", nth=2)).check()
    assert fills_of(played) == fills_of(stage.without_faults())
