"""Mutated requests and frames into a running sandbox: each is answered or refused, nothing hangs, and what is refused changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import random
import time
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import pytest

from tests.adapters.bybit.test_fuzz import VALUES, mutated
from tests.sim.sandbox.conftest import KEY, SECRET, Sandbox, made_bars, stepping
from tests.sim.sandbox.raw import Raw

ORDER = {
    "category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "25000", "timeInForce": "GTC",
    "orderLinkId": "fuzz-1", "reduceOnly": False, "takeProfit": "40000", "stopLoss": "20000", "positionIdx": 0,
}  # fmt: skip
POSTS: list[tuple[str, Any]] = [
    ("/v5/order/create", ORDER),
    ("/v5/order/create-batch", {"category": "linear", "request": [ORDER, ORDER | {"side": "Sell"}]}),
    ("/v5/order/amend", {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "fuzz-1", "qty": "0.02", "price": "24000"}),
    ("/v5/order/cancel", {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "fuzz-1"}),
    ("/v5/order/cancel-all", {"category": "linear", "settleCoin": "USDT"}),
    ("/v5/position/set-leverage", {"category": "linear", "symbol": "BTCUSDT", "buyLeverage": "5", "sellLeverage": "5"}),
    ("/v5/position/trading-stop", {"category": "linear", "symbol": "BTCUSDT", "takeProfit": "40000", "positionIdx": 0}),
    ("/v5/account/set-margin-mode", {"setMarginMode": "REGULAR_MARGIN"}),
]
GETS: list[tuple[str, dict[str, str]]] = [
    ("/v5/market/kline", {"category": "linear", "symbol": "BTCUSDT", "interval": "1", "start": "0", "limit": "10"}),
    ("/v5/order/realtime", {"category": "linear", "symbol": "BTCUSDT", "openOnly": "0", "limit": "50", "cursor": ""}),
    ("/v5/execution/list", {"category": "linear", "startTime": "1", "endTime": "2", "limit": "50"}),
    ("/v5/account/transaction-log", {"accountType": "UNIFIED", "currency": "USDT", "startTime": "1", "endTime": "2"}),
    ("/v5/market/orderbook", {"category": "linear", "symbol": "BTCUSDT", "limit": "50"}),
]
ADMIN: list[tuple[str, Any]] = [
    ("/admin/step", {"bars": 1}),
    ("/admin/faults", {"clear": True, "seed": 1, "rules": [{"action": "drop", "match": {"side": "http", "path": "/none", "nth": 1}}]}),
]
FRAMES: list[Any] = [
    {"op": "subscribe", "args": ["kline.1.BTCUSDT", "orderbook.50.BTCUSDT"], "req_id": "1"}, {"op": "ping", "req_id": "2"},
    {"op": "unsubscribe", "args": ["tickers.BTCUSDT"]}, {"op": "auth", "args": [KEY, 1, "x"]},
    {"op": "order.create", "reqId": "3", "header": {"X-BAPI-TIMESTAMP": "1"}, "args": [ORDER]},
]  # fmt: skip
LONGEST_S = 5.0


def signed(sandbox: Sandbox, raw: bytes) -> dict[str, str]:
    """Headers whose signature fits these very bytes, as the server reads them."""
    stamp, window = str(time.time_ns() // 1_000_000), "5000"
    text = f"{stamp}{KEY}{window}{raw.decode('utf-8', 'replace')}"
    sign = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return {"X-BAPI-API-KEY": KEY, "X-BAPI-TIMESTAMP": stamp, "X-BAPI-RECV-WINDOW": window, "X-BAPI-SIGN": sign}


def state_of(sandbox: Sandbox) -> bytes:
    """What an account has, as the exchange knows it."""
    truth = sandbox.truth()
    truth.pop("creates", None)  # those that were looked at, refused ones among them
    return msgspec.json.encode(truth)


def requests(rng: random.Random) -> tuple[str, str, bytes]:
    """(method, path with query, body)."""
    way = rng.randrange(4)
    if way == 0:
        path, params = rng.choice(GETS)
        changed = dict(params)
        value = rng.choice(VALUES)
        changed[rng.choice([*params, "surprise"])] = value if isinstance(value, str) else repr(value)
        return "GET", f"{path}?{'&'.join(f'{name}={quote(text[:500])}' for name, text in changed.items())}", b""
    path, body = rng.choice(ADMIN if way == 1 else POSTS)
    return "POST", path, mutated(rng, body)


def ask(sandbox: Sandbox, line: http.client.HTTPConnection, method: str, path: str, body: bytes) -> tuple[int, Any]:
    payload = body if method == "POST" else path.partition("?")[2].encode()
    headers = {} if path.startswith("/admin") else signed(sandbox, payload)
    line.request(method, path, body if method == "POST" else None, headers)
    answer = line.getresponse()
    raw = answer.read()
    if path == "/admin/faults" and answer.status == 200:
        sandbox.faults(clear=True)  # what was understood acts, as it should
    return answer.status, msgspec.json.decode(raw) if raw.startswith(b"{") else raw


def run(count: int, seed: int) -> None:
    rng = random.Random(seed)
    with stepping(made_bars(400)) as sandbox:
        sandbox.server.admin.guard.refuse = _at_once(sandbox)  # type: ignore[method-assign]
        Raw(sandbox).post("/v5/order/create", ORDER | {"orderType": "Market", "orderLinkId": "held"})
        sandbox.step()
        line = http.client.HTTPConnection("127.0.0.1", sandbox.server.port, timeout=LONGEST_S)
        refused = 0
        for number in range(count):
            method, path, body = requests(rng)
            where = f"seed {seed}, request {number}: {method} {path} {body[:300]!r}"
            is_looked_at = rng.random() < 0.2
            before = state_of(sandbox) if is_looked_at else b""
            status, answer = ask(sandbox, line, method, path, body)
            assert status in (200, 400, 404, 413) and isinstance(answer, dict), f"{where}: {status} {answer}"
            assert sandbox.server.error is None, f"{where}: {sandbox.server.error!r}"
            is_refused = status != 200 or (answer.get("retCode") not in (0, None))
            refused += is_refused
            if is_refused and is_looked_at:
                assert state_of(sandbox) == before, where
            if number % 50 == 0:
                sandbox.faults(clear=True)
                sandbox.step()
                assert sandbox.truth()["problems"] == [], where
        line.close()
        assert refused > count // 4
        asyncio.run(frames(sandbox, rng, count // 4))
        assert sandbox.server.error is None and sandbox.truth()["problems"] == []


def _at_once(sandbox: Sandbox) -> Any:
    """Refusals without their delay, which is not what is tested here."""
    refuse = sandbox.server.admin.guard.refuse

    async def quick(why: str, *, status: int) -> Any:
        sandbox.server.admin.guard._recent.clear()
        return await refuse(why, status=status)

    return quick


async def frames(sandbox: Sandbox, rng: random.Random, count: int) -> None:
    """Mutated frames on each kind of socket: it stays, or is closed; a ping is answered after them."""
    async with aiohttp.ClientSession() as session:
        for path in ("/v5/public/linear", "/v5/private", "/v5/trade"):
            socket = await session.ws_connect(sandbox.ws + path)
            for _ in range(count // 3):
                await socket.send_bytes(mutated(rng, rng.choice(FRAMES)))
            await socket.send_json({"op": "ping", "req_id": "last", "reqId": "last"})
            async with asyncio.timeout(LONGEST_S * 4):
                async for message in socket:
                    heard = msgspec.json.decode(message.data)
                    if "last" in (heard.get("req_id"), heard.get("reqId")):
                        break
                else:
                    raise AssertionError(f"{path} was closed with {socket.close_code}")
            await socket.close()


def test_a_hundred_mutated_requests() -> None:
    run(150, 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 10))
def test_thousands_of_mutated_requests(seed: int) -> None:
    run(750, seed)
