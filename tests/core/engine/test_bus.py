"""One queue, in order, to completion; a handler that raises stops everything."""

from __future__ import annotations

import pytest

from keel.core.engine.bus import Bus
from keel.core.errors import InvariantError
from keel.core.model.messages import FundingRate, Halt, MarkPrice, Message


def mark(price: float, symbol: str = "BTCUSDT") -> MarkPrice:
    return MarkPrice(symbol, 0, price)


def test_handlers_run_in_subscription_order_and_to_completion_before_the_next_message() -> None:
    bus, seen = Bus(), []

    def first(message: MarkPrice) -> None:
        seen.append(("first", message.price))
        if message.price == 1.0:
            bus.publish(mark(2.0))

    bus.subscribe(MarkPrice, first)
    bus.subscribe(MarkPrice, lambda message: seen.append(("second", message.price)))
    bus.deliver(mark(1.0))
    assert seen == [("first", 1.0), ("second", 1.0), ("first", 2.0), ("second", 2.0)]


def test_what_handlers_publish_is_taken_in_the_order_of_publishing() -> None:
    bus, seen = Bus(), []
    bus.subscribe(Halt, lambda _: [bus.publish(mark(price)) for price in (1.0, 2.0)])
    bus.subscribe(MarkPrice, lambda message: (seen.append(message.price), bus.publish(FundingRate("X", 0, message.price))))
    bus.subscribe(FundingRate, lambda message: seen.append(-message.rate))
    bus.publish(Halt(0, "test"))
    bus.drain()
    assert seen == [1.0, 2.0, -1.0, -2.0]


def test_a_symbols_subscriber_hears_that_symbol_only() -> None:
    bus, seen = Bus(), []
    bus.subscribe(MarkPrice, lambda message: seen.append(message.symbol), symbol="ETHUSDT")
    bus.deliver(mark(1.0))
    bus.deliver(mark(1.0, "ETHUSDT"))
    assert seen == ["ETHUSDT"]


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("error", [ValueError("broken"), KeyError("broken")])
def test_a_handler_that_raises_stops_the_bus(inbound: bool, error: Exception) -> None:
    bus, seen = Bus(), []

    def fail(_: Message) -> None:
        raise error

    bus.subscribe(Halt, fail)
    bus.subscribe(MarkPrice, seen.append)
    bus.publish(Halt(0, "x"))
    bus.publish(mark(1.0))
    with pytest.raises(type(error)):
        bus.deliver(Halt(0, "x")) if inbound else bus.drain()
    assert bus.failed is not None and "broken" in bus.failed
    bus.publish(mark(2.0))
    with pytest.raises(InvariantError, match="takes no more messages"):
        bus.drain()
    assert seen == []


def test_a_message_that_nobody_subscribed_passes() -> None:
    Bus().deliver(mark(1.0))
