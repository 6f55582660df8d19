"""Money is neither made nor lost: after any flow of requests, books, executions, orders, log and wallet tell one story."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from keel.core.model.money import UNIT, to_units
from keel.core.model.timeframe import MINUTE_MS
from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.account.oracle import problems
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.http.call import Call
from keel.sim.sandbox.http.errors import ApiError
from keel.sim.sandbox.http.routes import ROUTES
from keel.sim.sandbox.market.feeds import BarFeed, WalkFeed
from keel.sim.sandbox.settings import AccountSettings, SandboxSettings
from tests.sim.sandbox.conftest import START, Bars, made_bars, walk_feed

KINDS = ("market", "limit", "stop", "spot", "cancel", "amend", "exits", "leverage", "all", "margin", "mode")


def make_engine(seed: int, pace: Any, execution: ExecutionConfig) -> Engine:
    """A walk in lock-step, or one that answers requests at once; nothing of the network."""
    accounts = (
        AccountSettings(key="a", usdt=100_000.0), AccountSettings(key="b", usdt=1_500.0, leverage=50.0),
        AccountSettings(key="h", usdt=20_000.0, hedge=True), AccountSettings(key="c", usdt=500.0, leverage=100.0, margin_mode="cross"),
        AccountSettings(key="n", usdt=900.0, leverage=100.0, hedge=True, margin_mode="cross"),
    )  # fmt: skip
    feed: WalkFeed = walk_feed(("BTCUSDT", "ETHUSDT"), bars=5, start_ms=START + 410 * MINUTE_MS, seed=seed)  # funding at 08:00, in an hour
    return Engine(SandboxSettings(pace=pace, seed=seed, accounts=accounts, execution=execution), feed, lambda: START)


def ask(engine: Engine, key: str, path: str, **params: Any) -> Any:
    """A request, straight to its handler; None when it is refused."""
    account = engine.accounts[key]
    try:
        return ROUTES["POST", path].handler(Call(engine, params, START, owner=account, budget_left=20))
    except ApiError:
        return None


def act(engine: Engine, key: str, rng: np.random.Generator) -> None:
    """One random request."""
    symbol = str(rng.choice(["BTCUSDT", "ETHUSDT"]))
    last = engine.markets[symbol].last
    side = str(rng.choice(["Buy", "Sell"]))
    out = 1 if side == "Buy" else -1
    unit = 0.01 if symbol == "BTCUSDT" else 0.1
    qty = f"{unit * int(rng.integers(1, 60)):.2f}"
    linear: dict[str, Any] = {"category": "linear", "symbol": symbol}
    idx = int(rng.integers(1, 3)) if engine.accounts[key].is_hedge[symbol] else 0
    order = {**linear, "side": side, "qty": qty, "positionIdx": idx}
    near = f"{last * (1 - out * float(rng.uniform(-0.001, 0.002))):.1f}"
    kind = str(rng.choice(KINDS))
    open_ids = [
        record.order_id
        for record in engine.accounts[key].open_orders.values()
        if record.market.symbol == symbol and record.category == "linear"
    ]
    if kind == "market":
        exits = (
            {"takeProfit": f"{last * (1 + out * 0.003):.1f}", "stopLoss": f"{last * (1 - out * 0.002):.1f}"} if rng.random() < 0.4 else {}
        )
        ask(engine, key, "/v5/order/create", **order, orderType="Market", reduceOnly=bool(rng.random() < 0.3), **exits)
    elif kind == "limit":
        ask(
            engine, key, "/v5/order/create", **order, orderType="Limit", price=near, timeInForce=str(rng.choice(["GTC", "PostOnly", "IOC"]))
        )
    elif kind == "stop":
        trigger = f"{last * (1 + out * 0.001):.1f}"
        ask(engine, key, "/v5/order/create", **order, orderType="Market", triggerPrice=trigger, triggerDirection=1 if out > 0 else 2)
    elif kind == "spot":
        amount = f"{float(rng.uniform(20, 3_000)):.2f}" if side == "Buy" else f"{unit * float(rng.uniform(0.1, 5)):.4f}"
        more = {"price": f"{last * (1 - out * 0.0005):.1f}"} if rng.random() < 0.4 else {}
        if more and side == "Buy":
            amount = f"{unit:.4f}"
        kind_of_order = "Limit" if more else "Market"
        ask(engine, key, "/v5/order/create", category="spot", symbol=symbol, side=side, orderType=kind_of_order, qty=amount, **more)
    elif kind in ("cancel", "amend") and open_ids:
        change = {"qty": qty} if kind == "amend" else {}
        ask(engine, key, f"/v5/order/{kind}", **linear, orderId=str(rng.choice(open_ids)), **change)
    elif kind == "exits":
        distance = f"{last * 0.002:.1f}"
        ask(engine, key, "/v5/position/trading-stop", **linear, tpslMode="Full", positionIdx=idx, trailingStop=distance)
    elif kind == "leverage":
        leverage = str(rng.integers(1, 100))
        ask(engine, key, "/v5/position/set-leverage", **linear, buyLeverage=leverage, sellLeverage=leverage)
    elif kind == "margin":
        ask(engine, key, "/v5/position/add-margin", **linear, margin=str(rng.integers(-50, 50)), positionIdx=idx)
    elif kind == "mode":
        ask(engine, key, "/v5/account/set-margin-mode", setMarginMode=str(rng.choice(["ISOLATED_MARGIN", "REGULAR_MARGIN"])))
    elif kind == "all" and rng.random() < 0.2:
        ask(engine, key, "/v5/order/cancel-all", category="linear", settleCoin="USDT")


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 8))])
def test_random_flows_conserve_every_coin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    engine = make_engine(seed, "lockstep" if seed % 2 else "max", ExecutionConfig(slippage_bps=1.0 if seed % 3 else 0.0))
    for _ in range(140):
        for key in engine.accounts:
            for _ in range(int(rng.integers(0, 4))):
                act(engine, key, rng)
        engine.step_bar()
        for account in engine.accounts.values():
            assert problems(account) == []
    executions = [row for account in engine.accounts.values() for row in account.statement.executions]
    assert {row["execType"] for row in executions} >= {"Trade"} and len(executions) > 100
    assert any(row["execType"] == "Funding" for row in executions)
    for account in engine.accounts.values():
        _log_adds_up(account)
        _closed_pnl_is_that_of_its_prices(account)


@pytest.mark.parametrize("seed", range(4))
def test_a_wild_market_takes_cross_accounts_over_and_conserves_every_unit(seed: int) -> None:
    """One per cent a minute at 100x: whole accounts go, of two symbols and of both sides of one, and what they lack insurance pays."""
    rng = np.random.default_rng(seed)
    series = [made_bars(150, symbol, seed=10 * seed + place, deviation=0.01) for place, symbol in enumerate(("BTCUSDT", "ETHUSDT"))]
    accounts = tuple(
        AccountSettings(key=key, usdt=5_000.0, leverage=100.0, hedge=key == "n", margin_mode="cross") for key in ("c", "n", "d")
    )  # fmt: skip
    settings = SandboxSettings(pace="lockstep" if seed % 2 else "max", seed=seed, accounts=accounts)
    engine = Engine(settings, BarFeed(Bars(*series)), lambda: START)
    for _ in range(150):
        for key, account in engine.accounts.items():
            for _ in range(int(rng.integers(0, 4))):
                act(engine, key, rng)
            if account.exchange.balance("USDT") < 1_000 * UNIT:
                account.transfer(5_000 * UNIT)
        engine.step_bar()
        for account in engine.accounts.values():
            assert problems(account) == []
    kinds = [row["execType"] for account in engine.accounts.values() for row in account.statement.executions]
    assert kinds.count("BustTrade") > 5 and "Funding" in kinds
    for account in engine.accounts.values():
        _log_adds_up(account)


def _log_adds_up(account: Any) -> None:
    """Line by line: change = cashFlow + funding - fee, and each balance follows from the one before."""
    balances: dict[str, Decimal] = {}
    for row in account.statement.log:
        change = Decimal(row["change"])
        assert change == Decimal(row["cashFlow"]) + Decimal(row["funding"] or 0) - Decimal(row["fee"])
        coin = row["currency"]
        balances[coin] = balances.get(coin, Decimal(0)) + change
        assert Decimal(row["cashBalance"]) == balances[coin]
    assert to_units(balances["USDT"]) == sum(account.exchange.ledger.coins["USDT"][:3])


def _closed_pnl_is_that_of_its_prices(account: Any) -> None:
    """closedPnl = (exit value - entry value) x direction - open fee - close fee ("Get Closed PnL"), takeovers aside."""
    for entry in account.statement.closed_pnl:
        row = entry.row()
        if row["execType"] != "Trade":
            continue
        direction = 1 if row["side"] == "Sell" else -1
        gross = (to_units(row["cumExitValue"]) - to_units(row["cumEntryValue"])) * direction
        assert to_units(row["closedPnl"]) == gross - to_units(row["openFee"]) - to_units(row["closeFee"])


def test_accounts_do_not_touch_each_other() -> None:
    engine = make_engine(1, "max", ExecutionConfig())
    ask(engine, "a", "/v5/order/create", category="linear", symbol="BTCUSDT", side="Buy", orderType="Market", qty="0.5")
    assert engine.accounts["a"].statement.executions and not engine.accounts["b"].statement.executions
    assert engine.accounts["b"].statement.wallet == {"USDT": 1_500 * UNIT}
