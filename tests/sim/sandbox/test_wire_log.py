"""What came in is told as it came in, whatever became of it; and an account's story has everything in its order."""

from __future__ import annotations

import http.client

import pytest

from tests.sim.sandbox.conftest import KEY, flat_bars, stepping
from tests.sim.sandbox.raw import Raw


def test_requests_are_told_as_they_were_sent_also_those_that_were_lost() -> None:
    with stepping(flat_bars(30_000, 30_010)) as sandbox:
        raw = Raw(sandbox)
        body = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Market", "qty": "1e-3", "orderLinkId": "a"}
        sandbox.faults({"match": {"side": "http", "path": "/v5/order/create", "nth": 1}, "when": "before_apply", "action": "drop"})
        with pytest.raises((http.client.HTTPException, OSError)):
            raw.post("/v5/order/create", body)
        raw.get("/v5/position/list", category="linear", symbol="BTCUSDT")
        told = sandbox.get("/admin/wire")
    create, read = told["requests"]
    assert (create["method"], create["path"], create["account"]) == ("POST", "/v5/order/create", KEY)
    assert '"qty": "1e-3"' in create["sent"]
    assert (read["method"], read["sent"]) == ("GET", "category=linear&symbol=BTCUSDT")
    assert told["connects"] == [] and told["forgotten"] == 0


def test_a_story_has_orders_cancels_and_trades_in_their_order() -> None:
    with stepping(flat_bars(30_000, 30_010, 30_020)) as sandbox:
        raw = Raw(sandbox)
        both = {"category": "linear", "symbol": "BTCUSDT", "side": "Buy"}
        raw.post("/v5/order/create", {**both, "orderType": "Limit", "qty": "0.02", "price": "20000.0", "orderLinkId": "rests"})
        raw.post("/v5/order/create", {**both, "orderType": "Market", "qty": "0.01", "orderLinkId": "fills"})
        raw.post("/v5/order/cancel", {"category": "linear", "symbol": "BTCUSDT", "orderLinkId": "rests"})
        sandbox.step()
        story = [(kind, name, *rest[2:]) for _, kind, _, name, *rest in sandbox.truth()["story"]]
    assert story[:3] == [
        ("order", "rests", False, "New", 20, "20000.0"),
        ("order", "fills", False, "New", 10, "0.0"),
        ("order", "rests", False, "CancelAsked", 20, "20000.0"),
    ]
    trade = [each[:4] for each in story if each[0] == "trade"]
    assert trade == [("trade", "fills", False, 10)]
    assert ("order", "rests", False, "Cancelled", 0, "20000.0") in story
