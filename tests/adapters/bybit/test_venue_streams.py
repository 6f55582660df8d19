"""The private stream misbehaves in every way that it has; the account that we tell of stays the exchange's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keel.adapters.bybit.execution.tracking.past import seen_of
from keel.adapters.bybit.execution.tracking.tracked_order import TrackedOrder
from keel.adapters.bybit.execution.venue import RecoveredOrder
from keel.core.errors import VenueError
from keel.core.model.messages import Bracket, CancelAll, CancelOrder, OrderUpdate, SetTradingStop, SubmitOrder
from tests.adapters.bybit.conftest import Desk, desk_over
from tests.adapters.bybit.test_venue_outcomes import fault, resting, sandbox_orders


def ws(action: object, topic: str, **match: Any) -> dict[str, Any]:
    return {"action": action, "match": {"side": "ws", "topic": topic, **match}}


async def traded(desk: Desk, number: int = 1, **changes: Any) -> None:
    desk.venue.submit_order(desk.order(number, **changes))
    await desk.until(lambda: desk.venue.in_flight == 0)
    await desk.step()


async def next_entry(desk: Desk) -> None:
    """An entry after a socket was lost fills. Only where the socket is lost anew meanwhile (a busy machine, in a world that runs faster)
    it may be refused instead, and the next one is tried."""
    for number in range(2, 30):
        await desk.until(lambda: desk.venue.is_ready and desk.venue.private.stream.connects >= 2)
        connects, losses = desk.venue.private.stream.connects, lost(desk)
        await traded(desk, number)
        await desk.until(lambda number=number: desk.updates(f"t-{number}")[-1:] in (["filled"], ["rejected"]))
        if desk.updates(f"t-{number}")[-1:] == ["filled"]:
            return
        assert desk.venue.private.stream.connects > connects or lost(desk) > losses, desk.updates(f"t-{number}")
    raise AssertionError("no entry was filled")


def lost(desk: Desk) -> int:
    return sum(notice.code == "stream_lost" for notice in desk.notices)


async def executions(desk: Desk) -> list[str]:
    truth = await desk.truth()
    account = next(iter(truth["accounts"].values()))
    return [row["execId"] for row in account["executions"] if row["execType"] != "Funding"]


@pytest.mark.parametrize(
    "rules",
    [
        [ws("drop", "execution")],
        [ws("drop", "order")],
        [ws("drop", "order"), ws("drop", "execution")],
        [ws({"kind": "dup", "n": 4}, "order"), ws({"kind": "dup", "n": 4}, "execution")],
        [ws({"kind": "reorder", "window": 4}, "order")],
        [ws({"kind": "delay", "ms": 120}, "execution")],
        [ws({"kind": "delay", "ms": 120}, "order")],
        [ws({"kind": "truncate", "bytes": 60}, "execution", nth=1)],
        [ws({"kind": "mutate", "patch": [{"op": "replace", "path": "/data/0/execQty", "value": "NaN"}]}, "execution", nth=1)],
        [ws({"kind": "mutate", "patch": [{"op": "replace", "path": "/data/0/cumExecQty", "value": ""}]}, "order")],
        [ws({"kind": "abort"}, "execution", nth=1)],
        [ws({"kind": "close", "code": 1001}, "order", nth=1)],
        [ws({"kind": "freeze", "keep_pong": True}, "order", nth=1)],
    ],
    ids=lambda rules: "+".join(
        f"{r['action'] if isinstance(r['action'], str) else r['action']['kind']}-{r['match']['topic']}" for r in rules
    ),
)
async def test_every_fill_is_told_once_whatever_the_stream_does(rules: list[dict[str, Any]]) -> None:
    async with desk_over() as desk:
        desk.faults(*rules)
        await traded(desk)
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"], "the fill")
        assert [fill.fill_id for fill in desk.fills()] == await executions(desk)
        assert desk.updates("t-1").count("filled") == 1
        assert all(rule["applied"] for rule in desk.server.faults.state())


async def test_a_stream_that_answers_pings_and_tells_nothing_is_replaced() -> None:
    async with desk_over() as desk:
        desk.faults(ws({"kind": "freeze", "keep_pong": True}, "order", nth=1), ws("drop", "execution", nth=1))
        await traded(desk)
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        await desk.until(lambda: desk.venue.private.stream.connects >= 2 and desk.venue.is_ready)
        assert "stream_behind" in desk.codes()
        await next_entry(desk)


async def test_lists_that_lag_behind_make_no_false_end() -> None:
    async with desk_over() as desk:
        desk.server.put_faults(b'{"rules": [{"action": {"kind": "lag_query", "ms": 250}}]}')  # five seconds of the adapter's
        desk.faults(fault("drop", "/v5/order/create"), ws("drop", "order"), ws("drop", "execution"))
        await traded(desk)
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        assert len(desk.fills()) == 1


async def test_a_socket_that_was_lost_is_synchronised_before_the_next_entry() -> None:
    async with desk_over() as desk:
        await resting(desk)
        desk.faults(ws("abort", "order", nth=1))
        desk.venue.cancel_order(CancelOrder("t-1", "BTCUSDT", desk.now_ms))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["cancelled"])
        await next_entry(desk)


async def test_without_every_acknowledgement_nothing_is_ready_and_no_entry_leaves() -> None:
    async with desk_over(started=False, rules=(ws("drop", "op:subscribe", nth=3, times=1000),)) as desk:
        with pytest.raises(VenueError, match="no answer to subscribe"):
            await desk.venue.wait_ready(0.7)
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.updates("t-1") == ["rejected"])
        assert await sandbox_orders(desk) == []
        desk.faults(clear=True)
        await desk.venue.wait_ready(10)


async def test_unknown_topics_and_nonsense_are_counted_and_harm_nothing() -> None:
    async with desk_over() as desk:
        hear = desk.venue.private.stream._receive
        for text in (
            "{",
            "[]",
            "null",
            '{"topic": "surprise", "data": []}',
            '{"topic": "order", "data": {}}',
            '{"topic": "order"}',
            "\x00",
        ):
            hear(text)
        assert desk.venue.private.stream.unknown_topics == {"surprise": 1}
        await traded(desk)
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])


# --- brackets ---


async def test_exits_have_the_names_of_their_parent_and_reasons() -> None:
    async with desk_over() as desk:
        await traded(desk, bracket=Bracket(stop_loss=desk.last - 5000, take_profit=desk.last + 5000))
        await desk.until(lambda: desk.updates("t-1-sl") == ["accepted"] and desk.updates("t-1-tp") == ["accepted"])
        child = next(one for one in desk.published if isinstance(one, OrderUpdate) and one.client_order_id == "t-1-sl")
        assert child.parent_id == "t-1"
        desk.venue.set_trading_stop(SetTradingStop("BTCUSDT", desk.now_ms, Bracket(stop_loss=desk.last - 4000)))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1-sl2") == ["accepted"])
        await desk.until(lambda: desk.updates("t-1-sl")[-1:] == ["cancelled"] and desk.updates("t-1-tp")[-1:] == ["cancelled"])
        desk.venue.submit_order(desk.order(2, side="SELL", reduce_only=True))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1-sl2")[-1:] == ["cancelled"])
        assert "external_order" not in desk.codes()


async def test_a_stop_that_fires_tells_its_fill_under_its_own_name() -> None:
    async with desk_over() as desk:
        await traded(desk, bracket=Bracket(stop_loss=desk.last - 30))
        for _ in range(60):
            if desk.updates("t-1-sl")[-1:] == ["filled"]:
                break
            await desk.step(10)
            await asyncio.sleep(0.01)
        await desk.until(lambda: desk.updates("t-1-sl")[-1:] == ["filled"])
        last = desk.fills()[-1]
        assert (last.client_order_id, last.reason) == ("t-1-sl", "stop_loss")
        assert [fill.fill_id for fill in desk.fills()] == await executions(desk)


async def test_a_trailing_stop_is_set_after_the_fill() -> None:
    async with desk_over() as desk:
        await traded(desk, bracket=Bracket(trailing=2000.0))
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        await asyncio.sleep(0.05)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1-ts") == ["accepted"])


# --- many at once ---


async def test_a_batch_has_a_fate_per_item() -> None:
    async with desk_over() as desk:
        price = desk.last - 3000
        desk.venue.submit_order(desk.order(1, order_type="limit", price=price))
        desk.venue.submit_order(desk.order(2, order_type="limit", price=price, qty=1000.0))
        desk.venue.submit_order(desk.order(3, order_type="limit", price=price))
        desk.venue.submit_order(desk.order(4, order_type="limit", price=price))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: [desk.updates(f"t-{n}") for n in (1, 3, 4)] == [["accepted"]] * 3)
        await desk.until(lambda: desk.updates("t-2") == ["rejected"])
        desk.venue.cancel_order(CancelOrder("t-1", "BTCUSDT", desk.now_ms))
        desk.venue.cancel_order(CancelOrder("t-3", "BTCUSDT", desk.now_ms))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1] == desk.updates("t-3")[-1] == "cancelled")
        desk.venue.cancel_all(CancelAll(desk.now_ms))
        await asyncio.sleep(0.02)
        await desk.step()
        await desk.until(lambda: desk.updates("t-4")[-1] == "cancelled")
        await desk.until(lambda: desk.venue.in_flight == 0)


@pytest.mark.parametrize("when", ["before_apply", "after_apply"])
async def test_a_batch_without_an_answer_leaves_every_item_unknown(when: str) -> None:
    async with desk_over() as desk:
        price = desk.last - 3000
        desk.faults(fault("drop", "/v5/order/create-batch", when))
        for number in (1, 2, 3):
            desk.venue.submit_order(desk.order(number, order_type="limit", price=price))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        expected = ["accepted"] if when == "after_apply" else None
        for number in (1, 2, 3):
            await desk.until(
                lambda number=number: desk.updates(f"t-{number}") in ([expected] if expected else [["rejected"], ["accepted"]])
            )
        await desk.until(lambda: not desk.venue.unknown)
        assert len(await sandbox_orders(desk)) == sum(desk.updates(f"t-{n}") == ["accepted"] for n in (1, 2, 3))


async def test_the_trade_stream_carries_orders_and_its_loss_is_no_answer() -> None:
    async with desk_over(use_trade_stream=True) as desk:
        await traded(desk)
        await desk.until(lambda: desk.updates("t-1")[-1:] == ["filled"])
        desk.faults(ws("abort", "order.create", nth=1))
        await traded(desk, 2)
        await desk.until(lambda: desk.updates("t-2")[-1:] == ["filled"])
        await desk.until(lambda: not desk.venue.unknown)
        assert len(await sandbox_orders(desk)) == 2


# --- restarts and others ---


async def test_after_a_restart_nothing_is_lost_and_nothing_told_twice() -> None:
    """Killed with one order resting, one in flight (sent, unanswered), one journalled and never sent; it fills while nobody hears."""
    async with desk_over() as first:
        await resting(first, 1)
        await traded(first, 2, bracket=Bracket(stop_loss=first.last - 9000))
        await first.until(lambda: first.updates("t-2-sl") == ["accepted"])
        first.venue._group.create_task(first.venue.private.stream.reconnect("killed"))  # type: ignore[union-attr]
        sent = first.order(3)
        await first.rest.command(
            "/v5/order/create",
            {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.010", "orderLinkId": "t-3"},
        )
        before = list(first.published)
        await first.step()

        def recover(venue: Any) -> None:
            commands = {one.client_order_id: one for one in first.journal if isinstance(one, SubmitOrder)}
            fill = first.fills()[0]
            venue.recover(
                [RecoveredOrder(commands["t-1"], "accepted"), RecoveredOrder(sent), RecoveredOrder(first.order(4))],
                used_names=["t-2-sl"],
                open_brackets=[("t-2", "t-2-sl")],
                holdings={"BTCUSDT": (10, round(fill.price * 10) * 10**6 // 10 * 10)},
            )

        async with desk_over(known=first, started=False, recover=recover) as second:
            second.seen |= seen_of(before)
            await second.venue.wait_ready(60)
            await second.until(lambda: second.updates("t-3")[-1:] == ["filled"])
            await second.until(lambda: second.updates("t-4") == ["rejected"])
            assert [fill.client_order_id for fill in second.fills()] == ["t-3"]
            assert second.updates("t-1") == []
            assert second.venue.tracker.orders.get("t-2-sl") is not None
            assert "external_order" not in second.codes()


async def test_an_exit_that_ended_while_we_were_away_is_found_by_its_parent() -> None:
    """It has no name of ours at the exchange: its end is read from lists of what has ended, and nothing is guessed."""
    async with desk_over() as first:
        await traded(first, bracket=Bracket(stop_loss=first.last - 9000))
        await first.until(lambda: first.updates("t-1-sl") == ["accepted"])
        fill = first.fills()[0]
        first.venue._group.create_task(first.venue.private.stream.reconnect("killed"))  # type: ignore[union-attr]
        body = {"category": "linear", "symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "0.010", "reduceOnly": True}
        await first.rest.command("/v5/order/create", body | {"orderLinkId": "t-2"})
        await first.step()

        def recover(venue: Any) -> None:
            instrument = venue.tracker.instruments["BTCUSDT"]
            venue.recover(
                [RecoveredOrder(first.order(2, side="SELL", reduce_only=True))],
                used_names=["t-1-sl"], open_brackets=[("t-1", "t-1-sl")], holdings={"BTCUSDT": (10, round(fill.price * 10) * 10**6)},
            )  # fmt: skip
            stop = TrackedOrder("t-1-sl", instrument, "SELL", 0, parent_id="t-1", role="sl")
            stop.life.told = "accepted"
            venue.tracker.orders.add(stop)

        async with desk_over(known=first, started=False, recover=recover) as second:
            second.seen |= seen_of(first.published)
            await second.venue.wait_ready(60)
            await second.until(lambda: second.updates("t-2")[-1:] == ["filled"])
            await second.until(lambda: second.updates("t-1-sl") == ["cancelled"])
            assert not any("t-1-sl" in notice.text for notice in second.notices if notice.code == "order_unknown")


async def test_somebody_elses_order_freezes_the_symbol() -> None:
    async with desk_over() as desk:
        body = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "0.010", "orderLinkId": "by-hand"}
        await desk.rest.command("/v5/order/create", body)
        await desk.step()
        await desk.until(lambda: desk.fills(), "the fill")
        assert desk.fills()[0].client_order_id.startswith("external-")
        assert "BTCUSDT" in desk.venue.gate.frozen
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.updates("t-1") == ["rejected"])
        desk.venue.submit_order(desk.order(2, side="SELL", reduce_only=True))
        await desk.until(lambda: desk.venue.in_flight == 0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-2")[-1:] == ["filled"])
