"""Categories that an account does not use: lists are empty, and never a refusal; what would order there is refused."""

from __future__ import annotations

import pytest

from tests.sim.sandbox.conftest import Sandbox
from tests.sim.sandbox.raw import Raw


@pytest.mark.parametrize("category", ["inverse", "option"])
def test_lists_are_empty(category: str, market: Sandbox) -> None:
    raw = Raw(market)
    lists = ("market/instruments-info", "order/realtime", "order/history", "execution/list", "position/list", "position/closed-pnl")
    for name in lists:
        envelope = raw.get(f"/v5/{name}", category=category)[2]
        assert (envelope["retCode"], envelope["result"]) == (0, {"category": category, "list": [], "nextPageCursor": ""}), name
    assert raw.result("/v5/market/tickers", category=category) == {"category": category, "list": []}
    assert raw.post("/v5/order/cancel-all", {"category": category})[2]["result"] == {"list": [], "success": "1"}
    order = {"category": category, "symbol": "BTCUSD", "side": "Buy", "orderType": "Market", "qty": "1"}
    assert raw.post("/v5/order/create", order)[2]["retCode"] == 10001
