"""What becomes of orders: late refusals, conditional orders, exits, position modes, leverage, liquidation, funding, retention."""

from __future__ import annotations

from typing import Any

import pytest

from keel.core.model.timeframe import DAY_MS, MINUTE_MS
from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import KEY, START, Sandbox, flat_bars, stepping
from tests.sim.sandbox.raw import Raw

XYZ = {"category": "linear", "symbol": "XYZUSDT"}


def place(client: Raw, side: str = "Buy", qty: str = "10", **more: Any) -> str:
    """An order that is accepted; its id."""
    _, _, answer = client.post("/v5/order/create", {**XYZ, "side": side, "orderType": "Market", "qty": qty, **more})
    assert answer["retCode"] == 0, answer
    found: str = answer["result"]["orderId"]
    return found


def orders(sandbox: Sandbox, *names: str) -> list[tuple[Any, ...]]:
    """Fields of all orders, oldest first."""
    return [tuple(row[name] for name in names) for row in sandbox.truth()["orders"]]


LATE = {
    "post-only that would take": ({"timeInForce": "PostOnly", "price": "101"}, "EC_PostOnlyWillTakeLiquidity"),
    "IOC that finds nothing": ({"timeInForce": "IOC", "price": "99"}, "EC_NoImmediateQtyToFill"),
    "FOK that finds nothing": ({"timeInForce": "FOK", "price": "99"}, "EC_CancelForNoFullFill"),
}


@pytest.mark.parametrize("name", LATE)
def test_late_refusals_are_accepted_and_then_cancelled(name: str) -> None:
    more, reason = LATE[name]
    with stepping(flat_bars(100, 100, 100, symbol="XYZUSDT")) as sandbox:
        sandbox.step()
        place(Raw(sandbox), orderType="Limit", **more)
        sandbox.step()
        fields = ("orderStatus", "cancelType", "rejectReason", "leavesQty", "cumExecQty")
        assert orders(sandbox, *fields) == [("Cancelled", "UNKNOWN", reason, "0.0", "0.0")]


def test_a_resting_limit_is_filled_as_maker() -> None:
    with stepping(flat_bars(100, 100, 98, 98, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        order_id = place(client, orderType="Limit", price="99")
        sandbox.step()
        sandbox.step()
        execution = sandbox.truth()["executions"][0]
        assert (execution["execPrice"], execution["isMaker"], execution["feeRate"]) == ("99.00", True, "0.0002")
        assert client.post("/v5/order/cancel", {**XYZ, "orderId": order_id})[2]["retCode"] == 110001


def test_a_cancel_that_loses_the_race_is_told_as_a_second_fill() -> None:
    """The order fills on the way from 100 to 98; the cancel arrives after that."""
    slow = ExecutionConfig(latency_ms=40_000)
    with stepping(flat_bars(100, 100, 100, 98, 98, symbol="XYZUSDT"), execution=slow) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        order_id = place(client, orderType="Limit", price="99.5")
        sandbox.step(2)
        assert client.post("/v5/order/cancel", {**XYZ, "orderId": order_id})[2]["retCode"] == 0
        heard: list[Any] = []
        account = sandbox.server.engine.accounts[KEY]
        account.is_heard = True
        sandbox.server.private.flush = lambda one: heard.extend(one.outbox) or one.outbox.clear()  # type: ignore[method-assign]
        sandbox.step()
        told = [(row["orderStatus"], row["cancelType"], row["rejectReason"]) for topic, row in heard if topic == "order"]
        assert told == [("Filled", "UNKNOWN", "EC_NoError"), ("Filled", "CancelByUser", "EC_OrigClOrdIDDoesNotExist")]
        assert not account.open_orders and sandbox.truth()["problems"] == []


def test_a_conditional_order_holds_nothing_until_it_fires() -> None:
    with stepping(flat_bars(100, 100, 104, 103, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        assert client.post("/v5/order/create", {**XYZ, "side": "Buy", "orderType": "Market", "qty": "1", "triggerPrice": "103",
                                                "triggerDirection": 3})[2]["retCode"] == 10001  # fmt: skip
        place(client, triggerPrice="103", triggerDirection=1, orderLinkId="stop")
        sandbox.step()
        assert client.result("/v5/order/realtime", **XYZ)["list"][0]["orderStatus"] == "Untriggered"
        assert client.result("/v5/account/wallet-balance", accountType="UNIFIED")["list"][0]["coin"][0]["totalOrderIM"] == "0"
        sandbox.step()
        assert orders(sandbox, "orderStatus", "stopOrderType", "triggerPrice") == [("Filled", "Stop", "103.00")]


@pytest.mark.parametrize(
    ("last", "fired", "cleared"),
    [(90, "StopLoss", "CancelByOCOTpCanceledBySlTriggered"), (120, "TakeProfit", "CancelByOCOSlCanceledByTpTriggered")],
)
def test_exits_of_an_order_live_from_its_fill_and_one_ends_the_other(last: float, fired: str, cleared: str) -> None:
    with stepping(flat_bars(100, 100, 100, last, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        place(client, takeProfit="115", stopLoss="95", orderLinkId="in")
        sandbox.step(2)
        exits = client.result("/v5/order/realtime", **XYZ)["list"]
        assert {row["stopOrderType"] for row in exits} == {"StopLoss", "TakeProfit"}
        assert {(row["parentOrderLinkId"], row["reduceOnly"], row["orderStatus"]) for row in exits} == {("in", True, "Untriggered")}
        position = client.result("/v5/position/list", **XYZ)["list"][0]
        assert (position["takeProfit"], position["stopLoss"]) == ("115.00", "95.00")
        sandbox.step()
        ended = {row[0]: row[1:] for row in orders(sandbox, "stopOrderType", "orderStatus", "cancelType", "createType")}
        assert ended[fired] == ("Filled", "UNKNOWN", f"CreateBy{fired}")
        other = "TakeProfit" if fired == "StopLoss" else "StopLoss"
        assert ended[other][:2] == ("Deactivated", cleared)
        assert client.result("/v5/position/list", category="linear", settleCoin="USDT")["list"] == []


def test_trading_stop_sets_changes_and_removes_and_a_trailing_stop_follows() -> None:
    with stepping(flat_bars(100, 100, 100, 110, 106, 100, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        stop = {**XYZ, "tpslMode": "Full", "positionIdx": 0}
        sandbox.step()
        assert client.post("/v5/position/trading-stop", {**stop, "stopLoss": "90"})[2]["retCode"] == 10001  # no position
        place(client)
        sandbox.step()
        assert client.post("/v5/position/trading-stop", {**stop, "trailingStop": "5", "stopLoss": "90"})[2]["retCode"] == 0
        sandbox.step()
        position = client.result("/v5/position/list", **XYZ)["list"][0]
        assert (position["stopLoss"], position["trailingStop"], position["takeProfit"]) == ("90.00", "5.00", "0")
        assert client.post("/v5/position/trading-stop", {**stop, "stopLoss": "0"})[2]["retCode"] == 0
        sandbox.step()  # to 110: the stop is at 105
        position = client.result("/v5/position/list", **XYZ)["list"][0]
        assert (position["stopLoss"], position["trailingStop"]) == ("0", "5.00")
        sandbox.step(2)
        closed = client.result("/v5/position/closed-pnl", **XYZ)["list"][0]
        assert closed["avgExitPrice"] == "104.98"  # 105 less 1 bp, on the tick
        assert orders(sandbox, "stopOrderType", "orderStatus")[-1] == ("TrailingStop", "Filled")


def test_hedge_mode_has_two_positions_and_refuses_to_switch_while_one_is_open() -> None:
    with stepping(flat_bars(100, 100, 100, 100, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        assert client.post("/v5/position/switch-mode", {**XYZ, "mode": 3})[2]["retCode"] == 0
        place(client, positionIdx=1)
        place(client, "Sell", "4", positionIdx=2)
        sandbox.step()
        sides = [(row["positionIdx"], row["side"], row["size"]) for row in client.result("/v5/position/list", **XYZ)["list"]]
        assert sides == [(1, "Buy", "10.0"), (2, "Sell", "4.0")]
        assert client.post("/v5/position/switch-mode", {**XYZ, "mode": 0})[2]["retCode"] == 110024
        assert client.post("/v5/order/create", {**XYZ, "side": "Buy", "orderType": "Market", "qty": "1"})[2]["retCode"] == 10001
        place(client, "Sell", "10", positionIdx=1, reduceOnly=True)
        place(client, "Buy", "4", positionIdx=2, reduceOnly=True)
        sandbox.step()
        assert client.post("/v5/position/switch-mode", {**XYZ, "mode": 0})[2]["retCode"] == 0
        assert sandbox.truth()["problems"] == []


def test_leverage_moves_margin_and_liquidation_price_of_an_open_position() -> None:
    """Fact sheet 6.4, worked example 3: long 0.1 BTC at 60000 and 10x is liquidated at 54271.36; IM 600 and fee to close 2.97."""
    with stepping(flat_bars(60_000, 60_000, 60_000), execution=free_of_slippage()) as sandbox:
        client = Raw(sandbox)
        linear = {"category": "linear", "symbol": "BTCUSDT"}
        sandbox.step()
        client.post("/v5/order/create", {**linear, "side": "Buy", "orderType": "Market", "qty": "0.1"})
        sandbox.step()
        row = client.result("/v5/position/list", **linear)["list"][0]
        assert (row["positionIM"], row["liqPrice"], row["bustPrice"], row["leverage"]) == ("602.97", "54271.4", "54000", "10")
        assert client.post("/v5/position/add-margin", {**linear, "margin": "100", "positionIdx": 0})[2]["result"]["liqPrice"] == "53265.8"
        assert client.post("/v5/position/set-leverage", {**linear, "buyLeverage": "101", "sellLeverage": "101"})[2]["retCode"] == 10001
        assert client.post("/v5/position/set-leverage", {**linear, "buyLeverage": "20", "sellLeverage": "20"})[2]["retCode"] == 0
        row = client.result("/v5/position/list", **linear)["list"][0]
        assert (row["leverage"], row["positionBalance"]) == ("20", "403.135")  # 300 + 3.135 + the 100 that were added
        assert sandbox.truth()["problems"] == []


def test_a_liquidation_is_a_bust_trade_of_the_exchanges_own() -> None:
    account = AccountSettings(usdt=200.0, leverage=50.0)
    with stepping(flat_bars(100, 100, 100, 97, 97, symbol="XYZUSDT"), accounts=(account,)) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        place(client, qty="50")
        sandbox.step()
        place(client, "Sell", "1", orderType="Limit", price="101")
        sandbox.step(2)
        truth = sandbox.truth()
        bust = truth["executions"][-1]
        assert (bust["execType"], bust["createType"], bust["side"], bust["execQty"]) == (
            "BustTrade",
            "CreateByTakeOver_PassThrough",
            "Sell",
            "50.0",
        )
        assert [row["cancelType"] for row in truth["orders"]][1] == "CancelAllBeforeLiq"
        assert truth["log"][-1]["type"] == "LIQUIDATION"
        assert truth["problems"] == []


def test_funding_is_an_execution_and_a_settlement_with_their_own_signs() -> None:
    """Fact sheet 6.2, recorded: long 100 at a mark of 0.3676 and 0.0001 pays 0.003676."""
    funding = ([START + 2 * MINUTE_MS], [10_000], [36_760_000])
    with stepping(flat_bars(0.5, 0.5, 0.5, 0.5, symbol="XRPUSDT", funding=funding), execution=free_of_slippage()) as sandbox:
        client = Raw(sandbox)
        xrp = {"category": "linear", "symbol": "XRPUSDT"}
        sandbox.step()
        client.post("/v5/order/create", {**xrp, "side": "Buy", "orderType": "Market", "qty": "100"})
        sandbox.step(2)
        row = client.result("/v5/execution/list", **xrp, execType="Funding")["list"][0]
        assert (row["execFee"], row["feeRate"], row["execPrice"], row["orderType"]) == ("0.003676", "0.0001", "0.3676", "UNKNOWN")
        log = client.result("/v5/account/transaction-log", type="SETTLEMENT")["list"][0]
        assert (log["funding"], log["change"], log["cashFlow"], log["fee"]) == ("-0.003676", "-0.003676", "0", "0")
        settled = client.result("/v5/market/funding/history", **xrp)["list"]
        assert settled == [{"symbol": "XRPUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": str(START + 2 * MINUTE_MS)}]
        assert client.get("/v5/market/funding/history", **xrp, startTime=START)[2]["retCode"] == 10001


def test_unfilled_cancels_are_in_the_history_for_a_day_and_windows_for_a_week() -> None:
    count = DAY_MS // MINUTE_MS + 30
    with stepping(flat_bars(*[100.0] * count, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        order_id = place(client, orderType="Limit", price="90")
        place(client)
        sandbox.step()
        client.post("/v5/order/cancel", {**XYZ, "orderId": order_id})
        sandbox.step(10)
        assert len(client.result("/v5/order/history", **XYZ)["list"]) == 2
        sandbox.step(count - 15)
        assert [row["orderStatus"] for row in client.result("/v5/order/history", **XYZ)["list"]] == ["Filled"]
        assert client.get("/v5/order/history", **XYZ, startTime=START, endTime=START + 8 * DAY_MS)[2]["retCode"] == 10001


def test_an_order_outside_the_band_is_moved_to_its_edge() -> None:
    with stepping(flat_bars(100, 100, 100, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        limits = client.result("/v5/market/price-limit", symbol="XYZUSDT")
        assert (limits["buyLmt"], limits["sellLmt"]) == ("101.00", "99.00")
        place(client, "Sell", orderType="Limit", price="95")
        sandbox.step()
        assert orders(sandbox, "price", "avgPrice", "orderStatus") == [("99.00", "99.99", "Filled")]


def free_of_slippage() -> Any:
    return ExecutionConfig(slippage_bps=0.0)
