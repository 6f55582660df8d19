"""Each fault does what it says, to what it names, as often as it says; all chance comes from one seed."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import aiohttp
import pytest

from keel.core.errors import ConfigError
from keel.sim.sandbox.faults import Event, Faults
from tests.sim.sandbox.conftest import PATIENCE_S, Sandbox, flat_bars, running, stepping, until, walk_feed, walking, wall_ms
from tests.sim.sandbox.raw import Raw
from tests.sim.sandbox.test_streams import LINEAR, ask, auth_frame, hear, on
from tests.virtual.sandbox import running_virtually

ORDER = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "50000"}
CREATE = {"side": "http", "path": "/v5/order/create"}
GONE = (http.client.HTTPException, OSError)


@pytest.fixture
def sandbox(market: Sandbox) -> Iterator[Sandbox]:
    yield market
    market.faults()
    market.post("/admin/faults", {"rules": [{"action": {"kind": "clock", "ms": 0}}, {"action": {"kind": "lag_query", "ms": 0}}]})
    Raw(market).post("/v5/order/cancel-all", {"category": "linear", "settleCoin": "USDT"})


def create(sandbox: Sandbox, link: str) -> tuple[int, dict[str, str], Any]:
    return Raw(sandbox, timeout_s=1.0).post("/v5/order/create", {**ORDER, "orderLinkId": link})


def is_placed(sandbox: Sandbox, link: str) -> bool:
    return any(row["orderLinkId"] == link for row in sandbox.truth()["orders"])


@pytest.mark.parametrize(("when", "is_applied"), [("before_apply", False), ("after_apply", True)])
def test_a_lost_answer_is_lost_on_the_side_that_was_named(sandbox: Sandbox, when: str, is_applied: bool) -> None:
    sandbox.faults({"match": {**CREATE, "nth": 1}, "when": when, "action": "drop"})
    with pytest.raises(GONE):
        create(sandbox, f"drop-{when}")
    assert is_placed(sandbox, f"drop-{when}") == is_applied
    again = create(sandbox, f"drop-{when}")[2]
    assert again["retCode"] == (110072 if is_applied else 0)


ERRORS = [
    ({"kind": "error", "http": 503}, 503, None),
    ({"kind": "error", "ret_code": 10000, "ret_msg": "Server Timeout"}, 200, 10000),
    ({"kind": "error", "ret_code": 10016, "ret_msg": "Request timeout, please try again later"}, 200, 10016),
    ({"kind": "error", "http": 429}, 429, None),
]


@pytest.mark.parametrize("when", ["before_apply", "after_apply"])
@pytest.mark.parametrize(("action", "status", "code"), ERRORS)
def test_errors_before_and_after_the_effect(sandbox: Sandbox, when: str, action: Any, status: int, code: int | None) -> None:
    link = f"e-{when[:3]}-{status}-{code or 0}"
    sandbox.faults({"match": {**CREATE, "nth": 1}, "when": when, "action": action})
    answer = create(sandbox, link)
    assert answer[0] == status and (code is None or answer[2]["retCode"] == code)
    assert is_placed(sandbox, link) == (when == "after_apply")


@pytest.mark.parametrize(("reset", "sign"), [("future", 1), ("past", -1), ("absent", 0)])
def test_a_rate_limit_with_its_reset_ahead_past_and_absent(sandbox: Sandbox, reset: str, sign: int) -> None:
    sandbox.faults({"match": CREATE, "when": "before_apply", "action": {"kind": "error", "ret_code": 10006, "reset": reset}})
    _, headers, body = create(sandbox, f"r-{reset}")
    stamp = headers.get("X-Bapi-Limit-Reset-Timestamp")
    assert body["retCode"] == 10006
    assert (stamp is None) if not sign else (int(stamp or 0) - body["time"]) * sign > 0


def test_delayed_cut_and_changed_answers(sandbox: Sandbox) -> None:
    raw = Raw(sandbox)
    sandbox.faults({"match": {"side": "http", "path": "/v5/market/time"}, "action": {"kind": "delay", "ms": 60}})
    before = wall_ms()
    raw.get("/v5/market/time")
    assert wall_ms() - before >= 60
    sandbox.faults({"match": {"side": "http", "path": "/v5/market/time"}, "action": {"kind": "truncate", "bytes": 20}})
    assert raw.get("/v5/market/time")[2] == '{"retCode":0,"retMsg'
    patch = [{"op": "replace", "path": "/result/timeSecond", "value": "NaN"}, {"op": "remove", "path": "/time"}]
    sandbox.faults({"match": {"side": "http", "path": "/v5/market/time"}, "action": {"kind": "mutate", "patch": patch}})
    body = raw.get("/v5/market/time")[2]
    assert body["result"]["timeSecond"] == "NaN" and "time" not in body
    sandbox.faults({"match": {"side": "http", "path": "/v5/market/time"}, "action": "freeze"})
    with pytest.raises(TimeoutError):
        Raw(sandbox, timeout_s=0.1).get("/v5/market/time")


def test_a_request_that_is_applied_twice_by_the_network(sandbox: Sandbox) -> None:
    sandbox.faults({"match": CREATE, "when": "before_apply", "action": {"kind": "dup", "n": 1}})
    price = len(sandbox.truth()["orders"])
    Raw(sandbox).post("/v5/order/create", ORDER)
    assert len(sandbox.truth()["orders"]) == price + 2


@pytest.mark.parametrize(("skew_ms", "code"), [(300, 0), (-300, 0), (-1_200, 10002), (10_000, 10002)])
def test_a_clock_that_is_off(sandbox: Sandbox, skew_ms: int, code: int) -> None:
    sandbox.post("/admin/faults", {"rules": [{"action": {"kind": "clock", "ms": skew_ms}}]})
    raw = Raw(sandbox)
    assert raw.get("/v5/account/info")[2]["retCode"] == code
    assert abs(raw.get("/v5/market/time")[2]["time"] - wall_ms() - skew_ms) < 250


def test_lists_that_lag_behind_the_stream(sandbox: Sandbox) -> None:
    sandbox.post("/admin/faults", {"rules": [{"action": {"kind": "lag_query", "ms": 250}}]})
    raw = Raw(sandbox)
    query = {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "late"}
    assert create(sandbox, "late")[2]["retCode"] == 0
    assert is_placed(sandbox, "late")
    assert raw.result("/v5/order/realtime", **query)["list"] == []
    until(lambda: raw.result("/v5/order/realtime", **query)["list"])
    raw.post("/v5/order/cancel", query)
    assert raw.result("/v5/order/realtime", **query)["list"][0]["orderStatus"] == "New"
    assert raw.result("/v5/order/history", **query)["list"] == []
    until(lambda: raw.result("/v5/order/history", **query)["list"])


def test_a_banned_address_gets_403() -> None:
    with running(walking(), walk_feed()) as sandbox:
        sandbox.post("/admin/faults", {"rules": [{"action": {"kind": "ban", "s": 3600}}]})
        assert Raw(sandbox).get("/v5/market/time")[0] == 403
        sandbox.post("/admin/faults", {"rules": [{"action": {"kind": "ban", "s": 0}}]})  # ends now: no test waits for a clock
        assert Raw(sandbox).get("/v5/market/time")[0] == 200


def test_a_restart_clears_what_was_closed_and_begins_books_anew() -> None:
    with stepping(flat_bars(100, 101, 102, 103, 104, symbol="BTCUSDT")) as sandbox:
        raw = Raw(sandbox)
        query = {"category": "linear", "symbol": "BTCUSDT", "openOnly": 1}

        async def talk(socket: aiohttp.ClientWebSocketResponse) -> None:
            await ask(socket, {"op": "subscribe", "args": ["orderbook.50.BTCUSDT"]})
            await asyncio.to_thread(sandbox.step, 2)
            await asyncio.to_thread(raw.post, "/v5/order/create", {**ORDER, "qty": "0.1", "price": "102", "timeInForce": "IOC"})
            await asyncio.to_thread(sandbox.step)
            assert len(await asyncio.to_thread(lambda: raw.result("/v5/order/realtime", **query)["list"])) == 1
            await asyncio.to_thread(sandbox.post, "/admin/faults", {"rules": [{"action": "restart"}]})
            await asyncio.to_thread(sandbox.step)
            frames = await hear(socket, 5)
            assert (frames[-1]["type"], frames[-1]["data"]["u"]) == ("snapshot", 1)

        on(sandbox, LINEAR, talk)
        assert raw.result("/v5/order/realtime", **query)["list"] == []

        async def trading(socket: aiohttp.ClientWebSocketResponse) -> None:
            await ask(socket, auth_frame())
            await asyncio.to_thread(sandbox.post, "/admin/faults", {"rules": [{"action": {"kind": "restart", "clear_closed": False}}]})
            order = {"op": "order.create", "header": {"X-BAPI-TIMESTAMP": wall_ms()}, "args": [ORDER]}
            assert (await ask(socket, order))["retCode"] == 10019

        on(sandbox, "/v5/trade", trading)


# --- streams ---


def private(sandbox: Sandbox, rule: Any, count: int, orders: int = 3) -> list[Any]:
    """Frames of the order topic while so many orders are placed under a rule."""

    async def talk(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
        await ask(socket, auth_frame())
        await ask(socket, {"op": "subscribe", "args": ["order"]})
        await asyncio.to_thread(sandbox.faults, rule)
        for _ in range(orders):
            await asyncio.to_thread(Raw(sandbox).post, "/v5/order/create", ORDER)
        return await hear(socket, count)

    frames: list[Any] = on(sandbox, "/v5/private", talk)
    return frames


def times(frames: list[Any]) -> list[str]:
    return [frame["id"] for frame in frames]


def numbers(sandbox: Sandbox, frames: list[Any]) -> list[int]:
    """Each frame's order as its place among all orders."""
    known = {row["orderId"]: place for place, row in enumerate(sandbox.truth()["orders"])}
    found = [known[frame["data"][0]["orderId"]] for frame in frames]
    return [number - min(known[row["orderId"]] for row in sandbox.truth()["orders"][-3:]) for number in found]


ON_ORDER = {"side": "ws", "topic": "order"}


def test_private_frames_are_dropped_doubled_and_reordered(sandbox: Sandbox) -> None:
    frames = private(sandbox, {"match": {**ON_ORDER, "nth": 2}, "action": "drop"}, 2)
    assert numbers(sandbox, frames) == [0, 2]
    frames = private(sandbox, {"match": {**ON_ORDER, "nth": 2}, "action": {"kind": "dup", "n": 2, "gap_ms": 1}}, 5)
    assert sorted(numbers(sandbox, frames)) == [0, 1, 1, 1, 2] and len(set(times(frames))) == 3
    frames = private(sandbox, {"match": {**ON_ORDER, "nth": 1}, "action": {"kind": "reorder", "window": 3}}, 3)
    assert sorted(numbers(sandbox, frames)) == [0, 1, 2] != numbers(sandbox, frames)
    frames = private(sandbox, {"match": {**ON_ORDER, "nth": 1}, "action": {"kind": "delay", "ms": 400}}, 3)
    assert numbers(sandbox, frames) == [1, 2, 0]


def test_private_frames_are_mutated_and_matched_by_state(sandbox: Sandbox) -> None:
    patch = [{"op": "replace", "path": "/data/0/qty", "value": ""}]
    rule = {"match": {**ON_ORDER, "from_state": "New", "times": 1}, "action": {"kind": "mutate", "patch": patch}}
    assert [frame["data"][0]["qty"] for frame in private(sandbox, rule, 3)] == ["", "0.010", "0.010"]
    rule = {"match": {**ON_ORDER, "from_state": "Filled"}, "action": "drop"}
    assert len(private(sandbox, rule, 3)) == 3


@pytest.mark.parametrize(("action", "close_code"), [({"kind": "close", "code": 1001}, 1001), ("abort", 1006)])
def test_a_socket_is_closed_or_cut(sandbox: Sandbox, action: Any, close_code: int) -> None:
    async def talk(socket: aiohttp.ClientWebSocketResponse) -> None:
        await ask(socket, auth_frame())
        await ask(socket, {"op": "subscribe", "args": ["order"]})
        await asyncio.to_thread(sandbox.faults, {"match": ON_ORDER, "action": action})
        await asyncio.to_thread(Raw(sandbox).post, "/v5/order/create", ORDER)
        while (await asyncio.wait_for(socket.receive(), 5.0)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert socket.close_code == close_code

    on(sandbox, "/v5/private", talk)


def test_a_frozen_socket_still_answers_pings() -> None:
    """And says nothing else, however far the market moves: between a ping and its pong there is no frame."""
    freeze = {"match": {"side": "ws", "topic": "publicTrade"}, "action": {"kind": "freeze", "keep_pong": True}}
    with running_virtually(walking(), lambda now_ms: walk_feed(start_ms=now_ms)) as sandbox:
        engine = sandbox.server.engine

        async def talk(socket: aiohttp.ClientWebSocketResponse) -> None:
            await ask(socket, {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]})
            await hear(socket, 1)
            sandbox.faults(freeze)
            async with asyncio.timeout(PATIENCE_S):
                while not sandbox.server.faults.state()[0]["applied"]:
                    await asyncio.sleep(0.03)
            assert (await ask(socket, {"op": "ping"}))["ret_msg"] == "pong"  # what was sent before the freeze is passed over
            for _ in range(20):
                since = engine.now_ms
                await asyncio.sleep(2.5)
                assert engine.now_ms >= since + 2_000
                await socket.send_json({"op": "ping"})
                assert (await asyncio.wait_for(socket.receive_json(), PATIENCE_S)).get("ret_msg") == "pong"

        on(sandbox, LINEAR, talk)


def test_control_frames_are_refused_or_lost(sandbox: Sandbox) -> None:
    async def refused(socket: aiohttp.ClientWebSocketResponse) -> None:
        assert (await ask(socket, auth_frame()))["success"] is False

    async def half(socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_json({"op": "subscribe", "args": ["publicTrade.BTCUSDT"], "req_id": "lost"})
        answer = await ask(socket, {"op": "subscribe", "args": ["publicTrade.ETHUSDT"], "req_id": "kept"})
        assert answer["req_id"] == "kept"

    sandbox.faults({"match": {"side": "ws", "topic": "op:auth"}, "action": {"kind": "error", "ret_msg": "Params Error"}})
    on(sandbox, "/v5/private", refused)
    sandbox.faults({"match": {"side": "ws", "topic": "op:subscribe", "nth": 1}, "action": "drop"})
    on(sandbox, LINEAR, half)


@pytest.mark.parametrize(("when", "is_applied"), [("before_apply", False), ("after_apply", True)])
def test_an_order_of_the_trade_stream_is_lost(sandbox: Sandbox, when: str, is_applied: bool) -> None:
    link = f"ws-{when}"

    async def talk(socket: aiohttp.ClientWebSocketResponse) -> None:
        await ask(socket, auth_frame())
        await asyncio.to_thread(sandbox.faults, {"match": {"side": "ws", "topic": "order.create"}, "when": when, "action": "drop"})
        args = [{**ORDER, "orderLinkId": link}]
        await socket.send_json({"op": "order.create", "header": {"X-BAPI-TIMESTAMP": wall_ms()}, "args": args})
        assert (await ask(socket, {"op": "ping"}))["op"] == "pong"

    on(sandbox, "/v5/trade", talk)
    assert is_placed(sandbox, link) == is_applied


def test_candles_come_late_twice_changed_and_not_at_all() -> None:
    patch = [{"op": "replace", "path": "/data/0/close", "value": "1"}]
    rules = [
        {"match": {"side": "ws", "topic": "kline.1.", "nth": 2}, "action": "drop"},
        {"match": {"side": "ws", "topic": "kline.1.", "nth": 3}, "action": {"kind": "dup", "n": 1}},
        {"match": {"side": "ws", "topic": "kline.1.", "nth": 4}, "action": {"kind": "mutate", "patch": patch}},
        {"match": {"side": "ws", "topic": "kline.1.", "nth": 5}, "action": {"kind": "delay", "ms": 60}},
    ]
    with stepping(flat_bars(10, 11, 12, 13, 14, 15, symbol="XYZUSDT")) as sandbox:
        sandbox.faults(*rules)

        async def talk(socket: aiohttp.ClientWebSocketResponse) -> list[str]:
            await ask(socket, {"op": "subscribe", "args": ["kline.1.XYZUSDT"]})
            await asyncio.to_thread(sandbox.step, 6)
            return [frame["data"][0]["close"] for frame in await hear(socket, 6)]

        assert on(sandbox, LINEAR, talk) == ["10.00", "12.00", "12.00", "1", "15.00", "14.00"]


def test_a_rule_may_mean_the_candle_that_closes() -> None:
    """Five minutes, of which the last one confirms; that frame comes twice."""
    with stepping(flat_bars(10, 11, 12, 13, 14, 15, symbol="XYZUSDT")) as sandbox:
        sandbox.faults({"match": {"side": "ws", "topic": "kline.5.", "from_state": "confirm"}, "action": {"kind": "dup", "n": 1}})

        async def talk(socket: aiohttp.ClientWebSocketResponse) -> list[bool]:
            await ask(socket, {"op": "subscribe", "args": ["kline.5.XYZUSDT"]})
            await asyncio.to_thread(sandbox.step, 5)
            return [frame["data"][0]["confirm"] for frame in await hear(socket, 6)]

        assert on(sandbox, LINEAR, talk) == [False] * 4 + [True] * 2


# --- rules ---

BAD: list[tuple[Any, str]] = [
    ({"action": "drop"}, "needs a match"),
    ({"match": {"side": "http"}, "action": "explode"}, "explode"),
    ({"match": {"side": "http"}, "action": {"kind": "delay"}}, "delay needs ms"),
    ({"match": {"side": "http"}, "action": {"kind": "delay", "ms": 1, "code": 3}}, "delay has no code"),
    ({"match": {"side": "http"}, "action": {"kind": "reorder", "window": 3}}, "not for http"),
    ({"match": {"side": "ws", "path": "/v5"}, "action": "drop"}, "ws by topic"),
    ({"match": {"side": "http"}, "when": "later", "action": "drop"}, "later"),
    ({"match": {"side": "http", "moon": 1}, "action": "drop"}, "moon"),
]


@pytest.mark.parametrize(("rule", "words"), BAD)
def test_a_bad_rule_is_refused_and_names_what_is_wrong(sandbox: Sandbox, rule: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Faults(1).read(json.dumps({"rules": [rule]}).encode())
    with pytest.raises(HTTPError) as refused:
        sandbox.faults(rule)
    assert refused.value.code == 400 and words in json.loads(refused.value.read())["error"]


def test_chance_follows_from_the_seed() -> None:
    body = json.dumps({"rules": [{"match": {"side": "http", "prob": 0.4}, "action": "drop"}]}).encode()
    event = Event(side="http", name="/v5/order/create", when="after_apply")
    runs = []
    for seed in (5, 5, 6):
        faults = Faults(seed)
        faults.put(faults.read(body))
        runs.append([bool(faults.fire(event)) for _ in range(200)])
    assert runs[0] == runs[1] != runs[2]
    assert 40 < sum(runs[0]) < 120
