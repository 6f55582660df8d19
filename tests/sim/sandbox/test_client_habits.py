"""What widely used clients ask as a matter of course, and how they are answered: orders by their id, position modes by coin, categories and
side endpoints that nobody uses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from keel.core.model.timeframe import MINUTE_MS
from tests.sim.sandbox.conftest import START, Sandbox, flat_bars, made_bars, stepping
from tests.sim.sandbox.raw import Raw
from tests.sim.sandbox.test_streams import LINEAR as LINEAR_STREAM
from tests.sim.sandbox.test_streams import ask, auth_frame, on

XYZ = {"category": "linear", "symbol": "XYZUSDT"}
SPOT = {"category": "spot", "symbol": "BTCUSDT"}


def placed(raw: Raw, at: dict[str, str], **changes: Any) -> str:
    """The id of a new order."""
    order = {**at, "side": "Buy", "orderType": "Limit", "qty": "1", "price": "90", **changes}
    answer = raw.post("/v5/order/create", order)[2]
    assert answer["retCode"] == 0, answer
    return str(answer["result"]["orderId"])


def test_an_order_is_found_by_its_id_whatever_became_of_it_and_whatever_open_only_says() -> None:
    with stepping(flat_bars(*[100.0] * 6, symbol="XYZUSDT")) as sandbox:
        raw = Raw(sandbox)
        resting = placed(raw, XYZ, orderLinkId="rests")
        filled = placed(raw, XYZ, orderType="Market", orderLinkId="fills")
        crossing = placed(raw, XYZ, price="100.5", timeInForce="PostOnly", orderLinkId="crosses")
        ended = placed(raw, XYZ, price="91", orderLinkId="ends")
        sandbox.step()
        raw.post("/v5/order/cancel", {**XYZ, "orderId": ended})
        sandbox.step()
        expected = {resting: "New", filled: "Filled", crossing: "Cancelled", ended: "Cancelled"}
        for order_id, status in expected.items():
            for only in ({}, {"openOnly": 0}, {"openOnly": 1}):
                rows = raw.result("/v5/order/realtime", **XYZ, orderId=order_id, **only)["list"]
                assert [(row["orderId"], row["orderStatus"]) for row in rows] == [(order_id, status)]
        assert raw.result("/v5/order/realtime", **XYZ, orderLinkId="fills")["list"][0]["orderId"] == filled
        assert [row["orderId"] for row in raw.result("/v5/order/realtime", **XYZ)["list"]] == [resting]
        assert resting not in [row["orderId"] for row in raw.result("/v5/order/realtime", **XYZ, openOnly=1)["list"]]


def test_a_mode_by_coin_switches_what_is_free_and_nothing_to_change_is_no_error() -> None:
    one, two, three = (flat_bars(*[100.0] * 6, symbol=f"{name}USDT") for name in "ABC")
    with stepping(one, two, three) as sandbox:
        raw = Raw(sandbox)

        def switch(**given: Any) -> int:
            return int(raw.post("/v5/position/switch-mode", {"category": "linear", **given})[2]["retCode"])

        def modes() -> dict[str, bool]:
            rows = {name: raw.result("/v5/position/list", category="linear", symbol=f"{name}USDT")["list"] for name in "ABC"}
            return {name: len(found) == 2 for name, found in rows.items()}

        assert switch(coin="USDT", mode=0) == 0
        assert switch(symbol="AUSDT", mode=0) == 110025
        placed(raw, {"category": "linear", "symbol": "AUSDT"}, orderType="Market")
        placed(raw, {"category": "linear", "symbol": "BUSDT"})
        sandbox.step()
        assert switch(coin="USDT", mode=3) == 0
        assert modes() == {"A": False, "B": False, "C": True}
        assert (switch(symbol="AUSDT", mode=3), switch(symbol="BUSDT", mode=3)) == (110024, 110028)
        assert (switch(coin="USDT", mode=3), switch(coin="USDC", mode=3), switch(coin="USDT", mode=1), switch(mode=3)) == (
            0,
            0,
            10001,
            10001,
        )


def test_a_spot_order_has_both_keys_of_the_price_at_its_creation(market: Sandbox) -> None:
    raw = Raw(market)
    price = raw.result("/v5/market/tickers", **SPOT)["list"][0]["lastPrice"]
    order_id = placed(raw, SPOT, qty="0.001", price=f"{float(price) * 0.9:.1f}")
    row = raw.result("/v5/order/realtime", **SPOT, orderId=order_id)["list"][0]
    assert row["lastPriceOnCreated"] == "" and float(row["basePrice"]) > 0.0


def test_private_topics_may_be_subscribed_to_again(market: Sandbox) -> None:
    async def talk(socket: Any) -> None:
        await ask(socket, auth_frame())
        for _ in range(2):
            answer = await ask(socket, {"op": "subscribe", "args": ["order", "wallet"]})
            assert answer["success"], answer

    on(market, "/v5/private", talk)


@pytest.mark.parametrize("category", ["inverse", "option"])
def test_public_sockets_of_unused_categories_open_and_know_no_topic(category: str, market: Sandbox) -> None:
    async def talk(socket: Any) -> None:
        pong = await ask(socket, {"op": "ping"})
        assert pong["op"] == ("pong" if category == "option" else "ping")
        answer = await ask(socket, {"op": "subscribe", "args": ["tickers.BTCUSDT"]})
        assert (answer["success"], answer["ret_msg"]) == (False, "error:handler not found,topic:tickers.BTCUSDT")

    on(market, LINEAR_STREAM.replace("linear", category), talk)


@pytest.mark.parametrize("kind", ["kline", "mark-price-kline", "index-price-kline", "premium-index-price-kline"])
def test_the_candle_that_contains_an_unaligned_start_is_the_first(kind: str) -> None:
    with stepping(made_bars(40, first=30)) as sandbox:
        for interval, length in (("1", MINUTE_MS), ("5", 5 * MINUTE_MS)):
            for more in ({}, {"end": START + 20 * MINUTE_MS}, {"limit": 2}):
                start = START + 11 * MINUTE_MS + 30_000
                params = {"category": "linear", "symbol": "BTCUSDT", "interval": interval, "start": start, **more}
                rows = Raw(sandbox).result(f"/v5/market/{kind}", **params)["list"]
                assert int(rows[-1][0]) == start - start % length


def test_side_endpoints_answer(market: Sandbox) -> None:
    raw = Raw(market, key="other", secret="hidden")
    coins = raw.result("/v5/asset/transfer/query-account-coins-balance", accountType="UNIFIED")
    assert next(row for row in coins["balance"] if row["coin"] == "USDT")["walletBalance"] == "5000"
    fund = raw.result("/v5/asset/transfer/query-account-coins-balance", accountType="FUND", coin="USDT")
    assert fund["balance"] == [{"coin": "USDT", "walletBalance": "0", "transferBalance": "0", "bonus": ""}]
    one = raw.result("/v5/asset/transfer/query-account-coin-balance", accountType="UNIFIED", coin="USDT")
    assert one["balance"]["transferBalance"] == "5000"
    for path in ("deposit/query-record", "withdraw/query-record"):
        assert raw.result(f"/v5/asset/{path}") == {"rows": [], "nextPageCursor": ""}
    stamps, cursor = [], ""
    for _ in range(2):
        ratio = raw.result("/v5/market/account-ratio", category="linear", symbol="BTCUSDT", period="5min", limit=3, cursor=cursor)
        stamps += [int(row["timestamp"]) for row in ratio["list"]]
        cursor = ratio["nextPageCursor"]
    assert [first - second for first, second in pairwise(stamps)] == [300_000] * 5
    assert raw.result("/v5/system/status") == {"list": []}
    assert [row["coin"] for row in raw.result("/v5/market/insurance")["list"]] == ["USDT"]
    assert raw.result("/v5/account/query-dcp-info") == {"dcpInfos": []}
    assert raw.post("/v5/order/disconnected-cancel-all", {"timeWindow": 40})[2]["retCode"] == 10005
