"""An order that the exchange has never had (its request was lost on the way): proven absent, and then one rule.

An entry has ended: its price has gone, and its strategy decides anew. An exit whose position still stands goes out once more, under its own
name, so that the exchange itself refuses it if the first one should arrive after all.
"""

from __future__ import annotations

import asyncio

import pytest

from keel.adapters.bybit.execution.tracking.order_query_records import AbsenceContradicted, OrderDoubted, OrderNotFound
from keel.core.model.messages import OrderUpdate, SubmitOrder
from keel.runners.live.session.live import Live
from tests.faults.conftest import BARS, Played, Stage, fills_of, http, ws

CREATE = "/v5/order/create"
SIXTH, SEVENTH = 5, 6
"""The steps before whose bars an exit (FLAT) and an entry (LONG) are decided."""


def the_doubted(played: Played) -> str:
    (doubted,) = {message.client_order_id for message in played.of(OrderDoubted)}
    return str(doubted)


def applied(played: Played, name: str) -> int:
    return sum(row["orderLinkId"] == name and row["code"] == 0 for row in played.truth["creates"])


def ends(played: Played, name: str) -> list[tuple[str, str]]:
    return [(each.status, each.reason[:10]) for each in played.of(OrderUpdate) if each.client_order_id == name]


def test_an_entry_has_ended_and_is_never_sent_again(stage: Stage) -> None:
    played = stage.play(http("drop", CREATE, "before_apply", nth=1), at=SEVENTH).check()
    name = the_doubted(played)
    assert ends(played, name) == [("rejected", "not placed")]
    assert applied(played, name) == 0
    assert len([order for order in played.of(SubmitOrder) if order.client_order_id == name]) == 1
    searches = [message.waited_ms for message in played.of(OrderNotFound)]
    assert searches[-1] - searches[0] >= 10_000
    assert len(played.orders()) > 5  # later decisions are carried out


def test_an_exit_is_sent_once_more_under_its_own_name(stage: Stage) -> None:
    played = stage.play(http("drop", CREATE, "before_apply", nth=1), at=SIXTH).check()
    name = the_doubted(played)
    assert applied(played, name) == 1
    assert ends(played, name)[-1][0] == "filled"
    assert len([order for order in played.of(SubmitOrder) if order.client_order_id == name]) == 2
    assert "exit_sent_again" in played.codes()
    assert fills_of(played) == fills_of(stage.without_faults())


@pytest.mark.long
def test_an_exit_that_is_lost_again_has_ended(stage: Stage) -> None:
    played = stage.play(http("drop", CREATE, "before_apply", nth=1, times=2), at=SIXTH).check()
    name = the_doubted(played)
    assert applied(played, name) == 0
    assert ends(played, name) == [("rejected", "not placed")]


def test_the_first_exit_arrives_after_all(stage: Stage) -> None:
    """Its request is held up for longer than it is believed in: the second is refused for its name, or the first for its age."""
    late = {"kind": "delay", "ms": 18_000}
    played = stage.play(http(late, CREATE, "before_apply", nth=1), at=SIXTH).check()
    name = the_doubted(played)
    assert applied(played, name) == 1
    assert ends(played, name)[-1][0] == "filled"
    assert fills_of(played) == fills_of(stage.without_faults())


EMPTY = [{"op": "replace", "path": "/result/list", "value": []}]
LISTS = ("/v5/order/realtime", "/v5/order/history", "/v5/execution/list")


@pytest.mark.parametrize("witness", ["position", "wallet"])
def test_lists_that_do_not_have_it_are_not_believed_against_position_or_wallet(witness: str, stage: Stage) -> None:
    """The entry is filled; its answer and its news are lost, and no list has it: what remains is a push of one of the two."""
    other = {"position": "wallet", "wallet": "position"}[witness]
    hidden = [http({"kind": "mutate", "patch": EMPTY}, path) for path in LISTS]
    hidden += [http({"kind": "mutate", "patch": EMPTY}, "/v5/position/list")] if witness == "wallet" else []
    lost = [ws("drop", topic) for topic in ("order", "execution", other)]
    frozen: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def later(live: Live) -> None:
        await asyncio.sleep(30)  # longer than absence takes to be proven by lists alone
        frozen.extend(live.gate.frozen.get("BTCUSDT", {}))
        await asyncio.to_thread(stage.sandbox.faults)

    async def beat(number: int, live: Live) -> None:
        if number == SEVENTH:
            tasks.append(asyncio.create_task(later(live)))

    played = stage.play(http("drop", CREATE, nth=1), *hidden, *lost, at=SEVENTH, until=BARS - 1, beat=beat)
    assert played.of(AbsenceContradicted), played.story()
    name = played.of(AbsenceContradicted)[0].client_order_id
    assert f"order_unknown:{name}" in frozen
    assert ends(played, name)[-1][0] in ("filled", "cancelled") and applied(played, name) == 1
    played.check(must_act=False)
