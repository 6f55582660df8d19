"""Every row has the fields of Bybit's own examples, each of the same JSON type; an empty text may stand where a value is absent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.sim.sandbox.conftest import Sandbox, flat_bars, stepping
from tests.sim.sandbox.raw import Raw
from tests.sim.sandbox.test_streams import LINEAR, ask, auth_frame, hear, on

SHAPES: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "payloads" / "shapes.json").read_text())
XYZ = {"category": "linear", "symbol": "XYZUSDT"}
DIFFERENT = {
    "position": {"mmrSysUpdateTime"},  # the example's own misspelling
    "execution": {"extraFees"},
    "stream_execution": {"extraFees"},  # a list where a tax was charged
    "linear_instrument": {"preListingInfo"},  # null where there is none
    "key": {"permissions"},
}
TYPES = {str: "text", bool: "flag", int: "number", float: "number", dict: "object", list: "array", type(None): "null"}


@pytest.fixture(scope="module")
def traded() -> Iterator[tuple[Sandbox, dict[str, Any]]]:
    """A sandbox in which a position was opened and closed with everybody listening; first rows of every stream."""
    with stepping(flat_bars(*[100.0 + n for n in range(8)], symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        heard: dict[str, Any] = {}

        async def public(socket: aiohttp.ClientWebSocketResponse) -> None:
            topics = ["kline.1.XYZUSDT", "tickers.XYZUSDT", "publicTrade.XYZUSDT", "orderbook.50.XYZUSDT"]
            await ask(socket, {"op": "subscribe", "args": topics})
            await asyncio.to_thread(sandbox.step)
            for frame in await hear(socket, 6):
                data = frame["data"]
                heard.setdefault(frame["topic"].split(".")[0], data[0] if isinstance(data, list) else data)

        async def private(socket: aiohttp.ClientWebSocketResponse) -> None:
            await ask(socket, auth_frame())
            await ask(socket, {"op": "subscribe", "args": ["order", "execution", "position", "wallet"]})
            for side in ("Buy", "Sell"):
                order = {**XYZ, "side": side, "orderType": "Market", "qty": "10"}
                await asyncio.to_thread(client.post, "/v5/order/create", order)
                await asyncio.to_thread(sandbox.step)
            for frame in await hear(socket, 8):
                heard[frame["topic"]] = frame["data"][0]

        on(sandbox, LINEAR, public)
        on(sandbox, "/v5/private", private)
        yield sandbox, heard


REST: dict[str, tuple[str, dict[str, Any]]] = {
    "order": ("/v5/order/history", XYZ),
    "execution": ("/v5/execution/list", XYZ),
    "position": ("/v5/position/list", XYZ),
    "wallet": ("/v5/account/wallet-balance", {"accountType": "UNIFIED"}),
    "account": ("/v5/account/info", {}),
    "log": ("/v5/account/transaction-log", {}),
    "closed_pnl": ("/v5/position/closed-pnl", XYZ),
    "key": ("/v5/user/query-api", {}),
    "linear_ticker": ("/v5/market/tickers", XYZ),
    "risk_limit": ("/v5/market/risk-limit", XYZ),
    "recent_trade": ("/v5/market/recent-trade", XYZ),
    "open_interest": ("/v5/market/open-interest", {**XYZ, "intervalTime": "5min"}),
    "orderbook": ("/v5/market/orderbook", XYZ),
    "linear_instrument": ("/v5/market/instruments-info", XYZ),
}


@pytest.mark.parametrize("name", REST)
def test_rows_of_rest(traded: tuple[Sandbox, dict[str, Any]], name: str) -> None:
    path, params = REST[name]
    result = Raw(traded[0]).result(path, **params)
    compare(name, result["list"][0] if "list" in result else result)


STREAMS = {
    "order": "order", "execution": "execution", "position": "position", "wallet": "wallet", "kline": "kline", "linear_ticker": "tickers",
    "trade": "publicTrade", "book": "orderbook",
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_rows_of_streams(traded: tuple[Sandbox, dict[str, Any]], name: str) -> None:
    compare(f"stream_{name}", traded[1][STREAMS[name]])


def compare(name: str, row: dict[str, Any]) -> None:
    """A row against the example's fields."""
    expected = {field: kind for field, kind in SHAPES[name].items() if field not in DIFFERENT.get(name, ())}
    assert set(expected) - set(row) == set()
    found = {field: TYPES[type(row[field])] for field in expected}
    assert found == expected
