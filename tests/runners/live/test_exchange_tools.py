"""Account, market-data, order and position tools over a sandbox: looks, an order by hand, its end; and no order beside a session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from keel.runners.live.startup.lock import AccountLock
from keel.runners.tools import (
    account_fund_tool,
    account_show_tool,
    market_bars_tool,
    market_instrument_tool,
    order_cancel_tool,
    order_list_tool,
    order_place_tool,
    position_close_tool,
    position_list_tool,
)
from tests.sim.sandbox.conftest import Sandbox, running, walk_feed, walking

pytestmark = pytest.mark.real_sockets


@pytest.fixture(scope="module")
def moving() -> Iterator[Sandbox]:
    with running(walking(limit_factor=100.0), walk_feed()) as sandbox:
        yield sandbox


def data(answer: dict[str, Any]) -> Any:
    assert answer["ok"], answer
    return answer["data"]


def test_looks(moving: Sandbox) -> None:
    at = {"sandbox_url": moving.url}
    account = data(account_show_tool(**at))
    assert account["account"].startswith("sandbox ") and any(row["coin"] == "USDT" for row in account["balances"])
    bars = data(market_bars_tool(symbol="BTCUSDT", timeframe="5m", limit=7, **at))["bars"]
    assert len(bars) == 7 and bars == sorted(bars, key=lambda row: row["time"])
    assert data(market_instrument_tool(symbol="BTCUSDT", **at))["tick"] == "0.1"
    assert data(position_list_tool(**at))["positions"] == [] and data(order_list_tool(**at))["orders"] == []


async def test_looks_inside_a_running_event_loop(moving: Sandbox) -> None:
    """As in a notebook, whose cells run inside one."""
    at = {"sandbox_url": moving.url}
    assert data(account_show_tool(**at))["account"].startswith("sandbox ")
    assert (
        data(order_place_tool(side="BUY", qty=0.01, price=1_000.0, client_order_id="cell-1", symbol="BTCUSDT", **at))["answer"] is not None
    )
    assert data(order_cancel_tool(symbol="BTCUSDT", **at))["accepted"]
    there_is_none = account_show_tool(sandbox_url="http://127.0.0.1:1")
    assert there_is_none["error"]["type"] == "VenueError"


def test_an_order_by_hand_and_its_end(moving: Sandbox) -> None:
    at = {"sandbox_url": moving.url, "symbol": "BTCUSDT"}
    resting = data(order_place_tool(side="BUY", qty=0.01, price=1_000.0, client_order_id="hand-1", **at))
    assert not resting["accepted"] or data(order_cancel_tool(client_order_id="hand-1", **at))["accepted"]
    assert data(order_place_tool(side="BUY", qty=0.01, client_order_id="hand-2", **at))["accepted"]
    (held,) = data(position_list_tool(sandbox_url=moving.url))["positions"]
    assert (held["symbol"], held["side"], held["size"]) == ("BTCUSDT", "Buy", "0.010")
    assert data(position_close_tool(client_order_id="hand-3", **at))["accepted"]
    assert data(position_list_tool(sandbox_url=moving.url))["positions"] == []
    wrong = order_place_tool(side="BUY", qty=0.0001, client_order_id="hand-4", **at)
    assert wrong["error"]["type"] == "ConfigError" and "multiple of 0.001" in wrong["error"]["message"]


def test_play_money_comes_on_demo_and_nowhere_else(moving: Sandbox) -> None:
    assert "10001" in data(account_fund_tool(sandbox_url=moving.url))["answer"]
    with running(walking(profile="demo"), walk_feed()) as demo:

        def usdt() -> float:
            rows = data(account_show_tool(sandbox_url=demo.url))["balances"]
            return next(float(row["wallet"]) for row in rows if row["coin"] == "USDT")

        before = usdt()
        assert data(account_fund_tool(sandbox_url=demo.url, amount=1_234.5))["accepted"]
        assert usdt() == before + 1_234.5
        again = data(account_fund_tool(sandbox_url=demo.url, take_away=True))  # one request a minute
        assert not again["accepted"] and "10006" in again["answer"]


def test_not_beside_a_session(moving: Sandbox) -> None:
    name = data(account_show_tool(sandbox_url=moving.url))["account"]
    with AccountLock(name, "a session"):
        answer = order_place_tool(side="BUY", qty=0.01, client_order_id="hand-9", symbol="BTCUSDT", sandbox_url=moving.url)
    assert answer["error"]["exit_code"] == 4 and "a session" in answer["error"]["message"]
