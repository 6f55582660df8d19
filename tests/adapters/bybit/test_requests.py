"""Every number that leaves is plain decimal text on its grid, and the same number that was asked."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from keel.adapters.bybit.wire import request_bodies as requests
from keel.core.model.instrument import Grid
from keel.core.model.messages import AmendOrder, Bracket, CancelOrder, SetTradingStop, SubmitOrder
from tests.builders import perpetual, spot_pair

PLAIN = re.compile(r"^[0-9]+(\.[0-9]+)?$")
GRIDS = ["0.1", "0.01", "0.5", "0.05", "1", "5", "10", "0.00001", "0.0000001", "0.001", "0.25"]
NUMBERS = ("qty", "price", "triggerPrice", "takeProfit", "stopLoss", "tpLimitPrice", "trailingStop", "activePrice", "tpSize", "slSize")


@given(st.sampled_from(GRIDS), st.sampled_from(GRIDS), st.lists(st.integers(1, 10**8), min_size=6, max_size=6), st.booleans(), st.data())
def test_numbers_on_the_wire(tick: str, step: str, counts: list[int], is_spot: bool, data: st.DataObject) -> None:
    instrument = (spot_pair if is_spot else perpetual)("BTCUSDT", tick, step)
    prices = [instrument.price_grid.value(count) for count in counts]
    qty = instrument.qty_grid.value(counts[0])
    bracket = Bracket(prices[2], prices[3], prices[4], prices[5], "mark", data.draw(st.sampled_from(["full", "partial"])))
    kind = data.draw(st.sampled_from(["market", "limit", "stop_market", "stop_limit"]))
    command = SubmitOrder("a-1", "BTCUSDT", "BUY", kind, qty, 0, prices[0], prices[1] if "stop" in kind else None, bracket=bracket)
    bodies = [
        requests.create_body(command, instrument, prices[0]),
        requests.amend_body(AmendOrder("a-1", "BTCUSDT", 0, qty, prices[0], prices[1]), instrument),
        requests.trailing_body("BTCUSDT", bracket, instrument, 0),
        *requests.trading_stop_bodies(SetTradingStop("BTCUSDT", 0, bracket), instrument, qty),
    ]
    for body in bodies:
        for name in NUMBERS:
            if name in body:
                check(body[name], instrument.qty_grid if name in ("qty", "tpSize", "slSize") else instrument.price_grid)
    assert float(bodies[0]["qty"]) == qty
    assert "price" not in bodies[0] or float(bodies[0]["price"]) == prices[0]


def check(text: Any, grid: Grid) -> None:
    assert isinstance(text, str) and PLAIN.match(text), text
    assert (Decimal(text) * grid.den) % grid.num == 0, (text, grid)


def test_the_smallest_numbers_have_no_exponent() -> None:
    instrument = perpetual("PEPEUSDT", "0.0000001", "0.00001")
    body = requests.create_body(SubmitOrder("a-1", "PEPEUSDT", "SELL", "limit", 1e-05, 0, 1e-07), instrument)
    assert (body["qty"], body["price"]) == ("0.00001", "0.0000001")


CASES: list[tuple[SubmitOrder, float | None, dict[str, Any]]] = [
    (SubmitOrder("a-1", "BTCUSDT", "BUY", "market", 0.01, 0), None, {"orderType": "Market", "timeInForce": "IOC", "positionIdx": 0}),
    (
        SubmitOrder("a-1", "BTCUSDT", "SELL", "limit", 0.01, 0, 5.0, time_in_force="POST_ONLY"),
        None,
        {"timeInForce": "PostOnly", "side": "Sell"},
    ),
    (SubmitOrder("a-1", "BTCUSDT", "SELL", "market", 0.01, 0, reduce_only=True), None, {"reduceOnly": True}),
    (
        SubmitOrder("a-1", "BTCUSDT", "SELL", "market", 0.0, 0, reduce_only=True, close_on_trigger=True),
        None,
        {"qty": "0.000", "closeOnTrigger": True},
    ),
    (SubmitOrder("a-1", "BTCUSDT", "BUY", "stop_market", 0.01, 0, None, 100.0), 90.0, {"triggerDirection": 1, "triggerBy": "LastPrice"}),
    (SubmitOrder("a-1", "BTCUSDT", "BUY", "stop_market", 0.01, 0, None, 100.0), 110.0, {"triggerDirection": 2}),
    (SubmitOrder("a-1", "BTCUSDT", "BUY", "stop_market", 0.01, 0, None, 100.0), 100.0, {"triggerDirection": 1}),
    (SubmitOrder("a-1", "BTCUSDT", "SELL", "stop_market", 0.01, 0, None, 100.0), None, {"triggerDirection": 2}),
    (
        SubmitOrder("a-1", "BTCUSDT", "SELL", "stop_market", 0.01, 0, None, 100.0, "mark", trigger_rising=True),
        None,
        {"triggerDirection": 1, "triggerBy": "MarkPrice"},
    ),
]


def test_the_ways_of_asking() -> None:
    for command, current, expected in CASES:
        body = requests.create_body(command, perpetual(), current)
        assert {name: body.get(name) for name in expected} == expected, command


OFF_GRID: list[tuple[SubmitOrder | AmendOrder, str, str]] = [
    (SubmitOrder("a-1", "BTCUSDT", "BUY", "market", 0.0105, 0), "10001 Qty invalid", "170137 Order quantity has too many decimals."),
    (SubmitOrder("a-1", "BTCUSDT", "BUY", "limit", 0.01, 0, 5.05), "10001 Price invalid", "170134 Order price has too many decimals."),
    (SubmitOrder("a-1", "BTCUSDT", "BUY", "stop_market", 0.01, 0, None, 5.05), "10001 TriggerPrice invalid", "10001 TriggerPrice invalid"),
    (AmendOrder("a-1", "BTCUSDT", 0, qty=0.0105), "10001 Qty invalid", "170137 Order quantity has too many decimals."),
    (AmendOrder("a-1", "BTCUSDT", 0, price=5.05), "10001 Price invalid", "170134 Order price has too many decimals."),
    (AmendOrder("a-1", "BTCUSDT", 0, price=5.0), "", ""),
    (SubmitOrder("a-1", "BTCUSDT", "SELL", "market", 0.0, 0, reduce_only=True, close_on_trigger=True), "", ""),
]


def test_what_lies_between_two_counts_is_refused_and_never_rounded() -> None:
    for command, linear, spot in OFF_GRID:
        assert (requests.off_grid(command, perpetual()), requests.off_grid(command, spot_pair())) == (linear, spot), command


def test_spot_counts_market_buys_in_base_and_knows_no_positions() -> None:
    body = requests.create_body(SubmitOrder("a-1", "BTCUSDT", "BUY", "market", 0.01, 0, reduce_only=True), spot_pair())
    assert (body["marketUnit"], body["isLeverage"]) == ("baseCoin", 0)
    assert not {"positionIdx", "reduceOnly", "closeOnTrigger"} & set(body)


def test_an_order_without_a_client_id_is_named_by_the_exchange_s() -> None:
    assert requests.cancel_body(CancelOrder("t-1-sl", "BTCUSDT", 0), perpetual(), "abc")["orderId"] == "abc"
    assert "orderLinkId" not in requests.cancel_body(CancelOrder("t-1-sl", "BTCUSDT", 0), perpetual(), "abc")
    assert requests.amend_body(AmendOrder("t-1", "BTCUSDT", 0, price=5.0), perpetual()) == {
        "category": "linear", "symbol": "BTCUSDT", "orderLinkId": "t-1", "price": "5.0",
    }  # fmt: skip
