"""Noes: the codes and words that were recorded from the exchange, signatures, the window of time, budgets, and the demo profile."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from keel.sim.sandbox.http.choices import FLAGS, WORDS
from keel.sim.sandbox.http.request_limits import Budget, Budgets
from keel.sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import Sandbox, flat_bars, running, stepping, walk_feed, walking
from tests.sim.sandbox.raw import Raw
from tests.virtual.sandbox import running_virtually

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "payloads" / "errors_observed.json").read_text())
LINEAR = {"category": "linear", "symbol": "BTCUSDT"}
BUY = {**LINEAR, "side": "Buy", "orderType": "Market", "qty": "0.01"}


@pytest.fixture(scope="module")
def raw(market: Sandbox) -> Raw:
    return Raw(market)


def refused(name: str, answer: tuple[int, dict[str, str], Any]) -> None:
    """An answer has the code and words of a recorded one."""
    status, _, body = answer
    expected = RECORDED[name]
    assert (status, body["retCode"], body["retMsg"]) == (200, expected["retCode"], expected["retMsg"])
    assert set(body) == {"retCode", "retMsg", "result", "retExtInfo", "time"} and body["retExtInfo"] == {}


CREATES: dict[str, dict[str, Any]] = {
    "10001_side": {"side": "buy"},
    "10001_symbol": {"symbol": "btcusdt"},
    "10001_idx": {"positionIdx": 1},
    "10001_qty": {"qty": "0.0005"},
    "110007": {"qty": "300"},
    "110017_flat": {"reduceOnly": True},
}


@pytest.mark.parametrize("name", CREATES)
def test_a_create_is_refused_in_the_recorded_words(raw: Raw, name: str) -> None:
    refused(name, raw.post("/v5/order/create", {**BUY, **CREATES[name]}))


def test_of_several_wrong_words_the_same_one_is_named_however_the_request_is_ordered(raw: Raw) -> None:
    wrong = {"reduceOnly": "maybe", "smpType": "x", "timeInForce": "x", "orderType": "limit", "side": ""}
    for given in (wrong, dict(reversed(wrong.items()))):
        assert raw.post("/v5/order/create", {**given, **LINEAR, "qty": "0.01"})[2]["retMsg"] == "params error: orderType invalid"


def test_an_order_below_the_smallest_value_or_quantity(market: Sandbox, raw: Raw) -> None:
    price = float(raw.result("/v5/market/tickers", **LINEAR)["list"][0]["lastPrice"])
    small = {**BUY, "orderType": "Limit", "price": str(round(price * 0.995, 1)), "qty": "0.001"}
    assert raw.post("/v5/order/create", small)[2]["retCode"] == 0  # 55 USDT is enough
    with stepping(flat_bars(1.0, 1.0, symbol="XYZUSDT")) as cheap:
        client = Raw(cheap)
        tiny = {"category": "linear", "symbol": "XYZUSDT", "side": "Buy", "orderType": "Limit", "price": "1", "qty": "1"}
        refused("110094", client.post("/v5/order/create", tiny))
    raw.post("/v5/order/cancel-all", LINEAR)


def test_orders_that_are_not_there_and_ids_that_were_used(raw: Raw) -> None:
    refused("110001", raw.post("/v5/order/cancel", {**LINEAR, "orderId": "none"}))
    refused("110001_amend", raw.post("/v5/order/amend", {**LINEAR, "orderLinkId": "none", "qty": "1"}))
    refused("10001_noid", raw.post("/v5/order/cancel", LINEAR))
    assert raw.post("/v5/order/create", {**BUY, "orderLinkId": "twice"})[2]["retCode"] == 0
    refused("110072", raw.post("/v5/order/create", {**BUY, "orderLinkId": "twice"}))
    for link in ("x" * 37, "a b", "ä"):
        assert raw.post("/v5/order/create", {**BUY, "orderLinkId": link})[2]["retCode"] == 10001
    raw.post("/v5/order/create", {**BUY, "side": "Sell"})


def test_a_refused_order_leaves_its_id_free_and_nothing_behind(market: Sandbox, raw: Raw) -> None:
    refused("110007", raw.post("/v5/order/create", {**BUY, "qty": "300", "orderLinkId": "again"}))
    assert not any(row["orderLinkId"] == "again" for row in market.truth()["orders"])
    assert raw.post("/v5/order/create", {**BUY, "orderLinkId": "again"})[2]["retCode"] == 0
    raw.post("/v5/order/create", {**BUY, "side": "Sell"})


def test_what_would_not_change_anything(raw: Raw) -> None:
    refused("110043", raw.post("/v5/position/set-leverage", {**LINEAR, "buyLeverage": "10", "sellLeverage": "10"}))
    refused("110025", raw.post("/v5/position/switch-mode", {**LINEAR, "mode": 0}))
    raw.post("/v5/order/create", {**BUY, "stopLoss": "100"})
    refused("34040", raw.post("/v5/position/trading-stop", {**LINEAR, "tpslMode": "Full", "positionIdx": 0, "stopLoss": "100"}))
    raw.post("/v5/order/create", {**BUY, "side": "Sell", "reduceOnly": True})


def test_an_unknown_symbol_has_the_empty_shell_of_a_list(raw: Raw) -> None:
    answer = raw.get("/v5/market/instruments-info", category="linear", symbol="NOPEUSDT")
    refused("10001_symbol_instruments", answer)
    assert answer[2]["result"] == {"category": "", "list": [], "nextPageCursor": ""}


# --- who asks ---


def test_a_signature_covers_the_bytes_as_they_came(raw: Raw) -> None:
    query = "symbol=BTCUSDT&category=linear&cursor=a%3A2%2Cb"
    assert (
        raw.get("/v5/order/realtime", query)[2]["retMsg"] == "params error: cursor invalid"
    )  # signed well, whatever its order and escapes
    headers = raw.signed_headers("category=linear&symbol=BTCUSDT")
    _, _, answer = raw.send("GET", "/v5/order/realtime?symbol=BTCUSDT&category=linear", None, headers)
    origin = f"{headers['X-BAPI-TIMESTAMP']}{raw.key}5000symbol=BTCUSDT&category=linear"
    assert (answer["retCode"], answer["retMsg"]) == (10004, f"error sign! origin_string[{origin}]")
    body = '{"category":"linear",  "symbol": "BTCUSDT","buyLeverage":"10","sellLeverage":"10"}'
    assert raw.send("POST", "/v5/position/set-leverage", body, raw.signed_headers(body))[2]["retCode"] == 110043


@pytest.mark.parametrize(("shift_ms", "code"), [(-4_000, 0), (-6_000, 10002), (900, 0), (1_100, 10002)])
def test_the_window_of_time_reaches_back_by_recv_window_and_ahead_by_less_than_a_second(raw: Raw, shift_ms: int, code: int) -> None:
    query = "category=linear&symbol=BTCUSDT"
    answer = raw.send("GET", f"/v5/order/realtime?{query}", None, raw.signed_headers(query, shift_ms=shift_ms))[2]
    assert answer["retCode"] == code
    if code:
        assert answer["retMsg"].startswith("invalid request, please check your server timestamp or recv_window param. req_timestamp[")
        assert answer["retMsg"].endswith("recv_window[5000]")


@pytest.mark.parametrize("odd", ["\u00b2", "\u0663", "\u00e9", "9" * 5000])
def test_what_only_looks_like_a_number_or_a_signature_is_refused(raw: Raw, odd: str) -> None:
    """Digits of other scripts, and more of them than any number has: no answer is a server's error."""
    for name, code in (("X-BAPI-TIMESTAMP", 10001), ("X-BAPI-RECV-WINDOW", 10001), ("X-BAPI-SIGN", 10004)):
        headers = {**raw.signed_headers(""), name: odd.encode("utf-8").decode("latin-1")}
        assert raw.send("GET", "/v5/account/info", None, headers)[2]["retCode"] == code, name
    assert raw.get("/v5/order/realtime", **LINEAR, cursor=odd)[2]["retMsg"] == "params error: cursor invalid"
    assert raw.get("/v5/order/realtime", **LINEAR, limit=odd)[0] == 200


def test_keys_and_headers(market: Sandbox, raw: Raw) -> None:
    assert raw.send("GET", "/v5/account/info", None, {})[2]["retCode"] == 10001
    answer = Raw(market, "stranger").get("/v5/account/info")[2]
    assert (answer["retCode"], answer["retMsg"]) == (10003, "API key is invalid.")
    assert Raw(market, "other", "hidden").get("/v5/account/info")[2]["retCode"] == 0
    assert raw.send("GET", "/v5/nothing/here", None, {})[0] == 404
    assert raw.send("GET", "/v5/market/time", "{}", {})[0] == 403


def test_a_key_that_may_only_read() -> None:
    with running(walking(accounts=(AccountSettings(read_only=True),)), walk_feed()) as sandbox:
        raw = Raw(sandbox)
        for path in ("/v5/order/create", "/v5/order/cancel-all", "/v5/position/set-leverage"):
            assert raw.post(path, BUY)[2]["retCode"] == 10005
        assert raw.result("/v5/user/query-api")["readOnly"] == 1


# --- how often ---


@pytest.fixture(scope="module")
def tight() -> Iterator[Sandbox]:
    with running(walking(), walk_feed()) as sandbox:
        yield sandbox


def test_a_spent_budget_says_when_it_comes_back() -> None:
    async def eleven(raw: Raw) -> list[Any]:
        answers: list[Any] = [raw.post("/v5/order/cancel", {**LINEAR, "orderId": "none"}) for _ in range(11)]
        return [await answer for answer in answers]

    with running_virtually(walking(), lambda now: walk_feed(bars=5, start_ms=now)) as sandbox:  # the second of a busy machine is too short
        answers = sandbox.world.run(eleven(Raw(sandbox)))
    assert [body["retCode"] for _, _, body in answers] == [110001] * 10 + [10006]
    assert [headers["X-Bapi-Limit-Status"] for _, headers, _ in answers][:3] == ["9", "8", "7"]
    refused("10006", answers[-1])
    _, headers, body = answers[-1]
    assert int(headers["X-Bapi-Limit-Reset-Timestamp"]) > body["time"]
    assert (headers["X-Bapi-Limit"], headers["X-Bapi-Limit-Status"]) == ("10", "0")


def test_what_a_batch_has_beyond_the_budget_fails_alone(tight: Sandbox) -> None:
    raw = Raw(tight)
    order = {"symbol": "ETHUSDT", "side": "Buy", "orderType": "Limit", "qty": "0.1", "price": "2800"}
    _, _, body = raw.post("/v5/order/create-batch", {"category": "linear", "request": [order] * 12})
    assert [row["code"] for row in body["retExtInfo"]["list"]] == [0] * 10 + [10006] * 2
    assert body["retCode"] == 0 and body["result"]["list"][11]["orderId"] == ""


def test_a_budget_rolls() -> None:
    budget = Budget(2)
    assert [budget.take(1, now) for now in (0, 400, 999)] == [1, 1, 0]
    assert budget.reset_ms(999) == 1001
    assert [budget.take(1, now) for now in (1001, 1002, 1401)] == [1, 0, 1]


def test_an_address_with_more_than_600_requests_in_5_seconds_is_banned() -> None:
    budgets = Budgets(1.0, 600_000)
    assert [budgets.is_banned("a", 8 * number) for number in range(600)] == [False] * 600
    assert budgets.is_banned("a", 4_800)
    assert budgets.is_banned("a", 604_000) and not budgets.is_banned("b", 604_000)
    assert not budgets.is_banned("a", 605_000)


def test_an_address_opens_500_sockets_in_5_minutes() -> None:
    budgets = Budgets(1.0, 600_000)
    assert all(budgets.may_connect("a", number) for number in range(500))
    assert not budgets.may_connect("a", 1_000) and budgets.may_connect("b", 1_000)
    assert budgets.may_connect("a", 302_000)


# --- demo ---


def test_the_demo_profile_lacks_what_demo_lacks() -> None:
    with running(walking(profile="demo"), walk_feed()) as sandbox:
        raw = Raw(sandbox)
        for path in ("/v5/account/fee-rate?category=linear", "/v5/asset/coin/query-info?coin=USDT"):
            name, _, query = path.partition("?")
            refused("10032", raw.get(name, query))
        refused("10032", raw.post("/v5/position/switch-isolated", LINEAR))
        spot = {"symbol": "BTCUSDT", "side": "Sell", "orderType": "Market", "qty": "1"}
        refused("10032", raw.post("/v5/order/create-batch", {"category": "spot", "request": [spot]}))
        for path in ("/v5/order/pre-check", "/v5/asset/transfer/inter-transfer"):
            refused("10032", raw.post(path, {}))
        assert raw.send("POST", "/v5/nothing/here", "{}", {})[0] == 404
        funds = {"utaDemoApplyMoney": [{"coin": "USDT", "amountStr": "500"}]}
        assert raw.post("/v5/account/demo-apply-money", funds)[2]["retCode"] == 0
        _, headers, body = raw.post("/v5/account/demo-apply-money", funds)  # once a minute
        assert body["retCode"] == 10006 and 58_000 < int(headers["X-Bapi-Limit-Reset-Timestamp"]) - body["time"] <= 60_001
        assert raw.result("/v5/account/wallet-balance", accountType="UNIFIED")["list"][0]["totalWalletBalance"] == "100500"
        assert raw.post("/v5/account/set-margin-mode", {"setMarginMode": "REGULAR_MARGIN"})[2]["retCode"] == 110026
        with closing(http.client.HTTPConnection(sandbox.url.removeprefix("http://"))) as line:
            line.request("GET", "/v5/trade")
            assert line.getresponse().status == 404
        assert raw.post("/v5/order/create", BUY)[2]["retCode"] == 0
        assert sandbox.truth()["problems"] == []


# --- words -----------------------------------------------------------------------------------------------------------

LIMIT_BUY = {**LINEAR, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "1000", "orderLinkId": "word"}
WRONG_WORDS = ["LONG", "buy", "sell", "LIMIT", "market", "gtc", "GoodTillCancel", "Last", "markprice", "partial", "BaseCoin", "yes"]
WRONG_WORDS += ["3", "-1", "x"]


def standing(market: Sandbox) -> tuple[list[str], list[str]]:
    """Orders by name, and the sizes of positions."""
    truth = market.truth()
    return [row["orderLinkId"] for row in truth["orders"]], [row["size"] for row in truth["positions"]]


@pytest.mark.parametrize("category", ["linear", "spot"])
@pytest.mark.parametrize("name", [*WORDS, *FLAGS])
def test_no_word_but_the_exchanges_own_creates_an_order(market: Sandbox, raw: Raw, name: str, category: str) -> None:
    """It is refused with the exchange's code, and never taken for a default."""
    before = standing(market)
    for word in WRONG_WORDS:
        if word in WORDS.get(name, ()):
            continue
        body = raw.post("/v5/order/create", {**LIMIT_BUY, "category": category, name: word})[2]
        assert (body["retCode"], body["retMsg"]) == (10001, f"params error: {name} invalid"), (name, word)
    assert standing(market) == before


def test_no_other_word_changes_or_cancels_an_order_or_exits(market: Sandbox, raw: Raw) -> None:
    price = str(round(float(raw.result("/v5/market/tickers", **LINEAR)["list"][0]["lastPrice"]) * 0.99, 1))
    assert raw.post("/v5/order/create", {**LIMIT_BUY, "price": price, "orderLinkId": "stays"})[2]["retCode"] == 0
    named = {**LINEAR, "orderLinkId": "stays"}
    cases: list[tuple[str, dict[str, Any]]] = [
        ("/v5/order/amend", {**named, "qty": "0.02", "triggerBy": "mark"}),
        ("/v5/order/amend", {**named, "stopLoss": "100", "slTriggerBy": "Mark"}),
        ("/v5/order/amend", {**named, "qty": "0.02", "tpslMode": "full"}),
        ("/v5/order/cancel", {**named, "orderFilter": "order"}),
        ("/v5/order/cancel-all", {**LINEAR, "orderFilter": "all"}),
        ("/v5/order/cancel-all", {**LINEAR, "stopOrderType": "TakeProfit"}),
        ("/v5/position/trading-stop", {**LINEAR, "stopLoss": "100", "tpslMode": "full"}),
        ("/v5/position/trading-stop", {**LINEAR, "stopLoss": "100", "slTriggerBy": "Last"}),
        ("/v5/position/trading-stop", {**LINEAR, "stopLoss": "100", "positionIdx": 3}),
    ]
    for path, body in cases:
        assert raw.post(path, body)[2]["retCode"] == 10001, (path, body)
    rows = [row for row in raw.result("/v5/order/realtime", **LINEAR)["list"] if row["orderLinkId"] == "stays"]
    assert [(row["qty"], row["stopLoss"], row["orderStatus"]) for row in rows] == [("0.010", "", "New")]
    for path, name in (("realtime", "orderFilter"), ("history", "orderStatus"), ("history", "orderFilter")):
        assert raw.get(f"/v5/order/{path}", **LINEAR, **{name: "stop"})[2]["retCode"] == 10001
    assert raw.get("/v5/execution/list", **LINEAR, execType="trade")[2]["retCode"] == 10001
    raw.post("/v5/order/cancel-all", LINEAR)
