"""Orders by hand, over the exchange of this process and over our client of the sandbox: the same calls, the same fills.

A buy of so many USDT at the last close of 90 pays 90.01, one tick of slippage; what rests is where it was put; a batch's items have each
their own fate, at the client and at the exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keel.core.engine.ports import Venue
from keel.core.errors import ConfigError
from keel.core.model.messages import AmendOrder, CancelOrder, Fill, OrderUpdate, SubmitOrder
from keel.core.strategy.order_calls import OrderCalls
from tests.conformance import adapter, in_process
from tests.conformance.actors import Actors
from tests.conformance.cases import FLAT_90
from tests.conformance.clients import CLIENTS
from tests.conformance.words import SYMBOL, Account, Step
from tests.sim.sandbox.conftest import START

NAMES = [name for name in CLIENTS if "pybit" not in name]


class Hands(Actors):
    """An account without an executor: the orders are ours, not a strategy's."""

    def connect(self, venue: Venue) -> None:
        for kind, take in ((Fill, self.portfolio.on_fill), (Fill, self.fills.append), (OrderUpdate, self.updates.append)):
            self.bus.subscribe(kind, take)


@pytest.fixture(params=NAMES)
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for module in (adapter, in_process):
        monkeypatch.setattr(module, "Actors", Hands)
    made: Any = CLIENTS[request.param](FLAT_90, Account())
    try:
        made.act(Step())
        yield made
    finally:
        made.close()


def resting(client: Any) -> list[str]:
    return sorted(f"{side} {qty} @ {price:g}" for _, side, qty, price, _ in client._resting())


def call(client: Any, work: Callable[[OrderCalls], Any], *, waits: bool = True) -> Any:
    """A call on the client's venue, and the time that its answer takes; the venue of a session wants its loop."""

    async def in_loop() -> Any:
        done = work(client.venue)
        if waits:
            await client.venue.idle()
        else:
            await client._until_swept()
        return done

    return client._run(in_loop()) if hasattr(client, "_run") else work(client.venue)


def test_buy_sell_close_and_cancel(client: Any) -> None:
    order = call(client, lambda venue: venue.market_buy(SYMBOL, 180.0))
    assert (order.side, order.qty) == ("BUY", 2.0)
    client.act(Step())
    assert [(fill.side, fill.qty, fill.price) for fill in client.actors.fills] == [("BUY", 2.0, 90.01)]
    bid = call(client, lambda venue: venue.limit_buy(SYMBOL, 160.0, 80.0))
    ask = call(client, lambda venue: venue.limit_sell(SYMBOL, 100.0, 100.0, reduce_only=True))
    client.act(Step())
    assert resting(client) == ["BUY 2.0 @ 80", "SELL 1.0 @ 100"]
    assert {bid.order_type, ask.order_type} == {"limit"}
    call(client, lambda venue: venue.cancel_orders([CancelOrder(ask.client_order_id, SYMBOL, START)]))
    closing = call(client, lambda venue: venue.close_position(SYMBOL))
    assert (closing.side, closing.qty, closing.reduce_only) == ("SELL", 2.0, True)
    client.act(Step())
    assert client.actors.portfolio.position_qty(SYMBOL) == 0.0
    assert resting(client) == ["BUY 2.0 @ 80"]
    call(client, lambda venue: venue.cancel_all(SYMBOL), waits=False)
    client.act(Step())
    assert resting(client) == []
    assert call(client, lambda venue: venue.close_position(SYMBOL)) is None
    client.act(Step())


def test_each_item_of_a_batch_has_its_own_fate(client: Any) -> None:
    def limit(name: str, qty: float, price: float, symbol: str = SYMBOL) -> SubmitOrder:
        return SubmitOrder(name, symbol, "BUY", "limit", qty, START, price)

    given = [limit("a", 1.0, 80.0), limit("b", 1.0, 80.001), limit("d", 1.0, 80.0, "ABCUSDT"), limit("e", 1e5, 80.0), limit("f", 2.0, 81.0)]
    fates = call(client, lambda venue: venue.submit_orders(given))
    assert [(fate.client_order_id, fate.accepted) for fate in fates] == [("a", True), ("b", False), ("d", False), ("e", True), ("f", True)]
    client.act(Step())
    ends = {update.client_order_id: update.status for update in client.actors.updates}
    assert (ends["a"], ends["e"], ends["f"]) == ("accepted", "rejected", "accepted")
    fates = call(
        client, lambda venue: venue.amend_orders([AmendOrder("a", SYMBOL, START, price=79.0), AmendOrder("f", SYMBOL, START, qty=-1.0)])
    )
    assert [fate.accepted for fate in fates] == [True, False]
    client.act(Step())
    assert resting(client) == ["BUY 1.0 @ 79", "BUY 2.0 @ 81"]
    call(client, lambda venue: venue.cancel_orders([CancelOrder("a", SYMBOL, START), CancelOrder("f", SYMBOL, START)]))
    client.act(Step())
    assert resting(client) == []


def test_a_name_is_not_given_twice_and_a_symbol_must_be_traded(client: Any) -> None:
    call(client, lambda venue: venue.limit_buy(SYMBOL, 160.0, 80.0, client_order_id="mine"))
    for wrong in (
        lambda venue: venue.limit_buy(SYMBOL, 160.0, 80.0, client_order_id="mine"),
        lambda venue: venue.market_sell("ABCUSDT", 5.0),
    ):
        with pytest.raises(ConfigError):
            call(client, wrong)
    client.act(Step())
    call(client, lambda venue: venue.cancel_orders([CancelOrder("mine", SYMBOL, START)]))
    client.act(Step())
