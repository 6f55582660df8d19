"""What becomes of an order when its answer is lost, doubtful or a no: nothing is lost, nothing is doubled, nothing is guessed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keel.core.model.messages import AmendOrder, CancelOrder, OrderUpdate
from tests.adapters.bybit.conftest import SPEED, Desk, desk_over

CREATE, CANCEL, AMEND = "/v5/order/create", "/v5/order/cancel", "/v5/order/amend"

LOST = {
    "drop": "drop",
    "10000": {"kind": "error", "ret_code": 10000},
    "10016": {"kind": "error", "ret_code": 10016},
    "503": {"kind": "error", "http": 503},
    "502": {"kind": "error", "http": 502},
}
SOME = [name if name in ("drop", "10016") else pytest.param(name, marks=pytest.mark.long) for name in LOST]


async def sandbox_orders(desk: Desk) -> list[dict[str, Any]]:
    """Every order that the sandbox has ever taken on."""
    truth = await desk.truth()
    account = truth["accounts"][0] if isinstance(truth["accounts"], list) else next(iter(truth["accounts"].values()))
    return list(account["orders"])


def fault(action: object, path: str, when: str = "after_apply", **match: Any) -> dict[str, Any]:
    return {"action": action, "when": when, "match": {"side": "http", "path": path, "nth": 1, **match}}


@pytest.mark.parametrize("name", SOME)
async def test_an_answer_lost_after_apply_is_adopted_and_never_sent_again(name: str) -> None:
    async with desk_over() as desk:
        desk.faults(fault(LOST[name], CREATE))
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"], "the fill")
        await desk.until(lambda: not desk.venue.unknown)
        assert len(await sandbox_orders(desk)) == 1
        assert len(desk.fills()) == 1
        assert not desk.venue.gate.frozen


@pytest.mark.parametrize("name", SOME)
async def test_an_answer_lost_before_apply_ends_as_not_placed_on_proof_alone(name: str) -> None:
    async with desk_over() as desk:
        desk.faults(fault(LOST[name], CREATE, "before_apply"))
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.unknown, "the doubt")
        assert "BTCUSDT" in desk.venue.gate.frozen
        assert desk.updates("t-1") == []
        await desk.until(lambda: desk.updates("t-1") == ["rejected"], "the proof")
        await desk.until(lambda: not desk.venue.unknown)
        assert await sandbox_orders(desk) == []
        assert not desk.venue.gate.frozen
        ended = [one for one in desk.published if isinstance(one, OrderUpdate)][-1]
        assert ended.reason.startswith("not placed")


@pytest.mark.parametrize("size", [0, 1, 40])
async def test_a_truncated_answer_is_no_answer(size: int) -> None:
    async with desk_over() as desk:
        desk.faults(fault({"kind": "truncate", "bytes": size}, CREATE))
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        assert len(desk.fills()) == 1


async def test_110072_says_that_it_arrived() -> None:
    async with desk_over() as desk:
        desk.faults(fault({"kind": "error", "ret_code": 110072}, CREATE))
        desk.venue.submit_order(desk.order(1, order_type="limit", price=desk.last - 1000, time_in_force="GTC"))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1") == ["accepted"])
        await desk.until(lambda: not desk.venue.unknown)
        assert len(await sandbox_orders(desk)) == 1


@pytest.mark.parametrize("reset", ["future", "past", "absent"])
async def test_10006_pauses_creates_and_not_cancels(reset: str) -> None:
    async with desk_over() as desk:
        desk.venue.submit_order(desk.order(1, order_type="limit", price=desk.last - 1000))
        await desk.step()
        await desk.until(lambda: desk.updates("t-1") == ["accepted"])
        desk.faults(fault({"kind": "error", "ret_code": 10006, "reset": reset}, CREATE, "before_apply"))
        desk.venue.submit_order(desk.order(2))
        desk.venue.cancel_order(CancelOrder("t-1", "BTCUSDT", desk.now_ms))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["cancelled"] and desk.updates("t-2")[-1:] == ["filled"])
        assert len(await sandbox_orders(desk)) == 2


async def test_10006_for_ever_is_a_rejection() -> None:
    async with desk_over() as desk:
        desk.faults({"action": {"kind": "error", "ret_code": 10006}, "when": "before_apply", "match": {"side": "http", "path": CREATE}})
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.updates("t-1") == ["rejected"])
        assert await sandbox_orders(desk) == []


async def test_10002_is_sent_again_after_a_look_at_the_clock() -> None:
    async with desk_over() as desk:
        desk.faults(fault({"kind": "error", "ret_code": 10002}, CREATE, "before_apply"))
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        assert len(await sandbox_orders(desk)) == 1
        assert desk.rest.clock.measured_at is not None


async def test_a_definite_no_is_a_rejection_with_its_code() -> None:
    async with desk_over() as desk:
        desk.faults(fault({"kind": "error", "ret_code": 110007, "ret_msg": "ab not enough for new order"}, CREATE, "before_apply"))
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.updates("t-1") == ["rejected"])
        ended = [one for one in desk.published if isinstance(one, OrderUpdate)][-1]
        assert ended.reason == "110007 ab not enough for new order"


async def test_the_order_that_fills_a_count_leaves_although_no_other_may() -> None:
    """The controls have let it pass and count it: the count stands in the way of the next one, not of the last that was allowed."""
    async with desk_over() as desk:
        desk.venue.gate.close("max_orders_per_minute", "120 orders within a minute, at most 120")
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["accepted"])
        desk.venue.gate.close("price_stale", "old", "BTCUSDT")
        desk.venue.submit_order(desk.order(2))
        await desk.until(lambda: desk.updates("t-2") == ["rejected"])


async def test_a_key_that_is_denied_freezes_everything() -> None:
    async with desk_over() as desk:
        desk.faults(fault({"kind": "error", "ret_code": 10003}, CREATE, "before_apply"))
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.updates("t-1") == ["rejected"])
        desk.venue.submit_order(desk.order(2))
        await desk.until(lambda: desk.updates("t-2") == ["rejected"])
        assert "*" in desk.venue.gate.frozen
        assert await sandbox_orders(desk) == []


async def test_post_only_that_would_cross_expires_later() -> None:
    async with desk_over() as desk:
        desk.venue.submit_order(desk.order(1, order_type="limit", price=desk.last + 2000, time_in_force="POST_ONLY"))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] in (["expired"], ["rejected"]))
        assert desk.fills() == []


# --- exits that were never placed ---


async def held_with_a_lost_exit(desk: Desk) -> None:
    """A position, and an exit (t-2) whose request was lost on the way."""
    desk.venue.submit_order(desk.order(1))
    await desk.until(lambda: desk.venue.in_flight == 0)
    await desk.step()
    await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
    desk.faults(fault("drop", CREATE, "before_apply"))
    desk.venue.submit_order(desk.order(2, side="SELL", reduce_only=True))
    await desk.until(lambda: desk.venue.unknown, "the doubt")


async def test_an_exit_that_was_never_placed_goes_out_once_more_under_its_name() -> None:
    async with desk_over() as desk:
        await held_with_a_lost_exit(desk)
        await desk.venue.idle()
        await desk.step()
        await desk.until(lambda: desk.updates("t-2") == ["filled"])
        assert [order["orderLinkId"] for order in await sandbox_orders(desk)] == ["t-1", "t-2"]


async def test_but_not_when_its_position_has_gone() -> None:
    async with desk_over() as desk:
        await held_with_a_lost_exit(desk)
        desk.venue.submit_order(desk.order(3, side="SELL", reduce_only=True))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-3")[-1:] == ["filled"] and desk.updates("t-2") == ["rejected"])
        assert [order["orderLinkId"] for order in await sandbox_orders(desk)] == ["t-1", "t-3"]


async def test_nor_when_its_cancel_was_asked_for() -> None:
    async with desk_over() as desk:
        await held_with_a_lost_exit(desk)
        desk.venue.cancel_order(CancelOrder("t-2", "BTCUSDT", desk.now_ms))
        await desk.until(lambda: desk.updates("t-2")[-1:] == ["rejected"])
        assert [order["orderLinkId"] for order in await sandbox_orders(desk)] == ["t-1"]


# --- cancels and amendments ---


async def resting(desk: Desk, number: int = 1) -> None:
    desk.venue.submit_order(desk.order(number, order_type="limit", price=desk.last - 3000))
    await desk.until(lambda: desk.venue.in_flight == 0)
    await desk.step()
    await desk.until(lambda: desk.updates(f"t-{number}") == ["accepted"])


@pytest.mark.parametrize("when", ["before_apply", "after_apply"])
@pytest.mark.parametrize("name", SOME)
async def test_a_cancel_whose_answer_is_lost_ends_the_order_once(name: str, when: str) -> None:
    async with desk_over() as desk:
        await resting(desk)
        desk.faults(fault(LOST[name], CANCEL, when))
        desk.venue.cancel_order(CancelOrder("t-1", "BTCUSDT", desk.now_ms))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1") == ["accepted", "cancelled"])


@pytest.mark.parametrize("code", [110001, 110008, 110010])
async def test_a_cancel_that_lost_the_race_looks_and_finds_the_fill(code: int) -> None:
    async with desk_over() as desk:
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        desk.faults(
            {"action": "drop", "match": {"side": "ws", "topic": "order"}},
            {"action": "drop", "match": {"side": "ws", "topic": "execution"}},
            fault({"kind": "error", "ret_code": code}, CANCEL, "before_apply"),
        )
        await desk.step()
        desk.venue.cancel_order(CancelOrder("t-1", "BTCUSDT", desk.now_ms))
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        assert len(desk.fills()) == 1
        assert "cancelled" not in desk.updates("t-1")


async def test_a_cancel_waits_for_its_own_create_only() -> None:
    async with desk_over() as desk:
        await resting(desk)
        desk.faults(fault({"kind": "delay", "ms": 300}, CREATE, "before_apply"))
        desk.venue.submit_order(desk.order(2, order_type="limit", price=desk.last - 3000))
        desk.venue.cancel_order(CancelOrder("t-2", "BTCUSDT", desk.now_ms))
        desk.venue.cancel_order(CancelOrder("t-1", "BTCUSDT", desk.now_ms))
        await asyncio.sleep(0.15)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["cancelled"])
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-2")[-1:] == ["cancelled"])
        assert len(await sandbox_orders(desk)) == 2


@pytest.mark.parametrize("when", ["before_apply", "after_apply"])
async def test_an_amendment_whose_answer_is_lost_is_found_out(when: str) -> None:
    async with desk_over() as desk:
        await resting(desk)
        price = desk.last - 2000
        desk.faults(fault("drop", AMEND, when))
        desk.venue.amend_order(AmendOrder("t-1", "BTCUSDT", desk.now_ms, price=price))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        expected = ["accepted", "amend_rejected" if when == "before_apply" else "amended"]
        await desk.until(lambda: desk.updates("t-1") == expected)
        truth = await sandbox_orders(desk)
        assert (float(truth[0]["price"]) == price) == (when == "after_apply")


async def test_an_order_that_waits_at_the_exchange_is_not_taken_for_lost() -> None:
    """The market stands still for half a minute: the order is acknowledged, listed, and has no news."""
    async with desk_over() as desk:
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await asyncio.sleep(30 / SPEED)
        assert desk.updates("t-1") in ([], ["accepted"])
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])


async def test_what_is_not_open_is_refused_without_a_request() -> None:
    async with desk_over() as desk:
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        desk.venue.cancel_order(CancelOrder("t-1", "BTCUSDT", desk.now_ms))
        await desk.until(lambda: desk.updates("t-1") == ["filled", "cancel_rejected"])


async def test_every_intent_is_durable_before_its_first_byte() -> None:
    """The sandbox must not have the order while the journal is still writing."""
    written = asyncio.Event()

    async def slow_journal(message: object) -> None:
        await written.wait()

    async with desk_over(journal=slow_journal) as desk:
        desk.venue.submit_order(desk.order(1))
        await asyncio.sleep(0.1)
        assert await sandbox_orders(desk) == []
        written.set()
        await desk.until(lambda: desk.venue.in_flight == 0)
        assert len(await sandbox_orders(desk)) == 1
