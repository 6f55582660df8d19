"""Cross margin over the wire: the exchange's numbers worked by hand, leverage, refusals, and a liquidation of the whole account."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import Sandbox, flat_bars, running, stepping, walk_feed, walking
from tests.sim.sandbox.raw import Raw
from tests.sim.sandbox.test_streams import ask, auth_frame, subscribe

NO_SLIPPAGE = ExecutionConfig(slippage_bps=0.0)
FREE_OF_COSTS = ExecutionConfig(slippage_bps=0.0, taker_fee=0.0, maker_fee=0.0)
A, B = {"category": "linear", "symbol": "AAAUSDT"}, {"category": "linear", "symbol": "BBBUSDT"}


def cross(usdt: float, leverage: float = 10.0, **more: Any) -> dict[str, Any]:
    return {"accounts": (AccountSettings(usdt=usdt, leverage=leverage, margin_mode="cross", **more),)}


def market_order(client: Raw, about: dict[str, str], side: str, qty: str, **more: Any) -> Any:
    return client.post("/v5/order/create", {**about, "side": side, "orderType": "Market", "qty": qty, **more})[2]


def row(client: Raw, about: dict[str, str], place: int = 0) -> Any:
    return client.result("/v5/position/list", **about)["list"][place]


def wallet(client: Raw) -> dict[str, Any]:
    return dict(client.result("/v5/account/wallet-balance", accountType="UNIFIED")["list"][0])


def figures(client: Raw) -> dict[str, str]:
    names = ("totalMarginBalance", "totalInitialMargin", "totalMaintenanceMargin", "totalAvailableBalance")
    return {name: value for name, value in wallet(client).items() if name in names}


# --- margins, by hand ---


def test_the_recorded_short_of_the_fact_sheet() -> None:
    """0.01 ETH short at 30x, November 2025: IM 1.23480936, MM 0.20281586. Their difference, in which the fee to close is not, gives the
    mark, 3642.33. The fee was counted at a mark 0.006 % away, which is all that may differ."""
    with stepping(flat_bars(*[3642.33] * 3, symbol="ETHUSDT"), execution=NO_SLIPPAGE, **cross(1000.0, 30.0)) as sandbox:
        client = Raw(sandbox)
        market_order(client, {"category": "linear", "symbol": "ETHUSDT"}, "Sell", "0.01")
        sandbox.step()
        position = row(client, {"category": "linear", "symbol": "ETHUSDT"})
        initial, maintenance = Decimal(position["positionIM"]), Decimal(position["positionMM"])
        assert initial - maintenance == Decimal("1.23480936") - Decimal("0.20281586")
        assert float(initial) == pytest.approx(1.23480936, rel=1.1e-6)
        assert float(maintenance) == pytest.approx(0.20281586, rel=6.1e-6)


def test_margins_follow_the_mark_and_the_estimate_is_where_margin_and_balance_meet() -> None:
    """Long 10 at 100, 10x, with 200 USDT; fee to open 0.55.

    IM = 100 + 900 x 0.055 % = 100.495, MM = 5 + 0.495; at 110: 110 + 990 x 0.055 % and 5.5 + 0.5445.
    Estimate: 199.45 + 10 p - 1000 = 10 p x 0.5 % + 9 p x 0.055 %, so p = 800.55 / 9.94505 = 80.4973...
    """
    with stepping(flat_bars(100.0, 100.0, 110.0, 110.0, symbol="AAAUSDT"), execution=NO_SLIPPAGE, **cross(200.0)) as sandbox:
        client = Raw(sandbox)
        market_order(client, A, "Buy", "10")
        sandbox.step()
        position = row(client, A)
        assert (position["positionIM"], position["positionMM"], position["liqPrice"]) == ("100.495", "5.495", "80.50")
        assert (position["tradeMode"], position["bustPrice"], position["positionIMByMp"]) == (0, "", "100.495")
        expected = {
            "totalMarginBalance": "199.45", "totalInitialMargin": "100.495", "totalMaintenanceMargin": "5.495",
            "totalAvailableBalance": "98.955",
        }  # fmt: skip
        assert figures(client) == expected
        account = wallet(client)
        assert (account["accountIMRate"], account["accountMMRate"]) == ("0.5039", "0.0276")  # 100.495 / 199.45, 5.495 / 199.45
        sandbox.step(2)
        position = row(client, A)
        assert (position["positionIM"], position["positionMM"], position["liqPrice"]) == ("110.5445", "6.0445", "80.50")
        account, coin = wallet(client), wallet(client)["coin"][0]
        assert (account["totalMarginBalance"], account["totalAvailableBalance"], account["totalPerpUPL"]) == ("299.45", "188.9055", "100")
        assert (coin["walletBalance"], coin["totalPositionIM"], coin["totalPositionMM"]) == ("199.45", "110.5445", "6.0445")
        assert sandbox.truth()["ledger"]["USDT"]["position_margin"] == 0


def test_hedged_quantity_needs_margin_for_the_net_side_only() -> None:
    """Long 10 and short 7 at 100, 10x, without fees: 3 net need 30, and 1.5 of maintenance."""
    with stepping(flat_bars(100.0, 100.0, symbol="AAAUSDT"), execution=FREE_OF_COSTS, **cross(1000.0, hedge=True)) as sandbox:
        client = Raw(sandbox)
        market_order(client, A, "Buy", "10", positionIdx=1)
        market_order(client, A, "Sell", "7", positionIdx=2)
        sandbox.step()
        assert [(row(client, A, at)["positionIM"], row(client, A, at)["positionMM"]) for at in (0, 1)] == [("30", "1.5"), ("0", "0")]
        assert figures(client)["totalAvailableBalance"] == "970"


# --- what the account refuses ---


@pytest.mark.parametrize(("qty", "refusal"), [("99.9", ""), ("100", "110007 ab not enough for new order")])
def test_an_order_that_would_bring_the_initial_margin_rate_to_100_percent_is_refused(qty: str, refusal: str) -> None:
    """1000 USDT at 10x carry 10,000: 100 at 100 would be all of it."""
    with stepping(flat_bars(100.0, 100.0, symbol="AAAUSDT"), execution=FREE_OF_COSTS, **cross(1000.0)) as sandbox:
        market_order(Raw(sandbox), A, "Buy", qty)
        sandbox.step()
        assert [(order["orderStatus"], order["_refusal"]) for order in sandbox.truth()["orders"]] == [
            ("Rejected" if refusal else "Filled", refusal)
        ]


def test_where_the_market_moves_by_itself_the_refusal_is_the_requests_error() -> None:
    with running(walking(**cross(100.0)), walk_feed()) as sandbox:
        client = Raw(sandbox)
        answer = market_order(client, {"category": "linear", "symbol": "BTCUSDT"}, "Buy", "0.02")  # some 120 USDT of margin
        assert (answer["retCode"], answer["retMsg"]) == (110007, "ab not enough for new order")
        assert market_order(client, {"category": "linear", "symbol": "BTCUSDT"}, "Buy", "0.01")["retCode"] == 0
        assert sandbox.truth()["problems"] == []


def test_leverage_changes_what_open_positions_and_orders_need() -> None:
    """Long 10 at 100 and a bid of 10 at 90, without fees: 100 and 90 at 10x, 200 and 180 at 5x; 500 and 450 at 2x are too much for 400."""
    with stepping(flat_bars(100.0, 100.0, 100.0, symbol="AAAUSDT"), execution=FREE_OF_COSTS, **cross(400.0)) as sandbox:
        client = Raw(sandbox)
        market_order(client, A, "Buy", "10")
        client.post("/v5/order/create", {**A, "side": "Buy", "orderType": "Limit", "qty": "10", "price": "90"})
        sandbox.step()

        def set_leverage(buy: str, sell: str) -> int:
            return int(client.post("/v5/position/set-leverage", {**A, "buyLeverage": buy, "sellLeverage": sell})[2]["retCode"])

        assert figures(client)["totalInitialMargin"] == "190"
        assert set_leverage("5", "5") == 0
        assert row(client, A)["leverage"] == "5" and figures(client)["totalInitialMargin"] == "380"
        assert (set_leverage("2", "2"), set_leverage("5", "5"), set_leverage("10", "5")) == (110044, 110043, 10001)
        assert figures(client) == {
            "totalMarginBalance": "400", "totalInitialMargin": "380", "totalMaintenanceMargin": "5", "totalAvailableBalance": "20",
        }  # fmt: skip
        assert wallet(client)["coin"][0]["totalOrderIM"] == "180"
        client.post("/v5/order/cancel-all", A)
        sandbox.step()
        assert set_leverage("2.5", "2.5") == 110044  # all of it: 100 %
        assert set_leverage("2.6", "2.6") == 0 and sandbox.truth()["problems"] == []


def test_unrealised_profit_is_margin_and_cannot_leave() -> None:
    """Long 10 at 100, 10x, 400 USDT, no fees; at 150: 900 of margin balance, 750 available, and 400 of cash."""
    with stepping(flat_bars(100.0, 150.0, symbol="AAAUSDT"), execution=FREE_OF_COSTS, profile="demo", **cross(400.0)) as sandbox:
        client = Raw(sandbox)
        market_order(client, A, "Buy", "10")
        sandbox.step(2)
        assert figures(client)["totalAvailableBalance"] == "750"

        def take(amount: str) -> int:
            body = {"adjustType": 1, "utaDemoApplyMoney": [{"coin": "USDT", "amountStr": amount}]}
            return int(client.post("/v5/account/demo-apply-money", body)[2]["retCode"])

        assert (take("401"), take("400")) == (110012, 0)
        assert figures(client)["totalMarginBalance"] == "500" and sandbox.truth()["problems"] == []


def test_a_position_has_no_margin_of_its_own() -> None:
    with stepping(flat_bars(100.0, 100.0, symbol="AAAUSDT"), **cross(400.0)) as sandbox:
        client = Raw(sandbox)
        market_order(client, A, "Buy", "10")
        sandbox.step()
        assert client.post("/v5/position/add-margin", {**A, "margin": "10", "positionIdx": 0})[2]["retCode"] == 110015
        assert client.post("/v5/position/set-auto-add-margin", {**A, "autoAddMargin": 1})[2]["retCode"] == 110015


# --- liquidation ---


def test_the_whole_account_is_liquidated_by_one_symbol() -> None:
    """400 USDT, 10x, no fees: long 20 A and short 10 B at 100, a bid of 5 A at 70. At 80.2 of A 400 - 396 = 4 are left against maintenance
    margins of 8.02 and 5: the bid ends, A, which needs most, goes at its mark, 4 are still less than 5, and B goes at 100."""
    series = (flat_bars(100.0, 100.0, 80.2, 80.2, symbol="AAAUSDT"), flat_bars(*[100.0] * 4, symbol="BBBUSDT"))
    with stepping(*series, execution=FREE_OF_COSTS, **cross(400.0)) as sandbox:
        client = Raw(sandbox)
        market_order(client, A, "Buy", "20")
        market_order(client, B, "Sell", "10")
        client.post("/v5/order/create", {**A, "side": "Buy", "orderType": "Limit", "qty": "5", "price": "70", "orderLinkId": "bid"})
        sandbox.step(2)
        assert figures(client) == {
            "totalMarginBalance": "400", "totalInitialMargin": "335", "totalMaintenanceMargin": "15", "totalAvailableBalance": "65",
        }  # fmt: skip
        private, public = asyncio.run(listen(sandbox))
        told = [
            (topic, one["symbol"], one.get("orderStatus") or one.get("execType") or one["size"])
            for topic, one in private
            if topic != "wallet"
        ]
        assert told == [
            ("order", "AAAUSDT", "Cancelled"),
            ("order", "AAAUSDT", "Filled"), ("execution", "AAAUSDT", "BustTrade"),
            ("order", "BBBUSDT", "Filled"), ("execution", "BBBUSDT", "BustTrade"),
            ("position", "AAAUSDT", "0.0"), ("position", "BBBUSDT", "0.0"),
        ]  # fmt: skip
        orders = [one for topic, one in private if topic == "order"]
        assert (orders[0]["orderLinkId"], orders[0]["cancelType"]) == ("bid", "CancelAllBeforeLiq")
        assert [one["createType"] for one in orders[1:]] == ["CreateByTakeOver_PassThrough"] * 2
        executions = [(one["side"], one["execQty"], one["execPrice"]) for topic, one in private if topic == "execution"]
        assert executions == [("Sell", "20.0", "80.20"), ("Buy", "10.0", "100.00")]
        (last,) = [one for topic, one in private if topic == "wallet"]
        assert (last["totalMarginBalance"], last["totalInitialMargin"], last["coin"][0]["walletBalance"]) == ("4", "0", "4")
        assert [(one["s"], one["S"], one["v"], one["p"]) for one in public] == [
            ("AAAUSDT", "Buy", "20.0", "80.20"), ("BBBUSDT", "Sell", "10.0", "100.00"),
        ]  # fmt: skip
        log = client.result("/v5/account/transaction-log")["list"]
        assert [(line["symbol"], line["change"], line["cashBalance"]) for line in log[:2]] == [
            ("BBBUSDT", "0", "4"),
            ("AAAUSDT", "-396", "4"),
        ]
        assert [line["closedPnl"] for line in client.result("/v5/position/closed-pnl", category="linear")["list"]] == ["0", "-396"]
        truth = sandbox.truth()
        assert truth["problems"] == [] and sum(truth["ledger"]["USDT"].values()) == 0 and truth["wallet_units"] == {"USDT": 400_000_000}


async def listen(sandbox: Sandbox) -> tuple[list[tuple[str, Any]], list[Any]]:
    """(topic, row) of the private stream, and rows of the public liquidations, of the next bar. A pong comes after everything before it."""
    private_rows: list[tuple[str, Any]] = []
    public_rows: list[Any] = []
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{sandbox.ws}/v5/private") as private,
        session.ws_connect(f"{sandbox.ws}/v5/public/linear") as public,
    ):
        assert (await ask(private, auth_frame()))["success"]
        assert (await ask(private, subscribe("order", "execution", "position", "wallet")))["success"]
        assert (await ask(public, subscribe("allLiquidation.AAAUSDT", "allLiquidation.BBBUSDT")))["success"]
        await asyncio.to_thread(sandbox.step)
        for socket in (private, public):
            await socket.send_json({"op": "ping"})
            while "topic" in (frame := await asyncio.wait_for(socket.receive_json(), 5.0)):
                if socket is private:
                    private_rows += [(frame["topic"], one) for one in frame["data"]]
                else:
                    public_rows += frame["data"]
    return private_rows, public_rows
