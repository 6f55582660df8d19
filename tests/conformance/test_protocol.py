"""What only the protocol has, for pybit alone: shapes of answers and rows, pages, topics, frames of the trade stream, codes and words.

What trading means is in ``test_trading``, for every client.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.pybit_client import Pybit, RequestRefused
from tests.sim.sandbox.conftest import running, until, walk_feed, walking

LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
SPOT = {"category": "spot", "symbol": "ETHUSDT"}


@pytest.fixture(scope="module")
def client() -> Iterator[Pybit]:
    """pybit at a market that moves by itself: refusals are then the requests' own errors."""
    with running(walking(limit_factor=100.0), walk_feed()) as market:
        made = Pybit(market)
        made.listen()
        until(lambda: len(market.heard_topics()) == 4, "the private subscriptions")
        yield made
        made.close()


def last_price(client: Pybit) -> float:
    return float(client.call("get_tickers", **LINEAR)["list"][0]["lastPrice"])


def limit_below(client: Pybit, **more: object) -> dict[str, str]:
    """A bid that rests half a percent below the market."""
    price = round(last_price(client) * 0.995, 1)
    return client.call("place_order", **LINEAR, side="Buy", orderType="Limit", qty="0.01", price=str(price), **more)


def test_a_market_order_is_acknowledged_with_ids_only_and_its_fate_is_streamed(client: Pybit) -> None:
    answer = client.call("place_order", **LINEAR, side="Buy", orderType="Market", qty="0.02", orderLinkId="m-1")
    assert answer == {"orderId": answer["orderId"], "orderLinkId": "m-1"}
    execution = until(lambda: client.of("execution", orderId=answer["orderId"]))[0]
    order = until(lambda: client.of("order", orderId=answer["orderId"], orderStatus="Filled"))[0]
    assert (execution["execQty"], execution["execType"], execution["isMaker"]) == ("0.020", "Trade", False)
    assert (order["cumExecQty"], order["leavesQty"], order["timeInForce"]) == ("0.020", "0.000", "IOC")
    assert order["avgPrice"] == execution["execPrice"].rstrip("0").rstrip(".")
    position = client.call("get_positions", **LINEAR)["list"][0]
    assert (position["side"], position["size"], position["positionIdx"]) == ("Buy", "0.020", 0)
    until(lambda: client.of("position", symbol="BTCUSDT", size="0.020"))
    until(lambda: client.of("wallet"))
    client.call("place_order", **LINEAR, side="Sell", orderType="Market", qty="0.02", reduceOnly=True)
    closed = client.call("get_closed_pnl", **LINEAR)["list"][0]
    assert (closed["closedSize"], closed["side"]) == ("0.020", "Sell")


def test_a_limit_order_is_placed_amended_and_cancelled(client: Pybit) -> None:
    ids = limit_below(client, orderLinkId="l-1")
    opened = client.call("get_open_orders", **LINEAR, orderLinkId="l-1")["list"]
    assert [(row["orderStatus"], row["qty"]) for row in opened] == [("New", "0.010")]
    client.call("amend_order", **LINEAR, orderLinkId="l-1", qty="0.02")
    until(lambda: client.of("order", orderId=ids["orderId"], qty="0.020", orderStatus="New"))
    assert client.call("cancel_order", **LINEAR, orderId=ids["orderId"]) == ids
    ended = until(lambda: client.of("order", orderId=ids["orderId"], orderStatus="Cancelled"))[0]
    assert (ended["cancelType"], ended["leavesQty"]) == ("CancelByUser", "0.000")
    assert [row["orderStatus"] for row in client.call("get_open_orders", **LINEAR, orderLinkId="l-1")["list"]] == ["Cancelled"]
    assert client.call("get_open_orders", **LINEAR)["list"] == []
    assert client.call("get_order_history", **LINEAR, orderLinkId="l-1")["list"][0]["orderStatus"] == "Cancelled"
    with pytest.raises(RequestRefused) as refused:
        client.call("cancel_order", **LINEAR, orderLinkId="l-1")
    assert (refused.value.code, refused.value.text) == (110001, "order not exists or too late to cancel")


def test_the_trade_stream_places_amends_and_cancels(client: Pybit) -> None:
    price = round(last_price(client) * 0.995, 1)
    answer = client.trade("place_order", **LINEAR, side="Buy", orderType="Limit", qty="0.01", price=str(price), orderLinkId="w-1")
    assert (answer["retCode"], answer["op"], answer["data"]["orderLinkId"]) == (0, "order.create", "w-1")
    assert int(answer["header"]["X-Bapi-Limit-Status"]) >= 0
    assert client.trade("amend_order", **LINEAR, orderLinkId="w-1", qty="0.03")["retCode"] == 0
    until(lambda: client.of("order", orderLinkId="w-1", qty="0.030"))
    assert client.trade("cancel_order", **LINEAR, orderLinkId="w-1")["retCode"] == 0
    until(lambda: client.of("order", orderLinkId="w-1", orderStatus="Cancelled"))
    refused = client.trade("cancel_order", **LINEAR, orderLinkId="w-1")
    assert (refused["retCode"], refused["data"]) == (110001, {})


def test_each_item_of_a_batch_has_its_own_fate(client: Pybit) -> None:
    price = str(round(last_price(client) * 0.99, 1))
    good = {"symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": price}
    request = [{**good, "orderLinkId": "b-1"}, {**good, "qty": "0.0001", "orderLinkId": "b-2"}, {**good, "orderLinkId": "b-1"}]
    result = client.http.place_batch_order(category="linear", request=request)
    assert [row["code"] for row in result["retExtInfo"]["list"]] == [0, 10001, 110072]
    assert [bool(row["orderId"]) for row in result["result"]["list"]] == [True, False, False]
    answer = client.trade("cancel_batch_order", category="linear", request=[{"symbol": "BTCUSDT", "orderLinkId": "b-1"}])
    assert answer["retExtInfo"]["list"] == [{"code": 0, "msg": "OK"}]


def test_cancel_all_ends_every_kind_of_order(client: Pybit) -> None:
    limit_below(client)
    rising = str(round(last_price(client) * 1.05, 1))
    client.call("place_order", **LINEAR, side="Buy", orderType="Market", qty="0.01", triggerPrice=rising, triggerDirection=1)
    kinds = {row["orderStatus"] for row in client.call("get_open_orders", **LINEAR)["list"]}
    assert kinds == {"New", "Untriggered"}
    answer = client.call("cancel_all_orders", category="linear", settleCoin="USDT")
    assert (len(answer["list"]), answer["success"]) == (2, "1")
    assert client.call("get_open_orders", category="linear", settleCoin="USDT")["list"] == []


def test_public_streams_of_linear(client: Pybit) -> None:
    client.watch("linear", "kline", "BTCUSDT", 1)
    client.watch("linear", "ticker", "BTCUSDT")
    client.watch("linear", "orderbook", "BTCUSDT", 50)
    client.watch("linear", "trade", "BTCUSDT")
    heard = client.public
    candle = until(lambda: heard["linear.kline.BTCUSDT"])[0]["data"][0]
    assert set(candle) == {"start", "end", "interval", "open", "close", "high", "low", "volume", "turnover", "confirm", "timestamp"}
    assert candle["end"] - candle["start"] == 59_999
    ticker = until(lambda: len(heard["linear.ticker.BTCUSDT"]) > 2 and heard["linear.ticker.BTCUSDT"])[-1]["data"]
    assert {"markPrice", "indexPrice", "fundingRate", "nextFundingTime", "bid1Price"} <= set(ticker)
    books = until(lambda: len(heard["linear.orderbook.BTCUSDT"]) > 4 and heard["linear.orderbook.BTCUSDT"])
    assert {len(books[-1]["data"]["b"]), len(books[-1]["data"]["a"])} == {50}
    trade = until(lambda: heard["linear.trade.BTCUSDT"])[0]["data"][0]
    assert trade["S"] in ("Buy", "Sell") and trade["s"] == "BTCUSDT"


def test_public_streams_of_spot(client: Pybit) -> None:
    client.watch("spot", "ticker", "ETHUSDT")
    client.watch("spot", "kline", "ETHUSDT", 5)
    ticker = until(lambda: client.public["spot.ticker.ETHUSDT"])[0]
    assert set(ticker["data"]) == {
        "symbol", "lastPrice", "highPrice24h", "lowPrice24h", "prevPrice24h", "volume24h", "turnover24h", "price24hPcnt", "usdIndexPrice",
    }  # fmt: skip
    until(lambda: client.public["spot.kline.ETHUSDT"])


def test_spot_is_bought_for_quote_and_sold_for_base_with_the_fee_in_what_is_received(client: Pybit) -> None:
    bought = client.call("place_order", **SPOT, side="Buy", orderType="Market", qty="600", orderLinkId="s-1")
    execution = until(lambda: client.of("execution", orderId=bought["orderId"]))[0]
    assert execution["feeCurrency"] == "ETH" and 590 < float(execution["execValue"]) <= 600
    held = client.call("get_wallet_balance", accountType="UNIFIED", coin="ETH")["list"][0]["coin"][0]
    assert float(held["walletBalance"]) == pytest.approx(float(execution["execQty"]) * 0.999)
    sold = client.call("place_order", **SPOT, side="Sell", orderType="Market", qty="0.1")
    execution = until(lambda: client.of("execution", orderId=sold["orderId"]))[0]
    assert (execution["feeCurrency"], execution["execQty"]) == ("USDT", "0.10000")


def test_the_account_is_told(client: Pybit) -> None:
    assert client.call("get_account_info")["unifiedMarginStatus"] == 5
    assert client.call("get_fee_rates", category="linear", symbol="BTCUSDT")["list"] == [
        {"symbol": "BTCUSDT", "takerFeeRate": "0.00055", "makerFeeRate": "0.0002"}
    ]
    key = client.call("get_api_key_information")
    assert key["permissions"]["ContractTrade"] == ["Order", "Position"] and key["readOnly"] == 0
    log = client.call("get_transaction_log", limit=50)["list"]
    assert log[-1]["type"] == "TRANSFER_IN" and log[-1]["change"] == "100000"
    for row in log:
        change = float(row["cashFlow"]) + float(row["funding"] or 0) - float(row["fee"])
        assert float(row["change"]) == pytest.approx(change, abs=1e-12)


def test_market_data_by_rest(client: Pybit) -> None:
    assert len(client.call("get_server_time")["timeNano"]) == 19
    instrument = client.call("get_instruments_info", **LINEAR)["list"][0]
    assert (instrument["priceFilter"]["tickSize"], instrument["lotSizeFilter"]["qtyStep"]) == ("0.1", "0.001")
    rows = client.call("get_kline", **LINEAR, interval="5", limit=10)["list"]
    assert [len(row) for row in rows] == [7] * 10
    starts = [int(row[0]) for row in rows]
    assert starts == sorted(starts, reverse=True) and starts[0] - starts[-1] == 9 * 300_000
    assert [len(row) for row in client.call("get_mark_price_kline", **LINEAR, interval="1", limit=3)["list"]] == [5] * 3
    book = client.call("get_orderbook", **LINEAR, limit=3)
    bids, asks = ([float(row[0]) for row in book[side]] for side in ("b", "a"))
    assert bids == sorted(bids, reverse=True) and asks == sorted(asks) and bids[0] < asks[0]
    assert client.call("get_public_trade_history", **LINEAR, limit=1)["list"][0]["symbol"] == "BTCUSDT"
    tiers = client.call("get_risk_limit", **LINEAR)["list"]
    assert (tiers[0]["isLowestRisk"], tiers[0]["mmDeduction"], tiers[0]["maintenanceMargin"]) == (1, "", "0.005")
    assert client.call("get_open_interest", **LINEAR, intervalTime="1h", limit=2)["list"]
    client.call("get_funding_rate_history", **LINEAR)


def test_lists_come_in_pages_that_cover_everything_once(client: Pybit) -> None:
    made = [limit_below(client)["orderId"] for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = client.call("get_open_orders", **LINEAR, limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [row["orderId"] for row in page["list"]]
        cursor = page["nextPageCursor"]
        if not cursor:
            break
        assert "%" in cursor
    assert seen == made[::-1]
    client.call("cancel_all_orders", **LINEAR)
