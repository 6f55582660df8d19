"""Perpetuals that settle in USDC beside those in USDT: each coin has its own wallet, margin, fees and funding."""

from __future__ import annotations

import pytest

from keel.sim.sandbox.account.oracle import problems
from keel.sim.sandbox.account.views import wallet_row
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.market.random_walk import FUNDING_MS
from keel.sim.sandbox.settings import SandboxSettings
from tests.sim.sandbox.conftest import START, walk_feed

PERP = {"category": "linear", "symbol": "BTCPERP"}
HOUR_BEFORE = START + FUNDING_MS - 3_600_000


@pytest.mark.parametrize("margin_mode", ["isolated", "cross"])
def test_what_settles_in_usdc_changes_no_usdt(margin_mode: str) -> None:
    feed = walk_feed(("BTCPERP", "BTCUSDT", "ETHUSDC"), bars=5, start_ms=HOUR_BEFORE)
    settings = SandboxSettings(pace="lockstep", margin_mode=margin_mode)  # type: ignore[arg-type]  # one of two
    engine = Engine(settings, feed, lambda: START)
    assert sorted(engine.markets) == ["BTCPERP", "BTCUSDT", "BTCUSDT.SPOT", "ETHUSDC.SPOT"]
    account = next(iter(engine.accounts.values()))
    engine.order_requests.create(account, {**PERP, "side": "Buy", "orderType": "Market", "qty": "0.5"})
    engine.order_requests.create(account, {"category": "spot", "symbol": "ETHUSDC", "side": "Buy", "orderType": "Market", "qty": "1000"})
    for _ in range(70):
        engine.step_bar()
    row = wallet_row(account)
    coins = {one["coin"]: one for one in row["coin"]}
    assert coins["USDT"]["walletBalance"] == coins["USDT"]["equity"] == "100000" and coins["USDT"]["totalPositionIM"] == "0"
    assert float(coins["USDC"]["walletBalance"]) < 100_000 and float(coins["USDC"]["totalPositionIM"]) > 1_000
    assert float(coins["USDC"]["equity"]) == pytest.approx(
        float(coins["USDC"]["walletBalance"]) + float(coins["USDC"]["unrealisedPnl"]), abs=1e-6
    )
    assert float(coins["ETH"]["walletBalance"]) > 0 and float(row["totalEquity"]) == pytest.approx(200_000, rel=0.05)
    kinds = {(entry["currency"], entry["type"]) for entry in account.statement.log if entry["type"] != "TRANSFER_IN"}
    assert kinds == {("USDC", "TRADE"), ("USDC", "SETTLEMENT"), ("ETH", "TRADE")}
    assert {entry["feeCurrency"] for entry in account.statement.executions} == {"USDC", "ETH"}
    engine.order_requests.create(account, {**PERP, "side": "Sell", "orderType": "Market", "qty": "0.5", "reduceOnly": True})
    engine.step_bar()
    assert problems(account) == []
