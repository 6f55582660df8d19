"""The actors over the adapter over the sandbox: what the portfolio tells is what the exchange's ledger says, to the last unit.

In virtual time: how busy the machine is decides nothing. A seed is of the intents and of the network's delays.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from keel.core.actors.executor import Executor
from keel.core.actors.portfolio import Portfolio
from keel.core.engine.clock import ReplayClock
from keel.core.model.messages import (
    AmendOrder,
    Bracket,
    CancelOrder,
    Fill,
    FundingPayment,
    Message,
    OrderIntent,
    OrderUpdate,
    Side,
    SubmitOrder,
)
from keel.core.model.money import to_units
from tests.adapters.bybit.conftest import Desk, desk_over
from tests.adapters.bybit.test_venue_streams import executions, ws
from tests.virtual.loop import run_virtual

FAULTS: dict[str, list[dict[str, Any]]] = {
    "well": [],
    "doubled": [ws({"kind": "dup", "n": 2}, "execution"), ws({"kind": "dup", "n": 2}, "order")],
    "executions lost": [ws("drop", "execution", prob=0.4)],
    "orders lost": [ws("drop", "order", prob=0.4)],
    "socket lost": [ws({"kind": "abort"}, "execution", prob=0.1)],
    "late": [ws({"kind": "delay", "ms": 40}, "execution", prob=0.5)],
    "answers lost": [{"action": "drop", "match": {"side": "http", "path": "/v5/order/create", "prob": 0.3}}],
    "not arrived": [{"action": "drop", "when": "before_apply", "match": {"side": "http", "path": "/v5/order/create", "prob": 0.3}}],
}


class Actors:
    """Executor and portfolio, as every epoch has them, over a desk's venue."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.clock = ReplayClock(desk.now_ms)
        instruments = {"BTCUSDT": desk.venue.tracker.instruments["BTCUSDT"]}
        self.executor = Executor("t", instruments, self.clock, self.send)
        self.portfolio = Portfolio(instruments.values(), to_units(100_000), order_number=self.executor.order_number)
        self.heard = 0

    def send(self, command: Message) -> None:
        venue = self.desk.venue
        if isinstance(command, SubmitOrder):
            venue.submit_order(command)
        elif isinstance(command, CancelOrder):
            venue.cancel_order(command)
        elif isinstance(command, AmendOrder):
            venue.amend_order(command)

    def hear(self) -> None:
        """Everything published since the last time; an InvariantError of an actor is the test's failure."""
        while self.heard < len(self.desk.published):  # what they order may be answered on the spot
            message = self.desk.published[self.heard]
            self.heard += 1
            if isinstance(message, Fill):
                self.executor.on_fill(message)
                self.portfolio.on_fill(message)
            elif isinstance(message, OrderUpdate):
                self.executor.on_order_update(message)
            elif isinstance(message, FundingPayment):
                self.portfolio.on_funding(message)


def wish(rng: random.Random, desk: Desk) -> OrderIntent:
    """Some intent: markets and limits, both sides, flips, with and without exits."""
    side: Side = rng.choice(("BUY", "SELL"))
    out = 1 if side == "BUY" else -1
    last, qty = desk.last, rng.randrange(1, 40) / 1000
    bracket = rng.choice((None, Bracket(last - out * 80, last + out * 80), Bracket(stop_loss=last - out * 60), Bracket(trailing=100.0)))
    if rng.random() < 0.4:
        return OrderIntent("BTCUSDT", side, qty, desk.now_ms, "limit", last - out * rng.choice((-50, 10, 30)), bracket=bracket)
    return OrderIntent("BTCUSDT", side, qty, desk.now_ms, bracket=bracket, cancel_first=rng.random() < 0.5)


@pytest.mark.long
@pytest.mark.parametrize("name", ["well", "executions lost", "answers lost"])
def test_the_portfolio_is_the_exchange_s_ledger(name: str) -> None:
    run_virtual(trade(name, 0), seed=name)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", FAULTS)
def test_it_is_so_for_more_seeds(name: str, seed: int) -> None:
    run_virtual(trade(name, seed), seed=f"{name} {seed}")


async def trade(name: str, seed: int) -> None:
    """A dozen rounds of intents under one kind of fault; a failure names kind and seed by the test's own name."""
    rng = random.Random(f"{name} {seed}")
    async with desk_over() as desk:
        actors = Actors(desk)
        desk.faults(*FAULTS[name])
        for _ in range(12):
            actors.clock.now_ms = desk.now_ms
            actors.hear()
            if rng.random() < 0.8:
                actors.executor.on_intent(wish(rng, desk))
            await desk.until(lambda: desk.venue.in_flight == 0)
            await desk.step(rng.choice((1, 1, 5, 60)))
            await asyncio.sleep(0.01)
        desk.faults(clear=True)
        await settle(desk)
        truth = await agreed(desk, actors)
        assert not truth["problems"]
        assert sorted(fill.fill_id for fill in desk.fills()) == sorted(await executions(desk))
        assert actors.portfolio.cash == truth["wallet_units"]["USDT"]
        assert actors.portfolio.steps("BTCUSDT") == sum(row["steps"] for row in truth["books"]["BTCUSDT"]["positions"])
        assert known(desk) == resting(truth)
        assert not desk.venue.unknown
        assert desk.fills()


def resting(truth: Any) -> set[str]:
    return {row["orderId"] for row in truth["orders"] if row["orderStatus"] in ("New", "PartiallyFilled", "Untriggered")}


def known(desk: Desk) -> set[str]:
    return {order.order_id for order in desk.venue.tracker.orders}


async def agreed(desk: Desk, actors: Actors) -> Any:
    """What the sandbox knows, once the actors have heard all of it: executions, funding, ends of orders. What never agrees is told by what
    is asserted."""
    for _ in range(20):
        truth = next(iter((await desk.truth())["accounts"].values()))
        actors.hear()  # after the asking: what is published meanwhile is not known to them otherwise
        traded = {row["execId"] for row in truth["executions"] if row["execType"] != "Funding"}
        settled = {int(row["execTime"]) for row in truth["executions"] if row["execType"] == "Funding"}
        paid = {message.ts for message in desk.published if isinstance(message, FundingPayment)}
        is_complete = traded <= {fill.fill_id for fill in desk.fills()} and settled <= paid
        if is_complete and known(desk) == resting(truth) and not desk.venue.unknown and desk.venue.is_ready:
            break
        await asyncio.sleep(0.1)
        await settle(desk)
    return truth


async def settle(desk: Desk) -> None:
    """Let everything that is under way come to its end, then read all lists once more."""
    await desk.venue.idle()
    for _ in range(3):
        await desk.until(lambda: desk.venue.is_ready, "ready")
        await asyncio.sleep(0.6)
        await desk.venue.idle()
    await desk.venue.resync()
    await asyncio.sleep(0.1)
    await desk.venue.idle()
