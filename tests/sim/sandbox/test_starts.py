"""What differs from start to start, and what is drawn within one: ids, and which of answer and push comes first."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from keel.core.model.timeframe import MINUTE_MS
from keel.core.system.config import ExecutionConfig
from keel.sim.sandbox.engine import Engine
from keel.sim.sandbox.http.auth import keyed, sign
from keel.sim.sandbox.settings import SandboxSettings
from tests.sim.sandbox.conftest import KEY, SECRET, START, flat_bars, lockstep, walk_feed, walking
from tests.sim.sandbox.raw import Raw
from tests.sim.sandbox.test_streams import ask
from tests.virtual.sandbox import running_virtually

BTC = {"category": "linear", "symbol": "BTCUSDT"}


def ids_of(engine: Engine) -> set[Any]:
    """Ids of every kind that a client may keep, of the same things done at each start."""
    market, account = engine.markets["BTCUSDT"], next(iter(engine.accounts.values()))
    account.exchange.ledger.deposit("USDT", 0)
    engine.order_requests.create(account, {**BTC, "side": "Buy", "orderType": "Market", "qty": "0.1"})
    engine.step_bar()
    executions = {row[name] for row in account.statement.executions for name in ("execId", "orderId")}
    rows = {row["id"] for row in account.statement.log}
    trades = {trade.trade_id for trade in market.trades} | {trade.seq for trade in market.trades}
    assert executions and rows and trades
    return executions | rows | trades


def started(wall_ms: int, **changes: Any) -> Engine:
    return Engine(SandboxSettings(**changes), walk_feed(bars=5, start_ms=START + 60 * MINUTE_MS), lambda: wall_ms)


def test_no_id_of_an_earlier_start_comes_again() -> None:
    first, second = (ids_of(started(START + number)) for number in (0, 60_000))
    assert not first & second
    assert ids_of(started(START)) == first


@pytest.mark.parametrize("changes", [{"ids": "fixed"}, {"pace": "lockstep"}, {"pace": "max", "ids": "fixed"}])
def test_ids_are_fixed_where_asked_for_and_in_lock_step(changes: dict[str, Any]) -> None:
    assert ids_of(started(START, **changes)) == ids_of(started(START + 60_000, **changes))


def test_fresh_ids_may_be_asked_for_in_lock_step() -> None:
    assert not ids_of(started(START, pace="lockstep", ids="fresh")) & ids_of(started(START + 60_000, pace="lockstep", ids="fresh"))


def order_of_arrival(seed: int, by_stream: bool, count: int = 24, **changes: Any) -> list[str]:
    """Which came first of each order, its answer or its first push, in virtual time."""
    settings = walking(**({"limit_factor": 1000.0, "seed": seed, "tick_ms": 1000} | changes))
    firsts: list[str] = []

    async def play(sandbox: Any) -> None:
        async with aiohttp.ClientSession() as session:
            private = await session.ws_connect(sandbox.ws + "/v5/private")
            trade = await session.ws_connect(sandbox.ws + "/v5/trade")
            for socket in (private, trade):
                expires = sandbox.wall_ms() + 5_000
                await ask(socket, {"op": "auth", "args": [KEY, expires, sign(keyed(SECRET), f"GET/realtime{expires}")]})
            await ask(private, {"op": "subscribe", "args": ["order"]})
            raw = Raw(sandbox)
            for number in range(count):
                order = {**BTC, "side": "Buy", "orderType": "Limit", "qty": "0.01", "price": "30000", "orderLinkId": f"o{number}"}
                header = {"X-BAPI-TIMESTAMP": str(sandbox.wall_ms())}
                frame = {"reqId": str(number), "header": header, "op": "order.create", "args": [order]}
                sent = ask(trade, frame) if by_stream else raw.post("/v5/order/create", order)
                waiting = {asyncio.ensure_future(sent): "answer", asyncio.ensure_future(private.receive_json()): "push"}
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait(waiting)
                firsts.append("both" if len(done) == 2 else waiting[done.pop()])

    with running_virtually(settings, lambda now: walk_feed(bars=5, start_ms=now)) as sandbox:
        sandbox.world.run(play(sandbox))
    return firsts


@pytest.mark.parametrize("by_stream", [False, True], ids=["rest", "trade stream"])
def test_answer_and_push_race_in_both_directions_as_the_seed_has_it(by_stream: bool) -> None:
    firsts = order_of_arrival(1, by_stream)
    assert min(firsts.count("answer"), firsts.count("push")) >= 4, firsts
    assert order_of_arrival(1, by_stream) == firsts != order_of_arrival(2, by_stream)


def test_on_a_thin_book_orders_fill_in_parts() -> None:
    """The bar trades 100: a tenth of it is what one bar gives."""
    settings, feed = lockstep(flat_bars(*[100.0] * 6, symbol="BTCUSDT"), execution=ExecutionConfig(max_volume_share=0.1))
    engine = Engine(settings, feed, lambda: START)
    account, market = next(iter(engine.accounts.values())), engine.markets["BTCUSDT"]
    engine.order_requests.create(account, {**BTC, "side": "Buy", "orderType": "Limit", "price": "101", "qty": "25", "orderLinkId": "rests"})
    engine.order_requests.create(account, {**BTC, "side": "Buy", "orderType": "Market", "qty": "30", "orderLinkId": "late"})

    def became(name: str) -> tuple[str, int]:
        record = account.by_link_id["linear", name]
        return record.status, record.filled

    seen = []
    for _ in range(3):
        engine.step_bar()
        seen.append(became("rests"))
    assert seen == [("PartiallyFilled", 10_000), ("PartiallyFilled", 20_000), ("Filled", 25_000)]
    assert became("late") == ("Cancelled", 0)
    engine.order_requests.create(account, {**BTC, "side": "Sell", "orderType": "Market", "qty": "30", "orderLinkId": "takes"})
    engine.step_bar()
    assert became("takes") == ("Cancelled", 10_000)
    executions = account.statement.executions_of[account.by_link_id["linear", "takes"].order_id]
    assert [(row["execQty"], row["leavesQty"]) for row in executions] == [("10.000", "20.000")]
    assert max(steps for side in market.book(50) for _, steps in side) <= 500
