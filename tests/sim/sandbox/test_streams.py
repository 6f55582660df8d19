"""WebSocket: dialects of each channel, exact words, books with an unbroken chain, candles, deltas, idle cuts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from keel.sim.sandbox.http.auth import keyed, sign
from tests.sim.sandbox.conftest import KEY, PATIENCE_S, SECRET, Sandbox, flat_bars, running, stepping, walk_feed, walking, wall_ms
from tests.sim.sandbox.raw import Raw
from tests.virtual.sandbox import run_over

Socket = aiohttp.ClientWebSocketResponse


@asynccontextmanager
async def opened(sandbox: Sandbox, path: str) -> AsyncIterator[Socket]:
    async with aiohttp.ClientSession() as session, session.ws_connect(sandbox.ws + path) as socket:
        yield socket


async def ask(socket: Socket, frame: Any) -> Any:
    """The answer to a control frame (data frames before it are passed over)."""
    await (socket.send_str(frame) if isinstance(frame, str) else socket.send_json(frame))
    while True:
        answer = await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
        if "topic" not in answer:
            return answer


async def hear(socket: Socket, count: int, topic: str = "") -> list[Any]:
    """So many data frames."""
    frames: list[Any] = []
    while len(frames) < count:
        frame = await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
        if frame.get("topic", "").startswith(topic) and "topic" in frame:
            frames.append(frame)
    return frames


def auth_frame(key: str = KEY, secret: str = SECRET, ahead_ms: int = 5_000, **more: Any) -> dict[str, Any]:
    expires = wall_ms() + ahead_ms
    return {"op": "auth", "args": [key, expires, sign(keyed(secret), f"GET/realtime{expires}")], **more}


def on(sandbox: Sandbox, path: str, talk: Callable[[Socket], Awaitable[Any]]) -> Any:
    """Talk on one socket."""

    async def run() -> Any:
        async with opened(sandbox, path) as socket:
            return await talk(socket)

    return run_over(sandbox.url, run())


def subscribe(*topics: str, **more: Any) -> dict[str, Any]:
    return {"op": "subscribe", "args": list(topics), **more}


SPOT, LINEAR = "/v5/public/spot", "/v5/public/linear"
PUBLIC_TALK: list[tuple[str, Any, dict[str, Any]]] = [
    (LINEAR, {"op": "ping", "req_id": "p"}, {"success": True, "ret_msg": "pong", "req_id": "p", "op": "ping"}),
    (LINEAR, {"op": "ping"}, {"success": True, "ret_msg": "pong", "req_id": "", "op": "ping"}),
    (LINEAR, subscribe("tickers.BTCUSDT", req_id=7), {"success": True, "ret_msg": "", "req_id": 7, "op": "subscribe"}),
    (SPOT, subscribe("tickers.BTCUSDT"), {"success": True, "ret_msg": "subscribe", "req_id": "", "op": "subscribe"}),
    *(
        (LINEAR, subscribe(topic, req_id="e1"), {"success": False, "ret_msg": f"error:handler not found,topic:{topic}", "req_id": "e1"})
        for topic in ("orderbook.50.NOPEUSDT", "orderbook.500.BTCUSDT", "order", "kline.1.btcusdt", "kline.7.BTCUSDT", "")
    ),
    (LINEAR, {"op": "fly"}, {"success": False, "ret_msg": "error:invalid op"}),
    (SPOT, subscribe(*(f"kline.{n}.BTCUSDT" for n in range(11))), {"success": False, "ret_msg": "args size >10"}),
]


@pytest.mark.parametrize(("path", "frame", "expected"), PUBLIC_TALK)
def test_public_control_frames(market: Sandbox, path: str, frame: Any, expected: dict[str, Any]) -> None:
    answer = on(market, path, lambda socket: ask(socket, frame))
    assert {name: answer[name] for name in expected} == expected and answer["conn_id"]


def test_a_topic_is_subscribed_to_once_and_garbage_leaves_the_socket_open(market: Sandbox) -> None:
    async def talk(socket: Socket) -> None:
        frame = {"op": "subscribe", "args": ["publicTrade.ETHUSDT"]}
        assert (await ask(socket, frame))["success"]
        assert (await ask(socket, frame))["ret_msg"] == "error:already subscribed,topic:publicTrade.ETHUSDT"
        assert (await ask(socket, "{nonsense"))["ret_msg"].startswith("Failed to decode incoming data:")
        assert (await ask(socket, {**frame, "op": "unsubscribe"}))["op"] == "unsubscribe"
        assert (await ask(socket, frame))["success"]

    on(market, LINEAR, talk)


def test_private_and_trade_channels_have_dialects_of_their_own(market: Sandbox) -> None:
    async def private(socket: Socket) -> None:
        assert not (await ask(socket, {"op": "subscribe", "args": ["order"]}))["success"]
        expired = await ask(socket, auth_frame(ahead_ms=-1))
        assert (expired["success"], expired["ret_msg"]) == (False, "Params Error")
        frame = auth_frame()
        frame["args"][1] = str(frame["args"][1])  # as text, too
        answer = await ask(socket, frame)
        assert (answer["success"], answer["op"], "req_id" in answer) == (True, "auth", False)
        pong = await ask(socket, {"op": "ping", "req_id": "x"})
        assert (pong["op"], pong["req_id"], len(pong["args"][0])) == ("pong", "x", 13)
        assert not (await ask(socket, {"op": "subscribe", "args": ["order", "order.linear"]}))["success"]
        assert not (await ask(socket, {"op": "subscribe", "args": ["orders"]}))["success"]
        assert (await ask(socket, {"op": "subscribe", "args": ["order.linear", "execution.fast.linear"]}))["success"]

    async def trade(socket: Socket) -> None:
        order = {"op": "order.cancel", "args": [{"category": "linear", "symbol": "BTCUSDT", "orderId": "x"}]}
        assert (await ask(socket, order))["retCode"] == 10001  # no time in the header
        stamped = {**order, "header": {"X-BAPI-TIMESTAMP": wall_ms()}}
        assert (await ask(socket, stamped))["retCode"] == 10005  # nobody yet
        answer = await ask(socket, auth_frame(reqId="a"))
        assert (answer["reqId"], answer["retCode"], answer["op"]) == ("a", 0, "auth")
        assert (await ask(socket, auth_frame()))["retCode"] == 20001
        pong = await ask(socket, {"op": "ping"})
        assert (pong["op"], pong["retCode"], len(pong["data"])) == ("pong", 0, 1)
        assert (await ask(socket, {**stamped, "reqId": "r", "header": {"X-BAPI-TIMESTAMP": str(wall_ms())}}))["retCode"] == 110001
        assert (await ask(socket, {**stamped, "reqId": "r"}))["retCode"] == 20006
        assert (await ask(socket, {**stamped, "header": {"X-BAPI-TIMESTAMP": str(wall_ms() - 9_000)}}))["retCode"] == 10002
        assert (await ask(socket, {"op": "order.fly", "args": [{}]}))["retCode"] == 10404

    on(market, "/v5/private", private)
    on(market, "/v5/trade", trade)


@pytest.mark.parametrize(("profile", "refusal"), [("mainnet", ""), ("demo", "error:handler not found,topic:execution.fast")])
def test_demo_has_no_fast_executions(profile: Any, refusal: str) -> None:
    async def talk(socket: Socket) -> Any:
        await ask(socket, auth_frame())
        return await ask(socket, subscribe("execution.fast"))

    with running(walking(profile=profile), walk_feed()) as sandbox:
        answer = on(sandbox, "/v5/private", talk)
    assert (answer["success"], answer["ret_msg"]) == (not refusal, refusal)


def test_the_order_book_is_an_unbroken_chain() -> None:
    """Deltas applied to the snapshot, u rising by one: no level goes that was not there, none is crossed, the window is kept."""
    with stepping(flat_bars(*[100.0 + 0.5 * (n % 7) for n in range(40)], symbol="XYZUSDT")) as sandbox:

        async def talk(socket: Socket) -> None:
            await ask(socket, {"op": "subscribe", "args": ["orderbook.50.XYZUSDT", "orderbook.1.XYZUSDT"]})
            await asyncio.to_thread(sandbox.step, 30)
            frames: list[Any] = []
            book: dict[str, dict[str, str]] = {"b": {}, "a": {}}
            u = None
            while len(frames) < 28:
                frame = await asyncio.wait_for(socket.receive_json(), PATIENCE_S)
                if frame["topic"].startswith("orderbook.1."):
                    assert frame["type"] == "snapshot" and len(frame["data"]["b"]) == 1
                    continue
                frames.append(frame)
                data = frame["data"]
                if frame["type"] == "snapshot":
                    book = {"b": {}, "a": {}}
                else:
                    assert data["u"] == u + 1
                u = data["u"]
                for side in ("b", "a"):
                    for price, size in data[side]:
                        if size == "0":
                            del book[side][price]  # a level that goes was there
                        else:
                            book[side][price] = size
                assert len(book["b"]) <= 50 and max(map(float, book["b"]), default=0) < min(map(float, book["a"]), default=1e9)
            assert [frame["type"] for frame in frames].count("snapshot") == 1

        on(sandbox, LINEAR, talk)


def test_linear_tickers_are_a_snapshot_and_then_what_has_changed(market: Sandbox) -> None:
    async def talk(socket: Socket) -> None:
        await ask(socket, {"op": "subscribe", "args": ["tickers.BTCUSDT"]})
        first, *deltas = await hear(socket, 6)
        assert first["type"] == "snapshot" and {"openInterest", "fundingRate", "bid1Price"} <= set(first["data"])
        state = dict(first["data"])
        for delta in deltas:
            assert delta["type"] == "delta" and delta["data"].pop("symbol") == "BTCUSDT"
            assert all(state.get(name) != value for name, value in delta["data"].items())
            assert "fundingIntervalHour" not in delta["data"] and delta["cs"] > first["cs"]
            state |= delta["data"]

    on(market, LINEAR, talk)


def test_each_candle_is_confirmed_once_and_equals_rest() -> None:
    with stepping(flat_bars(*[100.0 + n for n in range(12)], symbol="XYZUSDT")) as sandbox:

        async def talk(socket: Socket) -> list[Any]:
            await ask(socket, {"op": "subscribe", "args": ["kline.1.XYZUSDT", "kline.3.XYZUSDT"]})
            await asyncio.to_thread(sandbox.step, 12)
            return await hear(socket, 24)

        frames = on(sandbox, LINEAR, talk)
        rows = {(frame["topic"], frame["data"][0]["start"]): frame["data"][0] for frame in frames if frame["data"][0]["confirm"]}
        confirms = [frame for frame in frames if frame["data"][0]["confirm"]]
        assert len(rows) == len(confirms) == 16
        rest = Raw(sandbox).result("/v5/market/kline", category="linear", symbol="XYZUSDT", interval="3")["list"]
        for start, *values in rest:
            row = rows["kline.3.XYZUSDT", int(start)]
            assert [row[name] for name in ("open", "high", "low", "close", "volume", "turnover")] == values
            assert row["end"] == int(start) + 179_999


def test_private_rows_come_for_every_change_and_never_on_subscribing() -> None:
    with stepping(flat_bars(100, 100, 100, symbol="XYZUSDT")) as sandbox:

        async def talk(socket: Socket) -> list[Any]:
            await ask(socket, auth_frame())
            for topics in (["execution", "position", "wallet"], ["order.linear", "execution.fast.linear"]):
                assert (await ask(socket, {"op": "subscribe", "args": topics}))["success"]
            body = {"category": "linear", "symbol": "XYZUSDT", "side": "Buy", "orderType": "Market", "qty": "5", "stopLoss": "90"}
            await asyncio.to_thread(Raw(sandbox).post, "/v5/order/create", body)
            await asyncio.to_thread(sandbox.step)
            return await hear(socket, 6)

        frames = on(sandbox, "/v5/private", talk)
        assert [frame["topic"] for frame in frames] == [
            "order.linear", "execution", "execution.fast.linear", "order.linear", "position", "wallet"
        ]  # fmt: skip
        order, execution, fast, exits, position, wallet = (frame["data"][0] for frame in frames)
        assert (order["orderStatus"], exits["orderStatus"], exits["stopOrderType"]) == ("Filled", "Untriggered", "StopLoss")
        assert execution["execId"] == fast["execId"] and "orderType" not in fast
        assert "entryPrice" in position and "avgPrice" not in position and position["category"] == "linear"
        assert wallet["coin"][0]["walletBalance"] == str(round(100_000 - float(execution["execFee"]), 8)).rstrip("0")
        assert not any(name.startswith("_") for name in (*order, *execution))


def test_rows_that_nobody_hears_wait_for_nothing() -> None:
    """Where somebody does, it is drawn whether they go out before the answer or after it (``Races`` in sim/sandbox/ws/push_order.py)."""
    with running(walking(tick_ms=60_000, ack_ms=10_000), walk_feed()) as sandbox:
        raw, frames = Raw(sandbox), []
        for _ in range(6):
            order = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.001", "price": "50000"}
            assert raw.post("/v5/order/create", order)[2]["retCode"] == 0
            frames.append(sandbox.truth()["private_frames"])
    assert frames == [3, 6, 9, 12, 15, 18]  # the order, the position, the wallet


def test_level_one_is_sent_again_and_a_silent_socket_is_cut() -> None:
    settings = walking(tick_ms=60_000, level1_repeat_ms=60, idle_check_ms=20, unsubscribed_idle_ms=150)
    with running(settings, walk_feed()) as sandbox:

        async def level_one(socket: Socket) -> None:
            await ask(socket, {"op": "subscribe", "args": ["orderbook.1.BTCUSDT"]})
            first, second = await hear(socket, 2)
            assert first["data"] == second["data"] and first["type"] == second["type"] == "snapshot"

        async def silence(socket: Socket) -> None:
            message = await asyncio.wait_for(socket.receive(), 5.0)
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR) and socket.close_code == 1006

        on(sandbox, LINEAR, level_one)
        on(sandbox, LINEAR, silence)
