"""Lock-step: nothing moves by itself, and what an account does equals, to the last unit, what the simulated exchange does in process."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from keel.core.engine.clock import ReplayClock
from keel.core.model.messages import AmendOrder, Bracket, CancelOrder, Message, SetTradingStop, SubmitOrder
from keel.core.model.timeframe import MINUTE_MS
from keel.core.system.config import ExecutionConfig, MarginMode
from keel.sim.exchange.exchange import RiskProfileConfig, SimulatedExchange
from keel.sim.sandbox.market.bar_source import SymbolSeries
from keel.sim.sandbox.settings import AccountSettings
from tests.sim.sandbox.conftest import KEY, START, flat_bars, made_bars, plain, stepping
from tests.sim.sandbox.raw import Raw

SYMBOL = "BTCUSDT"


def script(series: SymbolSeries, seed: int) -> list[list[Message]]:
    """Random commands after each bar: entries with and without exits, limits, stops, amendments, cancels, new exits."""
    rng = np.random.default_rng(seed)
    made: list[list[Message]] = []
    names: list[str] = []
    for row in range(len(series.ts) - 1):
        ts, close = int(series.ts[row]) + MINUTE_MS, float(series.last[3][row])
        commands: list[Message] = []
        for _ in range(int(rng.integers(0, 3))):
            side = "BUY" if rng.random() < 0.5 else "SELL"
            out = 1.0 if side == "BUY" else -1.0
            kind = str(
                rng.choice(
                    ["market", "limit", "stop_market", "stop_limit", "cancel", "amend", "exits"], p=[0.3, 0.25, 0.1, 0.05, 0.1, 0.1, 0.1]
                )
            )
            qty = round(float(rng.integers(1, 400)) / 1000.0, 3)
            near = round(close * (1.0 - out * float(rng.uniform(-0.001, 0.004))), 1)
            if kind == "cancel" and names:
                commands.append(CancelOrder(str(rng.choice(names)), SYMBOL, ts))
            elif kind == "amend" and names:
                commands.append(AmendOrder(str(rng.choice(names)), SYMBOL, ts, qty=qty))
            elif kind == "exits":
                stop = round(close * float(rng.uniform(0.98, 1.02)), 1)
                commands.append(SetTradingStop(SYMBOL, ts, Bracket(stop_loss=stop)))
            elif kind in ("market", "limit", "stop_market", "stop_limit"):
                bracket = None
                if rng.random() < 0.4:
                    bracket = Bracket(round(close * (1.0 - out * 0.004), 1), round(close * (1.0 + out * 0.006), 1))
                trigger = round(close * (1.0 + out * float(rng.uniform(0.0005, 0.003))), 1) if kind.startswith("stop") else None
                price = near if kind == "limit" else round((trigger or 0.0) * (1.0 + out * 0.0005), 1) if kind == "stop_limit" else None
                tif: Any = str(rng.choice(["GTC", "POST_ONLY", "IOC", "FOK"])) if kind == "limit" else "IOC" if kind == "market" else "GTC"
                rising = None if trigger is None else trigger > close
                names.append(f"o-{row}-{len(names)}")
                reduce_only = bool(rng.random() < 0.2)
                commands.append(SubmitOrder(
                    names[-1], SYMBOL, side, kind, qty, ts, price, trigger, "last", rising, tif, reduce_only,
                    bracket=None if reduce_only else bracket,
                ))  # type: ignore[arg-type]  # fmt: skip  # kind and side are of their literals
        made.append(commands)
    return made


def in_process(series: SymbolSeries, commands: list[list[Message]], usdt: float, mode: MarginMode) -> SimulatedExchange:
    """The exchange as a backtest drives it."""
    clock, events = ReplayClock(START), []  # type: ignore[var-annotated]  # messages of every kind
    exchange = SimulatedExchange(
        SYMBOL,
        usdt,
        ExecutionConfig(),
        RiskProfileConfig(leverage=10.0, margin_mode=mode),
        instruments={SYMBOL: series.instrument},
        clock=clock,
        emit=events.append,
    )
    exchange.set_funding(SYMBOL, *series.funding)
    book = exchange.books[SYMBOL]
    mark, index = series.mark or series.last, series.index or series.last
    handlers = {SubmitOrder: "submit_order", AmendOrder: "amend_order", CancelOrder: "cancel_order", SetTradingStop: "set_trading_stop"}
    for row, ts in enumerate(series.ts.tolist()):
        clock.now_ms = ts + MINUTE_MS
        columns = [*series.last, series.volume, *mark, *index]
        exchange.step(book, ts, ts + MINUTE_MS, *(float(column[row]) for column in columns))
        for command in commands[row] if row < len(commands) else []:
            getattr(exchange, handlers[type(command)])(command)
    return exchange


def over_the_wire(client: Raw, command: Message) -> None:
    """The same command as a request. What is refused here, the engine would have refused, too."""
    common = {"category": "linear", "symbol": SYMBOL}
    if isinstance(command, CancelOrder):
        client.post("/v5/order/cancel", {**common, "orderLinkId": command.client_order_id})
    elif isinstance(command, AmendOrder):
        client.post("/v5/order/amend", {**common, "orderLinkId": command.client_order_id, "qty": f"{command.qty:.3f}"})
    elif isinstance(command, SetTradingStop):
        exits = {"stopLoss": str(command.bracket.stop_loss), "takeProfit": "0", "tpslMode": "Full", "positionIdx": 0}
        client.post("/v5/position/trading-stop", {**common, **exits})
    elif isinstance(command, SubmitOrder):
        body: dict[str, Any] = {
            **common, "side": command.side.capitalize(), "qty": f"{command.qty:.3f}", "orderLinkId": command.client_order_id,
            "orderType": "Limit" if command.price is not None else "Market", "reduceOnly": command.reduce_only,
            "timeInForce": {"POST_ONLY": "PostOnly"}.get(command.time_in_force, command.time_in_force),
        }  # fmt: skip
        if command.price is not None:
            body["price"] = str(command.price)
        if command.trigger_price is not None:
            body |= {"triggerPrice": str(command.trigger_price), "triggerDirection": 1 if command.trigger_rising else 2}
        if command.bracket is not None:
            body |= {"stopLoss": str(command.bracket.stop_loss), "takeProfit": str(command.bracket.take_profit)}
        client.post("/v5/order/create", body)


@pytest.mark.parametrize("mode", ["isolated", "cross"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))])
@pytest.mark.covering(1)
def test_the_same_commands_at_the_same_bars_give_the_same_money(seed: int, mode: MarginMode) -> None:
    series = made_bars(120, seed=seed, deviation=0.004 if seed % 2 else 0.002)
    usdt = 2_000.0 if seed % 3 == 0 else 100_000.0
    commands = script(series, seed)
    expected = in_process(series, commands, usdt, mode)
    with stepping(series, accounts=(AccountSettings(usdt=usdt, margin_mode=mode),)) as sandbox:
        client = Raw(sandbox)
        for row in range(len(series.ts)):
            sandbox.step()
            for command in commands[row] if row < len(commands) else []:
                over_the_wire(client, command)
        truth = sandbox.truth()
    assert len(expected.fills) > 20
    assert truth["fills"] == plain(expected.fills)
    assert truth["funding"] == plain(expected.funding_payments)
    assert truth["liquidations"] == plain(expected.liquidations)
    assert list(truth["ledger"]["USDT"].values()) == expected.ledger.coins["USDT"]
    assert truth["problems"] == []


def test_an_order_waits_for_the_next_bar_and_fills_at_its_open() -> None:
    with stepping(flat_bars(100.0, 110.0, 120.0, 130.0, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step(2)
        order = {"category": "linear", "symbol": "XYZUSDT"}
        client.post("/v5/order/create", {**order, "side": "Buy", "orderType": "Market", "qty": "1", "orderLinkId": "one"})
        waiting = client.result("/v5/order/realtime", **order)["list"]
        assert [(row["orderLinkId"], row["orderStatus"]) for row in waiting] == [("one", "New")]
        assert sandbox.truth()["executions"] == []
        answer = sandbox.step()
        assert answer["bars_left"] == 1
        execution = client.result("/v5/execution/list", **order)["list"][0]
        assert (execution["execPrice"], execution["execTime"]) == ("110.02", str(START + 2 * MINUTE_MS))  # the open, and 1 bp of slippage


def test_the_candle_is_confirmed_after_everything_that_it_caused() -> None:
    """On one socket there is an order; over all sockets the private frames have been handed over before the public one is."""
    import asyncio

    import aiohttp

    from keel.sim.sandbox.http.auth import keyed, sign
    from tests.sim.sandbox.conftest import wall_ms

    async def listen(url: str, sandbox: Any) -> list[str]:
        heard: list[str] = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{url}/v5/private") as private,
            session.ws_connect(f"{url}/v5/public/linear") as public,
        ):
            expires = wall_ms() + 5000
            await private.send_json({"op": "auth", "args": [KEY, str(expires), sign(keyed("sandbox-secret"), f"GET/realtime{expires}")]})
            await private.send_json({"op": "subscribe", "args": ["execution"]})
            await public.send_json({"op": "subscribe", "args": ["kline.1.XYZUSDT", "kline.5.XYZUSDT"]})
            for socket, count in ((private, 2), (public, 1)):
                for _ in range(count):
                    assert (await socket.receive_json())["success"]

            async def collect(socket: Any) -> None:
                async for message in socket:
                    frame = json.loads(message.data)
                    confirm = frame["data"][0].get("confirm")
                    heard.append(frame["topic"] + ("" if confirm is None else f" {confirm}"))

            tasks = [asyncio.create_task(collect(socket)) for socket in (private, public)]
            await asyncio.to_thread(sandbox.step)
            while len(heard) < 3:
                await asyncio.sleep(0.005)
            for task in tasks:
                task.cancel()
        return heard

    with stepping(flat_bars(100.0, 110.0, 120.0, symbol="XYZUSDT")) as sandbox:
        Raw(sandbox).post("/v5/order/create", {"category": "linear", "symbol": "XYZUSDT", "side": "Buy", "orderType": "Market", "qty": "1"})
        assert asyncio.run(listen(sandbox.ws, sandbox)) == ["execution", "kline.1.XYZUSDT True", "kline.5.XYZUSDT False"]


def test_a_refusal_that_only_the_next_bar_can_know_comes_as_a_rejected_order() -> None:
    with stepping(flat_bars(100.0, 110.0, 120.0, symbol="XYZUSDT")) as sandbox:
        client = Raw(sandbox)
        sandbox.step()
        order = {"category": "linear", "symbol": "XYZUSDT", "side": "Buy", "orderType": "Market"}
        assert client.post("/v5/order/create", {**order, "qty": "1.05"})[2]["retMsg"] == "Qty invalid"
        client.post("/v5/order/create", {**order, "orderType": "Limit", "qty": "1", "price": "90", "orderLinkId": "rests"})
        sandbox.step()
        change = {"category": "linear", "symbol": "XYZUSDT", "orderLinkId": "rests", "qty": "1.05"}
        assert client.post("/v5/order/amend", change)[2]["retMsg"] == "Qty invalid"
        assert client.post("/v5/order/create", {**order, "qty": "90000", "orderLinkId": "big"})[2]["retCode"] == 0
        sandbox.step()
        row = sandbox.truth()["orders"][-1]
        assert (row["orderStatus"], row["_refusal"]) == ("Rejected", "110007 ab not enough for new order")


def test_warm_up_is_history_and_play_begins_where_it_is_told() -> None:
    with stepping(made_bars(60, first=50)) as sandbox:
        client = Raw(sandbox)
        rows = client.result("/v5/market/kline", category="linear", symbol=SYMBOL, interval="5", limit=1000)["list"]
        assert len(rows) == 10 and int(rows[0][0]) == START + 45 * MINUTE_MS
        assert sandbox.step(100)["bars"] == 10
        assert sandbox.step(1)["bars"] == 0
