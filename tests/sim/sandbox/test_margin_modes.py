"""The margin mode of an account: where it begins, when it changes, when not, and who reads it back."""

from __future__ import annotations

from typing import Any

import pybit.unified_trading as pybit
import pytest
from pybit.exceptions import InvalidRequestError

from keel.core.errors import ConfigError
from keel.core.model.messages import SubmitOrder
from keel.core.system.config import ExecutionConfig
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import KEY, SECRET, flat_bars, running, stepping, walk_feed, walking
from tests.sim.sandbox.raw import Raw

XYZ = {"category": "linear", "symbol": "XYZUSDT"}
FREE_OF_COSTS = ExecutionConfig(slippage_bps=0.0, taker_fee=0.0, maker_fee=0.0)


def mode_of(client: Raw) -> str:
    return str(client.result("/v5/account/info")["marginMode"])


def switch(client: Raw, mode: str) -> tuple[int, str]:
    """(code, words: the reason where one is given)"""
    answer = client.post("/v5/account/set-margin-mode", {"setMarginMode": mode})[2]
    reasons = answer["result"].get("reasons") or [{"reasonMsg": answer["retMsg"]}]
    return answer["retCode"], reasons[0]["reasonMsg"]


BEGINNINGS: list[tuple[dict[str, Any], str]] = [
    ({}, "ISOLATED_MARGIN"),
    ({"margin_mode": "cross"}, "REGULAR_MARGIN"),
    ({"profile": "demo"}, "REGULAR_MARGIN"),
    ({"profile": "demo", "demo_isolated": True}, "REGULAR_MARGIN"),
    ({"profile": "demo", "margin_mode": "isolated", "demo_isolated": True}, "ISOLATED_MARGIN"),
    ({"margin_mode": "cross", "accounts": (AccountSettings(margin_mode="isolated"),)}, "ISOLATED_MARGIN"),
]


@pytest.mark.parametrize(("settings", "mode"), BEGINNINGS)
def test_where_an_account_begins(settings: dict[str, Any], mode: str) -> None:
    with stepping(flat_bars(100.0, 100.0, symbol="XYZUSDT"), **settings) as sandbox:
        assert mode_of(Raw(sandbox)) == mode


def test_pybit_switches_and_reads_it_back() -> None:
    with running(walking(limit_factor=10.0), walk_feed()) as sandbox:
        session = pybit.HTTP(testnet=False, api_key=KEY, api_secret=SECRET, max_retries=1)
        session.endpoint = sandbox.url
        for mode in ("REGULAR_MARGIN", "ISOLATED_MARGIN", "REGULAR_MARGIN"):
            assert session.set_margin_mode(setMarginMode=mode)["result"] == {"reasons": []}
            assert session.get_account_info()["result"]["marginMode"] == mode
        for mode, code in (("REGULAR_MARGIN", 110026), ("PORTFOLIO_MARGIN", 3400045), ("CROSS", 10001)):
            with pytest.raises(InvalidRequestError) as refused:
                session.set_margin_mode(setMarginMode=mode)
            assert refused.value.status_code == code
        session.place_order(category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.01")
        with pytest.raises(InvalidRequestError) as refused:
            session.set_margin_mode(setMarginMode="ISOLATED_MARGIN")
        assert refused.value.status_code == 3400045
        assert session.get_account_info()["result"]["marginMode"] == "REGULAR_MARGIN"
        assert sandbox.truth()["problems"] == []


def test_nothing_is_switched_while_a_position_or_an_order_is_open() -> None:
    """Nor while an order is on its way. What was refused has changed nothing; what is allowed changes what positions hold."""
    with stepping(flat_bars(*[100.0] * 6, symbol="XYZUSDT"), execution=FREE_OF_COSTS, accounts=(AccountSettings(usdt=1000.0),)) as sandbox:
        client = Raw(sandbox)
        bid = {**XYZ, "side": "Buy", "orderType": "Limit", "qty": "1", "price": "90"}
        ids = client.post("/v5/order/create", bid)[2]["result"]
        expected = (3400045, "XYZUSDT: the margin mode is changed without positions and orders only; close and cancel first")
        for _ in range(2):
            assert switch(client, "REGULAR_MARGIN") == expected and mode_of(client) == "ISOLATED_MARGIN"
            sandbox.step()
        client.post("/v5/order/cancel", {**XYZ, "orderId": ids["orderId"]})
        client.post("/v5/order/create", {**XYZ, "side": "Buy", "orderType": "Market", "qty": "10"})
        sandbox.step()
        assert switch(client, "REGULAR_MARGIN") == expected
        assert sandbox.truth()["ledger"]["USDT"]["position_margin"] == 10_000_000_000
        client.post("/v5/order/create", {**XYZ, "side": "Sell", "orderType": "Market", "qty": "10", "reduceOnly": True})
        sandbox.step()
        assert switch(client, "REGULAR_MARGIN") == (0, "OK")
        client.post("/v5/order/create", {**XYZ, "side": "Buy", "orderType": "Market", "qty": "10"})
        sandbox.step()
        truth = sandbox.truth()
        assert (truth["margin_mode"], truth["ledger"]["USDT"]["position_margin"], truth["problems"]) == ("cross", 0, [])
        assert truth["positions"][0]["positionIM"] == "100"


def test_portfolio_margin_is_refused_with_a_reason() -> None:
    with stepping(flat_bars(100.0, 100.0, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        assert switch(client, "PORTFOLIO_MARGIN") == (3400045, "sandbox: portfolio margin is not simulated")
        assert mode_of(client) == "ISOLATED_MARGIN"


def test_demo_has_cross_margin_only_unless_it_is_told_otherwise() -> None:
    with stepping(flat_bars(100.0, 100.0, symbol="XYZUSDT"), profile="demo") as sandbox:
        client = Raw(sandbox)
        assert switch(client, "ISOLATED_MARGIN") == (110073, "Set margin mode failed")
        assert switch(client, "REGULAR_MARGIN")[0] == 110026
        assert client.post("/v5/position/switch-isolated", XYZ)[2]["retCode"] == 10032
        assert mode_of(client) == "REGULAR_MARGIN"
    with stepping(flat_bars(100.0, 100.0, symbol="XYZUSDT"), profile="demo", demo_isolated=True) as sandbox:
        assert switch(Raw(sandbox), "ISOLATED_MARGIN") == (0, "OK")
    with stepping(flat_bars(100.0, 100.0, symbol="XYZUSDT")) as sandbox:
        assert Raw(sandbox).post("/v5/position/switch-isolated", XYZ)[2]["retCode"] == 100028


def test_automatic_margin_is_off_and_stays_off() -> None:
    with stepping(flat_bars(100.0, 100.0, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        answers = [client.post("/v5/position/set-auto-add-margin", {**XYZ, "autoAddMargin": wanted})[2] for wanted in (0, 1, 2)]
        assert [answer["retCode"] for answer in answers] == [0, 10001, 10001]
        assert answers[1]["retMsg"] == "sandbox: margin is not added automatically; use add-margin"


def test_the_exchange_in_process_changes_its_mode_without_losing_a_unit() -> None:
    exchange = SimulatedExchange("XUSDT", 500.0, FREE_OF_COSTS, RiskProfileConfig(leverage=2.0))
    before = {coin: list(accounts) for coin, accounts in exchange.ledger.coins.items()}
    exchange.set_margin_mode("cross")
    assert exchange.books["XUSDT"].account is exchange.cross_accounts["USDT"]
    assert exchange.books["XUSDT"].accounts is exchange.ledger.coins["USDT"] is exchange.cross_accounts["USDT"].accounts
    exchange.set_margin_mode("isolated")
    assert exchange.state["balances"] == {"USDT": {"free": before["USDT"][0], "order_margin": 0, "position_margin": 0}}
    assert not exchange.cross_accounts and [book.account for book in exchange.books.values()] == [None]
    assert {coin: list(accounts) for coin, accounts in exchange.ledger.coins.items()} == before
    exchange.submit_order(SubmitOrder("a", "XUSDT", "BUY", "market", 1.0, 0))
    with pytest.raises(ConfigError, match="close and cancel first"):
        exchange.set_margin_mode("cross")
